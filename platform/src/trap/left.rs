//! What is to be done when a guest thread ends, as far as the thread has said so without asking: the sentry's end of `left.S`.
//!
//! The words are the guest's to forge: it could name any address by the calls as well.

use crate::interface::Left;
use crate::stub::addresses::left;
use crate::stub::geometry::*;

use super::kick::Handle;

/// In the code that leaves these words.
pub(super) fn is_leaving(rip: u64) -> bool {
    (left::begin()..left::end()).contains(&rip)
}

impl Handle {
    /// See [`Kick::left`](crate::Kick::left).
    pub(super) fn read_left(&self) -> Left {
        let word = |offset| Some(self.orders.slot_u64(offset)).filter(|&word| word != NOTHING_LEFT);
        Left { tid_address: word(LEFT_TID_ADDRESS), robust_list: word(LEFT_ROBUST_LIST) }
    }

    /// See [`GuestThread::forget_left`](crate::GuestThread::forget_left).
    pub(super) fn clear_left(&self) {
        self.orders.set_slot_u64(LEFT_TID_ADDRESS, NOTHING_LEFT);
        self.orders.set_slot_u64(LEFT_ROBUST_LIST, NOTHING_LEFT);
    }
}
