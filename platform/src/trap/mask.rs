//! The mask of blocked signals that a guest thread changes by itself: the sentry's end of `mask.S`.
//!
//! The mask is in the slot, where the guest can write anything: it is its own mask. What is pending is in the orders.

use crate::arch::Registers;
use crate::interface::{MaskWord, Trap};
use crate::stub::addresses::mask;
use crate::stub::geometry::MASK;

use super::kick::Handle;
use super::patched::Place;
use super::thread::Thread;

impl MaskWord for Handle {
    fn mask(&self) -> u64 {
        self.orders.slot_u64(MASK)
    }

    fn set_mask(&self, mask: u64) {
        self.orders.set_slot_u64(MASK, mask);
    }

    fn set_quiet(&self, quiet: u64) {
        self.orders.set_quiet(quiet);
    }
}

/// In the code that changes the mask.
pub(super) fn is_in_mask_code(rip: u64) -> bool {
    (mask::begin()..mask::end()).contains(&rip)
}

/// Where the call has been made but for the way back to the guest. Elsewhere it has to be made again.
fn is_made(rip: u64) -> bool {
    (mask::set()..mask::reset()).contains(&rip) || (mask::done()..mask::end()).contains(&rip)
}

impl Thread {
    /// Where a kick has met a thread whose call has been made: after it. `rewound` is from before.
    pub(super) fn after_mask_call(&self, rip: u64, rewound: &Registers) -> Option<Place> {
        is_made(rip).then(|| Place::Settled(rewound.after_syscall(0), Trap::Interrupted))
    }

    /// Whether the stub changes masks in this sandbox, for threads that can find their slot.
    pub(super) fn changes_mask(&self) -> bool {
        let sandbox = self.space.sandbox();
        sandbox.changes_masks && sandbox.patches
    }
}
