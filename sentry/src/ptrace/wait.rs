//! How a tracer hears of stops and ends: SIGCHLD, and `wait4(2)` (`ptrace_do_wait` of `kernel/exit.c`).

use std::sync::Arc;

use usk_abi::PollEvents;
use usk_abi::signal::{SignalInfo, code};

use super::links::{Gone, Link, Tracee};
use super::tracing::Reason;
use crate::kernel::{Kernel, notify_of_stop};
use crate::signal::send_to_group;
use crate::task::{
    Task, TaskTable, ThreadGroup, WaitOptions, WaitTarget, Waited, Zombie, notify_parent_of_end, ticks,
};

impl Kernel {
    /// A traced task has stopped: tells its tracer.
    pub(super) fn report_trace_stop(&self, task: &Task, reason: &Reason) {
        let table = self.tasks.lock();
        let Some(tracer) = table.links.tracer_of(task.tid()) else { return };
        let code = if reason.is_group_stop { code::CLD_STOPPED } else { code::CLD_TRAPPED };
        let usage = task.usage();
        let (user, system) = (ticks(usage.user), ticks(usage.system));
        let (uid, status) = (task.credentials().uid, reason.code & 0x7f);
        notify_of_stop(&tracer.group, SignalInfo::child(code, task.tid(), uid, status, user, system));
    }
}

/// What a wait finds among the tasks that the caller traces: whether any fits, and what the first that has something to say says.
pub(crate) fn find_stop(
    kernel: &Kernel,
    table: &mut TaskTable,
    own: &Arc<Task>,
    options: WaitOptions,
) -> (bool, Option<Waited>) {
    let is_own = |link: &Link| match options.this_thread_only {
        true => Arc::ptr_eq(&link.tracer, own),
        false => link.tracer.tgid() == own.tgid(),
    };
    let links: Vec<(i32, Tracee)> =
        table.links.matching(is_own).map(|link| (link.tid, link.tracee.clone())).collect();
    let mut any_fits = false;
    for (tid, tracee) in links {
        if !fits(table, tid, &tracee, options.target) {
            continue;
        }
        let found = match tracee {
            Tracee::Live(task) => {
                any_fits = true;
                report_stop(&task, options.keep)
            }
            Tracee::Gone(gone) => {
                any_fits |= options.exited || options.continued;
                report_end(kernel, table, own, tid, gone, options)
            }
        };
        if found.is_some() {
            return (true, found);
        }
    }
    (any_fits, None)
}

fn fits(table: &TaskTable, tid: i32, tracee: &Tracee, target: WaitTarget) -> bool {
    let tgid = match tracee {
        Tracee::Live(task) => task.tgid(),
        Tracee::Gone(Gone::Thread { tgid, .. }) => *tgid,
        Tracee::Gone(Gone::Leader) => tid,
    };
    match target {
        WaitTarget::Any => true,
        WaitTarget::Process(wanted) => wanted == tid,
        WaitTarget::ProcessGroup(wanted) => {
            table.process(tgid).is_some_and(|process| process.process_group == wanted)
        }
    }
}

fn report_stop(task: &Task, keep: bool) -> Option<Waited> {
    let stopped_by = {
        let mut state = task.tracing.lock();
        let stop = state.stop.as_mut().filter(|stop| !stop.is_reported && stop.resumed.is_none())?;
        stop.is_reported = !keep;
        stop.reason.code
    };
    Some(Waited {
        pid: task.tid(),
        uid: task.credentials().uid,
        code: code::CLD_TRAPPED,
        status: stopped_by,
        wait_status: stopped_by << 8 | 0x7f,
        usage: task.usage(),
    })
}

fn report_end(
    kernel: &Kernel,
    table: &mut TaskTable,
    own: &Arc<Task>,
    tid: i32,
    gone: Gone,
    options: WaitOptions,
) -> Option<Waited> {
    if !options.exited {
        return None;
    }
    let zombie = match gone {
        Gone::Thread { zombie, .. } => zombie,
        // A process of the caller's own is waited for as any child. One whose first thread alone has ended is no zombie yet.
        Gone::Leader => table.process(tid).filter(|process| process.parent != own.tgid())?.zombie?,
    };
    if !options.keep {
        table.links.remove(tid);
        if matches!(gone, Gone::Leader)
            && let Some(parent) = notify_parent_of_end(kernel, table, tid)
        {
            parent.child_events.notify(PollEvents::IN);
        }
    }
    Some(Waited::of_zombie(tid, &zombie))
}

/// A task has ended, and is in the table no more: its tracer is told, of a first thread when its process ends. Returns the group that may
/// wait for it.
pub(crate) fn leave_tracer(table: &mut TaskTable, task: &Task, zombie: Zombie) -> Option<Arc<ThreadGroup>> {
    let tid = task.tid();
    let tracer = table.links.tracer_of(tid)?.group.clone();
    if tid == task.tgid() {
        table.links.set_gone(tid, Gone::Leader);
        return None;
    }
    table.links.set_gone(tid, Gone::Thread { zombie, tgid: task.tgid() });
    if tell_of_end(&tracer, tid, &zombie) {
        table.links.remove(tid);
    }
    Some(tracer)
}

/// A process has ended whose tracer is not its parent: the tracer hears of it first, and the parent once it has. `None` if there is no
/// such tracer, or it does not care.
pub(crate) fn notify_tracer_of_end(table: &mut TaskTable, pid: i32) -> Option<Arc<ThreadGroup>> {
    let process = table.process(pid)?;
    let (zombie, parent) = (process.zombie?, process.parent);
    let tracer = table.links.tracer_of(pid).filter(|tracer| tracer.tgid() != parent)?.group.clone();
    if tell_of_end(&tracer, pid, &zombie) {
        table.links.remove(pid);
        return None;
    }
    Some(tracer)
}

/// Sends a tracer SIGCHLD. True if it waits for nobody.
fn tell_of_end(tracer: &Arc<ThreadGroup>, tid: i32, zombie: &Zombie) -> bool {
    let _ = send_to_group(tracer, Waited::of_zombie(tid, zombie).as_signal());
    tracer.actions.load().reaps_children_itself()
}
