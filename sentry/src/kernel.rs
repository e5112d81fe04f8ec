//! The kernel of one sandbox: what all its tasks have in common.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use usk_abi::signal::{ActionFlags, SIG_IGN, SignalInfo, code};
use usk_abi::socket::SOMAXCONN;
use usk_abi::{Errno, PollEvents, Signal};
use usk_platform::Platform;

use crate::aio::AioLimit;
use crate::gofer::GoferClient;
use crate::ipc::{Bound, Ipc};
use crate::limits::{Limits, SandboxLimits};
use crate::meter::{Costs, Meter, MeterPlace};
use crate::mm::{KnownCode, Mm};
use crate::net::inet::InetNamespace;
use crate::net::unix::UnixNamespace;
use crate::signal::{Sent, send_to_group, send_to_task};
use crate::task::workers::Workers;
use crate::task::{
    Dispatcher, ExitStatus, INIT_PID, OUTSIDE_PID, Process, ResourceLimits, StopEvent, Task, TaskTable,
    ThreadGroup, Usage,
};
use crate::time::Timers;
use crate::tty::Terminals;

/// Most different calls that are not implemented and are told apart: a guest chooses the numbers.
const MAX_UNIMPLEMENTED: usize = 256;

/// The release that `uname(2)` names: the interface that is implemented is that of Linux 6.12.
pub const RELEASE: &str = "6.12.0-usk";
/// The version that `uname(2)` names.
pub const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC usk";

/// Host and domain name (`struct new_utsname`).
#[derive(Clone, Debug)]
pub struct UtsNames {
    /// `nodename`
    pub host: Vec<u8>,
    /// `domainname`
    pub domain: Vec<u8>,
}

/// Users and groups of the sandbox, and what they are outside: the first, the first outside, and how many. For show: files
/// come with owners that have been translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityMaps {
    /// `/proc/PID/uid_map`
    pub users: Vec<[u32; 3]>,
    /// `/proc/PID/gid_map`
    pub groups: Vec<[u32; 3]>,
}

impl Default for IdentityMaps {
    fn default() -> Self {
        let all = vec![[0, 0, u32::MAX]];
        IdentityMaps { users: all.clone(), groups: all }
    }
}

/// How the sandbox ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// The main process's status.
    pub status: ExitStatus,
    /// Calls that are not implemented and were made all the same: number and count.
    pub unimplemented: BTreeMap<u64, u64>,
    /// Limits that were hit, by name.
    pub limits_hit: Vec<&'static str>,
}

/// Is told how a process ended. It is called with the process tree locked, and must neither wait nor look at the tree.
pub type ExitWatch = Box<dyn FnOnce(ExitStatus) + Send>;

/// One sandbox's kernel.
pub struct Kernel {
    /// What runs guest code.
    pub platform: Arc<dyn Platform>,
    /// Calls back at points in time.
    pub timers: Arc<Timers>,
    /// The abstract names of AF_UNIX sockets.
    pub unix: Arc<UnixNamespace>,
    /// The Internet sockets, and their ports.
    pub inet: Arc<InetNamespace>,
    /// Terminals, and whose they are.
    pub terminals: Arc<Terminals>,
    /// The threads that serve tasks.
    pub(crate) workers: Arc<Workers>,
    /// The memory of tasks that have ended. `None` where the platform leaves no room for any.
    pub(crate) no_memory: Option<Arc<Mm>>,
    /// What is known of the code in files.
    pub(crate) known_code: KnownCode,
    /// Counts what the run costs, if somebody wants to know.
    meter: MeterPlace,
    /// The process tree.
    pub tasks: Mutex<TaskTable>,
    /// Bounds.
    pub limits: Limits,
    /// System V shared memory, semaphores and messages.
    pub ipc: Ipc,
    /// How much asynchronous input and output there may be.
    pub aio: Arc<AioLimit>,
    /// Longest backlog of `listen(2)`.
    pub somaxconn: Bound,
    /// Host and domain name.
    pub uts: Mutex<UtsNames>,
    identity_maps: OnceLock<IdentityMaps>,
    dispatcher: OnceLock<Arc<dyn Dispatcher>>,
    main_pid: AtomicI32,
    finished: Mutex<Option<ExitStatus>>,
    finish_signal: Condvar,
    main_stop: OnceLock<Box<dyn Fn(Signal) + Send + Sync>>,
    /// By process identifier. A leaf lock.
    exit_watches: Mutex<BTreeMap<i32, ExitWatch>>,
    unimplemented: Mutex<BTreeMap<u64, u64>>,
    limits_hit: Mutex<Vec<&'static str>>,
    /// Count of tasks made since the start, for `/proc/stat`.
    pub forks: AtomicU64,
    /// A random number that names this run of the sandbox.
    pub boot_id: [u8; 16],
    /// When the sandbox started, nanoseconds on `CLOCK_REALTIME`.
    pub boot_realtime_ns: u64,
}

impl Kernel {
    /// A kernel with one process, which runs no guest code. It is init, unless the command shall be.
    pub fn new(
        platform: Arc<dyn Platform>,
        limits: SandboxLimits,
        host_name: &[u8],
        command_is_init: bool,
    ) -> Arc<Self> {
        let own_pid = if command_is_init { OUTSIDE_PID } else { INIT_PID };
        let timers = Arc::new(Timers::new());
        // Counted before any thread is bound to one processor.
        usk_platform::host::count_processors();
        let kernel = Arc::new(Kernel {
            no_memory: Mm::nothing(platform.layout()).ok(),
            platform,
            terminals: Terminals::new(&timers),
            unix: UnixNamespace::new(),
            inet: InetNamespace::new(),
            workers: Workers::new(),
            known_code: KnownCode::default(),
            meter: MeterPlace::new(),
            tasks: Mutex::new(TaskTable::new(own_pid)),
            timers,
            limits: Limits::new(limits),
            ipc: Ipc::default(),
            aio: AioLimit::new(),
            somaxconn: Bound::new(SOMAXCONN.into(), i32::MAX as u64),
            uts: Mutex::new(UtsNames { host: host_name.to_vec(), domain: b"(none)".to_vec() }),
            identity_maps: OnceLock::new(),
            dispatcher: OnceLock::new(),
            main_pid: AtomicI32::new(0),
            finished: Mutex::new(None),
            finish_signal: Condvar::new(),
            main_stop: OnceLock::new(),
            exit_watches: Mutex::default(),
            unimplemented: Mutex::default(),
            limits_hit: Mutex::default(),
            forks: AtomicU64::new(0),
            boot_id: random_id(),
            boot_realtime_ns: usk_platform::host::clock_ns(usk_platform::host::Clock::Realtime),
        });
        kernel.terminals.attach(Arc::downgrade(&kernel));
        let mut table = kernel.tasks.lock();
        table.insert_process(Process {
            group: ThreadGroup::new(own_pid, Arc::default(), ResourceLimits::default(), 0),
            parent: 0,
            parent_thread: 0,
            children: Vec::new(),
            process_group: own_pid,
            session: own_pid,
            exit_signal: None,
            zombie: None,
            event: None,
            children_usage: Usage::default(),
            is_subreaper: true,
            has_executed: true,
        });
        drop(table);
        kernel
    }

    /// Says what the sandbox's users are outside. Once, before the first task.
    pub fn set_identity_maps(&self, maps: IdentityMaps) {
        let _ = self.identity_maps.set(maps);
    }

    pub(crate) fn identity_maps(&self) -> &IdentityMaps {
        self.identity_maps.get_or_init(IdentityMaps::default)
    }

    /// Says what carries out system calls. Once, before the first task.
    pub fn set_dispatcher(&self, dispatcher: Arc<dyn Dispatcher>) {
        let _ = self.dispatcher.set(dispatcher);
    }

    /// Counts from now on what the run costs. Before the first task, for it to be complete.
    pub fn begin_metering(&self) {
        self.meter.get_or_init(Meter::default);
    }

    pub(crate) fn meter(&self) -> Option<&Meter> {
        self.meter.get()
    }

    /// What the run has cost up to now; `None` if nobody wanted it counted.
    pub fn costs(&self, gofer: &GoferClient) -> Option<Costs> {
        let mut costs = self.meter()?.costs();
        let totals = &mut costs.totals;
        (totals.questions, totals.question_ns) = gofer.questions();
        totals.tasks = self.forks.load(Ordering::Relaxed);
        Some(costs)
    }

    pub(crate) fn dispatcher(&self) -> Arc<dyn Dispatcher> {
        match self.dispatcher.get() {
            Some(dispatcher) => dispatcher.clone(),
            None => Arc::new(NoCalls),
        }
    }

    /// The process whose end is the sandbox's end.
    pub fn main_pid(&self) -> i32 {
        self.main_pid.load(Ordering::Relaxed)
    }

    pub(crate) fn set_main_pid(&self, pid: i32) {
        self.main_pid.store(pid, Ordering::Relaxed);
    }

    /// Says what to do when a signal has stopped the main process: its parent is outside. Once, before the first task.
    pub fn on_main_stop(&self, act: impl Fn(Signal) + Send + Sync + 'static) {
        let _ = self.main_stop.set(Box::new(act));
    }

    /// Says whom to tell how a process ends that does not run yet.
    pub(crate) fn watch_exit(&self, pid: i32, watch: ExitWatch) {
        self.exit_watches.lock().insert(pid, watch);
    }

    /// The process will not run.
    pub(crate) fn forget_exit_watch(&self, pid: i32) {
        self.exit_watches.lock().remove(&pid);
    }

    /// A process has ended: tells who waits for that outside the sandbox.
    pub(crate) fn tell_exit(&self, pid: i32, status: ExitStatus) {
        let watch = self.exit_watches.lock().remove(&pid);
        if let Some(watch) = watch {
            watch(status);
        }
    }

    /// The main process has ended.
    pub(crate) fn finish(&self, status: ExitStatus) {
        self.finished.lock().get_or_insert(status);
        self.finish_signal.notify_all();
    }

    /// Waits until the main process has ended. If that takes longer than `settled`, calls `on_settled` once, then.
    pub fn wait_until_finished(&self, settled: Duration, on_settled: impl FnOnce()) -> Report {
        let mut finished = self.finished.lock();
        if finished.is_none() && self.finish_signal.wait_for(&mut finished, settled).timed_out() {
            MutexGuard::unlocked(&mut finished, on_settled);
        }
        let status = loop {
            match *finished {
                Some(status) => break status,
                None => self.finish_signal.wait(&mut finished),
            }
        };
        Report { status, unimplemented: self.unimplemented(), limits_hit: self.limits_hit.lock().clone() }
    }

    /// Counts a call that is not implemented.
    pub fn note_unimplemented(&self, number: u64) {
        let mut calls = self.unimplemented.lock();
        if let Some(count) = calls.get_mut(&number) {
            *count += 1;
        } else if calls.len() < MAX_UNIMPLEMENTED {
            calls.insert(number, 1);
            tracing::info!(number, "a call that is not implemented was made");
        }
    }

    /// The calls that were made and are not implemented, with how often.
    pub fn unimplemented(&self) -> BTreeMap<u64, u64> {
        self.unimplemented.lock().clone()
    }

    /// Notes that a limit of the sandbox was hit.
    pub fn note_limit(&self, name: &'static str) {
        let mut hit = self.limits_hit.lock();
        if !hit.contains(&name) {
            hit.push(name);
        }
    }

    /// The controlling terminal of a process as a device number, and the terminal's foreground process group: 0 and -1 if there is
    /// none.
    pub fn terminal_of(&self, group: &ThreadGroup) -> (u32, i32) {
        let session = self.tasks.lock().process(group.tgid).map_or(0, |process| process.session);
        match self.terminals.of_session(session) {
            Some(terminal) => (u32::try_from(terminal.device()).unwrap_or(0), terminal.jobs().foreground()),
            None => (0, -1),
        }
    }

    /// Bytes of memory that are not in use, as far as the sentry can tell.
    pub fn free_memory(&self) -> u64 {
        let in_use: Vec<_> = {
            let table = self.tasks.lock();
            let tasks = table.processes().filter_map(|(_, process)| process.group.any_thread());
            tasks.map(|task| task.mm()).collect()
        };
        let used = in_use.iter().map(|mm| mm.recently_resident()).fold(0, u64::saturating_add);
        self.limits.total_memory().saturating_sub(used)
    }

    /// Finds a live thread. `ESRCH` if there is none.
    pub fn find_task(&self, tid: i32) -> Result<Arc<Task>, Errno> {
        self.tasks.lock().thread(tid).ok_or(Errno::ESRCH)
    }

    /// Finds a process, zombies included. `ESRCH` if there is none.
    pub fn find_group(&self, pid: i32) -> Result<Arc<ThreadGroup>, Errno> {
        self.tasks.lock().process(pid).map(|process| process.group.clone()).ok_or(Errno::ESRCH)
    }

    /// Sends a signal to a thread group and tells its parent if that continues it.
    pub fn signal_group(&self, group: &Arc<ThreadGroup>, info: SignalInfo) -> Result<(), Errno> {
        if send_to_group(group, info)? == Sent::Continued {
            self.report_event(&mut self.tasks.lock(), group.tgid, StopEvent::Continued);
        }
        Ok(())
    }

    /// Sends a signal to one thread and tells its parent if that continues its group.
    pub fn signal_task(&self, task: &Arc<Task>, info: SignalInfo) -> Result<(), Errno> {
        if send_to_task(task, info)? == Sent::Continued {
            self.report_event(&mut self.tasks.lock(), task.tgid(), StopEvent::Continued);
        }
        Ok(())
    }

    /// Sends a signal to every process of a process group. `ESRCH` if it has none.
    pub fn signal_process_group(&self, process_group: i32, info: SignalInfo) -> Result<(), Errno> {
        let members: Vec<_> = {
            let table = self.tasks.lock();
            table.process_group(process_group).map(|(_, process)| process.group.clone()).collect()
        };
        if members.is_empty() {
            return Err(Errno::ESRCH);
        }
        for group in members {
            self.signal_group(&group, info)?;
        }
        Ok(())
    }

    /// The process group that the operator's terminal sends its signals to: the one in the foreground of the sandbox's console, or the
    /// main process's.
    pub fn foreground_process_group(&self) -> i32 {
        if let Some(console) = self.terminals.console() {
            return console.jobs().foreground();
        }
        self.main_process_group()
    }

    /// The main process's process group; 0 once it has ended.
    pub fn main_process_group(&self) -> i32 {
        let table = self.tasks.lock();
        table.process(self.main_pid()).map_or(0, |process| process.process_group)
    }

    /// A group stop is complete: tells the parent.
    pub(crate) fn report_stop(&self, group: &ThreadGroup, signal: Signal) {
        let mut table = self.tasks.lock();
        // A parent that traces the process hears of it as its tracer.
        let parent = table.process(group.tgid).map(|process| process.parent);
        if table.links.tracer_of(group.tgid).map(|tracer| tracer.tgid()).is_none_or(|own| Some(own) != parent)
        {
            self.report_event(&mut table, group.tgid, StopEvent::Stopped(signal));
        }
        drop(table);
        if group.tgid == self.main_pid()
            && let Some(act) = self.main_stop.get()
        {
            act(signal);
        }
    }

    fn report_event(&self, table: &mut TaskTable, pid: i32, event: StopEvent) {
        let Some(process) = table.process_mut(pid) else { return };
        process.event = Some(event);
        let (parent, usage) = (process.parent, process.group.usage());
        let uid = process.group.any_thread().map(|task| task.credentials().uid).unwrap_or_default();
        if parent == table.own() {
            return;
        }
        let Some(parent) = table.process(parent) else { return };
        let (code, status) = match event {
            StopEvent::Stopped(signal) => (code::CLD_STOPPED, signal.number()),
            StopEvent::Continued => (code::CLD_CONTINUED, Signal::SIGCONT.number()),
        };
        let ticks = crate::task::ticks;
        let info = SignalInfo::child(code, pid, uid, status, ticks(usage.user), ticks(usage.system));
        notify_of_stop(&parent.group, info);
    }

    /// True if the group's process group is orphaned: stops from a terminal do not act on it.
    pub(crate) fn is_orphaned_group_of(&self, group: &ThreadGroup) -> bool {
        let table = self.tasks.lock();
        // The main process's group is not: the sandbox's operator can continue it.
        let main_group = table.process(self.main_pid()).map(|process| process.process_group);
        let Some(process) = table.process(group.tgid) else { return true };
        Some(process.process_group) != main_group && table.is_orphaned_group(process.process_group, None)
    }

    /// A thread has ended: children with a thread that asked for a signal at the death of its parent thread get it.
    pub(crate) fn notify_parent_death(&self, table: &TaskTable, parent: &Task) {
        for (_, process) in table.processes() {
            if process.parent_thread != parent.tid()
                || process.parent != parent.tgid()
                || process.zombie.is_some()
            {
                continue;
            }
            for task in process.group.threads() {
                let number = task.parent_death_signal.load(Ordering::Relaxed);
                if let Some(signal) = Signal::from_number(number) {
                    let info =
                        SignalInfo::user(signal, code::SI_USER, parent.tgid(), parent.credentials().uid);
                    let _ = send_to_group(&process.group, info);
                }
            }
        }
    }

    /// The leader of a session has ended: its terminal is taken away and the foreground group is hung up.
    pub(crate) fn terminals_of_ended_session(&self, table: &TaskTable, pid: i32, session: i32) {
        if pid == session {
            self.terminals.session_ended(table, session);
        }
    }

    /// Takes a process that has been waited for out of the tree.
    pub(crate) fn forget_process(&self, table: &mut TaskTable, pid: i32) {
        table.remove_process(pid);
        table.links.remove(pid);
    }
}

/// Random bytes in the form of a version 4 UUID. Without the host's generator, which every Linux has, they are zero.
fn random_id() -> [u8; 16] {
    let mut bytes = [0u8; 16];
    let _ = usk_platform::host::fill_random(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

struct NoCalls;

impl Dispatcher for NoCalls {
    fn dispatch(
        &self,
        _: &mut crate::task::Current,
        _: u64,
        _: crate::task::SyscallArguments,
    ) -> crate::SysResult {
        Err(Errno::ENOSYS.into())
    }
}

/// Tells a parent, or a tracer, that a task of its has stopped or goes on (`do_notify_parent_cldstop`): sends it SIGCHLD if it wants to have
/// that, and wakes who waits.
pub(crate) fn notify_of_stop(group: &Arc<ThreadGroup>, info: SignalInfo) {
    let action = group.actions.load().get(Signal::SIGCHLD);
    if action.handler != SIG_IGN && !action.action_flags().contains(ActionFlags::NOCLDSTOP) {
        let _ = send_to_group(group, info);
    }
    group.child_events.notify(PollEvents::IN);
}
