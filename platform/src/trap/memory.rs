//! Memory that a guest thread maps and unmaps by itself: the sentry's end of `memory.S`.
//!
//! The range is in the orders, and how much of it is mapped in the slot, where the guest can write anything. Whatever it writes is
//! about its own memory: by the stub's instructions it can map and unmap that at any time, without leave.

use std::sync::Arc;

use crate::arch::Registers;
use crate::lent::{LentMemory, MemoryWord};
use crate::stub::addresses::memory;
use crate::stub::geometry::*;

use super::kick::Handle;
use super::thread::Thread;

impl MemoryWord for Handle {
    fn bottom(&self) -> u64 {
        self.orders.slot_u64(MEMORY_BOTTOM)
    }

    fn lowest(&self) -> u64 {
        self.orders.slot_u64(MEMORY_LOWEST)
    }

    fn withdraw_memory(&self) {
        self.orders.set_leave(MEMORY_ANSWER, false);
    }
}

/// In the code that maps and unmaps.
pub(super) fn is_in_memory_code(rip: u64) -> bool {
    (memory::begin()..memory::end()).contains(&rip)
}

/// Puts back what the stub has changed to map memory. Only what looked like this is mapped at all.
pub(super) fn undo_mapping(rip: u64, registers: &mut Registers) {
    if (memory::maps()..memory::mapped()).contains(&rip) {
        (registers.rdi, registers.r10) = (0, u64::from(PRIVATE_ANONYMOUS));
    }
}

impl Thread {
    /// See [`GuestThread::lend_memory`](crate::GuestThread::lend_memory).
    pub(super) fn write_memory(&mut self, range: &LentMemory) -> Option<Arc<dyn MemoryWord>> {
        let sandbox = self.space.sandbox();
        if !sandbox.lends || range.top > sandbox.layout.guest_end {
            return None;
        }
        let slot = self.slot();
        for (place, value) in [
            (MEMORY, range.low),
            (MEMORY_TOP, range.top),
            (MEMORY_SHORTEST, range.shortest),
            (MEMORY_LONGEST, range.longest),
        ] {
            slot.write_order(place, value);
        }
        slot.write_u64(MEMORY_BOTTOM, range.bottom);
        slot.write_u64(MEMORY_LOWEST, range.bottom);
        let word = Arc::clone(self.handle());
        word.orders.set_leave(MEMORY_ANSWER, true);
        Some(word)
    }
}
