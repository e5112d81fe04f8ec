//! `getrlimit(2)`, `setrlimit(2)`, `prlimit(2)`.

use std::sync::Arc;

use usk_abi::Errno;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, Limit, RESOURCE_COUNT, Resource, SyscallArguments, Task, ThreadGroup};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(97, "getrlimit", &[Int, Pointer], sys_getrlimit),
    Row::full(160, "setrlimit", &[Int, Pointer], sys_setrlimit),
    Row::full(302, "prlimit64", &[Int, Int, Pointer, Pointer], sys_prlimit64),
];

const CAP_SYS_RESOURCE: u32 = 24;
/// `fs.nr_open`: the highest hard limit on descriptors.
const FILES_MAX: u64 = 1 << 20;

fn resource(number: u32) -> Result<usize, Errno> {
    usize::try_from(number).ok().filter(|index| *index < RESOURCE_COUNT).ok_or(Errno::EINVAL)
}

/// Sets a limit: the soft one below the hard one, and the hard one raised only with CAP_SYS_RESOURCE. Returns the old one.
fn set(current: &Current, group: &Arc<ThreadGroup>, index: usize, new: Limit) -> Result<Limit, Errno> {
    if new.soft > new.hard {
        return Err(Errno::EINVAL);
    }
    if index == Resource::Files as usize && new.hard > FILES_MAX {
        return Err(Errno::EPERM);
    }
    let old = {
        let mut limits = group.limits.lock();
        let old = limits.0[index];
        if new.hard > old.hard && !current.task.credentials().has_capability(CAP_SYS_RESOURCE) {
            return Err(Errno::EPERM);
        }
        limits.0[index] = new;
        old
    };
    if [Resource::Files as usize, Resource::FileSize as usize].contains(&index) {
        // Numbers below the old limit may be lent, and writes to files in memory.
        let threads = group.state.lock().threads.clone();
        threads.iter().for_each(|task| task.borrow_files().touch());
    }
    if [Resource::AddressSpace as usize, Resource::Data as usize].contains(&index) {
        // Memory may be lent up to the old limit.
        let threads = group.state.lock().threads.clone();
        threads.iter().for_each(|task| task.mm().withdraw_memory());
    }
    if index == Resource::Cpu as usize {
        group.timers.watch_processor_limit(&current.task.kernel, group)?;
    }
    Ok(old)
}

fn sys_getrlimit(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let limit = current.task.group.limits.lock().0[resource(arguments.u32(0))?];
    current.copy_out_array(arguments.pointer::<u64>(1), &[limit.soft, limit.hard])?;
    Ok(0)
}

fn sys_setrlimit(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let [soft, hard] = arguments.pointer::<[u64; 2]>(1).read(current.space())?;
    let index = resource(arguments.u32(0))?;
    set(current, &current.task.group, index, Limit { soft, hard })?;
    Ok(0)
}

/// `EPERM` unless the limits of `target` are the caller's to see and change: it is itself, runs as the same user and group
/// throughout, or the caller has `CAP_SYS_RESOURCE` (the kernel's `check_prlimit_permission`).
fn check_permission(current: &Current, target: &Arc<Task>) -> Result<(), Errno> {
    let (own, theirs) = (current.task.credentials(), target.credentials());
    let is_same_user = [theirs.uid, theirs.euid, theirs.suid].iter().all(|uid| *uid == own.uid);
    let is_same_group = [theirs.gid, theirs.egid, theirs.sgid].iter().all(|gid| *gid == own.gid);
    let is_same = Arc::ptr_eq(&current.task, target) || (is_same_user && is_same_group);
    if is_same || own.has_capability(CAP_SYS_RESOURCE) { Ok(()) } else { Err(Errno::EPERM) }
}

fn sys_prlimit64(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (pid, index) = (arguments.i32(0), resource(arguments.u32(1))?);
    let (new, old) = (arguments.pointer::<[u64; 2]>(2), arguments.pointer::<[u64; 2]>(3));
    let wanted = if new.is_null() { None } else { Some(new.read(current.space())?) };
    let group: Arc<ThreadGroup> = match pid {
        0 => current.task.group.clone(),
        pid => {
            let target = current.task.kernel.find_task(pid)?;
            check_permission(current, &target)?;
            target.group.clone()
        }
    };
    let before = match wanted {
        Some([soft, hard]) => set(current, &group, index, Limit { soft, hard })?,
        None => group.limits.lock().0[index],
    };
    if !old.is_null() {
        current.copy_out(old, &[before.soft, before.hard])?;
    }
    Ok(0)
}
