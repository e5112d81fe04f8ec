//! All interleavings of a task that lends its table to its guest again and again, and of another that changes it, by loom.

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    /// Loom takes an access as at most `AcqRel`.
    pub(super) fn order() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}
#[path = "loan.rs"]
#[allow(clippy::duplicate_mod, reason = "the same source over other words")]
mod loan;
use loan::Loan;

/// What the other adds.
const OTHERS: u32 = 10;

#[derive(Default)]
struct Shared {
    loan: Loan,
    /// The table: a count, to which everybody adds.
    table: Mutex<u32>,
    /// What the guest has been lent of it.
    lent: AtomicU32,
}

impl Shared {
    /// The task's sentry thread lets the guest run once. What the guest has added.
    fn run(&self) -> u32 {
        if self.loan.take_touch() {
            self.lent.store(*self.table.lock().unwrap(), Ordering::Relaxed);
        }
        let mut added = 0;
        if self.loan.begin() {
            added = 1;
            let sum = self.lent.load(Ordering::Relaxed) + added;
            self.lent.store(sum, Ordering::Relaxed);
            *self.table.lock().unwrap() = sum;
        }
        self.loan.end();
        added
    }

    /// Another task changes the table, in two steps.
    fn borrow(&self) {
        self.loan.ask();
        while self.loan.is_lent() {
            thread::yield_now();
        }
        let found = *self.table.lock().unwrap();
        *self.table.lock().unwrap() = found + OTHERS;
        self.loan.give_back();
    }
}

#[test]
fn nothing_is_lost_of_what_guest_and_borrower_change() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let borrower = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.borrow())
        };
        let mut added = shared.run() + shared.run();
        borrower.join().unwrap();
        added += shared.run();
        assert_eq!(*shared.table.lock().unwrap(), OTHERS + added);
    });
}

#[test]
fn a_table_that_nobody_has_had_hold_of_is_lent_again_as_it_is() {
    loom::model(|| {
        let shared = Shared::default();
        shared.loan.touch();
        assert!(shared.loan.take_touch() && !shared.loan.take_touch());
        assert_eq!([shared.run(), shared.run()], [1, 1]);
    });
}
