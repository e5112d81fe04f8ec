//! All interleavings of a guest thread that advises the host and a sentry thread that changes the map, by loom. The guest's side is what
//! `advice.S` does; a locked instruction is a store and a full fence.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use loom::thread;

struct Words {
    /// In the orders: the thread has leave.
    has_leave: AtomicBool,
    /// In the slot: it is about to use it.
    advises: AtomicBool,
    /// The host's map, by how often it has been changed.
    map: AtomicU32,
}

/// Which map the advice is about. `None` if the thread calls.
fn advise(words: &Words) -> Option<u32> {
    words.advises.store(true, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    if !words.has_leave.load(Ordering::Relaxed) {
        return None;
    }
    let map = words.map.load(Ordering::Relaxed);
    // Stores are made in their order.
    words.advises.store(false, Ordering::Release);
    Some(map)
}

#[test]
fn advice_is_never_about_a_map_that_has_changed_since_leave_was_taken_away() {
    loom::model(|| {
        let (has_leave, advises) = (AtomicBool::new(true), AtomicBool::new(false));
        let words = Arc::new(Words { has_leave, advises, map: AtomicU32::new(0) });
        let guest = {
            let words = Arc::clone(&words);
            thread::spawn(move || advise(&words))
        };
        words.has_leave.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // Otherwise the thread is stopped first.
        if !words.advises.load(Ordering::Acquire) {
            words.map.store(1, Ordering::Relaxed);
        }
        assert_ne!(guest.join().unwrap(), Some(1));
    });
}
