//! The process tree: who is whose child, in which process group and session, and which identifiers are taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use usk_abi::{Errno, Signal};

use crate::ptrace::Links;
use crate::task::{ExitStatus, Task, ThreadGroup, Usage};
use crate::vfs::FsContext;

/// Identifiers are below this (`pid_max` of a 64-bit Linux).
const PID_LIMIT: i32 = 4_194_304;
/// After a wrap, identifiers start again here (`RESERVED_PIDS`).
const RESERVED_PIDS: i32 = 300;
/// The first process: it adopts orphans. It is the sandbox's own and runs no guest code, or it is the command.
pub const INIT_PID: i32 = 1;
/// The sandbox's own process where the command is the first: what is outside, as Linux's idle task and the parents beyond a
/// PID namespace are. Guests see its number as a parent's and can name it nowhere.
pub(crate) const OUTSIDE_PID: i32 = 0;

/// A change of a process's state that its parent may ask for with `wait4(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopEvent {
    /// It has been stopped by this signal.
    Stopped(Signal),
    /// It runs again.
    Continued,
}

/// A process in the tree: a live one, or a zombie.
pub struct Process {
    /// The thread group.
    pub group: Arc<ThreadGroup>,
    /// The parent's identifier.
    pub parent: i32,
    /// The parent's thread that made it.
    pub parent_thread: i32,
    /// Its children, oldest first.
    pub children: Vec<i32>,
    /// Its process group.
    pub process_group: i32,
    /// Its session.
    pub session: i32,
    /// What the parent is sent when it ends; `None` after `clone(2)` without a signal.
    pub exit_signal: Option<Signal>,
    /// Set once it is a zombie.
    pub zombie: Option<Zombie>,
    /// The last stop or continuation that has not been waited for.
    pub event: Option<StopEvent>,
    /// Resources that children used which have been waited for.
    pub children_usage: Usage,
    /// Whether orphans among its descendants are reparented to it (`PR_SET_CHILD_SUBREAPER`).
    pub is_subreaper: bool,
    /// Whether it has executed a program since it was made: `setpgid(2)` by the parent is refused then.
    pub has_executed: bool,
}

impl Process {
    /// What is left of the leader, if it has ended: of the process, or before its other threads.
    fn ended_leader(&self) -> Option<Zombie> {
        self.zombie.or_else(|| self.group.state.lock().ended_leader)
    }
}

/// What is left of a process, or of one of its threads, that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Zombie {
    /// How it ended.
    pub status: ExitStatus,
    /// Its real user.
    pub uid: u32,
    /// Its saved user, who may signal it as well.
    pub suid: u32,
    /// Its real group.
    pub gid: u32,
    /// What it used.
    pub usage: Usage,
}

/// The tree and the identifiers. One lock guards it all: Linux's `tasklist_lock`.
pub struct TaskTable {
    /// The sandbox's own process, which is there from the beginning to the end: [`INIT_PID`] or [`OUTSIDE_PID`].
    own: i32,
    processes: BTreeMap<i32, Process>,
    threads: HashMap<i32, Arc<Task>>,
    /// Count of the threads that do not lead their process.
    followers: usize,
    /// Who traces whom.
    pub(crate) links: Links,
    last_pid: i32,
    /// Identifiers have been given out again from the beginning; before that each is new.
    has_wrapped: bool,
}

impl TaskTable {
    /// An empty tree, in which the sandbox's own process will have this identifier.
    pub(crate) fn new(own: i32) -> Self {
        let (processes, threads) = (BTreeMap::new(), HashMap::new());
        let links = Links::default();
        TaskTable { own, processes, threads, followers: 0, links, last_pid: own, has_wrapped: false }
    }

    /// The sandbox's own process. It reaps whatever is its child.
    pub(crate) fn own(&self) -> i32 {
        self.own
    }

    /// Reserves an identifier that names no thread, process, group or session.
    pub(crate) fn allocate_pid(&mut self) -> Result<i32, Errno> {
        for _ in 0..PID_LIMIT {
            self.last_pid += 1;
            if self.last_pid >= PID_LIMIT {
                self.last_pid = RESERVED_PIDS;
                self.has_wrapped = true;
            }
            if !self.has_wrapped || !self.is_taken(self.last_pid) {
                return Ok(self.last_pid);
            }
        }
        Err(Errno::EAGAIN)
    }

    fn is_taken(&self, pid: i32) -> bool {
        let is_named = |process: &Process| process.process_group == pid || process.session == pid;
        self.threads.contains_key(&pid)
            || self.processes.contains_key(&pid)
            || self.links.has(pid)
            || self.processes.values().any(is_named)
    }

    /// Count of what limits on tasks are about: live threads, and what nobody has waited for of those that have ended
    /// (`release_task` takes it off). The sandbox's own process is not among them.
    pub(crate) fn charged_count(&self) -> usize {
        let processes = self.processes.len() - usize::from(self.processes.contains_key(&self.own));
        processes + self.followers + self.links.ended_threads().count()
    }

    /// As [`TaskTable::charged_count`], of one real user.
    pub(crate) fn charged_count_of(&self, uid: u32) -> usize {
        let threads = self.threads.values().filter(|task| task.credentials().uid == uid).count();
        let without_leader = self.processes.iter().filter(|(pid, _)| !self.threads.contains_key(*pid));
        let leaders = without_leader.filter_map(|(_, process)| process.ended_leader());
        let ended = leaders.chain(self.links.ended_threads().copied());
        threads + ended.filter(|zombie| zombie.uid == uid).count()
    }

    /// Count of live threads.
    pub fn thread_count(&self) -> usize {
        self.threads.len()
    }

    /// The live thread with this identifier.
    pub fn thread(&self, tid: i32) -> Option<Arc<Task>> {
        self.threads.get(&tid).cloned()
    }

    /// All live threads, by identifier.
    pub fn threads(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.threads.values()
    }

    /// Those of them whose root, working directory and umask these are.
    pub fn sharers_of_fs(&self, fs: &Arc<FsContext>) -> impl Iterator<Item = &Arc<Task>> {
        self.threads().filter(move |task| Arc::ptr_eq(&task.fs(), fs))
    }

    /// The process with this identifier, zombies included.
    pub fn process(&self, pid: i32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// The process with this identifier, to change.
    pub fn process_mut(&mut self, pid: i32) -> Option<&mut Process> {
        self.processes.get_mut(&pid)
    }

    /// All processes in the order of their identifiers, zombies included.
    pub fn processes(&self) -> impl Iterator<Item = (i32, &Process)> {
        self.processes.iter().map(|(pid, process)| (*pid, process))
    }

    pub(crate) fn insert_thread(&mut self, tid: i32, task: Arc<Task>) {
        self.followers += usize::from(task.tgid() != tid);
        self.threads.insert(tid, task);
    }

    pub(crate) fn remove_thread(&mut self, tid: i32) {
        if let Some(task) = self.threads.remove(&tid) {
            self.followers -= usize::from(task.tgid() != tid);
        }
    }

    pub(crate) fn insert_process(&mut self, process: Process) {
        let pid = process.group.tgid;
        if let Some(parent) = self.processes.get_mut(&process.parent) {
            parent.children.push(pid);
        }
        self.processes.insert(pid, process);
    }

    /// Removes a zombie that has been waited for.
    pub(crate) fn remove_process(&mut self, pid: i32) -> Option<Process> {
        let process = self.processes.remove(&pid)?;
        if let Some(parent) = self.processes.get_mut(&process.parent) {
            parent.children.retain(|child| *child != pid);
        }
        Some(process)
    }

    /// Who adopts the children of `pid`: its nearest ancestor that is a subreaper and lives, or init. Init's own children
    /// are the sandbox's, and so are all while the command that will be init has not started.
    pub(crate) fn reaper_of(&self, pid: i32) -> i32 {
        if pid == INIT_PID || !self.processes.contains_key(&INIT_PID) {
            return self.own;
        }
        let mut at = pid;
        while let Some(process) = self.processes.get(&at) {
            at = process.parent;
            if at == INIT_PID || at == self.own {
                break;
            }
            if self.processes.get(&at).is_some_and(|parent| parent.is_subreaper && parent.zombie.is_none()) {
                return at;
            }
        }
        INIT_PID
    }

    /// Moves the children of `from` to `to`, there to a thread that stays, if one does (`find_alive_thread`); returns them.
    pub(crate) fn reparent_children(&mut self, from: i32, to: i32) -> Vec<i32> {
        let children = self.processes.get_mut(&from).map(|process| std::mem::take(&mut process.children));
        let children = children.unwrap_or_default();
        let thread = self.processes.get(&to).and_then(|process| process.group.staying_thread());
        let parent_thread = thread.map_or(to, |thread| thread.tid());
        for child in &children {
            if let Some(process) = self.processes.get_mut(child) {
                process.parent = to;
                process.parent_thread = parent_thread;
                process.exit_signal = Some(Signal::SIGCHLD);
                for thread in &process.group.state.lock().threads {
                    thread.withdraw_answers();
                }
            }
        }
        if let Some(process) = self.processes.get_mut(&to) {
            process.children.extend(&children);
        }
        children
    }

    /// The children of one thread of a process are another's: it has ended, or has another identifier.
    pub(crate) fn hand_children_on(&mut self, pid: i32, from: i32, to: i32) {
        let children = self.processes.get(&pid).map(|process| process.children.clone());
        for child in children.unwrap_or_default() {
            if let Some(process) = self.processes.get_mut(&child).filter(|child| child.parent_thread == from)
            {
                process.parent_thread = to;
            }
        }
    }

    /// The live processes of a process group.
    pub fn process_group(&self, group: i32) -> impl Iterator<Item = (i32, &Process)> {
        self.processes()
            .filter(move |(_, process)| process.process_group == group && process.zombie.is_none())
    }

    /// True if no live member of the process group has a parent in another group of the same session (`is_current_pgrp_orphaned`).
    /// `leaving` is a process to pass over: it is about to go.
    pub fn is_orphaned_group(&self, group: i32, leaving: Option<i32>) -> bool {
        !self.process_group(group).any(|(pid, process)| {
            Some(pid) != leaving
                && process.parent != self.own
                && self
                    .processes
                    .get(&process.parent)
                    .is_some_and(|parent| parent.process_group != group && parent.session == process.session)
        })
    }
}
