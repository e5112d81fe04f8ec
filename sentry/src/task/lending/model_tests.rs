//! All interleavings of tasks that lend their table to their guests again and again, and of others that change it, by loom.

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};

    /// Loom takes an access as at most `AcqRel`.
    pub(super) fn order() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}
#[path = "loan.rs"]
#[allow(clippy::duplicate_mod, reason = "the same source over other words")]
mod loan;
use loan::Loan;

/// What a call adds.
const OTHERS: u32 = 10;
/// The tasks that share the table.
const FIRST: u32 = 1;
const SECOND: u32 = 2;

#[derive(Default)]
struct Shared {
    loan: Loan,
    /// The table: a count, to which everybody adds.
    table: Mutex<u32>,
}

/// What a task's guest has been lent of the table.
struct Guest<'a> {
    shared: &'a Shared,
    task: u32,
    /// After how many touches it was looked at.
    touches: Option<u64>,
    lent: u32,
}

impl Guest<'_> {
    /// The task's sentry thread lets the guest run once, lent the table if that can be. What the guest has added.
    fn run(&mut self) -> u32 {
        let loan = &self.shared.loan;
        if loan.tenant() != Some(self.task) && !loan.claim(self.task) {
            return 0;
        }
        let touches = loan.touches();
        if self.touches.replace(touches) != Some(touches) {
            self.lent = *self.shared.table.lock().unwrap();
        }
        if !loan.begin(self.task) {
            return 0;
        }
        let may = loan.may_run(touches);
        self.lent += u32::from(may);
        // Nobody ends it early here.
        assert!(loan.stop(self.task));
        if may {
            *self.shared.table.lock().unwrap() = self.lent;
        }
        loan.end(self.task);
        may.into()
    }
}

impl Shared {
    fn guest(&self, task: u32) -> Guest<'_> {
        Guest { shared: self, task, touches: None, lent: 0 }
    }

    /// The table is changed by a call of a task that is not lent it, in two steps.
    fn call(&self) {
        self.loan.ask();
        while self.loan.is_lent() {
            thread::yield_now();
        }
        let found = *self.table.lock().unwrap();
        *self.table.lock().unwrap() = found + OTHERS;
        self.loan.give_back();
    }
}

/// The interleavings in which threads are interrupted that often: all of them take minutes, for longer models hours.
fn with_preemptions(most: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(most);
    builder.check(model);
}

#[test]
fn nothing_is_lost_of_what_guest_and_borrower_change() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let borrower = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.call())
        };
        let mut guest = shared.guest(FIRST);
        let mut added = guest.run() + guest.run();
        borrower.join().unwrap();
        added += guest.run();
        assert_eq!(*shared.table.lock().unwrap(), OTHERS + added);
    });
}

#[test]
fn nothing_is_lost_of_what_two_guests_of_one_table_change_in_turns() {
    with_preemptions(3, || {
        let shared = Arc::new(Shared::default());
        let second = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let added = shared.guest(SECOND).run();
                shared.loan.dismiss(FIRST);
                added
            })
        };
        let mut guest = shared.guest(FIRST);
        let mut added = guest.run() + guest.run();
        added += second.join().unwrap() + guest.run();
        assert_eq!(*shared.table.lock().unwrap(), added);
    });
}

#[test]
fn nothing_is_lost_of_what_two_guests_of_one_table_and_a_borrower_change() {
    with_preemptions(2, || {
        let shared = Arc::new(Shared::default());
        let others = [true, false].map(|is_guest| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                if is_guest {
                    return shared.guest(SECOND).run();
                }
                shared.call();
                OTHERS
            })
        });
        let mut guest = shared.guest(FIRST);
        let mut added = guest.run();
        added += others.into_iter().map(|other| other.join().unwrap()).sum::<u32>();
        added += guest.run();
        assert_eq!(*shared.table.lock().unwrap(), added);
    });
}

#[test]
fn a_table_that_nobody_has_had_hold_of_is_lent_again_as_it_is() {
    loom::model(|| {
        let shared = Shared::default();
        let mut guest = shared.guest(FIRST);
        assert_eq!([guest.run(), guest.run()], [1, 1]);
        assert_eq!(guest.touches, Some(shared.loan.touches()));
    });
}

#[test]
fn what_was_ended_early_is_not_taken_back_and_another_may_have_it() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        assert!(shared.loan.claim(FIRST));
        assert!(shared.loan.begin(FIRST) && shared.loan.may_run(shared.loan.touches()));
        // The first guest sleeps, and leaves guest code at any time.
        let first = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                if shared.loan.stop(FIRST) {
                    shared.loan.end(FIRST);
                }
            })
        };
        shared.loan.ask();
        shared.loan.end_early(FIRST);
        while shared.loan.is_lent() {
            thread::yield_now();
        }
        shared.loan.give_back();
        let added = shared.guest(SECOND).run();
        assert_eq!(added, 1);
        first.join().unwrap();
        assert_eq!(*shared.table.lock().unwrap(), added);
        assert_eq!(shared.loan.tenant(), Some(SECOND), "who was lent it before has not taken it away");
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
    fn run(&self, touches: &mut Option<u64>, is_held: &mut bool) -> u32 {
        let touches_now = self.loan.touches();
        if touches.replace(touches_now) != Some(touches_now) {
            let mut holder = self.holder.lock().unwrap();
            *holder = self.opens.load(Ordering::Relaxed) == 1;
            *is_held = *holder;
        }
        let mut noted = 0;
        if !self.loan.begin(FIRST) {
            return noted;
        }
        if self.loan.may_run(touches_now) && *is_held {
            noted = 1;
            assert_eq!(self.is_opened.load(Ordering::Relaxed), 0, "nobody holds what another has opened");
            self.noted.fetch_add(1, Ordering::Relaxed);
        }
        self.loan.stop(FIRST);
        let taken = self.noted.swap(0, Ordering::Relaxed);
        self.contents.fetch_add(taken, Ordering::Relaxed);
        self.loan.end(FIRST);
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
        assert!(held.loan.claim(FIRST));
        let other = {
            let held = Arc::clone(&held);
            thread::spawn(move || held.open())
        };
        let (mut touches, mut is_held) = (None, false);
        let mut run = || held.run(&mut touches, &mut is_held);
        let noted = run() + run();
        assert_eq!(other.join().unwrap(), noted);
        assert_eq!(run(), 0);
    });
}
