//! `read(2)`, `pread(2)`, `readv(2)`, `preadv(2)`, `preadv2(2)`.

use usk_abi::Errno;
use usk_abi::fs::RwFlags;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};
use crate::transfer::{Position, check_position, read_file, read_iovecs, whole};

pub(crate) const ROWS: &[Row] = &[
    Row::full(0, "read", &[Fd, OutBuffer, Uint], sys_read),
    Row::full(17, "pread64", &[Fd, OutBuffer, Uint, Int], sys_pread64),
    Row::full(19, "readv", &[Fd, Pointer, Uint], sys_readv),
    Row::full(295, "preadv", &[Fd, Pointer, Uint, Int], sys_preadv),
    Row::full(327, "preadv2", &[Fd, Pointer, Uint, Int, Int, Flags], sys_preadv2),
];

fn sys_read(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = current.task.files().get(arguments.i32(0))?;
    let ranges = whole(arguments.u64(1), arguments.usize(2));
    read_file(current, &file, &ranges, Position::Current, RwFlags::empty())
}

fn sys_pread64(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let position = Position::at(arguments.i64(3))?;
    let file = current.task.files().get(arguments.i32(0))?;
    let ranges = whole(arguments.u64(1), arguments.usize(2));
    read_file(current, &file, &ranges, position, RwFlags::empty())
}

fn sys_readv(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    read_vector(current, arguments, Position::Current, RwFlags::empty())
}

fn sys_preadv(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let position = Position::at(arguments.i64(3))?;
    read_vector(current, arguments, position, RwFlags::empty())
}

fn sys_preadv2(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = RwFlags::from_bits(arguments.u32(5)).ok_or(Errno::EOPNOTSUPP)?;
    if flags.intersects(RwFlags::APPEND | RwFlags::NOAPPEND) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let position = match arguments.i64(3) {
        -1 => Position::Current,
        offset => Position::at(offset)?,
    };
    read_vector(current, arguments, position, flags)
}

fn read_vector(
    current: &mut Current,
    arguments: SyscallArguments,
    position: Position,
    flags: RwFlags,
) -> SysResult {
    let file = current.task.files().get(arguments.i32(0))?;
    // Before the vector, as Linux does since 6.8.
    check_position(&file, position)?;
    file.check_readable()?;
    let ranges = read_iovecs(current, arguments.pointer(1), arguments.u64(2))?;
    if ranges.iter().all(|range| range.length == 0) {
        // Nobody is asked, not even a directory.
        return Ok(0);
    }
    read_file(current, &file, &ranges, position, flags)
}
