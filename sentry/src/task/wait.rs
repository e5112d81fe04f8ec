//! Waiting for children (`wait4(2)`, `waitid(2)`).

use usk_abi::signal::{SignalInfo, code};
use usk_abi::{Errno, PollEvents, Signal};

use crate::ptrace::find_stop;
use crate::task::table::{Process, StopEvent, TaskTable, Zombie};
use crate::task::{Current, ExitStatus, Usage, ticks};
use crate::{Restart, SysError, SysResult};

/// Which children are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitTarget {
    /// Any child.
    Any,
    /// The child with this identifier.
    Process(i32),
    /// Any child in this process group.
    ProcessGroup(i32),
}

/// What is waited for, and how.
#[derive(Clone, Copy, Debug)]
pub struct WaitOptions {
    /// Which children.
    pub target: WaitTarget,
    /// `WEXITED`: children that have ended.
    pub exited: bool,
    /// `WSTOPPED` or `WUNTRACED`: children that have been stopped.
    pub stopped: bool,
    /// `WCONTINUED`: children that have been continued.
    pub continued: bool,
    /// `WNOHANG`: do not block.
    pub no_hang: bool,
    /// `WNOWAIT`: leave the child as it is, to be waited for again.
    pub keep: bool,
    /// `__WALL`: also children that were cloned with another signal than SIGCHLD.
    pub all: bool,
    /// `__WCLONE`: only such children.
    pub clone_only: bool,
    /// `__WNOTHREAD`: only children of this thread.
    pub this_thread_only: bool,
}

/// A child that was found.
#[derive(Clone, Copy, Debug)]
pub struct Waited {
    /// The child.
    pub pid: i32,
    /// Its real user.
    pub uid: u32,
    /// `CLD_*`
    pub code: i32,
    /// The exit code, or the signal's number, as in `si_status`.
    pub status: i32,
    /// The status word of `wait4(2)`.
    pub wait_status: i32,
    /// What it and its waited-for children used.
    pub usage: Usage,
}

/// Waits for a child. `None` with `no_hang` if children exist and none has anything to say; `ECHILD` if no child fits.
pub fn wait(current: &mut Current, options: WaitOptions) -> SysResult<Option<Waited>> {
    let group = current.task.group.clone();
    let queues = [(&group.child_events, PollEvents::IN)];
    let attempt = |current: &mut Current| match find(current, options)? {
        Some(waited) => Ok(Some(waited)),
        None if options.no_hang => Ok(None),
        None => Err(SysError::Errno(Errno::EAGAIN)),
    };
    current.block(&queues, None, attempt).map_err(|error| match error {
        SysError::Restart(_) => Restart::IfHandlerAllows.into(),
        other => other,
    })
}

/// Looks once: `ECHILD` if no child fits, `None` if none has anything to say.
fn find(current: &mut Current, options: WaitOptions) -> Result<Option<Waited>, Errno> {
    let kernel = current.task.kernel.clone();
    let mut table = kernel.tasks.lock();
    let own_pid = current.task.tgid();
    let own_thread = current.task.tid();
    let Some(own) = table.process(own_pid) else { return Err(Errno::ECHILD) };
    let children = own.children.clone();
    let mut any_fits = false;
    for pid in children {
        let Some(child) = table.process(pid) else { continue };
        if !fits(pid, child, options, own_thread) {
            continue;
        }
        // A child that has ended will never stop: who waits for stops only does not wait for it (`wait_consider_task`).
        any_fits |= child.zombie.is_none() || options.exited || options.continued;
        if let Some(waited) = report(&mut table, pid, options) {
            if child_is_finished(&waited) && !options.keep {
                let gone = table.process(pid).map(|child| child.children_usage).unwrap_or_default();
                kernel.forget_process(&mut table, pid);
                if let Some(own) = table.process_mut(own_pid) {
                    own.children_usage = own.children_usage.plus(waited.usage).plus(gone);
                }
            }
            return Ok(Some(waited));
        }
    }
    let (fits, found) = find_stop(&kernel, &mut table, &current.task, options);
    if found.is_some() || fits || any_fits { Ok(found) } else { Err(Errno::ECHILD) }
}

impl Waited {
    /// What a wait reports of one that has ended.
    pub(crate) fn of_zombie(pid: i32, zombie: &Zombie) -> Waited {
        let (code, status) = match zombie.status {
            ExitStatus::Exited(code) => (code::CLD_EXITED, code & 0xff),
            ExitStatus::Signaled { signal, core: false } => (code::CLD_KILLED, signal.number()),
            ExitStatus::Signaled { signal, core: true } => (code::CLD_DUMPED, signal.number()),
        };
        let wait_status = zombie.status.wait_status();
        Waited { pid, uid: zombie.uid, code, status, wait_status, usage: zombie.usage }
    }

    /// The signal that tells of it.
    pub(crate) fn as_signal(&self) -> SignalInfo {
        let (user, system) = (ticks(self.usage.user), ticks(self.usage.system));
        SignalInfo::child(self.code, self.pid, self.uid, self.status, user, system)
    }
}

fn child_is_finished(waited: &Waited) -> bool {
    matches!(waited.code, code::CLD_EXITED | code::CLD_KILLED | code::CLD_DUMPED)
}

fn fits(pid: i32, child: &Process, options: WaitOptions, own_thread: i32) -> bool {
    let is_clone_child = child.exit_signal != Some(Signal::SIGCHLD);
    let kind_fits = options.all || is_clone_child == options.clone_only;
    let target_fits = match options.target {
        WaitTarget::Any => true,
        WaitTarget::Process(wanted) => wanted == pid,
        WaitTarget::ProcessGroup(wanted) => wanted == child.process_group,
    };
    kind_fits && target_fits && (!options.this_thread_only || child.parent_thread == own_thread)
}

fn report(table: &mut TaskTable, pid: i32, options: WaitOptions) -> Option<Waited> {
    let parent = table.process(pid)?.parent;
    let is_traced_by_other = table.links.is_traced_by_other(pid, parent);
    // Then its stops are those of a traced task, and not reported twice.
    let is_traced_by_own = !is_traced_by_other && table.links.has(pid);
    let child = table.process_mut(pid)?;
    if let Some(zombie) = child.zombie {
        // The tracer first.
        if !options.exited || is_traced_by_other {
            return None;
        }
        return Some(Waited::of_zombie(pid, &zombie));
    }
    if is_traced_by_own {
        return None;
    }
    let event = child.event?;
    let uid = child.group.any_thread().map(|task| task.credentials().uid).unwrap_or_default();
    let usage = child.group.usage();
    let (code, status, wait_status) = match event {
        StopEvent::Stopped(signal) if options.stopped => {
            (code::CLD_STOPPED, signal.number(), signal.number() << 8 | 0x7f)
        }
        StopEvent::Continued if options.continued => (code::CLD_CONTINUED, Signal::SIGCONT.number(), 0xffff),
        _ => return None,
    };
    if !options.keep {
        child.event = None;
    }
    Some(Waited { pid, uid, code, status, wait_status, usage })
}
