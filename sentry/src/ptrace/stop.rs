//! The stop of a traced task (`ptrace_stop` of `kernel/signal.c`), in which it does what its tracer wants.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc;

use usk_abi::Errno;
use usk_abi::ptrace::PTRACE_EVENT_STOP;
use usk_abi::signal::SignalInfo;

use super::Resumption;
use super::tracing::{Reason, Request, Stop};
use crate::task::{Current, Task};

/// What a stopped task does next.
enum Next {
    Serve(Request),
    Resume(i32, Option<SignalInfo>),
    /// It is to stop anew, for another reason.
    Retrap,
    Killed,
    Sleep,
}

/// How a stop has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// There was none: nobody traces the task, or it is to end.
    NotStopped,
    /// The tracer has let it go on with this signal, 0 for none, and what it has made of the stop's information.
    With(i32, Option<SignalInfo>),
    /// It has been killed, or has to stop anew.
    Cut,
}

/// The task `tid`, which `current` traces and which is stopped for it. `ESRCH` if it is not.
pub fn tracee(current: &Current, tid: i32) -> Result<Arc<Task>, Errno> {
    let task = traced(current, tid)?;
    if is_stopped(&task) { Ok(task) } else { Err(Errno::ESRCH) }
}

/// Whether the task is stopped, and its tracer can look at it.
pub(super) fn is_stopped(task: &Task) -> bool {
    task.tracing.lock().stop.as_ref().is_some_and(|stop| !stop.is_listening && stop.resumed.is_none())
}

/// The task `tid`, which `current` traces, stopped or not. `ESRCH` if it does not.
pub(super) fn traced(current: &Current, tid: i32) -> Result<Arc<Task>, Errno> {
    let table = current.task.kernel.tasks.lock();
    let is_own = table.links.tracer_of(tid).is_some_and(|tracer| Arc::ptr_eq(tracer, &current.task));
    table.thread(tid).filter(|_| is_own).ok_or(Errno::ESRCH)
}

/// Has a stopped task do something with its guest thread, and waits for that, which takes no longer than the host does. `ESRCH` if
/// the task is not stopped any more.
pub(super) fn on_tracee<T: Send + 'static>(
    task: &Task,
    act: impl FnOnce(&mut Current) -> T + Send + 'static,
) -> Result<T, Errno> {
    let (answer, answered) = mpsc::sync_channel(1);
    {
        let mut state = task.tracing.lock();
        let is_served = |stop: &&mut Stop| !stop.is_listening && stop.resumed.is_none();
        let stop = state.stop.as_mut().filter(is_served).ok_or(Errno::ESRCH)?;
        // Who is gone needs no answer.
        stop.requests.push_back(Box::new(move |current| _ = answer.send(act(current))));
    }
    task.waiter.wake();
    // A task that goes on drops the request, and with it the sender.
    answered.recv().map_err(|_| Errno::ESRCH)
}

impl Current {
    /// Stops for the tracer, and serves it until it resumes the task.
    pub(super) fn stop_for(&mut self, reason: Reason) -> Resumed {
        self.bring_memory_up_to_date();
        let task = self.task.clone();
        if !begin(&task, reason) {
            return Resumed::NotStopped;
        }
        task.kernel.report_trace_stop(&task, &reason);
        let resumed = self.serve_tracer();
        // What the call has brought along may not be there any more.
        self.has_stale_copies = true;
        self.is_stepping = matches!(task.tracing.resumption(), Resumption::Step | Resumption::EmulatedStep);
        resumed
    }

    fn serve_tracer(&mut self) -> Resumed {
        let task = self.task.clone();
        loop {
            task.waiter.arm();
            match next(&task) {
                Next::Serve(act) => act(self),
                Next::Resume(signal, info) => return Resumed::With(signal, info),
                Next::Retrap | Next::Killed => return Resumed::Cut,
                Next::Sleep => _ = task.waiter.wait(None, true),
            }
        }
    }

    /// Makes what was left for the way back, and restores the code, so that a tracer sees what the guest would.
    fn bring_memory_up_to_date(&mut self) {
        if let Err(error) = self.thread.settle() {
            crate::mm::fail_last_call(self, error);
        }
        if let Err(error) = self.settle_copies() {
            crate::task::fail_last_copy(self, error);
        }
        let mm = self.task.mm();
        if let Err(error) = mm.keep_code(&mut *self.thread) {
            tracing::warn!(%error, "a tracer sees code that was rewritten");
        }
    }
}

/// Begins a stop. False if there is nobody to stop for, or no time.
fn begin(task: &Task, reason: Reason) -> bool {
    let group = task.group.state.lock();
    let mut state = task.tracing.lock();
    let is_over = reason.is_group_stop && group.stop.is_none();
    if !task.tracing.is_traced() || state.is_killed || is_over {
        return false;
    }
    // Any stop is what an interrupt asks for; that its group's stop has changed the tracer sees at one that says so.
    state.is_stop_due = false;
    state.is_notice_due &= reason.code >> 8 != PTRACE_EVENT_STOP;
    state.message = reason.message;
    let (is_reported, is_listening) = (false, false);
    state.stop = Some(Stop { reason, is_reported, is_listening, requests: VecDeque::new(), resumed: None });
    true
}

/// Looks what is to be done. The stop is over when this says that the task goes on.
fn next(task: &Task) -> Next {
    let mut state = task.tracing.lock();
    let is_killed = state.is_killed;
    let is_stop_due = state.is_any_stop_due();
    let Some(stop) = &mut state.stop else { return Next::Resume(0, None) };
    let next = if is_killed {
        Next::Killed
    } else if let Some(signal) = stop.resumed {
        Next::Resume(signal, stop.reason.info)
    } else if stop.is_listening && is_stop_due {
        Next::Retrap
    } else if let Some(request) = stop.requests.pop_front() {
        return Next::Serve(request);
    } else {
        return Next::Sleep;
    };
    // A request that nobody serves any more goes with it.
    state.stop = None;
    next
}
