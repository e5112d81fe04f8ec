//! A thread group: what user space calls a process.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use usk_abi::Signal;
use usk_abi::signal::{SIG_DFL, SignalAction, SignalSet};

use crate::signal::{PendingSignals, SignalActions};
use crate::task::{ResourceLimits, Task, Usage, Zombie};
use crate::time::{Deadline, Expire, ProcessTimers};
use crate::wait::WaitQueue;

/// How long a thread may take to leave guest code when its group ends. It may have blocked the kick, by a return through a frame of its own
/// making.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);

/// How a task or a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// By `exit(2)`: the low eight bits of the code count.
    Exited(i32),
    /// By a signal, with the core-dump bit or not.
    Signaled {
        /// Which.
        signal: Signal,
        /// Whether Linux would have dumped core, had the limit allowed it.
        core: bool,
    },
}

impl ExitStatus {
    /// The status word of `wait4(2)`.
    pub fn wait_status(self) -> i32 {
        match self {
            ExitStatus::Exited(code) => (code & 0xff) << 8,
            ExitStatus::Signaled { signal, core } => signal.number() | if core { 0x80 } else { 0 },
        }
    }
}

/// A group stop (`SIGSTOP` and its kin) that has begun.
#[derive(Clone, Copy, Debug)]
pub struct GroupStop {
    /// The signal that stopped the group.
    pub signal: Signal,
    /// Threads that have not stopped yet.
    pub remaining: usize,
}

/// What Linux guards with `siglock`.
#[derive(Default)]
pub struct GroupState {
    /// The live threads.
    pub threads: Vec<Arc<Task>>,
    /// Signals sent to the group.
    pub pending: PendingSignals,
    /// Set once the group is to end: every thread leaves at its next return to guest code.
    pub exit: Option<ExitStatus>,
    /// The stop under way.
    pub stop: Option<GroupStop>,
    /// The thread that is in `execve(2)` and wants all others gone.
    pub exec: Option<Arc<Task>>,
    /// What is left of the leader, once it has left: other threads may live on.
    pub ended_leader: Option<Zombie>,
    /// Processor time of threads that have left.
    pub past_usage: Usage,
}

impl GroupState {
    /// Forgets signals that are pending for the group or one of its threads. Returns POSIX timers as [`PendingSignals::discard`] does.
    #[must_use]
    pub(crate) fn discard_pending(&mut self, unwanted: SignalSet) -> Vec<i32> {
        let mut timers = self.pending.discard(unwanted);
        for task in &self.threads {
            timers.extend(task.signals.lock().pending.discard(unwanted));
        }
        timers
    }

    /// Takes back what POSIX timers have sent to the group or one of its threads.
    pub(crate) fn retract_timers(&mut self) {
        self.pending.retract_timers();
        for task in &self.threads {
            task.signals.lock().pending.retract_timers();
        }
    }

    /// Whether `task` is to end: with all of the group, or because another thread executes a program.
    pub(crate) fn is_over_for(&self, task: &Arc<Task>) -> bool {
        self.exit.is_some() || self.exec.as_ref().is_some_and(|executor| !Arc::ptr_eq(executor, task))
    }
}

/// A thread group (`signal_struct`).
pub struct ThreadGroup {
    /// Its identifier, and its leader's.
    pub tgid: i32,
    /// Signals, threads, stops and the end of the group.
    pub state: Mutex<GroupState>,
    /// Signal actions; shared with another group after `clone(CLONE_SIGHAND)`.
    pub actions: ArcSwap<SignalActions>,
    /// Resource limits.
    pub limits: Mutex<ResourceLimits>,
    /// Notified when a child changes its state or when `wait4(2)` may find something new.
    pub child_events: WaitQueue,
    /// Notified when a signal becomes pending for the group or one of its threads; signalfd waits here.
    pub signal_arrival: WaitQueue,
    /// Notified when the group has become a zombie.
    pub exited: WaitQueue,
    /// Interval timers and POSIX timers.
    pub timers: ProcessTimers,
    /// When the group started, nanoseconds on `CLOCK_BOOTTIME`.
    pub start_boottime_ns: AtomicU64,
    /// `oom_score_adj` as `/proc` shows and takes it; kept, not acted upon.
    pub oom_score_adj: AtomicU32,
    /// The least that it may be set to without `CAP_SYS_RESOURCE`: what it was last set to with that.
    pub oom_score_adj_min: AtomicI32,
    /// Whether signals that it has no handler for do not reach it (`SIGNAL_UNKILLABLE`): it is init, and runs guest code.
    protected: AtomicBool,
}

impl ThreadGroup {
    /// A group without threads.
    pub fn new(
        tgid: i32,
        actions: Arc<SignalActions>,
        limits: ResourceLimits,
        now_boottime_ns: u64,
    ) -> Arc<Self> {
        Arc::new(ThreadGroup {
            tgid,
            state: Mutex::default(),
            actions: ArcSwap::new(actions),
            limits: Mutex::new(limits),
            child_events: WaitQueue::new(),
            signal_arrival: WaitQueue::new(),
            exited: WaitQueue::new(),
            timers: ProcessTimers::default(),
            start_boottime_ns: AtomicU64::new(now_boottime_ns),
            oom_score_adj: AtomicU32::new(0),
            oom_score_adj_min: AtomicI32::new(0),
            protected: AtomicBool::new(false),
        })
    }

    /// Makes it init: before it runs.
    pub(crate) fn protect(&self) {
        self.protected.store(true, Ordering::Relaxed);
    }

    /// A fault of its own reaches it all the same, and nothing protects it from then on (`force_sig_info_to_task`).
    pub(crate) fn expose(&self) {
        self.protected.store(false, Ordering::Relaxed);
    }

    /// Whether a signal that would act by default does not act on it. `forced` is a signal from outside the sandbox:
    /// SIGKILL and SIGSTOP act then (`sig_task_ignored`).
    pub(crate) fn is_protected_from(&self, signal: Signal, forced: bool) -> bool {
        self.protected.load(Ordering::Relaxed)
            && self.actions.load().get(signal).handler == SIG_DFL
            && !(forced && matches!(signal, Signal::SIGKILL | Signal::SIGSTOP))
    }

    /// The live threads.
    pub fn threads(&self) -> Vec<Arc<Task>> {
        self.state.lock().threads.clone()
    }

    /// Some live thread, the leader if it lives.
    pub fn any_thread(&self) -> Option<Arc<Task>> {
        let state = self.state.lock();
        state.threads.iter().find(|task| task.tid() == self.tgid).or(state.threads.first()).cloned()
    }

    /// Some thread that is not about to end.
    pub(crate) fn staying_thread(&self) -> Option<Arc<Task>> {
        self.state.lock().threads.iter().find(|task| !task.signals.lock().is_leaving).cloned()
    }

    /// Sets a signal's action; returns the one before. A signal that the new action ignores is no longer pending, as POSIX
    /// has it.
    pub fn set_action(&self, signal: Signal, action: SignalAction) -> SignalAction {
        let mut discarded = Vec::new();
        let previous = {
            let mut state = self.state.lock();
            let actions = self.actions.load();
            let previous = actions.set(signal, action);
            if actions.is_ignored(signal) {
                discarded = state.discard_pending(SignalSet::of(signal));
            }
            previous
        };
        self.timers.note_discarded(&discarded);
        previous
    }

    /// Asks every thread to leave, with `status` for the whole group unless an end has begun already.
    pub fn begin_exit(&self, status: ExitStatus) {
        let mut state = self.state.lock();
        begin_exit_locked(&mut state, status);
    }

    /// Processor time used so far by all threads, those that have left included.
    pub fn usage(&self) -> Usage {
        let state = self.state.lock();
        state.threads.iter().fold(state.past_usage, |sum, task| sum.plus(task.usage()))
    }

    /// Processor time, user and system together.
    pub fn cpu_time(&self) -> Duration {
        self.usage().total()
    }
}

/// See [`ThreadGroup::begin_exit`].
pub(crate) fn begin_exit_locked(state: &mut GroupState, status: ExitStatus) {
    let is_first = state.exit.is_none();
    state.exit.get_or_insert(status);
    state.stop = None;
    for task in &state.threads {
        task.tracing.kill();
        task.poke();
        task.waiter.wake();
    }
    if is_first {
        end_guests_later(state);
    }
}

/// Has the guests ended of threads that are still in guest code in a while, if any are now. Who is not gets there no more.
fn end_guests_later(state: &GroupState) {
    let Some(task) = state.threads.iter().find(|task| task.has_guest_at_large()) else { return };
    let group: Weak<ThreadGroup> = Arc::downgrade(&task.group);
    if let Err(error) = task.kernel.timers.schedule(Deadline::after(LEAVE_PATIENCE), group, 0) {
        tracing::warn!(?error, "who cannot be interrupted will not be ended");
    }
}

impl Expire for ThreadGroup {
    fn expire(&self, _: u64) {
        let state = self.state.lock();
        let at_large = state.threads.iter().filter(|task| task.has_guest_at_large());
        at_large.filter(|_| state.exit.is_some()).for_each(|task| task.end_guest());
    }
}
