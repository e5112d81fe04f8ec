//! Waiting for a blocked signal (`sigtimedwait(2)`).

use usk_abi::signal::{SignalInfo, SignalSet};
use usk_abi::{Errno, Signal};

use crate::task::Current;
use crate::time::Deadline;
use crate::{SysError, SysResult};

/// Takes a pending signal of `wanted`, waiting for one until the deadline. `EAGAIN` if none came, `EINTR` if another signal was
/// handled meanwhile.
pub fn wait_for_signal(
    current: &mut Current,
    wanted: SignalSet,
    deadline: Option<Deadline>,
) -> SysResult<(Signal, SignalInfo)> {
    let task = current.task.clone();
    if let Some(taken) = task.take_signal(wanted) {
        return Ok(taken);
    }
    if deadline.is_some_and(Deadline::has_passed) {
        return Err(Errno::EAGAIN.into());
    }
    // Signals that are waited for are unblocked meanwhile, so that their arrival wakes the task.
    let blocked = task.blocked_signals();
    {
        let _state = task.group.state.lock();
        let mut signals = task.signals.lock();
        signals.awaited = wanted;
    }
    let attempt = |_: &mut Current| task.take_signal(wanted).ok_or(SysError::Errno(Errno::EAGAIN));
    let slept = current.block(&[], deadline, attempt);
    {
        let _state = task.group.state.lock();
        task.signals.lock().awaited = SignalSet::EMPTY;
    }
    // Recomputes whether something else is to be delivered.
    task.set_blocked_signals(blocked);
    match slept {
        Err(SysError::Errno(Errno::ETIMEDOUT)) => Err(Errno::EAGAIN.into()),
        Err(SysError::Restart(_)) => task.take_signal(wanted).ok_or(Errno::EINTR.into()),
        other => other,
    }
}
