//! `pidfd_getfd(2)`.

use usk_abi::Errno;
use usk_sentry::SysResult;
use usk_sentry::task::pidfd::PidFd;
use usk_sentry::task::{AccessAs, Current, SyscallArguments, may_access};

use crate::descriptor::{fd_result, file_of, install};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(438, "pidfd_getfd", &[Fd, Int, Flags], sys_pidfd_getfd)];

fn sys_pidfd_getfd(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    if arguments.u32(2) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let pidfd = file_of(current, arguments.i32(0))?;
    let group = &pidfd.ops.as_any().downcast_ref::<PidFd>().ok_or(Errno::EBADF)?.group;
    let task = group.any_thread().ok_or(Errno::ESRCH)?;
    if !may_access(&current.task.credentials(), &current.task.group, &task, AccessAs::Real) {
        return Err(Errno::EPERM.into());
    }
    let file = task.borrow_files().get(arguments.i32(1))?;
    fd_result(install(current, file, true)?)
}
