//! How tracing begins and ends.

use std::sync::Arc;

use usk_abi::capability::CAP_SYS_PTRACE;
use usk_abi::ptrace::PtraceOptions;
use usk_abi::signal::SignalInfo;
use usk_abi::{Errno, Signal};

use super::control::{known_options, signal_number};
use super::links::{Gone, Link, Tracee};
use super::stop::{is_stopped, tracee};
use crate::kernel::Kernel;
use crate::signal::send_to_task;
use crate::task::{
    AccessAs, Current, ExitStatus, GroupState, Task, TaskTable, ThreadGroup, begin_exit_locked, may_access,
    notify_parent_of_end, reap_if_ignored,
};

/// `PTRACE_ATTACH`: begins to trace a task, and stops it. `ESRCH` if there is none; `EPERM` if it may not be traced, or is already.
pub fn attach(current: &Current, tid: i32) -> Result<(), Errno> {
    let task = begin(current, tid, false, PtraceOptions::empty())?;
    send_to_task(&task, SignalInfo::kernel(Signal::SIGSTOP))?;
    // One that is stopped with its group stops for its tracer now.
    task.waiter.wake();
    Ok(())
}

/// `PTRACE_SEIZE`: begins to trace a task, which goes on. The same errors; `EIO` for options that there are not.
pub fn seize(current: &Current, tid: i32, options: u64) -> Result<(), Errno> {
    let options = known_options(options).ok_or(Errno::EIO)?;
    begin(current, tid, true, options)?.waiter.wake();
    Ok(())
}

fn begin(current: &Current, tid: i32, is_seized: bool, options: PtraceOptions) -> Result<Arc<Task>, Errno> {
    let own = &current.task;
    let mut table = own.kernel.tasks.lock();
    let Some(task) = table.thread(tid) else {
        // A zombie cannot be traced any more.
        let is_there = table.process(tid).is_some() || table.links.has(tid);
        return Err(if is_there { Errno::EPERM } else { Errno::ESRCH });
    };
    let is_own_process = Arc::ptr_eq(&task.group, &own.group);
    if is_own_process || !may_access(&own.credentials(), &own.group, &task, AccessAs::Real) {
        return Err(Errno::EPERM);
    }
    let start = Start { is_seized, options, is_capable: own.credentials().has_capability(CAP_SYS_PTRACE) };
    link(&mut table, &task, own, start)?;
    Ok(task)
}

/// `PTRACE_TRACEME`: the parent begins to trace the caller. `EPERM` if somebody traces it already, or the parent runs no code here
/// or lacks a capability of the caller's.
pub fn trace_me(current: &Current) -> Result<(), Errno> {
    let own = &current.task;
    let mut table = own.kernel.tasks.lock();
    let parent = table.process(own.tgid()).ok_or(Errno::EPERM)?;
    let (pid, tid) = (parent.parent, parent.parent_thread);
    let tracer = table
        .thread(tid)
        .filter(|thread| thread.tgid() == pid)
        .or_else(|| table.process(pid).and_then(|process| process.group.any_thread()))
        .ok_or(Errno::EPERM)?;
    let (tracers, owns) = (tracer.credentials(), own.credentials());
    // `cap_ptrace_traceme`
    if owns.permitted & !tracers.permitted != 0 && !tracers.has_capability(CAP_SYS_PTRACE) {
        return Err(Errno::EPERM);
    }
    // The caller answers for a tracer that it has not chosen.
    let is_capable = owns.has_capability(CAP_SYS_PTRACE);
    link(&mut table, own, &tracer, Start { is_seized: false, options: PtraceOptions::empty(), is_capable })
}

/// How tracing begins.
struct Start {
    is_seized: bool,
    options: PtraceOptions,
    /// [`Link::is_capable`]
    is_capable: bool,
}

fn link(table: &mut TaskTable, task: &Arc<Task>, tracer: &Arc<Task>, start: Start) -> Result<(), Errno> {
    let group = task.group.state.lock();
    if task.tracing.is_traced() || group.exit.is_some() {
        return Err(Errno::EPERM);
    }
    task.tracing.begin(start.is_seized, start.options);
    table.links.add(task, tracer, start.is_capable);
    // From now on each call is seen.
    task.withdraw_answers();
    Ok(())
}

/// A task that a traced one makes is traced by the same tracer, and stops before it runs. It is in the table, and does not run yet.
pub(crate) fn auto_attach(table: &mut TaskTable, parent: &Task, task: &Arc<Task>) {
    let Some(Link { tracer, is_capable, .. }) = table.links.find(parent.tid()) else { return };
    let (tracer, is_capable) = (tracer.clone(), *is_capable);
    let (is_seized, options) = {
        let state = parent.tracing.lock();
        (state.is_seized, state.options)
    };
    if link(table, task, &tracer, Start { is_seized, options, is_capable }).is_err() {
        return;
    }
    let _group = task.group.state.lock();
    if is_seized {
        task.tracing.lock().is_stop_due = true;
    } else {
        task.signals.lock().pending.add(Signal::SIGSTOP, SignalInfo::new(Signal::SIGSTOP, 0));
    }
    task.waiter.set_interrupted(true);
}

/// `PTRACE_DETACH`: ends the tracing of a stopped task, which goes on, with signal `number` if it is not 0. `EIO` if there is no such
/// signal, `ESRCH` if the task is not stopped for the caller.
pub fn detach(current: &Current, tid: i32, number: u64) -> Result<(), Errno> {
    let task = tracee(current, tid)?;
    let signal = signal_number(number)?;
    let mut table = current.task.kernel.tasks.lock();
    // It may have ended meanwhile, or have left its identifier to a thread that executes a program.
    let is_there = table.links.find(tid).is_some_and(|link| link.is_of(&task, &current.task));
    if !is_there || !is_stopped(&task) {
        return Err(Errno::ESRCH);
    }
    table.links.remove(tid);
    release(&mut task.group.state.lock(), &task, signal);
    Ok(())
}

/// Nobody traces a task any more: with its group locked. What is no longer in the way of answering calls by itself it is given back.
fn release(group: &mut GroupState, task: &Task, signal: i32) {
    task.tracing.end(signal);
    task.withdraw_answers();
    if group.stop.is_some() {
        task.poke();
    }
    task.waiter.wake();
}

/// Whether the task is traced by one that might not trace just anybody: then it gains nothing by executing a program
/// (`ptracer_capable`).
pub(crate) fn is_watched(task: &Task) -> bool {
    let table = task.kernel.tasks.lock();
    table.links.find(task.tid()).is_some_and(|link| !link.is_capable)
}

/// The task has gained by executing a program, and somebody has begun to trace it while that was prepared: lets go of one that might not
/// trace just anybody.
pub(crate) fn dismiss_unfit_tracer(task: &Arc<Task>) {
    let mut table = task.kernel.tasks.lock();
    if table.links.find(task.tid()).is_some_and(|link| !link.is_capable) {
        table.links.remove(task.tid());
        release(&mut task.group.state.lock(), task, 0);
    }
}

/// A task has ended: whom it traced nobody traces any more (`exit_ptrace`). Returns groups that may wait for somebody now.
pub(crate) fn forsake_tracees(
    kernel: &Kernel,
    table: &mut TaskTable,
    tracer: &Arc<Task>,
) -> Vec<Arc<ThreadGroup>> {
    let own: Vec<(i32, Tracee)> = table
        .links
        .matching(|link| Arc::ptr_eq(&link.tracer, tracer))
        .map(|link| (link.tid, link.tracee.clone()))
        .collect();
    let mut parents = Vec::new();
    for (tid, tracee) in own {
        table.links.remove(tid);
        match tracee {
            Tracee::Live(task) => {
                let mut group = task.group.state.lock();
                if task.tracing.wants(PtraceOptions::EXITKILL) {
                    let status = ExitStatus::Signaled { signal: Signal::SIGKILL, core: false };
                    begin_exit_locked(&mut group, status);
                }
                release(&mut group, &task, 0);
            }
            Tracee::Gone(Gone::Thread { .. }) => {}
            // The parent has heard of it when it ended, if one of its threads was the tracer.
            Tracee::Gone(Gone::Leader)
                if table.process(tid).is_some_and(|process| process.parent == tracer.tgid()) =>
            {
                reap_if_ignored(kernel, table, tid);
            }
            Tracee::Gone(Gone::Leader) => parents.extend(notify_parent_of_end(kernel, table, tid)),
        }
    }
    parents
}
