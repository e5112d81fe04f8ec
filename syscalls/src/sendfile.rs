//! `sendfile(2)`, `copy_file_range(2)`.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::fs::OpenFlags;
use usk_abi::fs::seek::{SEEK_CUR, SEEK_SET};
use usk_abi::inotify::InotifyMask;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::{FileType, OpenFile};
use usk_sentry::{MAX_TRANSFER, SysResult, TransitSink, UserPtr};

use crate::table::{Argument::*, Row};
use crate::transfer::{Position, write_bytes};

pub(crate) const ROWS: &[Row] = &[
    Row::full(40, "sendfile", &[Fd, Fd, Pointer, Uint], sys_sendfile),
    Row::full(326, "copy_file_range", &[Fd, Pointer, Fd, Pointer, Uint, Flags], sys_copy_file_range),
];

/// Copies in an optional file offset. `EINVAL` if it is negative.
fn read_offset(current: &Current, pointer: UserPtr<i64>) -> Result<Option<u64>, Errno> {
    if pointer.is_null() {
        return Ok(None);
    }
    let offset = pointer.read(current.space())?;
    u64::try_from(offset).map(Some).map_err(|_| Errno::EINVAL)
}

/// Copies the offset back, or moves the file's position there.
fn write_offset(current: &Current, pointer: UserPtr<i64>, file: &OpenFile, offset: u64) -> Result<(), Errno> {
    let signed = i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
    if !pointer.is_null() {
        return pointer.write(current.space(), &signed);
    }
    if file.ops.keeps_position() {
        return file.ops.seek(file, signed, SEEK_SET).map(drop);
    }
    *file.position.lock() = offset;
    Ok(())
}

/// Where the file's position is.
fn position(file: &OpenFile) -> Result<u64, Errno> {
    if file.ops.keeps_position() { file.ops.seek(file, 0, SEEK_CUR) } else { Ok(*file.position.lock()) }
}

fn sys_sendfile(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let files = current.task.files();
    let pointer: UserPtr<i64> = arguments.pointer(2);
    let offset = read_offset(current, pointer)?;
    let input = files.get(arguments.i32(1))?;
    input.check_readable()?;
    let is_device = input.ops.keeps_position() && input.inode().file_type() != FileType::Regular;
    let has_position = input.ops.is_seekable() && !is_device;
    if !has_position && offset.is_some() {
        return Err(Errno::ESPIPE.into());
    }
    let count = isize::try_from(arguments.usize(3)).map_err(|_| Errno::EINVAL)?.unsigned_abs();
    let output = files.get(arguments.i32(0))?;
    drop(files);
    output.check_writable()?;
    if output.open_flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EINVAL.into());
    }
    if count == 0 {
        return Ok(0);
    }
    if !has_position {
        return Err(Errno::EINVAL.into());
    }
    let from = offset.map_or_else(|| position(&input), Ok)?;
    let result = copy(current, &input, from, &output, Position::Current, count.min(MAX_TRANSFER));
    let copied = *result.as_ref().unwrap_or(&0);
    if copied > 0 || result.is_ok() {
        write_offset(current, pointer, &input, from + copied)?;
    }
    result
}

fn sys_copy_file_range(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let files = current.task.files();
    let input = files.get(arguments.i32(0))?;
    let output = files.get(arguments.i32(2))?;
    drop(files);
    let (in_pointer, out_pointer) = (arguments.pointer(1), arguments.pointer(3));
    let in_offset = read_offset(current, in_pointer)?.map_or_else(|| position(&input), Ok)?;
    let out_offset = read_offset(current, out_pointer)?.map_or_else(|| position(&output), Ok)?;
    if arguments.u32(5) != 0 {
        return Err(Errno::EINVAL.into());
    }
    for file in [&input, &output] {
        match file.inode().file_type() {
            FileType::Regular => {}
            FileType::Directory => return Err(Errno::EISDIR.into()),
            _ => return Err(Errno::EINVAL.into()),
        }
    }
    input.check_readable()?;
    output.check_writable()?;
    if output.open_flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EBADF.into());
    }
    if input.inode().attributes()?.device != output.inode().attributes()?.device {
        return Err(Errno::EXDEV.into());
    }
    let wanted = arguments.u64(4);
    if in_offset.checked_add(wanted).is_none() || out_offset.checked_add(wanted).is_none() {
        return Err(Errno::EOVERFLOW.into());
    }
    let left = input.ops.length(&input)?.saturating_sub(in_offset);
    let count = arguments.usize(4).min(MAX_TRANSFER).min(usize::try_from(left).unwrap_or(usize::MAX));
    let is_overlapping = in_offset < out_offset + count as u64 && out_offset < in_offset + count as u64;
    if Arc::ptr_eq(input.inode(), output.inode()) && is_overlapping {
        return Err(Errno::EINVAL.into());
    }
    let copied = copy(current, &input, in_offset, &output, Position::At(out_offset), count)?;
    write_offset(current, in_pointer, &input, in_offset + copied)?;
    write_offset(current, out_pointer, &output, out_offset + copied)?;
    Ok(copied)
}

/// Moves up to `count` bytes. An error after the first byte ends the move there.
fn copy(
    current: &mut Current,
    input: &OpenFile,
    from: u64,
    output: &Arc<OpenFile>,
    to: Position,
    count: usize,
) -> SysResult {
    let mut copied = 0;
    while copied < count {
        let mut sink = TransitSink::new(count - copied);
        let read = match input.ops.read(input, &mut sink, from + copied as u64) {
            Ok(0) => break,
            Ok(read) => read,
            Err(_) if copied > 0 => break,
            Err(error) => return Err(error.into()),
        };
        let at = match to {
            Position::Current => Position::Current,
            Position::At(offset) => Position::At(offset + copied as u64),
        };
        let written = match write_bytes(current, output, sink.bytes(), at) {
            Ok(written) => usize::try_from(written).unwrap_or(usize::MAX),
            Err(_) if copied > 0 => break,
            Err(error) => return Err(error),
        };
        copied += written;
        if written < read {
            break;
        }
    }
    if copied > 0 {
        input.happened(InotifyMask::ACCESS);
    }
    Ok(copied as u64)
}
