//! `signalfd(2)`, `signalfd4(2)`.

use usk_abi::Errno;
use usk_abi::fcntl::{O_CLOEXEC, O_NONBLOCK};
use usk_sentry::SysResult;
use usk_sentry::file::signalfd::SignalFd;
use usk_sentry::task::{Current, SyscallArguments};

use crate::copy::read_signal_set;
use crate::descriptor::{fd_result, file_of, install};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::partial(282, "signalfd", &[Fd, Pointer, Uint], sys_signalfd, INHERITED),
    Row::partial(289, "signalfd4", &[Fd, Pointer, Uint, Flags], sys_signalfd4, INHERITED),
];

const INHERITED: &str = "an inherited signalfd reads the signals of the process that made it";

fn sys_signalfd(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    signalfd(current, arguments, 0)
}

fn sys_signalfd4(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    signalfd(current, arguments, arguments.u32(3))
}

fn signalfd(current: &Current, arguments: SyscallArguments, flags: u32) -> SysResult {
    let mask = read_signal_set(current, arguments.pointer(1), arguments.usize(2))?.ok_or(Errno::EFAULT)?;
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let fd = arguments.i32(0);
    if fd == -1 {
        let file = SignalFd::open(&current.task, mask, flags & O_NONBLOCK);
        return fd_result(install(current, file, flags & O_CLOEXEC != 0)?);
    }
    let file = file_of(current, fd)?;
    SignalFd::of(&file).ok_or(Errno::EINVAL)?.set_mask(mask);
    fd_result(fd)
}
