//! Whether a task's descriptors are lent at the moment, who does not want that, and who has had hold of them. Compiled twice: over the
//! machine's atomic words, and over loom's.

use super::atomic::{AtomicBool, AtomicU32, Ordering, order};

/// The words.
#[derive(Debug, Default)]
pub(super) struct Loan {
    is_lent: AtomicBool,
    /// Others that look into the table.
    borrowers: AtomicU32,
    /// The table has been handed out since it was looked at: whatever is lent of it may have changed.
    is_touched: AtomicBool,
}

impl Loan {
    /// The guest is about to run with what it is lent. False if it must not; then the loan is to be ended.
    pub(super) fn begin(&self) -> bool {
        self.is_lent.store(true, Ordering::SeqCst);
        order();
        // After it: a borrower sees the one or is seen here, if only by what it has touched.
        self.borrowers.load(Ordering::SeqCst) == 0 && !self.is_touched.load(Ordering::SeqCst)
    }

    /// All is taken back. True if somebody waits for that.
    pub(super) fn end(&self) -> bool {
        self.is_lent.store(false, Ordering::SeqCst);
        order();
        self.borrowers.load(Ordering::SeqCst) > 0
    }

    /// Somebody gets hold of the table. Nothing of it, nor of its files, changes otherwise, but for references that go.
    pub(super) fn touch(&self) {
        self.is_touched.store(true, Ordering::Release);
    }

    /// Whether somebody has since the last time, which is this one then.
    pub(super) fn take_touch(&self) -> bool {
        // What has not been touched, as after most calls, costs no write that others wait for.
        self.is_touched.load(Ordering::Relaxed) && self.is_touched.swap(false, Ordering::AcqRel)
    }

    /// Somebody else wants the table, who waits until it [is not lent](Loan::is_lent).
    pub(super) fn ask(&self) {
        self.borrowers.fetch_add(1, Ordering::SeqCst);
        order();
    }

    pub(super) fn is_lent(&self) -> bool {
        self.is_lent.load(Ordering::SeqCst)
    }

    /// One who has asked is done with the table.
    pub(super) fn give_back(&self) {
        self.touch();
        self.borrowers.fetch_sub(1, Ordering::SeqCst);
    }
}
