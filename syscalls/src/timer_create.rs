//! `timer_create(2)`, `timer_settime(2)`, `timer_gettime(2)`, `timer_getoverrun(2)`, `timer_delete(2)`.

use std::sync::Arc;

use usk_abi::sigevent::*;
use usk_abi::time::{Itimerspec, TIMER_ABSTIME, Timespec};
use usk_abi::{Errno, Signal};
use usk_sentry::task::{Current, Resource, SyscallArguments};
use usk_sentry::time::{TimerAction, TimerSetting};
use usk_sentry::{SysResult, UserPtr};

use crate::clock_gettime::guest_clock;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(222, "timer_create", &[Int, Pointer, Pointer], sys_timer_create),
    Row::full(223, "timer_settime", &[Int, Flags, Pointer, Pointer], sys_timer_settime),
    Row::full(224, "timer_gettime", &[Int, Pointer], sys_timer_gettime),
    Row::full(225, "timer_getoverrun", &[Int], sys_timer_getoverrun),
    Row::full(226, "timer_delete", &[Int], sys_timer_delete),
];

fn sys_timer_create(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let clock = guest_clock(&current.task, arguments.i32(0))?.for_timer(&current.task);
    let (event_pointer, id_pointer) = (arguments.pointer::<SignalEvent>(1), arguments.pointer::<i32>(2));
    let event = if event_pointer.is_null() { None } else { Some(event_pointer.read(current.space())?) };
    let task = current.task.clone();
    let group = Arc::downgrade(&task.group);
    let action: Box<dyn FnOnce(i32) -> TimerAction> = match event {
        None => Box::new(move |id| TimerAction::Group(group, Signal::SIGALRM, id as u64)),
        Some(event) => {
            let signal = Signal::from_number(event.signal);
            match event.notify {
                SIGEV_NONE => Box::new(|_| TimerAction::Nothing),
                SIGEV_SIGNAL | SIGEV_THREAD => {
                    let signal = signal.ok_or(Errno::EINVAL)?;
                    Box::new(move |_| TimerAction::Group(group, signal, event.value))
                }
                SIGEV_THREAD_ID => {
                    let signal = signal.ok_or(Errno::EINVAL)?;
                    let target = task.kernel.find_task(event.thread).map_err(|_| Errno::EINVAL)?;
                    if target.tgid() != task.tgid() {
                        return Err(Errno::EINVAL.into());
                    }
                    let target = Arc::downgrade(&target);
                    Box::new(move |_| TimerAction::Thread(target, signal, event.value))
                }
                _ => return Err(Errno::EINVAL.into()),
            }
        }
    };
    let group = &current.task.group;
    let (timers, limit) = (&group.timers, group.limits.lock().soft(Resource::PendingSignals));
    let id = timers.create(&current.task.kernel, clock, limit, action)?;
    if let Err(errno) = id_pointer.write(current.space(), &id) {
        let _ = timers.delete(id);
        return Err(errno.into());
    }
    Ok(0)
}

fn encode(setting: TimerSetting) -> Itimerspec {
    Itimerspec {
        interval: Timespec::from_nanoseconds(setting.interval),
        value: Timespec::from_nanoseconds(setting.value),
    }
}

fn sys_timer_settime(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (new, old) = (arguments.pointer::<Itimerspec>(2), arguments.pointer::<Itimerspec>(3));
    if new.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let spec = new.read(current.space())?;
    let interval = spec.interval.to_nanoseconds().ok_or(Errno::EINVAL)?;
    let value = spec.value.to_nanoseconds().ok_or(Errno::EINVAL)?;
    let timer = current.task.group.timers.get(arguments.i32(0))?;
    let previous = timer.set(TimerSetting { value, interval }, arguments.u32(1) & TIMER_ABSTIME != 0)?;
    if !old.is_null() {
        old.write(current.space(), &encode(previous))?;
    }
    Ok(0)
}

fn sys_timer_gettime(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let timer = current.task.group.timers.get(arguments.i32(0))?;
    UserPtr::<Itimerspec>::new(arguments.u64(1)).write(current.space(), &encode(timer.get()))?;
    Ok(0)
}

fn sys_timer_getoverrun(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    Ok(current.task.group.timers.get(arguments.i32(0))?.last_overrun() as u64)
}

fn sys_timer_delete(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    current.task.group.timers.delete(arguments.i32(0))?;
    Ok(0)
}
