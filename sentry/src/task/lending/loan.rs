//! To whom a descriptor table is lent, whether it is at the moment, who does not want that, and who has had hold of it. Compiled
//! twice: over the machine's atomic words, and over loom's.

use super::atomic::{AtomicU64, Ordering, order};

/// The tenant's guest runs with what it is lent.
const LENT: u64 = 1 << 32;
/// All of that is being taken back.
const ENDING: u64 = 1 << 33;

/// One more has had hold of the table.
const TOUCH: u64 = 1 << 24;
/// Those who have at the moment: fewer than there can be tasks.
const BORROWERS: u64 = TOUCH - 1;

/// The words.
#[derive(Debug, Default)]
pub(super) struct Loan {
    /// The number of the task to which alone the table is lent, again and again, and what is going on. 0 is nobody.
    tenant: AtomicU64,
    /// How many use the table or look into it without being lent it, and above that how many have.
    uses: AtomicU64,
}

impl Loan {
    /// The tenant, if there is one.
    pub(super) fn tenant(&self) -> Option<u32> {
        Some(self.tenant.load(Ordering::SeqCst) as u32).filter(|&number| number != 0)
    }

    /// Makes a task the tenant, who has to look at everything. False if the table is lent to another at the moment.
    pub(super) fn claim(&self, task: u32) -> bool {
        let found = self.tenant.load(Ordering::SeqCst);
        let may = found & (LENT | ENDING) == 0 && self.change(found, task.into());
        if may {
            self.touch();
        }
        may
    }

    /// The task is not the tenant any more, unless its guest runs with what it is lent.
    pub(super) fn dismiss(&self, task: u32) {
        self.change(task.into(), 0);
    }

    /// The task's guest is about to run with what it is lent. False if it is not the tenant. Then it has to look whether it
    /// [may](Loan::may_run).
    pub(super) fn begin(&self, task: u32) -> bool {
        self.change(task.into(), u64::from(task) | LENT)
    }

    /// Whether nobody uses the table, nor has since it was touched as often as this.
    pub(super) fn may_run(&self, touches: u64) -> bool {
        order();
        // After the beginning: a borrower sees the one or is seen here, if only by what it has touched.
        self.uses.load(Ordering::SeqCst) == touches
    }

    /// The tenant's guest has stopped, and all is about to be taken back. False if the loan was ended meanwhile: then nothing is.
    pub(super) fn stop(&self, task: u32) -> bool {
        self.change(u64::from(task) | LENT, u64::from(task) | ENDING)
    }

    /// Ends the loan of a tenant whose guest has done nothing with what it was lent, and can do nothing any more.
    pub(super) fn end_early(&self, task: u32) {
        self.change(u64::from(task) | LENT, task.into());
    }

    /// All is taken back. True if somebody waits for that, perhaps.
    pub(super) fn end(&self, task: u32) -> bool {
        self.tenant.store(task.into(), Ordering::SeqCst);
        order();
        self.uses.load(Ordering::SeqCst) & BORROWERS > 0
    }

    fn change(&self, from: u64, to: u64) -> bool {
        self.tenant.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Somebody has had hold of the table. Nothing of it, nor of its files, changes otherwise, but for references that go.
    pub(super) fn touch(&self) {
        self.uses.fetch_add(TOUCH, Ordering::SeqCst);
    }

    /// How often that was so: as long as this is the same, whatever is lent of the table is.
    pub(super) fn touches(&self) -> u64 {
        self.uses.load(Ordering::SeqCst) & !BORROWERS
    }

    /// Somebody wants the table who is not lent it, and waits until it [is not lent](Loan::is_lent).
    pub(super) fn ask(&self) {
        self.uses.fetch_add(1, Ordering::SeqCst);
        order();
    }

    pub(super) fn is_lent(&self) -> bool {
        self.tenant.load(Ordering::SeqCst) & (LENT | ENDING) != 0
    }

    /// One who has asked is done with the table.
    pub(super) fn give_back(&self) {
        self.uses.fetch_add(TOUCH - 1, Ordering::SeqCst);
    }
}
