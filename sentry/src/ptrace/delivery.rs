//! Stops at signals, with the group, and for the tracer's sake (`ptrace_signal`, `do_jobctl_trap` of `kernel/signal.c`).

use usk_abi::Signal;
use usk_abi::ptrace::PTRACE_EVENT_STOP;
use usk_abi::signal::SignalInfo;
use usk_abi::signal::code::SI_USER;

use super::stop::Resumed;
use super::tracing::{CallPart, Reason};
use crate::task::{Current, Resource, Task};

/// A signal is about to be delivered: asks the tracer, if there is one. Returns what is delivered, if anything is.
pub(crate) fn stop_at_signal(
    current: &mut Current,
    signal: Signal,
    info: SignalInfo,
) -> Option<(Signal, SignalInfo)> {
    if !current.task.tracing.is_traced() {
        return Some((signal, info));
    }
    let (number, info) = match current.stop_for(Reason::signal(&info)) {
        Resumed::NotStopped => return Some((signal, info)),
        Resumed::Cut => return None,
        Resumed::With(number, changed) => (number, changed.unwrap_or(info)),
    };
    let signal = Signal::from_number(number)?;
    let info = if info.signo == number { info } else { from_tracer(&current.task, signal) };
    let group = &current.task.group;
    let _state = group.state.lock();
    let queue_limit = group.limits.lock().soft(Resource::PendingSignals);
    let mut signals = current.task.signals.lock();
    if !signals.mask.get().contains(signal) {
        return Some((signal, info));
    }
    // One that there is no room for is lost.
    let _ = signals.pending.add_within(queue_limit, signal, info);
    None
}

/// A signal that the tracer has put in another's place.
fn from_tracer(task: &Task, signal: Signal) -> SignalInfo {
    let table = task.kernel.tasks.lock();
    let (pid, uid) =
        table.links.tracer_of(task.tid()).map_or((0, 0), |tracer| (tracer.tgid(), tracer.credentials().uid));
    SignalInfo::user(signal, SI_USER, pid, uid)
}

/// The task's group is stopped by `signal`: so is the task, until its tracer lets it go on.
pub(crate) fn stop_with_group(current: &mut Current, signal: Signal) {
    stop(current, signal, true);
}

/// Stops because the tracer wants it to, or has to be told something.
pub(crate) fn stop_for_tracer(current: &mut Current) {
    stop(current, Signal::SIGTRAP, false);
}

fn stop(current: &mut Current, signal: Signal, is_group_stop: bool) {
    let task = &current.task;
    let number = signal.number();
    let is_seized = task.tracing.lock().is_seized;
    let reason = if is_seized {
        let code = number | PTRACE_EVENT_STOP << 8;
        let info = SignalInfo::user(signal, code, task.tid(), task.credentials().uid);
        Reason { code, info: Some(info), is_group_stop, call: CallPart::None, message: 0 }
    } else {
        Reason { code: number, info: None, is_group_stop, call: CallPart::None, message: 0 }
    };
    current.stop_for(reason);
}
