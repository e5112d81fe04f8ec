//! All interleavings of a guest thread in a host call of its own and a sentry thread that forbids these calls, by loom. The guest's
//! side is what `host_calls.S` does; a locked instruction is a store and a full fence.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use loom::thread;

struct Words {
    /// In the orders: host calls stand.
    allowed: AtomicBool,
    /// In the slot: one is under way.
    under_way: AtomicBool,
    /// In guest memory.
    futex: AtomicU32,
}

impl Words {
    fn new() -> Arc<Words> {
        let (allowed, under_way) = (AtomicBool::new(true), AtomicBool::new(false));
        Arc::new(Words { allowed, under_way, futex: AtomicU32::new(0) })
    }

    fn say(&self, under_way: bool) {
        self.under_way.store(under_way, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    fn may(&self) -> bool {
        self.allowed.load(Ordering::Relaxed)
    }

    fn forbid(&self) {
        self.allowed.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

#[test]
fn who_counts_as_stopped_does_not_get_to_guest_code() {
    loom::model(|| {
        let words = Words::new();
        let guest = {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                words.say(true);
                if !words.may() {
                    return false;
                }
                words.say(false);
                words.may()
            })
        };
        words.forbid();
        let counts_as_stopped = words.under_way.load(Ordering::Relaxed);
        let goes_on = guest.join().unwrap();
        assert!(!(counts_as_stopped && goes_on));
    });
}

#[test]
fn nobody_is_woken_on_the_host_alone_who_sleeps_in_the_sentry() {
    loom::model(|| {
        let words = Words::new();
        let waker = {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                words.futex.store(1, Ordering::Relaxed);
                words.say(true);
                words.may()
            })
        };
        words.forbid();
        let sleeps = words.futex.load(Ordering::Relaxed) == 0;
        let wakes_on_host = waker.join().unwrap();
        assert!(!(sleeps && wakes_on_host));
    });
}
