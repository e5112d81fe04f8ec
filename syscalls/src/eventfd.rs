//! `eventfd(2)`, `eventfd2(2)`.

use usk_abi::Errno;
use usk_abi::fcntl::{O_CLOEXEC, O_NONBLOCK};
use usk_sentry::SysResult;
use usk_sentry::file::eventfd::EventFd;
use usk_sentry::task::{Current, SyscallArguments};

use crate::descriptor::{fd_result, install};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(284, "eventfd", &[Uint], sys_eventfd),
    Row::full(290, "eventfd2", &[Uint, Flags], sys_eventfd2),
];

const EFD_SEMAPHORE: u32 = 1;

fn sys_eventfd(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    eventfd(current, arguments.u32(0), 0)
}

fn sys_eventfd2(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    eventfd(current, arguments.u32(0), arguments.u32(1))
}

fn eventfd(current: &Current, initial: u32, flags: u32) -> SysResult {
    if flags & !(EFD_SEMAPHORE | O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = EventFd::open(initial, flags & EFD_SEMAPHORE != 0, flags & O_NONBLOCK);
    fd_result(install(current, file, flags & O_CLOEXEC != 0)?)
}
