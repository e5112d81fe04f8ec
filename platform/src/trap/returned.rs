//! Returns from signal handlers that the stub makes by itself: the sentry's end of `return.S`.

use crate::arch::Registers;
use crate::interface::Trap;
use crate::stub::addresses::returns;
use crate::stub::geometry::*;

use super::patched::Place;
use super::thread::Thread;

/// In the code that returns from handlers.
pub(super) fn is_in_return_code(rip: u64) -> bool {
    (returns::begin()..returns::end()).contains(&rip)
}

/// Where three registers are in the entry area, as when memory is handed over, and `rdx`.
pub(super) fn is_reading_frame(rip: u64) -> bool {
    (returns::reads()..returns::asked()).contains(&rip)
}

fn has_returned(rip: u64) -> bool {
    (returns::set()..returns::reset()).contains(&rip) || (returns::done()..returns::end()).contains(&rip)
}

impl Thread {
    /// Where a kick has met a thread that has returned but for the way back to the guest. `raw` are its registers.
    pub(super) fn after_return(&self, raw: &Registers) -> Option<Place> {
        has_returned(raw.rip).then(|| {
            let word = |index: u64| self.slot().read_u64(RETURNED + 8 * index);
            let registers = Registers {
                r8: word(0),
                r9: word(1),
                r10: word(2),
                r11: word(3),
                r12: word(4),
                r13: word(5),
                r14: word(6),
                r15: word(7),
                rdi: word(8),
                rsi: word(9),
                rbp: word(10),
                rbx: word(11),
                rdx: word(12),
                rax: word(13),
                rcx: word(14),
                rsp: word(15),
                rip: word(16),
                rflags: word(17),
                ..*raw
            };
            Place::Settled(registers, Trap::Interrupted)
        })
    }

    /// See [`GuestThread::set_return_stack`](crate::GuestThread::set_return_stack).
    pub(super) fn leave_return_stack(&mut self, stack: [u64; 3]) {
        let patches = self.space.patches().read();
        let place = self.registers.rip;
        let words = stack.into_iter().chain([place, patches.redirect(place)]);
        self.return_generation = Some(patches.generation());
        drop(patches);
        for (index, word) in (0..).zip(words) {
            self.slot().write_order(RETURN_STACK + 8 * index, word);
        }
    }

    /// Where patched code is may have changed: then the thread goes to no place but the one it returns to.
    pub(super) fn forget_old_return_place(&mut self) {
        let Some(generation) = self.return_generation else { return };
        if self.space.patches().generation() != generation {
            self.return_generation = None;
            let slot = self.slot();
            slot.write_order(RETURN_PLACE, 0);
            slot.write_order(RETURN_PLACE + 8, 0);
        }
    }
}
