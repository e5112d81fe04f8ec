//! The end of a task, and of a process (`kernel/exit.c`).

use std::sync::Arc;

use usk_abi::signal::SignalInfo;
use usk_abi::{PollEvents, Signal};
use usk_platform::host;

use crate::kernel::Kernel;
use crate::ptrace;
use crate::signal::{begin_leaving, send_to_group};
use crate::task::table::{Process, TaskTable, Zombie};
use crate::task::{Current, ExitStatus, Task, ThreadGroup, Waited};

/// Ends the task: nothing of it is left but, for the last thread of a process, a zombie.
pub(crate) fn leave(mut current: Current) {
    let status = status_of(&current);
    current.stop_before_end(status);
    begin_leaving(&current.task);
    // Its group may have begun to end meanwhile.
    let status = status_of(&current);
    let usage = current.task.usage();
    crate::futex::release_mutexes(&current, false);
    clear_child_tid(&current);
    complete_vfork(&current.task);
    // The files first: what closing them wakes may run while the rest is taken down.
    drop(current.task.release_files());
    current.task.seccomp.release();
    crate::file::async_io::send_due();
    let Current { task, thread, .. } = current;
    task.runner.store(None);
    task.signals.lock().mask.take_back();
    task.group.actions.load().take_back();
    drop(thread);
    let mm = task.mm();
    if mm.users() == 1 {
        mm.learn_slow_calls(&task.kernel);
        if matches!(status, ExitStatus::Signaled { signal: Signal::SIGKILL, .. }) {
            // It may have been killed because memory had run out. Whoever hears of its end may need what it had.
            mm.space.end();
        }
    }
    mm.leave(&task);
    if let Some(nothing) = &task.kernel.no_memory {
        task.set_mm(nothing.clone());
    }
    unlink_thread(&task, status, usage);
    // Last: the end of an address space takes a while, which the parent need not wait for.
    drop(mm);
}

fn status_of(current: &Current) -> ExitStatus {
    let state = current.task.group.state.lock();
    state.exit.unwrap_or(ExitStatus::Exited(current.exit_code.unwrap_or(0)))
}

/// Writes zero to the address that `set_tid_address(2)` named and wakes a waiter there.
pub(super) fn clear_child_tid(current: &Current) {
    let address = current.task.tid_address();
    if address == 0 || current.task.mm().users() < 2 {
        return;
    }
    if current.space().write(address, &0u32.to_le_bytes()) == 4 {
        crate::futex::wake_address(&current.task, address);
    }
}

/// Lets the parent of a `vfork(2)` go on.
pub(crate) fn complete_vfork(task: &Task) {
    if let Some(completion) = task.vfork_done.lock().take() {
        completion.complete();
    }
}

/// Takes the thread out of its group; the last one ends the process.
fn unlink_thread(task: &Arc<Task>, status: ExitStatus, usage: super::Usage) {
    let kernel = task.kernel.clone();
    let group = task.group.clone();
    let mut table = kernel.tasks.lock();
    table.remove_thread(task.tid());
    let credentials = task.credentials();
    let (uid, suid, gid) = (credentials.uid, credentials.suid, credentials.gid);
    let thread = Zombie { status, uid, suid, gid, usage };
    let process = {
        let mut state = group.state.lock();
        state.threads.retain(|other| !Arc::ptr_eq(other, task));
        state.past_usage = state.past_usage.plus(usage);
        if task.tid() == group.tgid {
            state.ended_leader = Some(thread);
        }
        if let Some(taker) = &state.exec
            && state.threads.len() == 1
        {
            taker.waiter.wake();
        }
        state.threads.is_empty().then(|| {
            let leader = state.ended_leader.unwrap_or(thread);
            Zombie { status: state.exit.unwrap_or(leader.status), usage: state.past_usage, ..leader }
        })
    };
    kernel.notify_parent_death(&table, task);
    if let Some(successor) = group.staying_thread() {
        table.hand_children_on(group.tgid, task.tid(), successor.tid());
    }
    let mut waiting = ptrace::forsake_tracees(&kernel, &mut table, task);
    waiting.extend(ptrace::leave_tracer(&mut table, task, thread));
    waiting.extend(process.and_then(|zombie| end_process(&kernel, &mut table, &group, zombie)));
    drop(table);
    // Whoever waits looks at the table first thing: woken earlier it would find it locked, and this thread would go on to take
    // down the address space before it.
    for group in waiting {
        group.child_events.notify(PollEvents::IN);
    }
}

/// Makes the process a zombie. Returns who is to be woken: the parent, or before it a tracer.
fn end_process(
    kernel: &Kernel,
    table: &mut TaskTable,
    group: &Arc<ThreadGroup>,
    zombie: Zombie,
) -> Option<Arc<ThreadGroup>> {
    let (pid, status) = (group.tgid, zombie.status);
    group.timers.clear(group);
    kernel.ipc.segments.process_exited(pid);
    kernel.ipc.semaphores.process_exited(pid, host::clock_ns(host::Clock::Realtime) as i64 / 1_000_000_000);
    let (process_group, session) =
        table.process(pid).map(|process| (process.process_group, process.session))?;
    // Children first, so that a parent that reaps this process sees its own grandchildren adopted.
    let reaper = table.reaper_of(pid);
    // Groups that this process may have been the link of (`kill_orphaned_pgrp`).
    let is_linked = |child: &&Process| child.session == session && child.process_group != process_group;
    let groups_of_children: Vec<i32> = table
        .process(pid)
        .map(|process| process.children.clone())
        .unwrap_or_default()
        .iter()
        .filter_map(|child| table.process(*child).filter(is_linked).map(|child| child.process_group))
        .collect();
    let parent = table.process(pid).map_or(table.own(), |process| process.parent);
    let parent_links_session = table
        .process(parent)
        .is_some_and(|other| other.process_group != process_group && other.session == session);
    let adopted = table.reparent_children(pid, reaper);

    if let Some(process) = table.process_mut(pid) {
        process.zombie = Some(zombie);
        process.event = None;
    }
    for child in adopted {
        if table.process(child).is_some_and(|process| process.zombie.is_some())
            && !table.links.is_traced_by_other(child, reaper)
            && let Some(reaper) = notify_parent_of_end(kernel, table, child)
        {
            reaper.child_events.notify(PollEvents::IN);
        }
    }
    // Process groups that lost their last link to the session's shell and hold stopped members are hung up (POSIX, exit(3)).
    if parent_links_session {
        hang_up_if_orphaned(table, process_group, pid);
    }
    for other in groups_of_children {
        hang_up_if_orphaned(table, other, pid);
    }
    kernel.terminals_of_ended_session(table, pid, session);
    let waiting =
        ptrace::notify_tracer_of_end(table, pid).or_else(|| notify_parent_of_end(kernel, table, pid));
    group.exited.notify(PollEvents::IN);
    kernel.tell_exit(pid, status);
    if pid == kernel.main_pid() {
        kernel.finish(status);
    }
    waiting
}

/// Sends SIGHUP and SIGCONT to a process group that is orphaned and has stopped members.
fn hang_up_if_orphaned(table: &TaskTable, process_group: i32, leaving: i32) {
    if !table.is_orphaned_group(process_group, Some(leaving)) {
        return;
    }
    let has_stopped =
        table.process_group(process_group).any(|(_, process)| process.group.state.lock().stop.is_some());
    if !has_stopped {
        return;
    }
    for (_, process) in table.process_group(process_group) {
        for signal in [Signal::SIGHUP, Signal::SIGCONT] {
            let _ = send_to_group(&process.group, SignalInfo::kernel(signal));
        }
    }
}

/// Sends the parent of a zombie its signal; if the parent does not care, the zombie goes at once. Returns the parent, who may
/// wait for it.
pub(crate) fn notify_parent_of_end(
    kernel: &Kernel,
    table: &mut TaskTable,
    pid: i32,
) -> Option<Arc<ThreadGroup>> {
    let process = table.process(pid)?;
    let zombie = process.zombie?;
    let parent = table.process(process.parent)?;
    let is_sandboxs = process.parent == table.own();
    let parent_group = parent.group.clone();
    if let Some(signal) = process.exit_signal
        && !is_sandboxs
    {
        let mut info = Waited::of_zombie(pid, &zombie).as_signal();
        info.signo = signal.number();
        let _ = send_to_group(&parent_group, info);
    }
    reap_if_ignored(kernel, table, pid);
    Some(parent_group)
}

/// A zombie goes at once if its parent does not care.
pub(crate) fn reap_if_ignored(kernel: &Kernel, table: &mut TaskTable, pid: i32) {
    let Some(process) = table.process(pid).filter(|process| process.zombie.is_some()) else { return };
    let Some(parent) = table.process(process.parent) else { return };
    let reaps_itself =
        process.exit_signal == Some(Signal::SIGCHLD) && parent.group.actions.load().reaps_children_itself();
    if process.parent == table.own() || reaps_itself {
        kernel.forget_process(table, pid);
    }
}

/// Clock ticks (`USER_HZ` is 100) of a duration.
pub(crate) fn ticks(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis() / 10).unwrap_or(u64::MAX)
}
