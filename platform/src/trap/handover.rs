//! Who may have to be interrupted: one word between a sentry thread that runs a guest thread and its kickers.
//!
//! A kick must reach a guest thread that is running, or about to, and cost nothing where the next `run` can see it.
//! So the word says whether the guest thread runs, and whether somebody has kicked; only a kicker that finds it
//! running sends the host signal. The signal is sent after the word was changed, so the trap that it causes may come
//! one run later; never is a kick lost, and a superfluous [`Trap::Interrupted`](crate::Trap::Interrupted) is allowed.

#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU32, Ordering};

const PARKED: u32 = 0;
const RUNNING: u32 = 1;
const KICKED: u32 = 2;

/// The word.
#[derive(Debug)]
pub(super) struct Handover(AtomicU32);

impl Handover {
    /// Parked, not kicked.
    pub(super) fn new() -> Handover {
        Handover(AtomicU32::new(PARKED))
    }

    /// The guest thread is about to run. False if it was kicked: then it stays parked, and the kick is used up.
    pub(super) fn begin(&self) -> bool {
        if self.0.compare_exchange(PARKED, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return true;
        }
        self.0.store(PARKED, Ordering::Release);
        false
    }

    /// The guest thread has trapped. A kick that came while it ran has been, or will be, followed by its signal.
    pub(super) fn end(&self) {
        self.0.swap(PARKED, Ordering::AcqRel);
    }

    /// Somebody kicks. True if the caller must send the signal.
    pub(super) fn kick(&self) -> bool {
        self.0.fetch_or(KICKED, Ordering::AcqRel) == RUNNING
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_kick_of_a_parked_thread_is_seen_by_its_next_run_only() {
        let handover = Handover::new();
        assert!(!handover.kick());
        assert!(!handover.kick());
        assert!(!handover.begin());
        assert!(handover.begin());
    }

    #[test]
    fn the_first_kick_of_a_running_thread_sends_the_signal() {
        let handover = Handover::new();
        assert!(handover.begin());
        assert!(handover.kick());
        assert!(!handover.kick());
        handover.end();
        assert!(handover.begin());
    }
}

/// All interleavings of a run and a kick: `RUSTFLAGS="--cfg loom" cargo test -p usk-platform --lib handover`.
#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;

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
}
