//! The list of copies that the stub makes on its way back, and its count; a kick may come between any two of them.

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

#[derive(Clone, Copy, PartialEq)]
enum Turn {
    /// The guest's side runs; the answer had a list of copies.
    Answered { copies: bool },
    /// The guest's side has rung: with a call, or because a kick has come while it went back.
    Rung { is_kicked: bool },
}

struct Shared {
    turn: Mutex<Turn>,
    has_changed: Condvar,
    /// In the orders: the list, and how much of it there is.
    list: [AtomicU64; 2],
    count: AtomicU64,
    /// The host's signal is pending.
    is_kicked: AtomicBool,
    /// Guest memory.
    memory: [AtomicU64; 2],
}

impl Shared {
    fn pass(&self, to: Turn) {
        *self.turn.lock().unwrap() = to;
        self.has_changed.notify_all();
    }

    fn await_turn(&self, is_mine: impl Fn(Turn) -> bool) -> Turn {
        let mut turn = self.turn.lock().unwrap();
        while !is_mine(*turn) {
            turn = self.has_changed.wait(turn).unwrap();
        }
        *turn
    }

    fn ring(&self, is_kicked: bool) -> bool {
        self.pass(Turn::Rung { is_kicked });
        self.await_turn(|turn| matches!(turn, Turn::Answered { .. })) == Turn::Answered { copies: true }
    }

    /// The sentry answers a call that leaves copies, then whatever comes, then a call that leaves none.
    fn serve(&self) {
        let is_rung = |turn| matches!(turn, Turn::Rung { .. });
        self.await_turn(is_rung);
        for (place, value) in self.list.iter().zip([1, 2]) {
            place.store(value, Ordering::Relaxed);
        }
        self.count.store(2, Ordering::Relaxed);
        self.pass(Turn::Answered { copies: true });
        if self.await_turn(is_rung) == (Turn::Rung { is_kicked: true }) {
            // It goes back another way, so they are made here; some may have been made already.
            for (place, value) in self.memory.iter().zip([1, 2]) {
                place.store(value, Ordering::Relaxed);
            }
            self.pass(Turn::Answered { copies: false });
            self.await_turn(is_rung);
        }
        // The count of the list is old now, but nobody is told to look.
        self.pass(Turn::Answered { copies: false });
    }

    /// The stub's way back. False if a kick has come before its end.
    fn go_back(&self) -> bool {
        let is_kicked = || self.is_kicked.swap(false, Ordering::AcqRel);
        for index in 0..self.count.load(Ordering::Relaxed) as usize {
            if is_kicked() {
                return false;
            }
            self.memory[index].store(self.list[index].load(Ordering::Relaxed), Ordering::Relaxed);
        }
        !is_kicked()
    }
}

#[test]
fn copies_are_made_before_the_guest_goes_on_and_not_later() {
    let mut model = loom::model::Builder::new();
    // There are a million ways to wait for a turn; what matters is where the kick comes.
    model.preemption_bound = Some(2);
    model.check(|| {
        let shared = Arc::new(Shared {
            turn: Mutex::new(Turn::Answered { copies: false }),
            has_changed: Condvar::new(),
            list: [AtomicU64::new(0), AtomicU64::new(0)],
            count: AtomicU64::new(0),
            is_kicked: AtomicBool::new(false),
            memory: [AtomicU64::new(0), AtomicU64::new(0)],
        });
        let sentry = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.serve())
        };
        let kicker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.is_kicked.store(true, Ordering::Release))
        };
        let values = || [0, 1].map(|index| shared.memory[index].load(Ordering::Relaxed));
        assert!(shared.ring(false));
        if !shared.go_back() {
            assert!(!shared.ring(true));
        }
        assert_eq!(values(), [1, 2]);
        // The guest uses its memory; the next call has no copies.
        shared.memory[0].store(7, Ordering::Relaxed);
        assert!(!shared.ring(false));
        assert_eq!(values(), [7, 2]);
        sentry.join().unwrap();
        kicker.join().unwrap();
    });
}
