//! A mask that the guest's side writes, and a word that says what is pending, which the sentry writes.

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// The one signal that there is.
const SIGNAL: u64 = 1;

struct Shared {
    /// In the slot: what the thread blocks.
    mask: AtomicU64,
    /// In the orders: what is pending and blocked.
    pending: AtomicU64,
    /// The sentry's own queue.
    queue: Mutex<u64>,
    /// The thread has been interrupted.
    is_kicked: AtomicBool,
}

impl Shared {
    fn new(mask: u64) -> Arc<Shared> {
        Arc::new(Shared {
            mask: AtomicU64::new(mask),
            pending: AtomicU64::new(0),
            queue: Mutex::new(0),
            is_kicked: AtomicBool::new(false),
        })
    }

    /// The sentry sends: it queues, writes its word, then reads the other one.
    fn send(&self) {
        *self.queue.lock().unwrap() |= SIGNAL;
        self.pending.fetch_or(SIGNAL, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if self.mask.load(Ordering::Acquire) & SIGNAL == 0 {
            self.is_kicked.store(true, Ordering::Release);
        }
    }

    /// The stub changes the mask: it writes its word, then reads the other one. True if it must ring.
    fn set_mask(&self, mask: u64) -> bool {
        self.mask.store(mask, Ordering::Release);
        fence(Ordering::SeqCst);
        self.pending.load(Ordering::Acquire) & !mask != 0
    }

    /// What a thread that has rung finds to be delivered.
    fn deliver(&self) -> u64 {
        let mut queue = self.queue.lock().unwrap();
        let found = *queue & !self.mask.load(Ordering::Acquire);
        *queue &= !found;
        self.pending.fetch_and(!found, Ordering::AcqRel);
        found
    }
}

#[test]
fn a_signal_that_is_unblocked_while_it_is_sent_is_delivered() {
    loom::model(|| {
        let shared = Shared::new(SIGNAL);
        let sender = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.send())
        };
        let rings = shared.set_mask(0);
        let found = if rings { shared.deliver() } else { 0 };
        // One that rings finds what the word has promised: it was queued before.
        assert!(!rings || found == SIGNAL);
        sender.join().unwrap();
        let is_kicked = shared.is_kicked.load(Ordering::Acquire);
        assert!(found == SIGNAL || (is_kicked && shared.deliver() == SIGNAL));
    });
}

#[test]
fn a_signal_that_is_blocked_while_it_is_sent_is_delivered_once_or_stays_pending() {
    loom::model(|| {
        let shared = Shared::new(0);
        let sender = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.send())
        };
        let mut delivered = 0;
        if shared.set_mask(SIGNAL) {
            delivered |= shared.deliver();
        }
        sender.join().unwrap();
        // The kick may find it blocked, which is no reason to deliver it.
        assert_eq!(shared.deliver() | delivered, 0);
        assert!(shared.set_mask(0), "what is pending is known when it is unblocked");
        assert_eq!(shared.deliver(), SIGNAL);
    });
}
