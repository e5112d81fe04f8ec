//! All interleavings of runs and kicks, by loom.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, Ordering};
}
#[path = "word.rs"]
#[allow(clippy::duplicate_mod, reason = "the same source over other words")]
mod word;
use word::Handover;

#[test]
fn no_kick_is_lost() {
    loom::model(|| {
        let shared = Arc::new((Handover::new(), AtomicBool::new(false)));
        let kicker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                if shared.0.kick() {
                    shared.1.swap(true, Ordering::AcqRel);
                }
            })
        };
        // The host's signal is one object with one order of events, hence swaps on both sides.
        // Two runs that trap by themselves at once; the host signal interrupts a later one if it is pending.
        let mut interrupted = false;
        for _ in 0..2 {
            if !shared.0.begin() {
                interrupted = true;
                continue;
            }
            interrupted |= shared.1.swap(false, Ordering::AcqRel);
            shared.0.end();
        }
        kicker.join().unwrap();
        // What is left when everything is quiet: the signal, or the word that the next run looks at.
        let pending = shared.1.swap(false, Ordering::AcqRel) || !shared.0.begin();
        assert!(interrupted || pending);
    });
}
