//! The hand and its transitions. Compiled twice: over the machine's atomic words, and over loom's.

use super::atomic::{AtomicU32, Ordering};
use crate::stub::geometry::{HAND_LISTENS, HAND_RESTS, HAND_RUNG};

/// The word by which a call is handed over in the slot, as the sentry uses it. The guest can write it at any time, so nothing that
/// it says is more than a wish of the guest's own.
pub(in crate::trap) struct Hand<'a>(pub(in crate::trap) &'a AtomicU32);

impl Hand<'_> {
    /// The sentry is going to look.
    pub(in crate::trap) fn listen(&self) {
        self.0.store(HAND_LISTENS, Ordering::Release);
    }

    /// Whether the thread has done anything since the sentry has begun to look.
    pub(in crate::trap) fn has_moved(&self) -> bool {
        self.0.load(Ordering::Acquire) != HAND_LISTENS
    }

    /// Whether the thread has put a call into the slot.
    pub(in crate::trap) fn has_rung(&self) -> bool {
        self.0.load(Ordering::Acquire) == HAND_RUNG
    }

    /// The sentry stops looking. True if the thread has put a call there before it could.
    pub(in crate::trap) fn rest(&self) -> bool {
        let found = self.0.compare_exchange(HAND_LISTENS, HAND_RESTS, Ordering::AcqRel, Ordering::Acquire);
        found == Err(HAND_RUNG)
    }

    /// Says that the answer is in the slot, and whether the sentry is going to look again. False if the thread does not look for it
    /// any more, but waits at the doorbell, or is about to.
    pub(in crate::trap) fn answer(&self, listens: bool) -> bool {
        let next = if listens { HAND_LISTENS } else { HAND_RESTS };
        self.0.compare_exchange(HAND_RUNG, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Says that the answer is in the slot, and that the sentry does not look, whatever the thread does meanwhile.
    pub(in crate::trap) fn dismiss(&self) {
        self.0.store(HAND_RESTS, Ordering::Release);
    }
}
