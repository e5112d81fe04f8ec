//! Memory that a guest thread lets go of by itself although others use it, too: the sentry's end of `advice.S`.
//!
//! The range is in the orders, where the guest cannot write. The word by which a thread says that it is about to advise the host is the
//! guest's to forge: to have it set for ever makes every change of the guest's own memory map dearer, and to have it clear lets pages
//! go that the guest could let go of at any time.

use std::ops::Range;
use std::sync::atomic::{Ordering, fence};

use crate::stub::geometry::*;

use super::kick::Handle;
use super::thread::Thread;

impl Handle {
    /// See [`Kick::withdraw_advice`](crate::Kick::withdraw_advice).
    pub(super) fn end_advice(&self) -> bool {
        self.orders.set_leave(ADVICE_ANSWER, false);
        fence(Ordering::SeqCst);
        self.orders.slot_word(ADVISES) != 0
    }
}

impl Thread {
    /// See [`GuestThread::lend_advice`](crate::GuestThread::lend_advice).
    pub(super) fn write_advice(&mut self, range: &Range<u64>) -> bool {
        let sandbox = self.space.sandbox();
        if !sandbox.lends || range.end > sandbox.layout.guest_end {
            return false;
        }
        let slot = self.slot();
        slot.write_order(ADVICE, range.start);
        slot.write_order(ADVICE_TOP, range.end);
        slot.store(ADVISES, 0);
        self.handle().orders.set_leave(ADVICE_ANSWER, true);
        true
    }
}

#[cfg(test)]
mod model;
