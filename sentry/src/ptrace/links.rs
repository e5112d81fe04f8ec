//! Who traces whom: a part of the process tree.

use std::sync::Arc;

use crate::task::{Task, Zombie};

/// All pairs of tracer and traced task, in the order in which tracing began. Guarded by the tree's lock.
#[derive(Default)]
pub(crate) struct Links(Vec<Link>);

/// One pair.
pub(super) struct Link {
    /// The traced task's identifier.
    pub(super) tid: i32,
    pub(super) tracer: Arc<Task>,
    pub(super) tracee: Tracee,
    /// Whoever had it traced might trace anybody when it began (`ptracer_cred`). What the tracer may do since then says nothing.
    pub(super) is_capable: bool,
}

/// A traced task.
#[derive(Clone)]
pub(super) enum Tracee {
    /// It lives.
    Live(Arc<Task>),
    /// It has ended and its tracer has not waited for it.
    Gone(Gone),
}

/// What is left of a traced task that has ended.
#[derive(Clone, Copy)]
pub(crate) enum Gone {
    /// A thread of a process, whose end its tracer is to hear of.
    Thread {
        /// How it ended.
        zombie: Zombie,
        /// Its process.
        tgid: i32,
    },
    /// The first thread of a process: how it ended the process will say.
    Leader,
}

impl Link {
    /// Whether `tracer` traces `task`, which lives.
    pub(super) fn is_of(&self, task: &Arc<Task>, tracer: &Arc<Task>) -> bool {
        let is_task = matches!(&self.tracee, Tracee::Live(live) if Arc::ptr_eq(live, task));
        is_task && Arc::ptr_eq(&self.tracer, tracer)
    }
}

impl Links {
    pub(super) fn add(&mut self, tracee: &Arc<Task>, tracer: &Arc<Task>, is_capable: bool) {
        let (tid, tracer) = (tracee.tid(), tracer.clone());
        self.0.push(Link { tid, tracer, tracee: Tracee::Live(tracee.clone()), is_capable });
    }

    /// The pair whose traced task is `tid`.
    pub(super) fn find(&self, tid: i32) -> Option<&Link> {
        self.0.iter().find(|link| link.tid == tid)
    }

    /// Whether an identifier is a traced task's, which may be all that is left of it.
    pub(crate) fn has(&self, tid: i32) -> bool {
        self.find(tid).is_some()
    }

    /// Who traces `tid`.
    pub(crate) fn tracer_of(&self, tid: i32) -> Option<&Arc<Task>> {
        self.find(tid).map(|link| &link.tracer)
    }

    /// What is left of traced threads of processes that have ended, and that their tracers have not waited for.
    pub(crate) fn ended_threads(&self) -> impl Iterator<Item = &Zombie> {
        self.0.iter().filter_map(|link| match &link.tracee {
            Tracee::Gone(Gone::Thread { zombie, .. }) => Some(zombie),
            _ => None,
        })
    }

    /// Forgets that `tid` is traced.
    pub(crate) fn remove(&mut self, tid: i32) {
        self.0.retain(|link| link.tid != tid);
    }

    /// All that `fits` says, in their order.
    pub(super) fn matching(&self, fits: impl Fn(&Link) -> bool) -> impl Iterator<Item = &Link> {
        self.0.iter().filter(move |link| fits(link))
    }

    /// A task has ended.
    pub(super) fn set_gone(&mut self, tid: i32, gone: Gone) {
        if let Some(link) = self.0.iter_mut().find(|link| link.tid == tid) {
            link.tracee = Tracee::Gone(gone);
        }
    }

    /// A task has taken the identifier of its group's first thread, which is no more.
    pub(crate) fn rename(&mut self, from: i32, to: i32) {
        self.remove(to);
        if let Some(link) = self.0.iter_mut().find(|link| link.tid == from) {
            link.tid = to;
        }
    }

    /// Whether `tid`, the child of a process, is traced by another process.
    pub(crate) fn is_traced_by_other(&self, tid: i32, parent: i32) -> bool {
        self.tracer_of(tid).is_some_and(|tracer| tracer.tgid() != parent)
    }
}
