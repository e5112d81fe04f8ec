//! Answers that stand: who a task is. The platform gives them without asking (tier 0), until something changes.
//!
//! Each change says so ([`Task::withdraw_answers`]) before anybody can know of it, and the task's own sentry thread leaves the
//! new answers before the task goes on. With them go the mask of blocked signals ([`crate::signal::SignalMask`]) and the actions
//! of signals ([`crate::signal::SignalActions`]).

mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, Ordering};
}
mod version;

#[cfg(test)]
mod model_tests;

pub(crate) use version::Version;

use usk_platform::{GuestThread, HOST_CALLS_STAND, MAY_ASK_HOST, THREAD_STANDS};

use super::{Current, Task};
use crate::futex;
use crate::mm::Mm;

/// What stands, by the number under which the platform knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// `getpid(2)`
    Process = 0,
    /// `gettid(2)`
    Thread = THREAD_STANDS,
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
    /// That the host may be asked: `clock_gettime(2)`, `gettimeofday(2)`, `getcpu(2)`, `getrandom(2)`
    Host = MAY_ASK_HOST,
}

/// The numbers of these calls, and of `set_tid_address(2)` and `set_robust_list(2)`, which need nobody either.
const CALLS: [u32; 12] = [39, 186, 110, 102, 107, 104, 108, 228, 96, 309, 218, 273];

/// The numbers of `rt_sigprocmask(2)` and `rt_sigreturn(2)`.
const MASK_CALLS: [u32; 2] = [14, 15];

/// The number of `rt_sigaction(2)`.
const ACTION_CALLS: [u32; 1] = [13];

/// The numbers of the calls that the host may carry out.
const HOST_CALLS: [u32; 2] = [202, 24];

impl Standing {
    /// The number under which the platform knows it.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl Task {
    /// Whether nobody wants to see these calls, whatever their arguments are: no filter, and no tracer.
    pub(crate) fn hides_calls(&self, numbers: &[u32]) -> bool {
        !self.tracing.is_traced() && self.seccomp.always_allows(numbers)
    }

    /// Something that stands has changed, or must be asked for from now on. For [`Standing::Parent`], to be called with the
    /// table of tasks locked; for filters of calls and tracers, with the group locked.
    pub(crate) fn withdraw_answers(&self) {
        self.standing.withdraw(|| {
            self.signals.lock().mask.withdraw();
            if let Some(runner) = &*self.runner.load() {
                runner.kicker.withdraw_answers();
            }
        });
    }

    /// A file of which something is lent has changed. What is known of names is not meant.
    pub(crate) fn withdraw_loans(&self) {
        self.loans.withdraw(|| {
            if let Some(runner) = &*self.runner.load() {
                runner.kicker.withdraw_lending();
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
        {
            let mut signals = task.signals.lock();
            let pending = signals.pending.set().or(group.pending.set());
            match task.hides_calls(&MASK_CALLS) {
                true => signals.mask.share(pending, |mask, quiet| self.thread.share_mask(mask, quiet)),
                false => signals.mask.take_back(),
            }
        }
        let Some(parent) = parent else { return self.thread.set_answers(&[]) };
        let who = task.credentials();
        let mut answers = [None; 9];
        let is_stopping = task.borrow_mm(Mm::is_stopping);
        let may_call_host = futex::may_go_to_host(task) && !is_stopping;
        if may_call_host && task.hides_calls(&HOST_CALLS) {
            answers[usize::from(HOST_CALLS_STAND)] = Some(0);
        }
        let stands = task.hides_calls(&CALLS);
        for (answer, value) in [
            (Standing::Process, task.tgid() as u32),
            (Standing::Thread, task.tid() as u32),
            (Standing::Parent, parent as u32),
            (Standing::User, who.uid),
            (Standing::EffectiveUser, who.euid),
            (Standing::Group, who.gid),
            (Standing::EffectiveGroup, who.egid),
            (Standing::Host, 0),
        ] {
            answers[usize::from(answer.number())] = stands.then_some(value);
        }
        self.thread.set_answers(&answers);
        share_actions(task, &mut *self.thread);
        if is_stopping {
            // They may be left out for a while only.
            self.standing = None;
        }
        drop((group, table));
        self.lend_stack();
    }
}

/// Leaves the actions of signals where the guest thread changes them by itself, unless a filter wants to see that.
fn share_actions(task: &Task, thread: &mut dyn GuestThread) {
    let actions = task.group.actions.load();
    match task.hides_calls(&ACTION_CALLS) {
        true => actions.share(|actions| thread.share_actions(actions)),
        false => actions.take_back(),
    }
}
