//! A task: what Linux calls `task_struct`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption, Cache};
use parking_lot::Mutex;
use usk_abi::Signal;
use usk_abi::signal::{AlternateStack, SignalInfo, SignalSet};
use usk_platform::{Kick, host};

use crate::futex::OwnerState;
use crate::kernel::Kernel;
use crate::mm::{Mm, SUID_DUMP_DISABLE};
use crate::ptrace::Tracing;
use crate::seccomp::Seccomp;
use crate::signal::{PendingSignals, SignalMask};
use crate::task::last_words::LastWords;
use crate::task::standing::Version;
use crate::task::{Completion, Credentials, ThreadGroup, Usage};
use crate::vfs::{FdTable, FsContext};
use crate::wait::Waiter;

/// Longest command name, without the terminating NUL (`TASK_COMM_LEN` is 16).
pub const COMMAND_NAME_LENGTH: usize = 15;

/// A task's own part of signal state. Guarded by the group's lock: taken only inside it, or by the task itself.
#[derive(Debug)]
pub struct TaskSignals {
    /// Signals sent to this thread.
    pub pending: PendingSignals,
    /// Signals that are not delivered now.
    pub mask: SignalMask,
    /// The mask to return to once the signal that ended `sigsuspend(2)`, `ppoll(2)` and the like has been handled.
    pub saved_mask: Option<SignalSet>,
    /// What `sigtimedwait(2)` waits for: these count as wanted though they are blocked.
    pub awaited: SignalSet,
    /// Alternate signal stack, with the flags it was set with, as frames show them.
    pub alternate_stack: AlternateStack,
    /// The task takes no more signals, and part in no stop of its group: it ends (`PF_EXITING`).
    pub is_leaving: bool,
    /// No SIGCONT has come since a signal was taken last, so that it may stop the group (`JOBCTL_STOP_DEQUEUED`).
    pub may_stop: bool,
}

impl Default for TaskSignals {
    fn default() -> Self {
        TaskSignals {
            pending: PendingSignals::default(),
            mask: SignalMask::default(),
            saved_mask: None,
            awaited: SignalSet::EMPTY,
            alternate_stack: AlternateStack::UNSET,
            is_leaving: false,
            may_stop: false,
        }
    }
}

/// The sentry thread's hold on the processor: how to interrupt it, and how to ask what it has used.
pub(crate) struct Runner {
    pub(crate) kicker: Arc<dyn Kick>,
    /// The sentry's thread, once it runs.
    pub(crate) sentry_thread: Option<SentryThread>,
}

/// The sentry's thread that serves a task, which may have served others before.
#[derive(Clone, Copy)]
pub(crate) struct SentryThread {
    thread: host::ThreadId,
    /// What it had used when it began.
    before: Duration,
}

impl SentryThread {
    /// The calling thread, which begins to serve a task.
    pub(crate) fn begin() -> Self {
        let thread = host::current_thread();
        SentryThread { thread, before: host::thread_cpu_time(thread) }
    }

    /// Processor time that it has used for the task.
    fn time(self) -> Duration {
        host::thread_cpu_time(self.thread).saturating_sub(self.before)
    }
}

/// A task's memory map: to look at it costs a comparison.
pub(super) type MmWatch<'a> = Cache<&'a ArcSwap<Mm>, Arc<Mm>>;

/// What stands for nobody in [`Task::login_uid`] (`AUDIT_UID_UNSET`).
pub(crate) const NO_LOGIN_UID: u32 = u32::MAX;

/// A guest thread as the kernel sees it. The parts that threads may share are reference counted, so that `clone(2)` shares or
/// copies each by its flag.
pub struct Task {
    /// The kernel of this sandbox.
    pub kernel: Arc<Kernel>,
    /// The thread group.
    pub group: Arc<ThreadGroup>,
    /// What the task sleeps on.
    pub waiter: Arc<Waiter>,
    /// Signals.
    pub signals: Mutex<TaskSignals>,
    tid: AtomicI32,
    credentials: ArcSwap<Credentials>,
    mm: ArcSwap<Mm>,
    files: ArcSwapOption<FdTable>,
    fs: ArcSwap<FsContext>,
    command_name: Mutex<Vec<u8>>,
    /// True while guest code may be running; see [`Task::poke`].
    pub(crate) in_guest: AtomicBool,
    /// True while the guest thread makes a host call by order of its sentry thread, from which it does not get to guest code.
    pub(crate) in_host_call: AtomicBool,
    pub(crate) runner: ArcSwapOption<Runner>,
    /// What is to be done at its end, unless the guest thread says otherwise.
    pub(crate) last_words: LastWords,
    /// Whether anybody waits for a priority-inheriting futex of the task's.
    pub pi_owner: OwnerState,
    /// Signal sent when the parent thread ends (`PR_SET_PDEATHSIG`); 0 is none.
    pub parent_death_signal: AtomicI32,
    /// `nice(2)` value.
    pub nice: AtomicI32,
    /// `PR_SET_TIMERSLACK`, nanoseconds.
    pub timer_slack_ns: AtomicU64,
    /// `set_mempolicy(2)`: mode and nodes.
    pub memory_policy: Mutex<(u32, u64)>,
    /// `seccomp(2)`.
    pub seccomp: Seccomp,
    /// `PR_SET_NO_NEW_PRIVS`: nothing is gained by executing. Never taken back. Not among the credentials, which nobody but the task itself
    /// changes: a filter for all threads sets this for each.
    no_new_privs: AtomicBool,
    /// `ptrace(2)`, as the traced task.
    pub(crate) tracing: Tracing,
    /// Counts what has happened to the answers that stand.
    pub(crate) standing: Version,
    /// Counts what has happened to what is lent of files.
    pub(crate) loans: Version,
    /// `personality(2)`.
    pub personality: AtomicU32,
    /// Processors the task may run on, as `sched_setaffinity(2)` set them.
    pub affinity: AtomicU64,
    /// Who has logged in, as `/proc/PID/loginuid` shows and takes it; [`NO_LOGIN_UID`] while nobody has.
    pub(crate) login_uid: AtomicU32,
    /// `ioprio_set(2)` value; 0 follows the nice value.
    pub io_priority: AtomicU32,
    /// Scheduling policy and priority, as set.
    pub scheduling: Mutex<(u32, u32)>,
    /// What the parent of a `vfork(2)` waits for.
    pub(crate) vfork_done: Mutex<Option<Arc<Completion>>>,
    /// Number of the call being made, -1 in guest code; for `/proc/PID/syscall` and reports.
    pub(crate) call_number: AtomicI32,
    pub(crate) voluntary_switches: AtomicU64,
}

/// What a new task is made from.
pub(crate) struct NewTask {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) group: Arc<ThreadGroup>,
    pub(crate) tid: i32,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) mm: Arc<Mm>,
    pub(crate) files: Arc<FdTable>,
    pub(crate) fs: Arc<FsContext>,
    pub(crate) signals: TaskSignals,
    pub(crate) command_name: Vec<u8>,
}

impl Task {
    /// `PR_GET_NO_NEW_PRIVS`
    pub fn no_new_privs(&self) -> bool {
        self.no_new_privs.load(Ordering::Acquire)
    }

    /// `PR_SET_NO_NEW_PRIVS`
    pub fn set_no_new_privs(&self) {
        self.no_new_privs.store(true, Ordering::Release);
    }

    pub(crate) fn new(parts: NewTask) -> Arc<Self> {
        Arc::new(Task {
            kernel: parts.kernel,
            group: parts.group,
            waiter: Waiter::new(),
            signals: Mutex::new(parts.signals),
            tid: AtomicI32::new(parts.tid),
            credentials: ArcSwap::new(parts.credentials),
            mm: ArcSwap::new(parts.mm),
            files: ArcSwapOption::new(Some(parts.files)),
            fs: ArcSwap::new(parts.fs),
            command_name: Mutex::new(parts.command_name),
            in_guest: AtomicBool::new(false),
            in_host_call: AtomicBool::new(false),
            runner: ArcSwapOption::empty(),
            last_words: LastWords::default(),
            pi_owner: OwnerState::default(),
            parent_death_signal: AtomicI32::new(0),
            nice: AtomicI32::new(0),
            timer_slack_ns: AtomicU64::new(50_000),
            memory_policy: Mutex::new((0, 0)),
            seccomp: Seccomp::default(),
            no_new_privs: AtomicBool::new(false),
            tracing: Tracing::default(),
            standing: Version::new(),
            loans: Version::new(),
            personality: AtomicU32::new(0),
            affinity: AtomicU64::new(u64::MAX),
            login_uid: AtomicU32::new(NO_LOGIN_UID),
            io_priority: AtomicU32::new(0),
            scheduling: Mutex::new((0, 0)),
            vfork_done: Mutex::new(None),
            call_number: AtomicI32::new(-1),
            voluntary_switches: AtomicU64::new(0),
        })
    }

    /// The thread's identifier. It changes only when a thread that is not the leader executes a program.
    pub fn tid(&self) -> i32 {
        self.tid.load(Ordering::Relaxed)
    }

    pub(crate) fn set_tid(&self, tid: i32) {
        self.tid.store(tid, Ordering::Relaxed);
        self.withdraw_answers();
    }

    /// The process's identifier.
    pub fn tgid(&self) -> i32 {
        self.group.tgid
    }

    /// Who the task acts as.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.credentials.load_full()
    }

    /// Replaces the credentials. Only the task itself does that. If the task acts as somebody else, or gains, whose memory it was may not
    /// look at it any more, and nobody's end sends it a signal (`commit_creds`).
    pub fn set_credentials(&self, credentials: Credentials) {
        let old = self.credentials();
        let is_other_for_files = credentials.fsuid != old.fsuid || credentials.fsgid != old.fsgid;
        if is_other_for_files || credentials.gains_over(&old) {
            self.borrow_mm(|mm| mm.dumpable.store(SUID_DUMP_DISABLE, Ordering::Relaxed));
            self.parent_death_signal.store(0, Ordering::Relaxed);
        }
        self.credentials.store(Arc::new(credentials.renewed()));
        self.withdraw_answers();
    }

    /// Its memory map.
    pub fn mm(&self) -> Arc<Mm> {
        self.mm.load_full()
    }

    /// What `look` says of its memory map, which may be about to change.
    pub(crate) fn borrow_mm<R>(&self, look: impl FnOnce(&Mm) -> R) -> R {
        look(&self.mm.load())
    }

    /// Its memory map, for its own sentry thread to look at again and again.
    pub(super) fn watch_mm(&self) -> MmWatch<'_> {
        Cache::new(&self.mm)
    }

    pub(crate) fn set_mm(&self, mm: Arc<Mm>) {
        self.mm.store(mm);
    }

    /// Its descriptor table, to be lent or taken back.
    pub(super) fn lendable_files(&self) -> arc_swap::Guard<Option<Arc<FdTable>>> {
        self.files.load()
    }

    /// Its descriptor table, an empty one if it is ending. To be used only after having asked for it.
    pub(super) fn load_files(&self) -> Arc<FdTable> {
        self.files.load_full().unwrap_or_default()
    }

    /// Gives the task a descriptor table of its own if it shares one (`unshare(CLONE_FILES)`, `execve(2)`).
    pub fn unshare_files(&self) {
        let files = self.files();
        // One reference is the task's, one is `files`. A passing reader makes this copy for nothing, which does no harm.
        if Arc::strong_count(&files) > 2 {
            self.files.store(Some(Arc::new(files.duplicate())));
            files.lent.dismiss(self);
        }
    }

    /// Lets go of the descriptor table; the last task that does so closes the files.
    pub(crate) fn release_files(&self) -> Option<Arc<FdTable>> {
        let files = self.files.swap(None);
        files.iter().for_each(|files| files.lent.dismiss(self));
        files
    }

    /// Its root directory, working directory and umask.
    pub fn fs(&self) -> Arc<FsContext> {
        self.fs.load_full()
    }

    /// Whether they are another task's as well, of whatever process (`CLONE_FS`).
    pub fn shares_fs(&self) -> bool {
        let table = self.kernel.tasks.lock();
        table.sharers_of_fs(&self.fs()).any(|other| !std::ptr::eq(Arc::as_ptr(other), self))
    }

    /// Replaces them (`unshare(2)`).
    pub fn set_fs(&self, fs: Arc<FsContext>) {
        self.fs.store(fs);
    }

    /// The command name (`comm`), at most [`COMMAND_NAME_LENGTH`] bytes.
    pub fn command_name(&self) -> Vec<u8> {
        self.command_name.lock().clone()
    }

    /// Sets the command name, cut off at [`COMMAND_NAME_LENGTH`] bytes.
    pub fn set_command_name(&self, name: &[u8]) {
        *self.command_name.lock() = name[..name.len().min(COMMAND_NAME_LENGTH)].to_vec();
    }

    /// The mask of blocked signals.
    pub fn blocked_signals(&self) -> SignalSet {
        self.signals.lock().mask.get()
    }

    /// Replaces the mask of blocked signals (those that cannot be blocked are left out), and sees to it that a signal which is no
    /// longer blocked is delivered. Only the task itself does that.
    pub fn set_blocked_signals(&self, mask: SignalSet) {
        let state = self.group.state.lock();
        let mut signals = self.signals.lock();
        signals.mask.set(mask);
        let pending = signals.pending.set().or(state.pending.set());
        signals.mask.note_pending(pending);
        if !pending.minus(mask.minus(SignalSet::UNBLOCKABLE)).is_empty() {
            drop(signals);
            self.waiter.set_interrupted(true);
        }
    }

    /// Signals that are pending for the task or its group and blocked by nobody but it.
    pub fn pending_signals(&self) -> SignalSet {
        let state = self.group.state.lock();
        self.signals.lock().pending.set().or(state.pending.set())
    }

    /// Takes a pending signal of `wanted`, blocked or not: what `sigtimedwait(2)` and signalfd do.
    pub fn take_signal(&self, wanted: SignalSet) -> Option<(Signal, SignalInfo)> {
        let taken = {
            let mut state = self.group.state.lock();
            let mut signals = self.signals.lock();
            signals.pending.take(wanted).or_else(|| state.pending.take(wanted))
        };
        taken.map(|(signal, info)| (signal, self.group.timers.note_delivery(info)))
    }

    /// Makes the task look at its signals soon: ends its sleep with an interruption, or gets it out of guest code or a host call.
    pub fn poke(&self) {
        self.waiter.set_interrupted(true);
        if self.has_guest_at_large() {
            self.kick();
        }
    }

    /// Gets the task out of guest code, if it is there.
    pub(crate) fn kick(&self) {
        if let Some(runner) = &*self.runner.load() {
            runner.kicker.kick();
        }
    }

    /// Whether it is to end: what takes long can stop (`fatal_signal_pending`).
    pub fn is_to_end(self: &Arc<Self>) -> bool {
        self.waiter.is_interrupted() && self.group.state.lock().is_over_for(self)
    }

    /// Whether the task is asleep in a call, as far as can be told: it is in one and has not come back.
    pub(crate) fn is_in_call(&self) -> bool {
        self.call_number.load(Ordering::Relaxed) >= 0 || self.is_in_host_call()
    }

    /// Whether it sleeps in a host call of its own, with nothing done to what it was lent. To be asked again after answers have been
    /// withdrawn.
    pub(super) fn sleeps_with_nothing(&self) -> bool {
        self.runner.load().as_ref().is_some_and(|runner| runner.kicker.sleeps_with_nothing())
    }

    fn is_in_host_call(&self) -> bool {
        self.runner.load().as_ref().is_some_and(|runner| runner.kicker.is_in_host_call())
    }

    /// Whether it may be in guest code, or get there without its sentry thread. To be asked after host calls have been
    /// withdrawn.
    pub(crate) fn may_run_guest_code(&self) -> bool {
        self.in_guest.load(Ordering::SeqCst) && !self.is_in_host_call()
    }

    /// Ends the host process that runs its guest code: for one that cannot be kicked out of it.
    pub(crate) fn end_guest(&self) {
        if let Some(runner) = &*self.runner.load() {
            runner.kicker.kill();
        }
    }

    /// Whether its guest thread may be about something other than to wait for its sentry thread.
    pub(super) fn has_guest_at_large(&self) -> bool {
        self.in_guest.load(Ordering::SeqCst) || self.in_host_call.load(Ordering::SeqCst)
    }

    /// Whether it seems to run guest code.
    pub(crate) fn is_running(&self) -> bool {
        self.in_guest.load(Ordering::Relaxed) && !self.is_in_call()
    }

    /// Processor time used.
    pub fn usage(&self) -> Usage {
        let runner = self.runner.load();
        let Some(runner) = &*runner else { return Usage::default() };
        Usage {
            user: runner.kicker.cpu_time(),
            system: runner.sentry_thread.map(SentryThread::time).unwrap_or_default(),
            voluntary_switches: self.voluntary_switches.load(Ordering::Relaxed),
        }
    }
}
