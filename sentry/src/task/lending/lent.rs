//! To whom a descriptor table is lent, and how it is had back.
//!
//! Of the tasks that share a table one at most is its *tenant*: the others' calls, and everybody else who looks into the table, have it
//! taken back first if the tenant's guest is running. Meanwhile nothing of it is lent.

use std::ops::Deref;
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};
use usk_platform::host::{Clock, clock_ns};

use super::loan::Loan;
use super::turns::Turns;
use crate::task::{Kicks, Task};
use crate::vfs::FdTable;

/// Of a descriptor table, to whom it is lent.
#[derive(Default)]
pub(crate) struct Lent {
    loan: Loan,
    turns: Turns,
    /// Whom to kick.
    tenant: Mutex<Weak<Task>>,
    has_ended: Condvar,
}

impl Lent {
    /// Whether `task` is the tenant, or becomes it: alone it does at once.
    pub(super) fn admits(&self, task: &Arc<Task>, is_shared: bool) -> bool {
        let number = task.number();
        if self.loan.tenant() == Some(number) {
            return true;
        }
        if is_shared && !self.turns.is_of(number) {
            return false;
        }
        let mut tenant = self.tenant.lock();
        let is_admitted = self.loan.claim(number);
        if is_admitted {
            *tenant = Arc::downgrade(task);
        }
        is_admitted
    }

    /// `task` has let go of the table.
    pub(in crate::task) fn dismiss(&self, task: &Task) {
        self.loan.dismiss(task.number());
    }

    /// The task's guest is about to run with what it is lent, as it was after so many touches. False if it must not.
    pub(super) fn begin(&self, task: &Task, touches: u64) -> bool {
        if !self.loan.begin(task.number()) {
            return false;
        }
        let may = self.loan.may_run(touches);
        if !may && self.stop(task) {
            self.end(task);
        }
        may
    }

    /// See [`Loan::stop`].
    pub(super) fn stop(&self, task: &Task) -> bool {
        self.loan.stop(task.number())
    }

    /// All is taken back.
    pub(super) fn end(&self, task: &Task) {
        if self.loan.end(task.number()) {
            let _guard = self.tenant.lock();
            self.has_ended.notify_all();
        }
    }

    /// See [`Loan::touch`].
    pub(super) fn touch(&self) {
        self.loan.touch();
    }

    /// See [`Loan::touches`].
    pub(super) fn touches(&self) -> u64 {
        self.loan.touches()
    }

    /// One of the tasks that share the table begins to use it.
    fn begin_use(&self, user: u32) {
        self.loan.ask();
        let last = self.turns.note_use(user);
        let Some(tenant) = self.loan.tenant().filter(|&tenant| tenant != user) else { return };
        let was_lent = self.loan.is_lent();
        if was_lent {
            self.recall();
        }
        if (was_lent || last == tenant) && self.turns.disturb(user, clock_ns(Clock::Monotonic)) {
            self.loan.dismiss(tenant);
        }
    }

    /// Waits until nothing is lent any more, after having [asked](Loan::ask).
    fn recall(&self) {
        let mut tenant = self.tenant.lock();
        let mut kicks = Kicks::default();
        while self.loan.is_lent() {
            let task = tenant.upgrade();
            if let Some(task) = &task {
                self.get_out(task);
                kicks.note(task);
            }
            if self.loan.is_lent() {
                self.has_ended.wait_for(&mut tenant, Kicks::EVERY);
            }
        }
    }

    /// Gets the tenant out of guest code. One that sleeps there in a host call, and has done nothing with what it was lent, is left
    /// alone: a signal would make a call begin anew that others have moved to another futex.
    fn get_out(&self, task: &Task) {
        if task.sleeps_with_nothing() {
            // It does not go on in guest code before its sentry thread has seen that the loan has ended.
            task.withdraw_answers();
            if task.sleeps_with_nothing() {
                return self.loan.end_early(task.number());
            }
        }
        task.kick();
    }
}

/// A descriptor table in somebody's hands. Nothing of it is lent meanwhile.
pub struct BorrowedFiles {
    files: Arc<FdTable>,
}

impl Deref for BorrowedFiles {
    type Target = Arc<FdTable>;

    fn deref(&self) -> &Arc<FdTable> {
        &self.files
    }
}

impl Drop for BorrowedFiles {
    fn drop(&mut self) {
        self.files.lent.loan.give_back();
    }
}

impl Task {
    /// As what its tables know it.
    fn number(&self) -> u32 {
        self.tid().unsigned_abs()
    }

    /// Its descriptor table, for its own call; for others there is [`Task::borrow_files`]. No lock may be held that another task
    /// needs on its way out of guest code. As long as it is held no task is lent anything of it, so it is let go of before the call
    /// sleeps. A task that is ending has an empty one.
    pub fn files(&self) -> BorrowedFiles {
        let files = self.load_files();
        files.lent.begin_use(self.number());
        BorrowedFiles { files }
    }

    /// Its descriptor table, for whoever may be another task, under the same terms.
    pub fn borrow_files(&self) -> BorrowedFiles {
        let files = self.load_files();
        files.lent.loan.ask();
        files.lent.recall();
        BorrowedFiles { files }
    }

    /// What is lent is taken back soon, and looked at before it is lent again. Waits for nothing, and takes no lock.
    pub(crate) fn call_in_files(&self) {
        if let Some(files) = &*self.lendable_files() {
            files.lent.touch();
        }
        self.kick();
    }

    /// What is lent is taken back once before this returns. As [`Task::borrow_files`], for whoever does not need the table.
    pub(crate) fn bring_in_files(&self) {
        if self.lendable_files().as_ref().is_some_and(|files| files.lent.loan.is_lent()) {
            drop(self.borrow_files());
        }
    }
}
