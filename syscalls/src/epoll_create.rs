//! `epoll_create(2)`, `epoll_create1(2)`.

use usk_abi::Errno;
use usk_abi::epoll::EPOLL_CLOEXEC;
use usk_sentry::SysResult;
use usk_sentry::file::epoll::Epoll;
use usk_sentry::task::{Current, SyscallArguments};

use crate::descriptor::{fd_result, install};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(213, "epoll_create", &[Int], sys_epoll_create),
    Row::full(291, "epoll_create1", &[Flags], sys_epoll_create1),
];

fn sys_epoll_create(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    // The size is a hint from old times, but must be positive.
    if arguments.i32(0) <= 0 {
        return Err(Errno::EINVAL.into());
    }
    fd_result(install(current, Epoll::open(), false)?)
}

fn sys_epoll_create1(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = arguments.u32(0);
    if flags & !EPOLL_CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    fd_result(install(current, Epoll::open(), flags & EPOLL_CLOEXEC != 0)?)
}
