//! The word and its transitions. Compiled twice: over the machine's atomic words, and over loom's.

use super::atomic::{AtomicU32, Ordering};

const PARKED: u32 = 0;
const RUNNING: u32 = 1;
const KICKED: u32 = 2;

/// The word.
#[derive(Debug)]
pub(in crate::trap) struct Handover(AtomicU32);

impl Handover {
    /// Parked, not kicked.
    pub(in crate::trap) fn new() -> Handover {
        Handover(AtomicU32::new(PARKED))
    }

    /// The guest thread is about to run. False if it was kicked: then it stays parked, and the kick is used up.
    pub(in crate::trap) fn begin(&self) -> bool {
        if self.0.compare_exchange(PARKED, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return true;
        }
        self.0.store(PARKED, Ordering::Release);
        false
    }

    /// The guest thread has trapped. A kick that came while it ran has been, or will be, followed by its signal: one that still
    /// finds it running sends one that meets a later run.
    pub(in crate::trap) fn end(&self) {
        self.0.store(PARKED, Ordering::Release);
    }

    /// Somebody kicks. True if the caller must send the signal.
    pub(in crate::trap) fn kick(&self) -> bool {
        self.0.fetch_or(KICKED, Ordering::AcqRel) == RUNNING
    }
}
