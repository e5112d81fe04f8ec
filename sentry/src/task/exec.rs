//! Executing a program (`execve(2)`, `fs/exec.c`), and the first program of the sandbox.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use usk_abi::signal::{AlternateStack, SignalSet};
use usk_abi::{Errno, Signal};
use usk_platform::host::timeline::Steps;
use usk_platform::{ThreadState, host};

use crate::SysResult;
use crate::kernel::{ExitWatch, Kernel};
use crate::loader::PreparedImage;
use crate::mm::{Mm, SUID_DUMP_DISABLE, SUID_DUMP_USER};
use crate::ptrace;
use crate::seccomp::Filters;
use crate::signal::SignalActions;
use crate::task::lending::Lending;
use crate::task::table::{INIT_PID, Process};
use crate::task::task::{NewTask, Runner, TaskSignals};
use crate::task::{
    Credentials, Current, ExitStatus, Resource, ResourceLimits, Task, ThreadGroup, Usage, exit, run,
};
use crate::tty::Terminal;
use crate::vfs::{FdTable, FsContext, FsHold};

/// `personality(2)`: no address-space randomisation.
const ADDR_NO_RANDOMIZE: u32 = 0x0004_0000;
/// `PER_CLEAR_ON_SETID`: what a program that gains does not take over: `READ_IMPLIES_EXEC`, `ADDR_NO_RANDOMIZE`, `ADDR_COMPAT_LAYOUT`,
/// `MMAP_PAGE_ZERO`.
const CLEARED_BY_GAIN: u32 = 0x0040_0000 | ADDR_NO_RANDOMIZE | 0x0020_0000 | 0x0010_0000;

/// A program to execute: its files have been opened and checked.
pub struct ExecuteRequest {
    /// The image.
    pub image: PreparedImage,
    /// Who the program runs as: the caller, changed by the file's set-user-ID bits.
    pub credentials: Credentials,
    /// That these are right for a task with `PR_SET_NO_NEW_PRIVS`.
    pub(super) no_new_privs: bool,
    /// The caller may read the program's files; else it cannot look at the program's memory either (`would_dump`).
    pub(super) may_be_read: bool,
    /// Until the program is there, if it gains.
    pub(super) _fs_hold: Option<FsHold>,
}

impl ExecuteRequest {
    /// What `comm` becomes: the last component of the path.
    fn command_name(&self) -> Vec<u8> {
        self.image.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec()
    }
}

/// Replaces the program of the calling process. When it returns, the registers are those of the new program.
pub fn execute(current: &mut Current, mut request: ExecuteRequest) -> SysResult {
    let former = current.task.tid();
    end_other_threads(current)?;
    let task = current.task.clone();
    request.look_again(&task)?;
    let old = task.credentials();
    let gains = request.credentials.gains_over(&old);
    if gains {
        task.personality.fetch_and(!CLEARED_BY_GAIN, Ordering::Relaxed);
    }
    let old_mm = task.mm();
    crate::futex::release_mutexes(current, true);
    exit::clear_child_tid(current);
    // Somebody else may use this memory, a vfork parent usually; else the address space is used again.
    let mm = if old_mm.users() > 1 {
        let mm = new_mm(&task.kernel, &task.group, task.personality.load(Ordering::Relaxed))?;
        let thread = mm.space.clone().create_thread(&ThreadState::default())?;
        let sentry_thread = task.runner.load().as_ref().and_then(|runner| runner.sentry_thread);
        task.signals.lock().mask.take_back();
        task.group.actions.load().take_back();
        task.runner.store(Some(Arc::new(Runner { kicker: thread.kicker(), sentry_thread })));
        current.thread = thread;
        current.standing = None;
        mm.enter(&task);
        task.set_mm(mm.clone());
        old_mm.leave(&task);
        mm
    } else {
        old_mm
    };
    // Until the credentials are the new program's, too.
    let beginning = mm.begin_program();
    // Windows on files go with the memory.
    (current.standing, current.lending) = (None, Lending::default());
    current.thread.forget_names();
    mm.learn_slow_calls(&task.kernel);
    let committed = request.image.commit(&mut *current.thread, &mm, &task.kernel.known_code);
    reset_attributes(current, &request);
    drop(beginning);
    if gains {
        ptrace::dismiss_unfit_tracer(&task);
    }
    exit::complete_vfork(&task);
    // The old program is gone, so a failure can only end the process.
    let started = committed.and_then(|entry| {
        current.thread.set_extended_state(None)?;
        Ok(entry)
    });
    current.keep_registers = true;
    match started {
        Ok(registers) => {
            *current.thread.registers_mut() = registers;
            task.kernel.meter().inspect(|meter| meter.executed());
            current.stop_at_program(former);
        }
        Err(_) => task.group.begin_exit(ExitStatus::Signaled { signal: Signal::SIGKILL, core: false }),
    }
    Ok(0)
}

/// Empty memory for a program.
fn new_mm(kernel: &Kernel, group: &ThreadGroup, personality: u32) -> Result<Arc<Mm>, Errno> {
    let stack_limit = group.limits.lock().soft(Resource::Stack);
    let randomize = personality & ADDR_NO_RANDOMIZE == 0;
    Mm::new(kernel.platform.create_space()?, kernel.platform.layout(), stack_limit, randomize)
}

/// Ends all other threads of the group and waits until they are gone; the caller becomes the leader (`de_thread`).
fn end_other_threads(current: &mut Current) -> SysResult<()> {
    let task = current.task.clone();
    {
        let mut state = task.group.state.lock();
        if state.exit.is_some() || state.exec.is_some() {
            return Err(crate::Restart::Always.into());
        }
        if state.threads.len() > 1 {
            state.exec = Some(task.clone());
            for other in state.threads.iter().filter(|other| !Arc::ptr_eq(other, &task)) {
                other.tracing.kill();
                other.poke();
                other.waiter.wake();
            }
        }
    }
    loop {
        task.waiter.arm();
        {
            let mut state = task.group.state.lock();
            if state.threads.len() == 1 || state.exit.is_some() {
                state.exec = None;
                if state.exit.is_some() {
                    return Err(crate::Restart::Always.into());
                }
                break;
            }
        }
        current.sleep_at(&task.waiter, None, true);
    }
    let leader = task.group.tgid;
    if task.tid() != leader {
        let mut table = task.kernel.tasks.lock();
        table.remove_thread(task.tid());
        table.links.rename(task.tid(), leader);
        table.hand_children_on(leader, task.tid(), leader);
        task.set_tid(leader);
        table.insert_thread(leader, task.clone());
        task.group.state.lock().ended_leader = None;
    }
    Ok(())
}

/// What a new program does not inherit.
fn reset_attributes(current: &mut Current, request: &ExecuteRequest) {
    current.forget_last_words();
    let task = &current.task;
    let own_actions = Arc::new(task.group.actions.load().duplicate());
    own_actions.reset_handlers();
    task.group.actions.store(own_actions);
    {
        let mut signals = task.signals.lock();
        // Its flags stay, as on Linux (`begin_new_exec`).
        signals.alternate_stack =
            AlternateStack { flags: signals.alternate_stack.flags, ..AlternateStack::NONE };
    }
    current.thread.set_return_stack([0; 3]);
    task.group.timers.clear_posix(&task.group);
    let old = task.credentials();
    let acts_as_itself = old.euid == old.uid && old.egid == old.gid;
    let dumpable = if acts_as_itself && request.may_be_read { SUID_DUMP_USER } else { SUID_DUMP_DISABLE };
    task.mm().dumpable.store(dumpable, Ordering::Relaxed);
    task.set_command_name(&request.command_name());
    task.set_credentials(request.credentials.clone());
    // Who has more than its caller gets no signals by its caller's end.
    if request.image.context.identity.is_secure {
        task.parent_death_signal.store(0, Ordering::Relaxed);
        let stack = &mut task.group.limits.lock().0[Resource::Stack as usize].soft;
        *stack = request.image.context.stack_limit.min(*stack);
    }
    // A table shared by CLONE_FILES stays with the others; the new program has a copy.
    task.unshare_files();
    task.files().close_on_exec();
    current.restart_block = None;
    current.pending_restart = None;
    if let Some(process) = task.kernel.tasks.lock().process_mut(task.tgid()) {
        process.has_executed = true;
    }
}

/// A process that the operator asks for: the sandbox's main one, or one beside it.
pub struct MainProcess {
    /// Its program.
    pub request: ExecuteRequest,
    /// Its descriptors.
    pub files: Arc<FdTable>,
    /// Its root and working directory.
    pub fs: Arc<FsContext>,
    /// Its limits.
    pub limits: ResourceLimits,
    /// Signals that it starts with as ignored.
    pub ignored_signals: SignalSet,
    /// `/proc/PID/oom_score_adj`
    pub oom_score_adj: i32,
    /// What it may call, if somebody says so.
    pub seccomp: Option<Arc<Filters>>,
    /// `nice(2)` value.
    pub nice: i32,
    /// Policy of `sched_setscheduler(2)`, with `SCHED_RESET_ON_FORK`.
    pub policy: u32,
    /// `ioprio_set(2)` value.
    pub io_priority: u32,
    /// `personality(2)`.
    pub personality: u32,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
}

/// Reserves the main process's identifier, which others that start before it must not get.
pub fn reserve_main(kernel: &Kernel) -> Result<(), Errno> {
    let pid = kernel.tasks.lock().allocate_pid()?;
    kernel.set_main_pid(pid);
    Ok(())
}

/// Starts the main process, in init's session, with the console as its terminal. Its end is the sandbox's. Its identifier
/// has been reserved.
pub fn spawn_main(kernel: &Arc<Kernel>, main: MainProcess) -> Result<(), Errno> {
    let pid = kernel.main_pid();
    if let Some(console) = kernel.terminals.console() {
        kernel.terminals.give(console, INIT_PID, pid);
    }
    spawn(kernel, main, pid, INIT_PID)
}

/// Starts a process beside the main one, in a session of its own, with a terminal if one is given. Returns its
/// identifier. `at_exit` is told once how it ended. `EAGAIN` at the limit on tasks.
pub fn spawn_beside(
    kernel: &Arc<Kernel>,
    process: MainProcess,
    terminal: Option<Arc<dyn Terminal>>,
    at_exit: ExitWatch,
) -> Result<i32, Errno> {
    let pid = {
        let mut table = kernel.tasks.lock();
        if table.charged_count() >= kernel.limits.most_tasks() {
            kernel.note_limit("pids");
            return Err(Errno::EAGAIN);
        }
        table.allocate_pid()?
    };
    // Before the process can end.
    kernel.watch_exit(pid, at_exit);
    if let Some(terminal) = terminal {
        kernel.terminals.give(terminal, pid, pid);
    }
    let started = spawn(kernel, process, pid, pid);
    if started.is_err() {
        kernel.forget_exit_watch(pid);
        kernel.terminals.set_of_session(pid, None);
    }
    started.map(|()| pid)
}

fn spawn(kernel: &Arc<Kernel>, main: MainProcess, pid: i32, session: i32) -> Result<(), Errno> {
    let now = host::clock_ns(host::Clock::Boottime);
    let actions: Arc<SignalActions> = Arc::default();
    actions.ignore(main.ignored_signals);
    let group = ThreadGroup::new(pid, actions, main.limits, now);
    if pid == INIT_PID {
        group.protect();
    }
    group.oom_score_adj.store(main.oom_score_adj.cast_unsigned(), Ordering::Relaxed);
    // Set by who may lower it: nobody else goes below.
    group.oom_score_adj_min.store(main.oom_score_adj, Ordering::Relaxed);
    let mut steps = Steps::begin();
    let mm = new_mm(kernel, &group, 0)?;
    steps.done("make an address space");
    let mut thread = mm.space.clone().create_thread(&ThreadState::default())?;
    let worker = kernel.workers.hire()?;
    steps.done("make a guest thread");
    let registers = main.request.image.commit(&mut *thread, &mm, &kernel.known_code)?;
    steps.done("load the program");
    *thread.registers_mut() = registers;
    let command_name = main.request.command_name();
    let task = Task::new(NewTask {
        kernel: kernel.clone(),
        group: group.clone(),
        tid: pid,
        credentials: Arc::new(main.request.credentials),
        mm,
        files: main.files,
        fs: main.fs,
        signals: TaskSignals::default(),
        command_name: Vec::new(),
    });
    task.mm().enter(&task);
    task.set_command_name(&command_name);
    if let Some(filters) = main.seccomp {
        task.seccomp.set_filters(filters);
    }
    task.nice.store(main.nice, Ordering::Relaxed);
    *task.scheduling.lock() = (main.policy, 0);
    task.io_priority.store(main.io_priority, Ordering::Relaxed);
    task.personality.store(main.personality, Ordering::Relaxed);
    if main.no_new_privs {
        task.set_no_new_privs();
    }
    let mut table = kernel.tasks.lock();
    group.state.lock().threads.push(task.clone());
    table.insert_thread(pid, task.clone());
    let parent = table.own();
    table.insert_process(Process {
        group,
        parent,
        parent_thread: parent,
        children: Vec::new(),
        process_group: pid,
        session,
        exit_signal: Some(Signal::SIGCHLD),
        zombie: None,
        event: None,
        children_usage: Usage::default(),
        is_subreaper: false,
        has_executed: true,
    });
    run::announce(&task, &*thread);
    drop(table);
    run::start(worker, task, thread);
    Ok(())
}
