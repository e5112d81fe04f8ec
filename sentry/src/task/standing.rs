//! Answers that stand: who a task is. The platform gives them without asking (tier 0), until something changes.
//!
//! Each change says so ([`Task::withdraw_answers`]) before anybody can know of it, and the task's own sentry thread leaves the
//! new answers before the task goes on.

mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, Ordering};
}
mod version;

#[cfg(test)]
mod model_tests;

pub(crate) use version::Version;

use super::{Current, Task};

/// What stands, by the number under which the platform knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// `getpid(2)`
    Process = 0,
    /// `gettid(2)`
    Thread = 1,
    /// `getppid(2)`
    Parent = 2,
    /// `getuid(2)`
    User = 3,
    /// `geteuid(2)`
    EffectiveUser = 4,
    /// `getgid(2)`
    Group = 5,
    /// `getegid(2)`
    EffectiveGroup = 6,
}

/// The numbers of these calls.
const CALLS: [u32; 7] = [39, 186, 110, 102, 107, 104, 108];

impl Standing {
    /// The number under which the platform knows it.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl Task {
    /// Something that stands has changed, or must be asked for from now on. For [`Standing::Parent`], to be called with the
    /// table of tasks locked; for filters of calls, with the group locked.
    pub(crate) fn withdraw_answers(&self) {
        self.standing.withdraw(|| {
            if let Some(runner) = &*self.runner.load() {
                runner.kicker.withdraw_answers();
            }
        });
    }
}

impl Current {
    /// Leaves the answers that stand now, if they have changed.
    pub(crate) fn renew_answers(&mut self) {
        let task = &self.task;
        if task.standing.stands(self.standing) {
            return;
        }
        // With both locked nothing is withdrawn between looking and leaving. Own credentials only the task itself changes.
        let table = task.kernel.tasks.lock();
        let group = task.group.state.lock();
        self.standing = Some(task.standing.now());
        let parent = table.process(task.tgid()).map(|process| process.parent);
        // A filter wants to see each call, unless it allows these in any case.
        let Some(parent) = parent.filter(|_| task.seccomp.always_allows(&CALLS)) else {
            return self.thread.set_answers(&[]);
        };
        let who = task.credentials();
        let mut answers = [0; 7];
        for (answer, value) in [
            (Standing::Process, task.tgid() as u32),
            (Standing::Thread, task.tid() as u32),
            (Standing::Parent, parent as u32),
            (Standing::User, who.uid),
            (Standing::EffectiveUser, who.euid),
            (Standing::Group, who.gid),
            (Standing::EffectiveGroup, who.egid),
        ] {
            answers[usize::from(answer.number())] = value;
        }
        self.thread.set_answers(&answers);
        drop((group, table));
    }
}
