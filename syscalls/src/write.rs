//! `write(2)`, `pwrite(2)`, `writev(2)`, `pwritev(2)`, `pwritev2(2)`.

use usk_abi::Errno;
use usk_abi::fs::RwFlags;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};
use crate::transfer::{Position, check_position, read_iovecs, whole, write_file};

pub(crate) const ROWS: &[Row] = &[
    Row::full(1, "write", &[Fd, InBuffer, Uint], sys_write),
    Row::full(18, "pwrite64", &[Fd, InBuffer, Uint, Int], sys_pwrite64),
    Row::full(20, "writev", &[Fd, Pointer, Uint], sys_writev),
    Row::full(296, "pwritev", &[Fd, Pointer, Uint, Int], sys_pwritev),
    Row::full(328, "pwritev2", &[Fd, Pointer, Uint, Int, Int, Flags], sys_pwritev2),
];

fn sys_write(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = current.task.files().get(arguments.i32(0))?;
    let ranges = whole(arguments.u64(1), arguments.usize(2));
    write_file(current, &file, &ranges, Position::Current, RwFlags::empty())
}

fn sys_pwrite64(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let position = Position::at(arguments.i64(3))?;
    let file = current.task.files().get(arguments.i32(0))?;
    let ranges = whole(arguments.u64(1), arguments.usize(2));
    write_file(current, &file, &ranges, position, RwFlags::empty())
}

fn sys_writev(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    write_vector(current, arguments, Position::Current, RwFlags::empty())
}

fn sys_pwritev(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let position = Position::at(arguments.i64(3))?;
    write_vector(current, arguments, position, RwFlags::empty())
}

fn sys_pwritev2(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = RwFlags::from_bits(arguments.u32(5)).ok_or(Errno::EOPNOTSUPP)?;
    if flags.contains(RwFlags::APPEND | RwFlags::NOAPPEND) {
        return Err(Errno::EINVAL.into());
    }
    let position = match arguments.i64(3) {
        -1 => Position::Current,
        offset => Position::at(offset)?,
    };
    write_vector(current, arguments, position, flags)
}

fn write_vector(
    current: &mut Current,
    arguments: SyscallArguments,
    position: Position,
    flags: RwFlags,
) -> SysResult {
    let file = current.task.files().get(arguments.i32(0))?;
    // Before the vector, as Linux does since 6.8.
    check_position(&file, position)?;
    file.check_writable()?;
    let ranges = read_iovecs(current, arguments.pointer(1), arguments.u64(2))?;
    if !file.ops.takes_ranges_apart() {
        return write_file(current, &file, &ranges, position, flags);
    }
    let mut written = 0;
    for range in ranges.iter().filter(|range| range.length > 0) {
        match write_file(current, &file, std::slice::from_ref(range), position, flags) {
            Ok(part) => written += part,
            Err(error) if written == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(written)
}
