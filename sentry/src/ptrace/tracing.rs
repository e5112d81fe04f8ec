//! What a task knows of being traced (`task->ptrace`, `task->jobctl`).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use usk_abi::Signal;
use usk_abi::ptrace::PtraceOptions;
use usk_abi::signal::SignalInfo;

use super::Resumption;
use crate::task::{Current, Task};

/// What a tracer has a stopped task do.
pub(super) type Request = Box<dyn FnOnce(&mut Current) + Send>;

/// A task's side of being traced. See the module's description for its locks.
#[derive(Default)]
pub(crate) struct Tracing {
    is_traced: AtomicBool,
    state: Mutex<State>,
}

/// What the lock protects.
#[derive(Default)]
pub(super) struct State {
    pub(super) options: PtraceOptions,
    /// `PTRACE_SEIZE` has begun it, or an event of one that was seized.
    pub(super) is_seized: bool,
    /// How it was resumed.
    pub(super) resumption: Resumption,
    /// It is to stop because its tracer wants it to (`JOBCTL_TRAP_STOP`).
    pub(super) is_stop_due: bool,
    /// It is to stop for its tracer to learn that the stop of its group has begun or ended (`JOBCTL_TRAP_NOTIFY`).
    pub(super) is_notice_due: bool,
    /// It counts as stopped in its group's stop.
    pub(super) is_counted: bool,
    /// It has stopped with its group, and its tracer has let it go on.
    pub(super) is_past_group_stop: bool,
    /// The group ends, or another thread executes a program: it stops no more (`SIGKILL` is pending).
    pub(super) is_killed: bool,
    /// `PTRACE_GETEVENTMSG`
    pub(super) message: u64,
    /// The stop it is in.
    pub(super) stop: Option<Stop>,
}

/// A stop, until the task is resumed.
pub(super) struct Stop {
    pub(super) reason: Reason,
    /// The tracer has waited for it.
    pub(super) is_reported: bool,
    /// `PTRACE_LISTEN`: it stays stopped, and its tracer cannot look at it.
    pub(super) is_listening: bool,
    /// What others want done, its tracer first of all.
    pub(super) requests: VecDeque<Request>,
    /// It is to go on, with this signal if it is not 0.
    pub(super) resumed: Option<i32>,
}

/// Why a task stops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reason {
    /// What `wait4(2)` reports in the place of a signal: the signal, and above it the event.
    pub(crate) code: i32,
    /// What `PTRACE_GETSIGINFO` shows, if anything.
    pub(crate) info: Option<SignalInfo>,
    /// It is its group that stops: `CLD_STOPPED` and not `CLD_TRAPPED`.
    pub(crate) is_group_stop: bool,
    /// The part of a system call that it is about.
    pub(crate) call: CallPart,
    /// What `PTRACE_GETEVENTMSG` says.
    pub(crate) message: u64,
}

/// Parts of a system call at which a task stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CallPart {
    /// None.
    #[default]
    None,
    /// Before it.
    Entry,
    /// After it.
    Exit,
    /// A filter has asked for the tracer, with this value.
    Filter(u32),
}

impl Tracing {
    /// Whether somebody traces the task.
    pub(crate) fn is_traced(&self) -> bool {
        self.is_traced.load(Ordering::SeqCst)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Begins: with the process tree and the group locked.
    pub(super) fn begin(&self, is_seized: bool, options: PtraceOptions) {
        let mut state = self.lock();
        state.is_seized = is_seized;
        state.options = options;
        state.resumption = Resumption::Continue;
        state.message = 0;
        self.is_traced.store(true, Ordering::SeqCst);
    }

    /// Ends, and has the task go on with `signal` if it is stopped, once it is woken: with the same locked.
    pub(super) fn end(&self, signal: i32) {
        let mut state = self.lock();
        self.is_traced.store(false, Ordering::SeqCst);
        state.options = PtraceOptions::empty();
        state.is_seized = false;
        state.resumption = Resumption::Continue;
        (state.is_stop_due, state.is_notice_due) = (false, false);
        // A group that is stopped has it stop as the others.
        state.is_past_group_stop = false;
        if let Some(stop) = &mut state.stop {
            // What a tracer that ends has said before holds.
            stop.resumed.get_or_insert(signal);
        }
    }

    /// The task stops for nobody any more: with the group locked.
    pub(crate) fn kill(&self) {
        self.lock().is_killed = true;
    }

    /// It is ending, and may stop for the last time.
    pub(super) fn revive(&self) {
        self.lock().is_killed = false;
    }

    /// A stop of its group begins, or one more signal stops a group that is: with the group locked. True if the task has to look.
    pub(crate) fn begin_group_stop(&self, is_new: bool) -> bool {
        let mut state = self.lock();
        state.is_counted &= !is_new;
        state.is_past_group_stop = false;
        // One that listens is told.
        state.is_notice_due |= self.is_traced() && state.is_seized;
        is_new || self.is_traced()
    }

    /// Counts the task in its group's stop. True if it is counted already.
    pub(crate) fn count_in_group_stop(&self) -> bool {
        std::mem::replace(&mut self.lock().is_counted, true)
    }

    /// Whether it goes on although its group is stopped.
    pub(crate) fn is_past_group_stop(&self) -> bool {
        self.is_traced() && self.lock().is_past_group_stop
    }

    /// Its group has been continued: a tracer that has seized it is told. True if the task has to look.
    pub(crate) fn note_continued(&self) -> bool {
        let mut state = self.lock();
        let is_told = self.is_traced() && state.is_seized;
        state.is_notice_due |= is_told;
        is_told
    }

    /// Whether it is to stop for its tracer's sake.
    pub(crate) fn is_stop_due(&self) -> bool {
        self.is_traced() && self.lock().is_any_stop_due()
    }

    /// Whether it is stopped for its tracer.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_traced() && self.lock().stop.is_some()
    }

    /// Whether its tracer has asked to be told of an event.
    pub(super) fn wants(&self, option: PtraceOptions) -> bool {
        self.is_traced() && self.lock().options.contains(option)
    }

    /// How it goes on.
    pub(crate) fn resumption(&self) -> Resumption {
        if self.is_traced() { self.lock().resumption } else { Resumption::Continue }
    }
}

impl State {
    /// Whether the task is to stop for its tracer's sake.
    pub(super) fn is_any_stop_due(&self) -> bool {
        self.is_stop_due || self.is_notice_due
    }
}

impl Reason {
    /// The signal that the task stops at.
    pub(super) fn signal(info: &SignalInfo) -> Reason {
        let call = CallPart::None;
        Reason { code: info.signo, info: Some(*info), is_group_stop: false, call, message: 0 }
    }

    /// What `ptrace_notify` makes: SIGTRAP, with the code in `si_code`.
    pub(super) fn trap(task: &Task, code: i32, call: CallPart, message: u64) -> Reason {
        let info = SignalInfo::user(Signal::SIGTRAP, code, task.tid(), task.credentials().uid);
        Reason { code, info: Some(info), is_group_stop: false, call, message }
    }
}
