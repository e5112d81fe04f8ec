//! New tasks: `clone(2)`, `clone3(2)`, `fork(2)`, `vfork(2)`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bitflags::bitflags;
use usk_abi::ptrace::PTRACE_EVENT_VFORK_DONE;
use usk_abi::sched::SCHED_RESET_ON_FORK;
use usk_abi::signal::{AlternateStack, SignalSet};
use usk_abi::{Errno, Signal};
use usk_platform::{ThreadState, host};

use crate::mm;
use crate::ptrace;
use crate::signal::{SignalMask, join_stop};
use crate::task::table::Process;
use crate::task::task::{NewTask, TaskSignals};
use crate::task::{Completion, Credentials, Current, Resource, Task, ThreadGroup, Usage, run};
use crate::{SysResult, UserPtr};

bitflags! {
    /// `CLONE_*` of `linux/sched.h`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CloneFlags: u64 {
        /// `CLONE_NEWTIME`
        const NEWTIME = 0x80;
        /// `CLONE_VM`
        const VM = 0x100;
        /// `CLONE_FS`
        const FS = 0x200;
        /// `CLONE_FILES`
        const FILES = 0x400;
        /// `CLONE_SIGHAND`
        const SIGHAND = 0x800;
        /// `CLONE_PIDFD`
        const PIDFD = 0x1000;
        /// `CLONE_PTRACE`
        const PTRACE = 0x2000;
        /// `CLONE_VFORK`
        const VFORK = 0x4000;
        /// `CLONE_PARENT`
        const PARENT = 0x8000;
        /// `CLONE_THREAD`
        const THREAD = 0x1_0000;
        /// `CLONE_NEWNS`
        const NEWNS = 0x2_0000;
        /// `CLONE_SYSVSEM`
        const SYSVSEM = 0x4_0000;
        /// `CLONE_SETTLS`
        const SETTLS = 0x8_0000;
        /// `CLONE_PARENT_SETTID`
        const PARENT_SETTID = 0x10_0000;
        /// `CLONE_CHILD_CLEARTID`
        const CHILD_CLEARTID = 0x20_0000;
        /// `CLONE_DETACHED`
        const DETACHED = 0x40_0000;
        /// `CLONE_UNTRACED`
        const UNTRACED = 0x80_0000;
        /// `CLONE_CHILD_SETTID`
        const CHILD_SETTID = 0x100_0000;
        /// `CLONE_NEWCGROUP`
        const NEWCGROUP = 0x200_0000;
        /// `CLONE_NEWUTS`
        const NEWUTS = 0x400_0000;
        /// `CLONE_NEWIPC`
        const NEWIPC = 0x800_0000;
        /// `CLONE_NEWUSER`
        const NEWUSER = 0x1000_0000;
        /// `CLONE_NEWPID`
        const NEWPID = 0x2000_0000;
        /// `CLONE_NEWNET`
        const NEWNET = 0x4000_0000;
        /// `CLONE_IO`
        const IO = 0x8000_0000;
        /// `CLONE_CLEAR_SIGHAND`
        const CLEAR_SIGHAND = 0x1_0000_0000;
        /// `CLONE_INTO_CGROUP`
        const INTO_CGROUP = 0x2_0000_0000;
    }
}

impl CloneFlags {
    /// Flags that make namespaces. The sandbox has one of each; guests cannot make more.
    pub const NAMESPACES: CloneFlags = CloneFlags::NEWTIME
        .union(CloneFlags::NEWNS)
        .union(CloneFlags::NEWCGROUP)
        .union(CloneFlags::NEWUTS)
        .union(CloneFlags::NEWIPC)
        .union(CloneFlags::NEWUSER)
        .union(CloneFlags::NEWPID)
        .union(CloneFlags::NEWNET);
}

/// What a new task is to be.
#[derive(Clone, Copy, Debug)]
pub struct CloneArguments {
    /// Flags.
    pub flags: CloneFlags,
    /// Signal for the parent at the end.
    pub exit_signal: Option<Signal>,
    /// Stack pointer of the child; 0 keeps the parent's.
    pub stack_pointer: u64,
    /// `CLONE_SETTLS`: FS base of the child.
    pub tls: u64,
    /// `CLONE_PARENT_SETTID`: where the parent's memory takes the child's identifier.
    pub parent_tid: u64,
    /// `CLONE_CHILD_SETTID` and `CLONE_CHILD_CLEARTID`: the word in the child's memory.
    pub child_tid: u64,
    /// `CLONE_PIDFD`: where the descriptor's number goes.
    pub pidfd: u64,
}

impl CloneArguments {
    /// `EINVAL` for combinations that Linux refuses.
    fn check(&self) -> Result<(), Errno> {
        let flags = self.flags;
        let needs = |this: CloneFlags, that: CloneFlags| flags.contains(this) && !flags.contains(that);
        let both = |this: CloneFlags, that: CloneFlags| flags.contains(this) && flags.contains(that);
        if needs(CloneFlags::THREAD, CloneFlags::SIGHAND)
            || needs(CloneFlags::SIGHAND, CloneFlags::VM)
            || both(CloneFlags::CLEAR_SIGHAND, CloneFlags::SIGHAND)
            || both(CloneFlags::THREAD, CloneFlags::PIDFD)
            || both(CloneFlags::DETACHED, CloneFlags::PIDFD)
            || both(CloneFlags::NEWNS, CloneFlags::FS)
        {
            return Err(Errno::EINVAL);
        }
        if flags.intersects(CloneFlags::NAMESPACES) {
            return Err(Errno::EPERM);
        }
        if flags.contains(CloneFlags::INTO_CGROUP) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

/// Makes a new task; returns its identifier to the parent. With `CLONE_VFORK` the parent waits until the child has executed a program
/// or has ended.
pub fn clone(current: &mut Current, arguments: CloneArguments) -> SysResult {
    arguments.check()?;
    let flags = arguments.flags;
    let parent = current.task.clone();
    let kernel = parent.kernel.clone();
    check_limits(current)?;

    let parent_mm = parent.mm();
    let mm = if flags.contains(CloneFlags::VM) {
        parent_mm
    } else {
        mm::patch_for_copies(&parent_mm, &mut *current.thread);
        parent_mm.fork()?
    };
    let mut state = ThreadState {
        registers: *current.thread.registers(),
        extended: Some(current.thread.extended_state().into()),
    };
    state.registers.set_return_value(0);
    if arguments.stack_pointer != 0 {
        state.registers.rsp = arguments.stack_pointer;
    }
    if flags.contains(CloneFlags::SETTLS) {
        state.registers.fs_base = arguments.tls;
    }
    let thread = mm.space.clone().create_thread(&state)?;
    let worker = kernel.workers.hire()?;

    let files = parent.files();
    let shares_files = flags.contains(CloneFlags::FILES);
    let child_files = if shares_files { Arc::clone(&files) } else { Arc::new(files.duplicate()) };
    let fs = parent.fs();
    let fs = if flags.contains(CloneFlags::FS) { fs } else { Arc::new(fs.duplicate()) };
    let child_signals = child_signals(&parent, flags);
    if flags.contains(CloneFlags::SIGHAND) {
        parent.group.actions.load().make_common();
    }

    let mut table = kernel.tasks.lock();
    // A thread of a group that is about to end, or to execute a program, makes no more threads.
    if parent.waiter.is_interrupted() && parent.group.state.lock().exit.is_some() {
        return Err(crate::Restart::Always.into());
    }
    if flags.contains(CloneFlags::FS) && fs.is_held() {
        return Err(Errno::EAGAIN.into());
    }
    let tid = table.allocate_pid()?;
    let group = if flags.contains(CloneFlags::THREAD) {
        parent.group.clone()
    } else {
        let actions = parent.group.actions.load_full();
        let actions =
            if flags.contains(CloneFlags::SIGHAND) { actions } else { Arc::new(actions.duplicate()) };
        if flags.contains(CloneFlags::CLEAR_SIGHAND) {
            actions.clear();
        }
        let limits = *parent.group.limits.lock();
        let group = ThreadGroup::new(tid, actions, limits, host::clock_ns(host::Clock::Boottime));
        group.timers.watch_processor_limit(&kernel, &group)?;
        group.oom_score_adj.store(parent.group.oom_score_adj.load(Ordering::Relaxed), Ordering::Relaxed);
        let least = parent.group.oom_score_adj_min.load(Ordering::Relaxed);
        group.oom_score_adj_min.store(least, Ordering::Relaxed);
        group
    };
    let task = Task::new(NewTask {
        kernel: kernel.clone(),
        group: group.clone(),
        tid,
        credentials: child_credentials(&parent, flags),
        mm: mm.clone(),
        files: child_files,
        fs,
        signals: child_signals,
        command_name: parent.command_name(),
    });
    inherit_attributes(&parent, &task);
    if flags.contains(CloneFlags::CHILD_CLEARTID) {
        task.last_words.set_tid_address(arguments.child_tid);
    }
    let traced = ptrace::NewTask::of(&parent, flags, arguments.exit_signal);
    let completion = flags.contains(CloneFlags::VFORK).then(|| Arc::new(Completion::default()));
    *task.vfork_done.lock() = completion.clone();

    // The last that can fail, and undoes itself: from here on the child can be seen.
    if flags.contains(CloneFlags::PIDFD) {
        crate::task::pidfd::install(current, group.clone(), arguments.pidfd)?;
    }
    if flags.contains(CloneFlags::PARENT_SETTID) {
        // A bad address is passed over, as on Linux.
        let _ = UserPtr::<i32>::new(arguments.parent_tid).write(current.space(), &tid);
    }
    if flags.contains(CloneFlags::CHILD_SETTID) {
        let _ = UserPtr::<i32>::new(arguments.child_tid).write(&*mm.space, &tid);
    }
    mm.enter(&task);
    {
        // Under one lock, so that a filter for all threads misses none (see seccomp).
        let mut state = group.state.lock();
        task.seccomp.copy_from(&parent.seccomp);
        // Filters and what they were laid under go together.
        if parent.no_new_privs() {
            task.set_no_new_privs();
        }
        if state.is_over_for(&task) {
            // The others have been told.
            task.tracing.kill();
            task.waiter.set_interrupted(true);
        }
        join_stop(&mut state, &task);
        state.threads.push(task.clone());
    }
    table.insert_thread(tid, task.clone());
    if !flags.contains(CloneFlags::THREAD) {
        insert_process(&mut table, &parent, group, arguments, tid);
    }
    if traced.is_traced {
        ptrace::auto_attach(&mut table, &parent, &task);
    }
    run::announce(&task, &*thread);
    drop((table, files));
    run::start(worker, task, thread);
    parent.kernel.forks.fetch_add(1, Ordering::Relaxed);

    let message = u64::from(tid.cast_unsigned());
    if let Some(event) = traced.event {
        current.stop_at_event(event, message);
    }
    if let Some(completion) = completion {
        wait_for_vfork(current, &completion);
        current.stop_at_event(PTRACE_EVENT_VFORK_DONE, message);
    }
    Ok(tid as u64)
}

/// A new process has credentials of its own, which do not say that it has opened what its parent has (`copy_creds`).
fn child_credentials(parent: &Task, flags: CloneFlags) -> Arc<Credentials> {
    let credentials = parent.credentials();
    if flags.contains(CloneFlags::THREAD) { credentials } else { Arc::new((*credentials).clone().renewed()) }
}

fn child_signals(parent: &Task, flags: CloneFlags) -> TaskSignals {
    let signals = parent.signals.lock();
    // An alternate stack is kept by a child that has memory of its own, or that borrows the parent's (`sas_ss_reset`).
    let keeps_stack = !flags.contains(CloneFlags::VM) || flags.contains(CloneFlags::VFORK);
    TaskSignals {
        mask: SignalMask::new(signals.mask.get()),
        alternate_stack: if keeps_stack { signals.alternate_stack } else { AlternateStack::NONE },
        awaited: SignalSet::EMPTY,
        ..TaskSignals::default()
    }
}

fn inherit_attributes(parent: &Task, child: &Task) {
    child.io_priority.store(parent.io_priority.load(Ordering::Relaxed), Ordering::Relaxed);
    child.login_uid.store(parent.login_uid.load(Ordering::Relaxed), Ordering::Relaxed);
    *child.memory_policy.lock() = *parent.memory_policy.lock();
    child.nice.store(parent.nice.load(Ordering::Relaxed), Ordering::Relaxed);
    child.timer_slack_ns.store(parent.timer_slack_ns.load(Ordering::Relaxed), Ordering::Relaxed);
    child.personality.store(parent.personality.load(Ordering::Relaxed), Ordering::Relaxed);
    child.affinity.store(parent.affinity.load(Ordering::Relaxed), Ordering::Relaxed);
    let (policy, priority) = *parent.scheduling.lock();
    // Real-time policies, which would be reset as well, are not given out.
    *child.scheduling.lock() = (policy & !SCHED_RESET_ON_FORK, priority);
    if policy & SCHED_RESET_ON_FORK != 0 {
        child.nice.fetch_max(0, Ordering::Relaxed);
    }
}

fn insert_process(
    table: &mut crate::task::TaskTable,
    parent: &Task,
    group: Arc<ThreadGroup>,
    arguments: CloneArguments,
    pid: i32,
) {
    let Some(own) = table.process(parent.tgid()) else { return };
    let (process_group, session) = (own.process_group, own.session);
    let (parent_pid, parent_thread, exit_signal) = if arguments.flags.contains(CloneFlags::PARENT) {
        (own.parent, own.parent_thread, own.exit_signal)
    } else {
        (parent.tgid(), parent.tid(), arguments.exit_signal)
    };
    debug_assert_eq!(group.tgid, pid);
    table.insert_process(Process {
        group,
        parent: parent_pid,
        parent_thread,
        children: Vec::new(),
        process_group,
        session,
        exit_signal,
        zombie: None,
        event: None,
        children_usage: Usage::default(),
        is_subreaper: false,
        has_executed: false,
    });
}

/// `EAGAIN` at the sandbox's limit on tasks, or the user's own.
fn check_limits(current: &Current) -> Result<(), Errno> {
    let task = &current.task;
    let table = task.kernel.tasks.lock();
    if table.charged_count() >= task.kernel.limits.most_tasks() {
        task.kernel.note_limit("pids");
        return Err(Errno::EAGAIN);
    }
    let limit = task.group.limits.lock().soft(Resource::Processes);
    let credentials = task.credentials();
    if limit != crate::task::UNLIMITED
        && credentials.uid != 0
        && table.charged_count_of(credentials.uid) as u64 >= limit
    {
        return Err(Errno::EAGAIN);
    }
    Ok(())
}

/// Waits for the child of a `vfork(2)`. Only the end of this task's own group cuts the wait short.
fn wait_for_vfork(current: &mut Current, completion: &Completion) {
    let task = current.task.clone();
    let token = completion.queue().add(task.waiter.clone(), 0, usk_abi::PollEvents::IN);
    loop {
        task.waiter.arm();
        let ends = {
            let state = task.group.state.lock();
            state.exit.is_some() || state.exec.as_ref().is_some_and(|taker| !Arc::ptr_eq(taker, &task))
        };
        if completion.is_done() || ends {
            break;
        }
        current.sleep_at(&task.waiter, None, true);
    }
    completion.queue().remove(token);
}
