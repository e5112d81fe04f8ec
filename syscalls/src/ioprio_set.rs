//! `ioprio_set(2)`, `ioprio_get(2)`.

use std::sync::atomic::Ordering;

use usk_abi::Errno;
use usk_abi::capability::{CAP_SYS_ADMIN, CAP_SYS_NICE};
use usk_abi::sched::*;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments, Task};

use crate::sched::{PRIO_PGRP, PRIO_PROCESS, PRIO_USER, named};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::partial(251, "ioprio_set", &[Int, Int, Int], sys_ioprio_set, "remembered, not acted upon"),
    Row::full(252, "ioprio_get", &[Int, Int], sys_ioprio_get),
];

/// The same as `getpriority(2)` calls it.
fn which(which: i32) -> Result<i32, Errno> {
    match which {
        IOPRIO_WHO_PROCESS => Ok(PRIO_PROCESS),
        IOPRIO_WHO_PGRP => Ok(PRIO_PGRP),
        IOPRIO_WHO_USER => Ok(PRIO_USER),
        _ => Err(Errno::EINVAL),
    }
}

/// What a thread that has set none gets, by its nice value (`task_nice_ioprio`).
fn effective(task: &Task) -> u32 {
    let value = task.io_priority.load(Ordering::Relaxed);
    if ioprio_class(value) != IOPRIO_CLASS_NONE {
        return value;
    }
    let level = (task.nice.load(Ordering::Relaxed) + 20) / 5;
    IOPRIO_CLASS_BE << 13 | level.unsigned_abs()
}

fn sys_ioprio_get(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let kind = which(arguments.i32(0))?;
    let tasks = named(current, kind, arguments.i32(1))?;
    let value = if kind == PRIO_PROCESS {
        tasks.first().map_or(0, |task| task.io_priority.load(Ordering::Relaxed))
    } else {
        // The most urgent: the lower the number, the more urgent.
        tasks.iter().map(|task| effective(task)).min().unwrap_or(0)
    };
    Ok(value.into())
}

fn sys_ioprio_set(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let value = arguments.u32(2);
    let own = current.task.credentials();
    match ioprio_class(value) {
        IOPRIO_CLASS_RT => {
            if !own.has_capability(CAP_SYS_ADMIN) && !own.has_capability(CAP_SYS_NICE) {
                return Err(Errno::EPERM.into());
            }
        }
        IOPRIO_CLASS_BE | IOPRIO_CLASS_IDLE => {}
        IOPRIO_CLASS_NONE if ioprio_level(value) == 0 => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    for task in named(current, which(arguments.i32(0))?, arguments.i32(1))? {
        let theirs = task.credentials();
        if theirs.uid != own.euid && theirs.uid != own.uid && !own.has_capability(CAP_SYS_NICE) {
            return Err(Errno::EPERM.into());
        }
        task.io_priority.store(value & 0xffff, Ordering::Relaxed);
    }
    Ok(0)
}
