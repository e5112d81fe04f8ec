//! `unshare(2)`, `setns(2)`.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::capability::{CAP_SYS_ADMIN, CAP_SYS_CHROOT};
use usk_sentry::SysResult;
use usk_sentry::file::namespace::NamespaceFile;
use usk_sentry::task::{CloneFlags, Current, SyscallArguments, pidfd::PidFd};

use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::partial(272, "unshare", &[Flags], sys_unshare, "namespaces cannot be made (EPERM)"),
    Row::partial(
        308,
        "setns",
        &[Fd, Flags],
        sys_setns,
        "there is one namespace of each kind, and none is entered by a pidfd (EPERM)",
    ),
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
        task.set_fs(Arc::new(task.fs().duplicate()));
    }
    if flags.contains(CloneFlags::FILES) {
        task.unshare_files();
    }
    Ok(0)
}

fn sys_setns(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    let wanted = u64::from(arguments.u32(1));
    match NamespaceFile::of(&file) {
        Some(namespace) if wanted == 0 || wanted == namespace.kind.bits() => enter(current, namespace.kind),
        None if file.ops.as_any().is::<PidFd>() && are_namespaces(wanted) => Err(Errno::EPERM.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Whether these are flags of kinds of namespaces, one or more, and nothing else.
fn are_namespaces(flags: u64) -> bool {
    CloneFlags::from_bits(flags)
        .is_some_and(|flags| !flags.is_empty() && CloneFlags::NAMESPACES.contains(flags))
}

/// Enters the namespace in which the caller is: nothing changes but that root and working directory are those of the mounts.
fn enter(current: &Current, kind: CloneFlags) -> SysResult {
    let task = &current.task;
    let credentials = task.credentials();
    if kind == CloneFlags::NEWUSER {
        return Err(Errno::EINVAL.into());
    }
    let is_alone = task.group.state.lock().threads.len() == 1;
    if kind == CloneFlags::NEWTIME && !is_alone {
        return Err(Errno::EUSERS.into());
    }
    let is_of_mounts = kind == CloneFlags::NEWNS;
    let may_enter = credentials.has_capability(CAP_SYS_ADMIN)
        && (!is_of_mounts || credentials.has_capability(CAP_SYS_CHROOT));
    if !may_enter {
        return Err(Errno::EPERM.into());
    }
    if is_of_mounts {
        if task.shares_fs() {
            return Err(Errno::EINVAL.into());
        }
        let fs = task.fs();
        let root = fs.namespace().root();
        fs.set_root(root.clone());
        fs.set_cwd(root);
    }
    Ok(0)
}
