//! `inotify_init(2)`, `inotify_init1(2)`.

use usk_abi::Errno;
use usk_abi::fcntl::{O_CLOEXEC, O_NONBLOCK};
use usk_sentry::SysResult;
use usk_sentry::file::inotify::Inotify;
use usk_sentry::task::{Current, SyscallArguments};

use crate::descriptor::{fd_result, install};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(253, "inotify_init", &[], sys_inotify_init),
    Row::full(294, "inotify_init1", &[Flags], sys_inotify_init1),
];

fn sys_inotify_init(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    init(current, 0)
}

fn sys_inotify_init1(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    init(current, arguments.u32(0))
}

fn init(current: &Current, flags: u32) -> SysResult {
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = Inotify::open(current.task.credentials().uid, flags & O_NONBLOCK)?;
    fd_result(install(current, file, flags & O_CLOEXEC != 0)?)
}
