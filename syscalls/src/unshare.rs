//! `unshare(2)`, `setns(2)`.

use usk_abi::Errno;
use usk_sentry::SysResult;
use usk_sentry::task::{CloneFlags, Current, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::partial(272, "unshare", &[Flags], sys_unshare, "namespaces cannot be made (EPERM)"),
    Row::partial(308, "setns", &[Fd, Flags], sys_setns, "there is one namespace of each kind (EPERM)"),
];

fn sys_unshare(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let known = CloneFlags::NAMESPACES
        | CloneFlags::THREAD
        | CloneFlags::FS
        | CloneFlags::SIGHAND
        | CloneFlags::VM
        | CloneFlags::FILES
        | CloneFlags::SYSVSEM;
    let flags = CloneFlags::from_bits(arguments.u64(0))
        .filter(|flags| known.contains(*flags))
        .ok_or(Errno::EINVAL)?;
    if flags.intersects(CloneFlags::NAMESPACES) {
        return Err(Errno::EPERM.into());
    }
    let task = &current.task;
    // Sharing memory or handlers cannot be ended; not sharing them is what is asked for.
    let is_alone = task.group.state.lock().threads.len() == 1;
    if flags.intersects(CloneFlags::THREAD | CloneFlags::SIGHAND | CloneFlags::VM) && !is_alone {
        return Err(Errno::EINVAL.into());
    }
    if flags.contains(CloneFlags::FS) {
        task.set_fs(std::sync::Arc::new(task.fs().duplicate()));
    }
    if flags.contains(CloneFlags::FILES) {
        task.unshare_files();
    }
    Ok(0)
}

fn sys_setns(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    current.task.files().get(arguments.i32(0))?;
    Err(Errno::EPERM.into())
}
