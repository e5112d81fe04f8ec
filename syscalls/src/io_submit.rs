//! `io_submit(2)`.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::aio::*;
use usk_abi::fs::RwFlags;
use usk_sentry::aio::AioContext;
use usk_sentry::file::eventfd::EventFd;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::{FileType, OpenFile};
use usk_sentry::{IoVec, SysError, SysResult, UserPtr};

use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};
use crate::transfer::{Position, check_ranges, read_file, read_iovecs, single, write_file};

pub(crate) const ROWS: &[Row] = &[Row::partial(
    209,
    "io_submit",
    &[Pointer, Int, Pointer],
    sys_io_submit,
    "operations are carried out before it returns; IOCB_CMD_POLL fails with EINVAL",
)];

/// Bytes from the beginning of a `struct iocb` to its `aio_key`.
const KEY: u64 = 8;

fn sys_io_submit(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let count = usize::try_from(arguments.i64(1)).map_err(|_| Errno::EINVAL)?;
    let context = current.task.mm().aio.find(arguments.u64(0))?;
    let pointers: UserPtr<u64> = arguments.pointer(2);
    for index in 0..count.min(context.capacity()) {
        let submitted = current
            .copy_in(UserPtr::<u64>::new(pointers.address().wrapping_add(8 * index as u64)))
            .and_then(|address| submit(current, &context, address));
        match submitted {
            Ok(()) => {}
            Err(error) if index == 0 => return Err(error.into()),
            Err(_) => return Ok(index as u64),
        }
    }
    Ok(count.min(context.capacity()) as u64)
}

/// Carries one operation out and leaves its result. An error is one for which there is no result (`io_submit_one`).
fn submit(current: &mut Current, context: &AioContext, address: u64) -> Result<(), Errno> {
    let iocb = current.copy_in(UserPtr::<Iocb>::new(address))?;
    if iocb.reserved != 0 || i64::try_from(iocb.length).is_err() {
        return Err(Errno::EINVAL);
    }
    let room = context.reserve()?;
    let file = file_of(current, iocb.fd)?;
    let counter = match iocb.flags & IOCB_FLAG_RESFD {
        0 => None,
        _ => Some(current.task.files().get(iocb.resfd)?),
    };
    let counter = counter.as_ref().map(|file| EventFd::of(file).ok_or(Errno::EINVAL)).transpose()?;
    current.copy_out(UserPtr::<u32>::new(address.wrapping_add(KEY)), &0)?;
    let operation = Operation::check(current, &file, &iocb)?;
    let result = match operation.carry_out(current, &file) {
        Ok(count) => i64::try_from(count).unwrap_or(i64::MAX),
        Err(SysError::Errno(error)) => -i64::from(error.raw()),
        // It cannot be begun anew: its memory may have another meaning by then (`aio_rw_done`).
        Err(SysError::Restart(_)) => -i64::from(Errno::EINTR.raw()),
    };
    // Before anybody can know of it.
    current.settle_copies()?;
    room.complete(IoEvent { data: iocb.data, iocb: address, result, result2: 0 });
    if let Some(counter) = counter {
        counter.signal();
    }
    Ok(())
}

/// An operation that has been looked at: all that is left of it has a result.
enum Operation {
    Read(Vec<IoVec>, Position, RwFlags),
    Write(Vec<IoVec>, Position, RwFlags),
    Sync { data_only: bool },
}

impl Operation {
    fn check(current: &Current, file: &OpenFile, iocb: &Iocb) -> Result<Operation, Errno> {
        match iocb.opcode {
            IOCB_CMD_PREAD | IOCB_CMD_PREADV => {
                let flags = transfer_flags(iocb)?;
                file.check_readable()?;
                let (ranges, position) = where_to(current, file, iocb, iocb.opcode == IOCB_CMD_PREADV)?;
                Ok(Operation::Read(ranges, position, flags))
            }
            IOCB_CMD_PWRITE | IOCB_CMD_PWRITEV => {
                let flags = transfer_flags(iocb)?;
                file.check_writable()?;
                let (ranges, position) = where_to(current, file, iocb, iocb.opcode == IOCB_CMD_PWRITEV)?;
                Ok(Operation::Write(ranges, position, flags))
            }
            IOCB_CMD_FSYNC | IOCB_CMD_FDSYNC => {
                let is_plain = [iocb.buffer, iocb.length, iocb.offset.cast_unsigned()] == [0; 3];
                let is_kept = matches!(file.inode().file_type(), FileType::Regular | FileType::Directory);
                if !is_plain || iocb.rw_flags != 0 || !is_kept {
                    return Err(Errno::EINVAL);
                }
                Ok(Operation::Sync { data_only: iocb.opcode == IOCB_CMD_FDSYNC })
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn carry_out(&self, current: &mut Current, file: &Arc<OpenFile>) -> SysResult {
        match self {
            Operation::Read(ranges, position, flags) => read_file(current, file, ranges, *position, *flags),
            Operation::Write(ranges, position, flags) => write_file(current, file, ranges, *position, *flags),
            Operation::Sync { data_only } => {
                file.ops.sync(file, *data_only)?;
                Ok(0)
            }
        }
    }
}

fn transfer_flags(iocb: &Iocb) -> Result<RwFlags, Errno> {
    let flags = RwFlags::from_bits(iocb.rw_flags).ok_or(Errno::EOPNOTSUPP)?;
    if flags.contains(RwFlags::APPEND | RwFlags::NOAPPEND) { Err(Errno::EINVAL) } else { Ok(flags) }
}

/// The memory of a transfer, and its place in the file: none in files that have no positions.
fn where_to(
    current: &Current,
    file: &OpenFile,
    iocb: &Iocb,
    is_vector: bool,
) -> Result<(Vec<IoVec>, Position), Errno> {
    if file.inode().file_type() == FileType::Directory {
        return Err(Errno::EINVAL);
    }
    let ranges = if is_vector {
        read_iovecs(current, UserPtr::new(iocb.buffer), iocb.length)?
    } else {
        single(iocb.buffer, usize::try_from(iocb.length).unwrap_or(usize::MAX)).to_vec()
    };
    check_ranges(&ranges)?;
    let position = Position::at(iocb.offset)?;
    Ok((ranges, if file.ops.is_seekable() { position } else { Position::Current }))
}
