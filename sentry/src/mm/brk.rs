//! `brk(2)`.

use usk_abi::mm::PAGE_SIZE;
use usk_platform::{GuestThread, MapFlags, MemoryOp, Protection};

use crate::mm::deferred::Undo;
use crate::mm::map::After;
use crate::mm::mm::{MemoryLimits, Mm, State, anonymous_vma, page_align};

const HEAP: Protection = Protection { read: true, write: true, execute: false };

impl Mm {
    /// Moves the end of the heap to `address` if that is possible, and returns where the end is then: like the system call it
    /// reports failure by not moving.
    pub fn set_brk(&self, thread: &mut dyn GuestThread, address: u64, limits: &MemoryLimits) -> u64 {
        let mut state = self.change();
        if self.move_brk(&mut state, thread, address, limits).is_some() {
            state.brk = address;
        }
        state.brk
    }

    fn move_brk(
        &self,
        state: &mut State,
        thread: &mut dyn GuestThread,
        address: u64,
        limits: &MemoryLimits,
    ) -> Option<()> {
        let image = state.image;
        if address < image.brk_start || address > self.layout.guest_end {
            return None;
        }
        let data = (image.data_end - image.data_start).saturating_add(address - image.brk_start);
        if data > limits.data {
            return None;
        }
        let (old_end, new_end) = (page_align(state.brk)?, page_align(address)?);
        if new_end < old_end {
            return self.remove_mappings(state, thread, new_end, old_end - new_end, After::HeapEnd).ok();
        }
        if new_end == old_end {
            return Some(());
        }
        let length = new_end - old_end;
        let room_end = new_end.checked_add(PAGE_SIZE)?;
        self.clear_patches(state, thread, old_end..room_end).ok()?;
        // One page stays free between the heap and what follows.
        if !state.tree.is_free(old_end, room_end) {
            return None;
        }
        let flags = state.future_flags;
        let locked = state.tree.totals().locked.saturating_add(length);
        if flags.contains(super::VmaFlags::LOCKED) && !limits.permits_locked(locked) {
            return None;
        }
        state.check_room(limits, length, 0, true).ok()?;
        state.check_map_count(1).ok()?;
        let operation =
            MemoryOp::MapAnonymous { address: old_end, length, protection: HEAP, flags: MapFlags::default() };
        let undo = |state: &State| Undo::Heap { start: old_end, end: new_end, brk: state.brk };
        self.apply_last(state, thread, operation, undo).ok()?;
        state.tree.insert(anonymous_vma(old_end, new_end, HEAP, flags));
        state.note_peak();
        Some(())
    }
}
