//! `sched_setattr(2)`, `sched_getattr(2)`.

use std::sync::atomic::Ordering;

use usk_abi::Errno;
use usk_abi::capability::CAP_SYS_NICE;
use usk_abi::sched::*;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};
use zerocopy::{FromBytes, IntoBytes};

use crate::copy::read_versioned;
use crate::sched::{SLICE_NS, change_scheduling, find, find_or_idle};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::partial(
        314,
        "sched_setattr",
        &[Int, Pointer, Flags],
        sys_sched_setattr,
        "remembered, not acted upon; real-time and deadline policies are refused (EPERM), utilisation clamps with EOPNOTSUPP",
    ),
    Row::full(315, "sched_getattr", &[Int, Pointer, Uint, Flags], sys_sched_getattr),
];

const ATTRIBUTES_SIZE: usize = size_of::<SchedAttributes>();
const PAGE_SIZE: usize = 4096;

/// Policies that have a nice value.
fn is_fair(policy: u32) -> bool {
    matches!(policy, SCHED_OTHER | SCHED_BATCH)
}

fn sys_sched_getattr(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (tid, pointer, size) = (arguments.i32(0), arguments.pointer::<u8>(1), arguments.u32(2));
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    if pointer.is_null() || tid < 0 || arguments.u32(3) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if !(SCHED_ATTR_SIZE_FIRST..=PAGE_SIZE).contains(&size) {
        return Err(Errno::EINVAL.into());
    }
    let task = find_or_idle(current, tid)?;
    let (word, priority) = task.as_ref().map_or((SCHED_OTHER, 0), |task| *task.scheduling.lock());
    let policy = word & !SCHED_RESET_ON_FORK;
    let size = size.min(ATTRIBUTES_SIZE);
    let mut attributes = SchedAttributes {
        size: u32::try_from(size).map_err(|_| Errno::EINVAL)?,
        policy,
        priority,
        ..SchedAttributes::default()
    };
    if word & SCHED_RESET_ON_FORK != 0 {
        attributes.flags = SchedFlags::RESET_ON_FORK.bits();
    }
    if is_fair(policy) {
        attributes.nice = task.map_or(0, |task| task.nice.load(Ordering::Relaxed));
        attributes.runtime_ns = SLICE_NS;
    }
    pointer.write_array(current.space(), attributes.as_bytes().get(..size).ok_or(Errno::EINVAL)?)?;
    Ok(0)
}

/// Copies the attributes in (`sched_copy_attr`): a size that does not fit is answered with the one that does.
fn read_attributes(current: &Current, arguments: SyscallArguments) -> Result<SchedAttributes, Errno> {
    let size_pointer = arguments.pointer::<u32>(1);
    let stated = size_pointer.read(current.space())?;
    let size = match stated {
        0 => SCHED_ATTR_SIZE_FIRST,
        stated => usize::try_from(stated).map_err(|_| Errno::E2BIG)?,
    };
    let known = (SCHED_ATTR_SIZE_FIRST, ATTRIBUTES_SIZE);
    let bytes = match read_versioned(current, arguments.u64(1), size, known) {
        Err(Errno::EINVAL | Errno::E2BIG) => {
            let ours = u32::try_from(ATTRIBUTES_SIZE).map_err(|_| Errno::E2BIG)?;
            size_pointer.write(current.space(), &ours)?;
            return Err(Errno::E2BIG);
        }
        other => other?,
    };
    SchedAttributes::read_from_bytes(&bytes).map_err(|_| Errno::EINVAL)
}

fn sys_sched_setattr(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let tid = arguments.i32(0);
    if arguments.pointer::<u8>(1).is_null() || tid < 0 || arguments.u32(2) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let attributes = read_attributes(current, arguments)?;
    let flags = SchedFlags::from_bits(attributes.flags).ok_or(Errno::EINVAL)?;
    if i32::try_from(attributes.policy).is_err() {
        return Err(Errno::EINVAL.into());
    }
    let task = find(current, tid)?;
    if flags.intersects(SchedFlags::UTIL_CLAMP_MIN | SchedFlags::UTIL_CLAMP_MAX) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let (word, old_priority) = *task.scheduling.lock();
    let old_policy = word & !SCHED_RESET_ON_FORK;
    let policy = if flags.contains(SchedFlags::KEEP_POLICY) { old_policy } else { attributes.policy };
    let keeps = flags.contains(SchedFlags::KEEP_PARAMS);
    let priority = if keeps { old_priority } else { attributes.priority };
    if policy == SCHED_DEADLINE {
        return Err(Errno::EPERM.into());
    }
    let reset = if flags.contains(SchedFlags::RESET_ON_FORK) { SCHED_RESET_ON_FORK } else { 0 };
    let old_nice = task.nice.load(Ordering::Relaxed);
    let nice = if keeps || !is_fair(policy) { old_nice } else { attributes.nice.clamp(-20, 19) };
    if nice < old_nice && !current.task.credentials().has_capability(CAP_SYS_NICE) {
        return Err(Errno::EPERM.into());
    }
    change_scheduling(current, &task, Some(policy | reset), priority)?;
    task.nice.store(nice, Ordering::Relaxed);
    Ok(0)
}
