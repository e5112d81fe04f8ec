//! How a tracer has a task go on, or stop.

use std::sync::Arc;

use usk_abi::ptrace::{PTRACE_EVENT_STOP, PtraceOptions};
use usk_abi::signal::SignalInfo;
use usk_abi::signal::code::SI_USER;
use usk_abi::{Errno, Signal};

use super::stop::traced;
use crate::task::{Current, Task};

/// How far a task goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resumption {
    /// As if nobody traced it.
    #[default]
    Continue,
    /// To the beginning or end of the next system call.
    Syscall,
    /// For one instruction.
    Step,
    /// To the beginning of the next system call, which is not made.
    Emulated,
    /// For one instruction; a system call is not made.
    EmulatedStep,
}

/// Has a stopped task go on, with signal `number` if it is not 0. `EIO` if there is no such signal, `ESRCH` if it is not stopped.
pub fn resume(task: &Task, how: Resumption, number: u64) -> Result<(), Errno> {
    let signal = signal_number(number)?;
    {
        let mut state = task.tracing.lock();
        let stop = state.stop.as_mut().filter(|stop| stop.resumed.is_none()).ok_or(Errno::ESRCH)?;
        stop.resumed = Some(signal);
        let is_group_stop = stop.reason.is_group_stop;
        state.is_past_group_stop |= is_group_stop;
        state.resumption = how;
    }
    task.waiter.wake();
    Ok(())
}

/// A signal's number or 0. `EIO` for others.
pub(super) fn signal_number(number: u64) -> Result<i32, Errno> {
    match i32::try_from(number) {
        Ok(signal) if signal == 0 || Signal::from_number(signal).is_some() => Ok(signal),
        _ => Err(Errno::EIO),
    }
}

/// `PTRACE_INTERRUPT`: has a task that was seized stop soon. `EIO` for others.
pub fn interrupt(current: &Current, tid: i32) -> Result<(), Errno> {
    let task = traced(current, tid)?;
    {
        let _group = task.group.state.lock();
        let mut state = task.tracing.lock();
        if !state.is_seized {
            return Err(Errno::EIO);
        }
        state.is_stop_due = true;
        drop(state);
        task.poke();
    }
    // It may be listening.
    task.waiter.wake();
    Ok(())
}

/// `PTRACE_LISTEN`: leaves a task stopped, as its group is, until that is continued. `EIO` if it was not seized, or has not stopped
/// for that.
pub fn listen(task: &Task) -> Result<(), Errno> {
    {
        let mut state = task.tracing.lock();
        let is_seized = state.is_seized;
        let is_for_that = |code: i32| is_seized && code >> 8 == PTRACE_EVENT_STOP;
        let stop = state.stop.as_mut().filter(|stop| stop.resumed.is_none()).ok_or(Errno::ESRCH)?;
        if !is_for_that(stop.reason.code) {
            return Err(Errno::EIO);
        }
        stop.is_listening = true;
    }
    task.waiter.wake();
    Ok(())
}

/// `PTRACE_KILL`: SIGKILL.
pub fn kill(current: &Current, tid: i32) -> Result<(), Errno> {
    let task: Arc<Task> = traced(current, tid)?;
    let own = &current.task;
    let info = SignalInfo::user(Signal::SIGKILL, SI_USER, own.tgid(), own.credentials().uid);
    own.kernel.signal_task(&task, info)
}

/// `PTRACE_SETOPTIONS`. `EINVAL` for options that there are not.
pub fn set_options(task: &Task, options: u64) -> Result<(), Errno> {
    task.tracing.lock().options = known_options(options).ok_or(Errno::EINVAL)?;
    Ok(())
}

/// `None` if not all are known. A filter of the guest's cannot be suspended.
pub(super) fn known_options(options: u64) -> Option<PtraceOptions> {
    PtraceOptions::from_bits(options).filter(|options| !options.contains(PtraceOptions::SUSPEND_SECCOMP))
}
