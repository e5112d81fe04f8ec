//! Sending: queueing a signal where it belongs, and waking who is to take it.

use std::sync::Arc;

use usk_abi::signal::code::SI_KERNEL;
use usk_abi::signal::{DefaultAction, SIG_DFL, SIG_IGN, SignalInfo, SignalSet};
use usk_abi::{Errno, PollEvents, Signal};

use super::PendingSignals;
use crate::task::{ExitStatus, GroupState, Resource, Task, ThreadGroup, begin_exit_locked};

/// What became of a signal that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is pending, or was merged with one that is, or is ignored.
    Done,
    /// As before, and the group, which was stopped, runs again: its parent is to be told.
    Continued,
}

/// Sends a signal to a thread group: any of its threads may take it. `EAGAIN` if too many are queued.
pub fn send_to_group(group: &ThreadGroup, info: SignalInfo) -> Result<Sent, Errno> {
    send(group, None, info)
}

/// Sends a signal to one thread. `EAGAIN` if too many are queued.
pub fn send_to_task(task: &Arc<Task>, info: SignalInfo) -> Result<Sent, Errno> {
    send(&task.group, Some(task), info)
}

/// Sends a POSIX timer's signal to one thread or to the group. There is room for it: that was kept when the timer was made
/// (`SIGQUEUE_PREALLOC`).
pub(crate) fn send_of_timer(group: &ThreadGroup, target: Option<&Arc<Task>>, info: SignalInfo) {
    let mut discarded = Vec::new();
    let _ = send_locked(group, target, info, None, &mut discarded);
    group.timers.note_discarded(&discarded);
}

fn send(group: &ThreadGroup, target: Option<&Arc<Task>>, info: SignalInfo) -> Result<Sent, Errno> {
    let queue_limit = group.limits.lock().soft(Resource::PendingSignals);
    let mut discarded = Vec::new();
    let sent = send_locked(group, target, info, Some(queue_limit), &mut discarded);
    group.timers.note_discarded(&discarded);
    sent
}

/// Sends it, if fewer than `queue_limit` are queued where that matters; without one it is a POSIX timer's. `discarded` gets the POSIX timers
/// whose signals it took back.
fn send_locked(
    group: &ThreadGroup,
    target: Option<&Arc<Task>>,
    info: SignalInfo,
    queue_limit: Option<u64>,
    discarded: &mut Vec<i32>,
) -> Result<Sent, Errno> {
    let Some(signal) = Signal::from_number(info.signo) else { return Err(Errno::EINVAL) };
    let mut state = group.state.lock();
    let state = &mut *state;
    if state.threads.is_empty() {
        return Ok(Sent::Done);
    }
    let forced = info.code == SI_KERNEL;
    if signal == Signal::SIGKILL {
        if group.is_protected_from(signal, forced) {
            return Ok(Sent::Done);
        }
        begin_exit_locked(state, ExitStatus::Signaled { signal, core: false });
        return Ok(Sent::Done);
    }
    let sent = cancel_opposites(state, signal, discarded);
    if is_dropped(group, state, target, signal, forced) {
        return Ok(sent);
    }
    match target {
        Some(task) => queue(&mut task.signals.lock().pending, queue_limit, signal, info)?,
        None => queue(&mut state.pending, queue_limit, signal, info)?,
    }
    note_pending(state, target);
    match taker(state, target, signal) {
        Some(task) if is_fatal(state, target, &task, signal, forced) => {
            begin_exit_locked(state, ExitStatus::Signaled { signal, core: false });
        }
        Some(task) => task.poke(),
        None => {}
    }
    group.signal_arrival.notify(PollEvents::IN);
    Ok(sent)
}

fn queue(
    pending: &mut PendingSignals,
    limit: Option<u64>,
    signal: Signal,
    info: SignalInfo,
) -> Result<(), Errno> {
    match limit {
        Some(limit) => pending.add_within(limit, signal, info),
        None => {
            pending.add_of_timer(signal, info);
            Ok(())
        }
    }
}

/// `SIGCONT` takes back pending stops and ends a stop; a stop takes back a pending `SIGCONT` (`prepare_signal`).
fn cancel_opposites(state: &mut GroupState, signal: Signal, discarded: &mut Vec<i32>) -> Sent {
    let opposites = if signal == Signal::SIGCONT {
        SignalSet::STOPPING
    } else if SignalSet::STOPPING.contains(signal) {
        SignalSet::of(Signal::SIGCONT)
    } else {
        return Sent::Done;
    };
    *discarded = state.discard_pending(opposites);
    if signal != Signal::SIGCONT {
        return Sent::Done;
    }
    let was_stopped = state.stop.take().is_some();
    for task in &state.threads {
        task.signals.lock().may_stop = false;
        let is_told = task.tracing.note_continued();
        if is_told {
            task.poke();
        }
        if is_told || was_stopped {
            task.waiter.wake();
        }
    }
    if was_stopped { Sent::Continued } else { Sent::Done }
}

/// True if the signal would be ignored on delivery and nobody keeps it blocked for later.
fn is_dropped(
    group: &ThreadGroup,
    state: &GroupState,
    target: Option<&Arc<Task>>,
    signal: Signal,
    forced: bool,
) -> bool {
    if !group.actions.load().is_ignored(signal) && !group.is_protected_from(signal, forced) {
        return false;
    }
    let Some(task) = target.or(state.threads.first()) else { return true };
    // A tracer wants to see it.
    if task.tracing.is_traced() {
        return false;
    }
    let signals = task.signals.lock();
    !signals.mask.get().or(signals.awaited).contains(signal)
}

/// Tells the threads that may take a signal what is pending, before their masks are looked at.
fn note_pending(state: &GroupState, target: Option<&Arc<Task>>) {
    let note = |task: &Arc<Task>| {
        let signals = task.signals.lock();
        signals.mask.note_pending(signals.pending.set().or(state.pending.set()));
    };
    match target {
        Some(task) => note(task),
        None => state.threads.iter().for_each(note),
    }
}

/// The thread that is to take the signal: the target, or one that does not block it, by preference the leader and one that is not stopped for
/// a tracer.
fn taker(state: &GroupState, target: Option<&Arc<Task>>, signal: Signal) -> Option<Arc<Task>> {
    if let Some(task) = target {
        return takes(task, signal).then(|| Arc::clone(task));
    }
    let mut takers = takers(state, signal);
    let first = takers.next();
    let is_free = |task: &&Arc<Task>| !task.tracing.is_stopped();
    first.filter(is_free).or_else(|| takers.find(is_free)).or(first).cloned()
}

/// Whether a signal that is for `taker` ends the group as soon as it is sent, whatever its threads wait for (`complete_signal`): what dumps
/// core does not, nor what somebody waits for or a tracer is to see, and who is stopped stays so.
fn is_fatal(
    state: &GroupState,
    target: Option<&Arc<Task>>,
    taker: &Task,
    signal: Signal,
    forced: bool,
) -> bool {
    let is_traced = target.or(state.threads.first()).is_some_and(|task| task.tracing.is_traced());
    signal.default_action() == DefaultAction::Terminate
        && taker.group.actions.load().get(signal).handler == SIG_DFL
        && !taker.signals.lock().mask.get().contains(signal)
        && !taker.group.is_protected_from(signal, forced)
        && !is_traced
        && !taker.tracing.is_stopped()
        && state.stop.is_none()
}

/// The threads that may take a signal of the group.
fn takers(state: &GroupState, signal: Signal) -> impl Iterator<Item = &Arc<Task>> {
    state.threads.iter().filter(move |task| takes(task, signal))
}

fn takes(task: &Task, signal: Signal) -> bool {
    taken_by(task).contains(signal)
}

/// The signals that a task would take now.
fn taken_by(task: &Task) -> SignalSet {
    let signals = task.signals.lock();
    if signals.is_leaving {
        return SignalSet::EMPTY;
    }
    SignalSet(!signals.mask.get().0).or(signals.awaited)
}

/// A task of this group does not take the signals that are pending for the group: wakes others for them, as it may have been the one that was
/// woken (`retarget_shared_pending`). Who has been woken and has not looked yet will see them. Who is stopped for a tracer is woken for what
/// nobody else takes.
pub(super) fn pass_on(state: &GroupState) {
    let mut left = state.pending.set();
    for is_stopped in [false, true] {
        for task in &state.threads {
            if left.is_empty() {
                return;
            }
            let taken = left.and(taken_by(task));
            if taken.is_empty() || task.tracing.is_stopped() != is_stopped {
                continue;
            }
            if !task.waiter.is_interrupted() {
                task.poke();
            }
            left = left.minus(taken);
        }
    }
}

/// Sends a signal that a fault of the task itself raised: it cannot be blocked or ignored away (`force_sig_info`).
pub(crate) fn force_signal(task: &Arc<Task>, info: SignalInfo) {
    let Some(signal) = Signal::from_number(info.signo) else { return };
    {
        let state = task.group.state.lock();
        let actions = task.group.actions.load();
        let action = actions.get(signal);
        let mut signals = task.signals.lock();
        let blocked = signals.mask.get();
        if blocked.contains(signal) || action.handler == SIG_IGN {
            actions.set(signal, usk_abi::signal::SignalAction { handler: SIG_DFL, ..action });
            signals.mask.set(blocked.without(signal));
        }
        if actions.get(signal).handler == SIG_DFL {
            task.group.expose();
        }
        signals.pending.add(signal, info);
        signals.mask.note_pending(signals.pending.set().or(state.pending.set()));
    }
    task.poke();
}
