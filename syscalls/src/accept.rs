//! `accept(2)`, `accept4(2)`.

use usk_abi::Errno;
use usk_abi::socket::{SOCK_CLOEXEC, SOCK_NONBLOCK};
use usk_sentry::SysResult;
use usk_sentry::net::socket;
use usk_sentry::task::{Current, SyscallArguments};

use crate::address::write_address;
use crate::descriptor::{fd_result, file_of};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(43, "accept", &[Fd, Pointer, Pointer], sys_accept),
    Row::full(288, "accept4", &[Fd, Pointer, Pointer, Flags], sys_accept4),
];

fn sys_accept(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    accept(current, arguments, 0)
}

fn sys_accept4(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    accept(current, arguments, arguments.u32(3))
}

fn accept(current: &mut Current, arguments: SyscallArguments, flags: u32) -> SysResult {
    if flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = file_of(current, arguments.i32(0))?;
    let (accepted, connection, peer) =
        socket::accept(current, &file, flags & SOCK_NONBLOCK, flags & SOCK_CLOEXEC != 0)?;
    // A connection whose address cannot be told is closed again, as on Linux.
    if arguments.u64(1) != 0 {
        write_address(current, arguments.u64(1), arguments.pointer(2), &peer).inspect_err(|_| {
            current.task.files().close_file(accepted, &connection);
        })?;
    }
    fd_result(accepted)
}
