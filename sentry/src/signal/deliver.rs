//! Delivery: what a task does about its signals before it returns to guest code (`get_signal` and `handle_signal`).

use usk_abi::signal::{ActionFlags, DefaultAction, SIG_DFL, SIG_IGN, SignalAction, SignalInfo, SignalSet};
use usk_abi::{Errno, Signal};

use super::frame;
use crate::task::{Current, ExitStatus, GroupState, GroupStop, Resource, Task, begin_exit_locked};
use crate::{Restart, ptrace};

/// Number of `restart_syscall(2)`.
const RESTART_SYSCALL: u64 = 219;

/// What the task does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Return to guest code.
    Resume,
    /// Leave: the group ends, or another of its threads executes a program.
    Exit,
}

enum Next {
    Exit,
    /// The group is stopped by this signal.
    Stopped(Signal),
    /// The tracer wants the task to stop.
    Trapped,
    Signal(Signal, SignalInfo),
    Nothing,
}

/// Handles everything that is pending.
pub(crate) fn deliver(current: &mut Current) -> Outcome {
    loop {
        match next(current) {
            Next::Exit => return Outcome::Exit,
            Next::Stopped(signal) => stay_stopped(current, signal),
            Next::Trapped => ptrace::stop_for_tracer(current),
            Next::Nothing => {
                restart_without_handler(current);
                return Outcome::Resume;
            }
            Next::Signal(signal, info) => {
                let info = current.task.group.timers.note_delivery(info);
                let Some((signal, info)) = ptrace::stop_at_signal(current, signal, info) else { continue };
                let action = current.task.group.actions.load().get(signal);
                match action.handler {
                    SIG_IGN => {}
                    SIG_DFL => {
                        if act_by_default(current, signal) == Outcome::Exit {
                            return Outcome::Exit;
                        }
                    }
                    _ => run_handler(current, signal, action, &info),
                }
            }
        }
    }
}

/// Takes the next thing to handle. Finding nothing clears the task's interruption flag and puts back a saved mask, all
/// under the group's lock, so that a signal sent meanwhile is not lost. What is pending for the group then is for others: the task blocks
/// it, and may have been woken for it before it did.
fn next(current: &mut Current) -> Next {
    let task = &current.task;
    let mut state = task.group.state.lock();
    if state.is_over_for(task) {
        return Next::Exit;
    }
    if let Some(stop) = &state.stop
        && !task.tracing.is_past_group_stop()
    {
        return Next::Stopped(stop.signal);
    }
    if task.tracing.is_stop_due() {
        return Next::Trapped;
    }
    let mut signals = task.signals.lock();
    let wanted = SignalSet(!signals.mask.get().0);
    let taken = signals.pending.take(wanted).or_else(|| state.pending.take(wanted));
    if let Some((signal, info)) = taken {
        // Of any signal, for a tracer may put a stop in its place.
        signals.may_stop = true;
        return Next::Signal(signal, info);
    }
    if let Some(mask) = signals.saved_mask.take() {
        signals.mask.set(mask);
        let wanted = SignalSet(!mask.0);
        if !signals.pending.set().or(state.pending.set()).and(wanted).is_empty() {
            drop(signals);
            drop(state);
            return next(current);
        }
    }
    signals.mask.note_pending(signals.pending.set().or(state.pending.set()));
    task.waiter.set_interrupted(false);
    drop(signals);
    super::send::pass_on(&state);
    Next::Nothing
}

/// Takes part in a group stop until it ends, or the task is to end, or somebody begins to trace the task; a traced one until its tracer has it go on.
fn stay_stopped(current: &mut Current, signal: Signal) {
    let task = current.task.clone();
    take_part_in_stop(&task);
    if task.tracing.is_traced() {
        return ptrace::stop_with_group(current, signal);
    }
    loop {
        task.waiter.arm();
        // The stop may be another one by now.
        take_part_in_stop(&task);
        let is_over = {
            let state = task.group.state.lock();
            state.stop.is_none() || state.is_over_for(&task)
        };
        if is_over || task.tracing.is_traced() {
            return;
        }
        task.waiter.wait(None, true);
    }
}

/// The task ends: its group's signals are for others, and its group's stop is complete without it (`exit_signals`).
pub(crate) fn begin_leaving(task: &Task) {
    let stopped_by = {
        let mut state = task.group.state.lock();
        task.signals.lock().is_leaving = true;
        super::send::pass_on(&state);
        count_in_stop(&mut state, task)
    };
    if let Some(signal) = stopped_by {
        task.kernel.report_stop(&task.group, signal);
    }
}

/// A task that is about to be in a group that is being stopped stops as well (`task_join_group_stop`).
pub(crate) fn join_stop(state: &mut GroupState, task: &Task) {
    let Some(stop) = &mut state.stop else { return };
    if stop.remaining > 0 {
        stop.remaining += 1;
    } else {
        // It has been reported.
        task.tracing.count_in_group_stop();
    }
    task.waiter.set_interrupted(true);
}

/// Counts the task in its group's stop, if there is one and it is not counted yet; the last one reports the stop.
fn take_part_in_stop(task: &Task) {
    let stopped_by = count_in_stop(&mut task.group.state.lock(), task);
    if let Some(signal) = stopped_by {
        task.kernel.report_stop(&task.group, signal);
    }
}

/// Counts the task in its group's stop. The signal that stops the group if the task is the last.
fn count_in_stop(state: &mut GroupState, task: &Task) -> Option<Signal> {
    let stop = state.stop.as_mut()?;
    if task.tracing.count_in_group_stop() {
        return None;
    }
    stop.remaining = stop.remaining.saturating_sub(1);
    (stop.remaining == 0).then_some(stop.signal)
}

fn act_by_default(current: &mut Current, signal: Signal) -> Outcome {
    let task = current.task.clone();
    // It was blocked when it came; only what is from outside, or a fault, has come as far as this otherwise.
    if !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) && task.group.is_protected_from(signal, false) {
        return Outcome::Resume;
    }
    match signal.default_action() {
        DefaultAction::Ignore | DefaultAction::Continue => Outcome::Resume,
        DefaultAction::Stop => {
            // A stop from the terminal does nothing to an orphaned process group: nobody could continue it.
            if signal != Signal::SIGSTOP && task.kernel.is_orphaned_group_of(&task.group) {
                return Outcome::Resume;
            }
            begin_stop(&task, signal);
            Outcome::Resume
        }
        DefaultAction::Terminate => end_group(current, ExitStatus::Signaled { signal, core: false }),
        DefaultAction::CoreDump => {
            // No file is written, but the status says what it would have said.
            let core = task.group.limits.lock().soft(Resource::Core) != 0;
            end_group(current, ExitStatus::Signaled { signal, core })
        }
    }
}

fn end_group(current: &mut Current, status: ExitStatus) -> Outcome {
    begin_exit_locked(&mut current.task.group.state.lock(), status);
    Outcome::Exit
}

/// Begins to stop the task's group, unless it ends, or SIGCONT has come since the task took `signal`.
fn begin_stop(task: &Task, signal: Signal) {
    let mut state = task.group.state.lock();
    if state.exit.is_some() || !task.signals.lock().may_stop {
        return;
    }
    let is_new = state.stop.is_none();
    if is_new {
        let remaining = state.threads.iter().filter(|task| !task.signals.lock().is_leaving).count();
        state.stop = Some(GroupStop { signal, remaining });
    }
    for task in &state.threads {
        if task.tracing.begin_group_stop(is_new) {
            task.poke();
            task.waiter.wake();
        }
    }
}

/// Puts the handler's frame on the guest's stack and points the registers at the handler.
fn run_handler(current: &mut Current, signal: Signal, action: SignalAction, info: &SignalInfo) {
    let flags = action.action_flags();
    settle_restart(current, Some(flags.contains(ActionFlags::RESTART)));
    if flags.contains(ActionFlags::RESETHAND) {
        let reset = SignalAction { handler: SIG_DFL, ..action };
        current.task.group.actions.load().set(signal, reset);
    }
    let mask_in_frame = {
        let signals = current.task.signals.lock();
        signals.saved_mask.unwrap_or_else(|| signals.mask.get())
    };
    if frame::push(current, signal, &action, info, mask_in_frame).is_err() {
        // A stack that cannot take the frame: SIGSEGV, and if that was the signal, by default (`force_sigsegv`). The mask to return to
        // is still to come back.
        if signal == Signal::SIGSEGV {
            let fatal = SignalAction { handler: SIG_DFL, ..action };
            current.task.group.actions.load().set(signal, fatal);
        }
        super::force_signal(&current.task, SignalInfo::kernel(Signal::SIGSEGV));
        return;
    }
    block_for_handler(current, signal, &action);
    current.stop_at_handler();
}

fn block_for_handler(current: &Current, signal: Signal, action: &SignalAction) {
    let _state = current.task.group.state.lock();
    let mut signals = current.task.signals.lock();
    let mut blocked = signals.mask.get().or(action.mask);
    if !action.action_flags().contains(ActionFlags::NODEFER) {
        blocked = blocked.with(signal);
    }
    signals.saved_mask = None;
    signals.mask.set(blocked);
}

/// The interrupted call continues as if nothing had happened: no handler has run.
fn restart_without_handler(current: &mut Current) {
    settle_restart(current, None);
}

/// Decides how an interrupted call goes on. `handler` is `None` if no handler runs, else whether it was installed with
/// `SA_RESTART`.
fn settle_restart(current: &mut Current, handler: Option<bool>) {
    let Some(pending) = current.pending_restart.take() else { return };
    let again = match (pending.restart, handler) {
        (Restart::Always, _) | (_, None) => true,
        (Restart::IfHandlerAllows, Some(restarts)) => restarts,
        (Restart::IfNoHandler | Restart::Block(_), Some(_)) => false,
    };
    if let Restart::Block(block) = pending.restart {
        current.restart_block = Some(block);
        frame::tell_stack(current);
    }
    let registers = current.thread.registers_mut();
    if !again {
        registers.set_return_value(Errno::EINTR.as_return_value());
        return;
    }
    let number = if matches!(pending.restart, Restart::Block(_)) { RESTART_SYSCALL } else { pending.number };
    registers.restart_syscall(pending.instruction, number);
}
