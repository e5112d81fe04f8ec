//! `sched_yield(2)`, `sched_setaffinity(2)`, `sched_setscheduler(2)` and their kin, `getcpu(2)`, `getpriority(2)`, `setpriority(2)`, `nice(2)`
//! values.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use usk_abi::Errno;
use usk_abi::capability::CAP_SYS_NICE;
use usk_abi::sched::*;
use usk_abi::time::Timespec;
use usk_platform::host;
use usk_sentry::SysResult;
use usk_sentry::task::{Credentials, Current, SyscallArguments, Task, usable_processors};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(24, "sched_yield", &[], sys_sched_yield),
    Row::partial(140, "getpriority", &[Int, Int], sys_getpriority, "remembered, not acted upon"),
    Row::partial(141, "setpriority", &[Int, Int, Int], sys_setpriority, "remembered, not acted upon"),
    Row::partial(142, "sched_setparam", &[Int, Pointer], sys_sched_setparam, "remembered, not acted upon"),
    Row::full(143, "sched_getparam", &[Int, Pointer], sys_sched_getparam),
    Row::partial(
        144,
        "sched_setscheduler",
        &[Int, Int, Pointer],
        sys_sched_setscheduler,
        "remembered, not acted upon; real-time policies are refused",
    ),
    Row::full(145, "sched_getscheduler", &[Int], sys_sched_getscheduler),
    Row::full(146, "sched_get_priority_max", &[Int], sys_sched_get_priority_max),
    Row::full(147, "sched_get_priority_min", &[Int], sys_sched_get_priority_min),
    Row::full(148, "sched_rr_get_interval", &[Int, Pointer], sys_sched_rr_get_interval),
    Row::partial(
        203,
        "sched_setaffinity",
        &[Int, Uint, Pointer],
        sys_sched_setaffinity,
        "remembered, not acted upon",
    ),
    Row::full(204, "sched_getaffinity", &[Int, Uint, Pointer], sys_sched_getaffinity),
    Row::full(309, "getcpu", &[Pointer, Pointer], sys_getcpu),
];

pub(crate) fn find(current: &Current, tid: i32) -> Result<Arc<Task>, Errno> {
    match tid {
        0 => Ok(current.task.clone()),
        tid if tid < 0 => Err(Errno::EINVAL),
        tid => current.task.kernel.find_task(tid),
    }
}

/// The slice of the fair scheduler at its default setting.
pub(crate) const SLICE_NS: u64 = 2_800_000;

/// [`find`], or `None` for a process that no thread runs any more or ever did: a zombie, and init.
pub(crate) fn find_or_idle(current: &Current, tid: i32) -> Result<Option<Arc<Task>>, Errno> {
    match find(current, tid) {
        Err(Errno::ESRCH) if current.task.kernel.tasks.lock().process(tid).is_some() => Ok(None),
        found => found.map(Some),
    }
}

/// Policy and priority of a thread.
fn scheduling(current: &Current, tid: i32) -> Result<(u32, u32), Errno> {
    Ok(find_or_idle(current, tid)?.map_or((SCHED_OTHER, 0), |task| *task.scheduling.lock()))
}

/// [`find_or_idle`] for the calls that know no invalid number, only one that names nobody.
fn find_for_affinity(current: &Current, tid: i32) -> Result<Option<Arc<Task>>, Errno> {
    if tid < 0 { Err(Errno::ESRCH) } else { find_or_idle(current, tid) }
}

fn sys_sched_yield(_current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    std::thread::yield_now();
    Ok(0)
}

fn sys_sched_getaffinity(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let size = arguments.usize(1);
    if size < 8 || !size.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    let task = find_for_affinity(current, arguments.i32(0))?;
    let mask = task.map_or_else(usable_processors, |task| task.allowed_processors());
    current.copy_out(arguments.pointer::<u64>(2), &mask)?;
    Ok(8)
}

fn sys_sched_setaffinity(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let size = arguments.usize(1).min(128);
    let bytes = arguments.pointer::<u8>(2).read_array(current.space(), size)?;
    let task = find_for_affinity(current, arguments.i32(0))?;
    let own = current.task.credentials();
    if task.as_ref().is_some_and(|task| !is_owner(&own, task)) && !own.has_capability(CAP_SYS_NICE) {
        return Err(Errno::EPERM.into());
    }
    let mut word = [0; 8];
    let length = bytes.len().min(8);
    word[..length].copy_from_slice(&bytes[..length]);
    let mask = u64::from_le_bytes(word);
    if mask & usable_processors() == 0 {
        return Err(Errno::EINVAL.into());
    }
    if let Some(task) = task {
        task.affinity.store(mask, Ordering::Relaxed);
    }
    Ok(0)
}

fn priority_range(policy: i32) -> Result<(u64, u64), Errno> {
    match u32::try_from(policy).map_err(|_| Errno::EINVAL)? {
        SCHED_FIFO | SCHED_RR => Ok((1, 99)),
        SCHED_OTHER | SCHED_BATCH | SCHED_IDLE | SCHED_DEADLINE => Ok((0, 0)),
        _ => Err(Errno::EINVAL),
    }
}

fn sys_sched_get_priority_max(_current: &mut Current, arguments: SyscallArguments) -> SysResult {
    Ok(priority_range(arguments.i32(0))?.1)
}

fn sys_sched_get_priority_min(_current: &mut Current, arguments: SyscallArguments) -> SysResult {
    Ok(priority_range(arguments.i32(0))?.0)
}

fn sys_sched_getscheduler(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    Ok(scheduling(current, arguments.i32(0))?.0.into())
}

fn sys_sched_getparam(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let pointer = arguments.pointer::<u32>(1);
    if pointer.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let (_, priority) = scheduling(current, arguments.i32(0))?;
    current.copy_out(pointer, &priority)?;
    Ok(0)
}

fn set_scheduling(current: &Current, tid: i32, policy: Option<u32>, priority: u32) -> SysResult {
    let task = find(current, tid)?;
    change_scheduling(current, &task, policy, priority)?;
    Ok(0)
}

/// Whether a thread is of the user as whom `own` acts (the kernel's `check_same_owner`).
fn is_owner(own: &Credentials, task: &Task) -> bool {
    let theirs = task.credentials();
    own.euid == theirs.uid || own.euid == theirs.euid
}

/// Gives a thread another policy (`None` keeps it) and priority. `EPERM` for a thread of somebody else's.
pub(crate) fn change_scheduling(
    current: &Current,
    task: &Task,
    policy: Option<u32>,
    priority: u32,
) -> Result<(), Errno> {
    let own = current.task.credentials();
    let mut scheduling = task.scheduling.lock();
    let wanted = policy.unwrap_or(scheduling.0);
    let plain = wanted & !SCHED_RESET_ON_FORK;
    let (low, high) = priority_range(plain as i32)?;
    if u64::from(priority) < low || u64::from(priority) > high {
        return Err(Errno::EINVAL);
    }
    let clears_reset = scheduling.0 & !wanted & SCHED_RESET_ON_FORK != 0;
    if (!is_owner(&own, task) || clears_reset) && !own.has_capability(CAP_SYS_NICE) {
        return Err(Errno::EPERM);
    }
    if matches!(plain, SCHED_FIFO | SCHED_RR) {
        return Err(Errno::EPERM);
    }
    *scheduling = (wanted, priority);
    Ok(())
}

fn sys_sched_setscheduler(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let policy = u32::try_from(arguments.i32(1)).map_err(|_| Errno::EINVAL)?;
    let pointer = arguments.pointer::<u32>(2);
    if pointer.is_null() || arguments.i32(0) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority = pointer.read(current.space())?;
    set_scheduling(current, arguments.i32(0), Some(policy), priority)
}

fn sys_sched_setparam(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let pointer = arguments.pointer::<u32>(1);
    if pointer.is_null() || arguments.i32(0) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority = pointer.read(current.space())?;
    set_scheduling(current, arguments.i32(0), None, priority)
}

fn sys_sched_rr_get_interval(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    find_or_idle(current, arguments.i32(0))?;
    current.copy_out(arguments.pointer::<Timespec>(1), &Timespec::from_nanoseconds(SLICE_NS))?;
    Ok(0)
}

fn sys_getcpu(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (cpu, node) = (arguments.pointer::<u32>(0), arguments.pointer::<u32>(1));
    if !cpu.is_null() {
        // The hand-over stays on the caller's processor, so the sentry's is the guest's.
        current.copy_out(cpu, &(host::current_cpu() as u32))?;
    }
    if !node.is_null() {
        current.copy_out(node, &0)?;
    }
    Ok(0)
}

pub(crate) const PRIO_PROCESS: i32 = 0;
pub(crate) const PRIO_PGRP: i32 = 1;
pub(crate) const PRIO_USER: i32 = 2;

/// The tasks that `which` and `who` name. `ESRCH` if there are none.
pub(crate) fn named(current: &Current, which: i32, who: i32) -> Result<Vec<Arc<Task>>, Errno> {
    let kernel = &current.task.kernel;
    let tasks: Vec<Arc<Task>> = match which {
        PRIO_PROCESS if who == 0 => vec![current.task.clone()],
        PRIO_PROCESS => vec![kernel.find_task(who)?],
        PRIO_PGRP => {
            let table = kernel.tasks.lock();
            let own = table.process(current.task.tgid()).map_or(0, |process| process.process_group);
            let group = if who == 0 { own } else { who };
            table.process_group(group).flat_map(|(_, process)| process.group.threads()).collect()
        }
        PRIO_USER => {
            let uid = if who == 0 { current.task.credentials().uid } else { who as u32 };
            let table = kernel.tasks.lock();
            table.threads().filter(|task| task.credentials().uid == uid).cloned().collect()
        }
        _ => return Err(Errno::EINVAL),
    };
    if tasks.is_empty() { Err(Errno::ESRCH) } else { Ok(tasks) }
}

fn sys_getpriority(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let tasks = named(current, arguments.i32(0), arguments.i32(1))?;
    let nice = tasks.iter().map(|task| task.nice.load(Ordering::Relaxed)).min().unwrap_or(0);
    // The call returns 40..1 for -20..19, so that it is never negative.
    Ok((20 - nice) as u64)
}

fn sys_setpriority(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let nice = arguments.i32(2).clamp(-20, 19);
    let own = current.task.credentials();
    for task in named(current, arguments.i32(0), arguments.i32(1))? {
        if !is_owner(&own, &task) && !own.has_capability(CAP_SYS_NICE) {
            return Err(Errno::EPERM.into());
        }
        if nice < task.nice.load(Ordering::Relaxed) && !own.has_capability(CAP_SYS_NICE) {
            return Err(Errno::EACCES.into());
        }
        task.nice.store(nice, Ordering::Relaxed);
    }
    Ok(0)
}
