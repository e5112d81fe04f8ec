//! All interleavings of a guest thread that leaves something in its inlet, one who looks for it, and what both do about the bell, by loom.
//! The guest's side is what `inlet.S` does; a locked instruction is a store and a full fence. A sleep on the bell is the host's comparison
//! of the word, after which a ring wakes.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::thread;

const CLOSED: u32 = 0;
const OPEN: u32 = 1;
const LISTENER: u32 = 2;

struct Words {
    /// In the orders: the record's leave.
    leave: AtomicU32,
    /// In the slot: how much has been left.
    filled: AtomicU32,
    /// In the slot: how often the bell has been rung.
    bell: AtomicU32,
}

/// What the guest thread has done besides leaving a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    WentOn,
    Rang,
    Called,
}

impl Words {
    fn new(leave: u32) -> Arc<Words> {
        let [filled, bell] = [(); 2].map(|()| AtomicU32::new(0));
        Arc::new(Words { leave: AtomicU32::new(leave), filled, bell })
    }

    fn leave_a_byte(&self) -> Then {
        self.filled.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        match self.leave.load(Ordering::Relaxed) {
            CLOSED => Then::Called,
            LISTENER => {
                self.bell.fetch_add(1, Ordering::SeqCst);
                Then::Rang
            }
            _ => Then::WentOn,
        }
    }

    fn set_leave(&self, leave: u32) {
        self.leave.store(leave, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    fn finds(&self) -> bool {
        self.filled.load(Ordering::Relaxed) == 1
    }
}

#[test]
fn a_listener_finds_what_was_left_or_its_sleep_ends() {
    for leave in [OPEN, LISTENER] {
        loom::model(move || {
            let words = Words::new(leave);
            let guest = {
                let words = Arc::clone(&words);
                thread::spawn(move || words.leave_a_byte())
            };
            let times_rung = words.bell.load(Ordering::SeqCst);
            words.set_leave(LISTENER);
            let finds = words.finds();
            let falls_asleep = !finds && words.bell.load(Ordering::SeqCst) == times_rung;
            let then = guest.join().unwrap();
            // The ring comes after the comparison, or it would have failed.
            assert!(!falls_asleep || then == Then::Rang);
        });
    }
}

#[test]
fn who_comes_beside_a_listener_finds_what_was_left_or_the_writer_calls() {
    loom::model(|| {
        let words = Words::new(LISTENER);
        let guest = {
            let words = Arc::clone(&words);
            thread::spawn(move || words.leave_a_byte())
        };
        words.set_leave(CLOSED);
        let finds = words.finds();
        assert!(finds || guest.join().unwrap() == Then::Called);
    });
}

#[test]
fn who_listens_after_another_has_gone_is_rung_for() {
    loom::model(|| {
        let words = Words::new(LISTENER);
        let guest = {
            let words = Arc::clone(&words);
            thread::spawn(move || words.leave_a_byte())
        };
        // A look without listeners, and the next one's, both under the pipe's lock.
        words.set_leave(OPEN);
        let finds_first = words.finds();
        let times_rung = words.bell.load(Ordering::SeqCst);
        words.set_leave(LISTENER);
        let finds = finds_first || words.finds();
        let falls_asleep = !finds && words.bell.load(Ordering::SeqCst) == times_rung;
        let then = guest.join().unwrap();
        assert!(!falls_asleep || then == Then::Rang);
    });
}
