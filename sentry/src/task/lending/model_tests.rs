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

/// A file that a task holds, as `vfs/holder.rs` has it.
struct Held {
    loan: Loan,
    /// Open files.
    opens: AtomicU32,
    /// Whether the task holds it.
    holder: Mutex<bool>,
    /// What has been noted and not been brought in, and what has.
    noted: AtomicU32,
    contents: AtomicU32,
    /// The other has it open.
    is_opened: AtomicU32,
}

impl Held {
    /// The task's sentry thread lets the guest run once, which notes something if it may. How much.
    fn run(&self, is_held: &mut bool) -> u32 {
        if self.loan.take_touch() {
            let mut holder = self.holder.lock().unwrap();
            *holder = self.opens.load(Ordering::Relaxed) == 1;
            *is_held = *holder;
        }
        let mut noted = 0;
        if self.loan.begin() && *is_held {
            noted = 1;
            assert_eq!(self.is_opened.load(Ordering::Relaxed), 0, "nobody holds what another has opened");
            self.noted.fetch_add(1, Ordering::Relaxed);
        }
        let taken = self.noted.swap(0, Ordering::Relaxed);
        self.contents.fetch_add(taken, Ordering::Relaxed);
        self.loan.end();
        noted
    }

    /// Another task opens it. What it finds.
    fn open(&self) -> u32 {
        self.opens.fetch_add(1, Ordering::Relaxed);
        let mut holder = self.holder.lock().unwrap();
        if std::mem::take(&mut *holder) {
            self.loan.ask();
            while self.loan.is_lent() {
                thread::yield_now();
            }
            self.loan.give_back();
        }
        drop(holder);
        self.is_opened.store(1, Ordering::Relaxed);
        self.contents.load(Ordering::Relaxed)
    }
}

#[test]
fn who_opens_a_file_finds_all_that_was_noted_and_nothing_is_noted_any_more() {
    loom::model(|| {
        let held = Arc::new(Held {
            loan: Loan::default(),
            opens: AtomicU32::new(1),
            holder: Mutex::new(false),
            noted: AtomicU32::new(0),
            contents: AtomicU32::new(0),
            is_opened: AtomicU32::new(0),
        });
        held.loan.touch();
        let other = {
            let held = Arc::clone(&held);
            thread::spawn(move || held.open())
        };
        let mut is_held = false;
        let noted = held.run(&mut is_held) + held.run(&mut is_held);
        assert_eq!(other.join().unwrap(), noted);
        assert_eq!(held.run(&mut is_held), 0);
    });
}
