//! The signals of a stopped task.

use usk_abi::Errno;
use usk_abi::signal::{SignalInfo, SignalSet};

use super::stop::on_tracee;
use crate::task::Task;

/// `PTRACE_GETSIGINFO`: what the task has stopped at. `EINVAL` if that is no signal.
pub fn signal_info(task: &Task) -> Result<SignalInfo, Errno> {
    let state = task.tracing.lock();
    state.stop.as_ref().ok_or(Errno::ESRCH)?.reason.info.ok_or(Errno::EINVAL)
}

/// `PTRACE_SETSIGINFO`: changes it.
pub fn set_signal_info(task: &Task, info: SignalInfo) -> Result<(), Errno> {
    let mut state = task.tracing.lock();
    let own = state.stop.as_mut().ok_or(Errno::ESRCH)?.reason.info.as_mut().ok_or(Errno::EINVAL)?;
    *own = info;
    Ok(())
}

/// `PTRACE_GETEVENTMSG`
pub fn event_message(task: &Task) -> u64 {
    task.tracing.lock().message
}

/// `PTRACE_GETSIGMASK`: the mask of blocked signals, that which the task returns to if it waits with another.
pub fn signal_mask(task: &Task) -> SignalSet {
    let signals = task.signals.lock();
    signals.saved_mask.unwrap_or_else(|| signals.mask.get())
}

/// `PTRACE_SETSIGMASK`
pub fn set_signal_mask(task: &Task, mask: SignalSet) -> Result<(), Errno> {
    on_tracee(task, move |current| {
        current.task.signals.lock().saved_mask = None;
        current.task.set_blocked_signals(mask);
        // Signals that were blocked are looked for when it goes on.
        current.task.waiter.set_interrupted(true);
    })
}

/// `PTRACE_PEEKSIGINFO`: up to `count` of the pending signals from number `offset` on, of the task or (`is_shared`) of its group.
pub fn peek_signals(task: &Task, is_shared: bool, offset: u64, count: usize) -> Vec<SignalInfo> {
    let group = task.group.state.lock();
    let signals = task.signals.lock();
    let pending = if is_shared { &group.pending } else { &signals.pending };
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    pending.iter().skip(offset).take(count).copied().collect()
}
