//! What a fault means to the guest: a stack that grows, or a signal.

use usk_abi::Signal;
use usk_abi::mm::PAGE_SIZE;
use usk_abi::signal::code::{SEGV_ACCERR, SEGV_MAPERR};
use usk_platform::{GuestThread, MapFlags, MemoryOp, Protection};

use crate::mm::Backing;
use crate::mm::mm::{MemoryLimits, Mm, apply};
use crate::mm::vma::{Vma, VmaFlags};

/// Linux's `stack_guard_gap`: how far a stack that grows stays away from the mapping below it.
const STACK_GUARD_GAP: u64 = 256 * PAGE_SIZE;

/// What the host says about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFault {
    /// The signal.
    pub signal: i32,
    /// `si_code`
    pub code: i32,
    /// `si_addr`
    pub address: u64,
}

impl Mm {
    /// Deals with a fault. `None` if memory has grown downwards, or another thread has mapped it since, and the instruction can be
    /// tried again; else the `si_code` to report. `stack_limit` is `RLIMIT_STACK` in bytes.
    pub fn fault(
        &self,
        thread: &mut dyn GuestThread,
        fault: HostFault,
        stack_limit: u64,
        limits: &MemoryLimits,
    ) -> Option<i32> {
        let HostFault { signal, code, address } = fault;
        if signal != Signal::SIGSEGV.number() || (code != SEGV_MAPERR && code != SEGV_ACCERR) {
            return Some(code);
        }
        if self.look().tree.find(address).is_some() {
            // Where something is mapped the host finds fault with the access only.
            return if code == SEGV_MAPERR { None } else { Some(code) };
        }
        // What the platform mapped for itself must look unmapped.
        if self.grow_down(thread, address, stack_limit, limits) { None } else { Some(SEGV_MAPERR) }
    }

    /// Extends the mapping above `address` down to it, if it is one that grows (`MAP_GROWSDOWN`, the initial stack). True also if
    /// another thread has come first.
    fn grow_down(
        &self,
        thread: &mut dyn GuestThread,
        address: u64,
        stack_limit: u64,
        limits: &MemoryLimits,
    ) -> bool {
        let mut state = self.change();
        let start = address & !(PAGE_SIZE - 1);
        let Some(vma) = state.tree.find_from(start) else { return false };
        if vma.start <= start {
            return true;
        }
        if !vma.flags.contains(VmaFlags::GROWSDOWN) || !matches!(vma.backing, Backing::Anonymous) {
            return false;
        }
        let end = vma.start;
        let Some(offset) = vma.offset.checked_sub(end - start) else { return false };
        let grown = Vma { start, end, offset, ..vma.clone() };
        let below = state.tree.overlapping(start.saturating_sub(STACK_GUARD_GAP), start).last();
        let has_distance = below.is_none_or(|below| !needs_guard_gap(below));
        let is_permitted = vma.end - start <= stack_limit
            && state.check_room(limits, end - start, 0, grown.is_data()).is_ok()
            && state.check_map_count(1).is_ok();
        if start < self.layout.guest_start || !has_distance || !is_permitted {
            return false;
        }
        let options = MapFlags { populate: false, no_reserve: grown.flags.contains(VmaFlags::NORESERVE) };
        let operation: MemoryOp<'_> = grown.host_mapping(options);
        if let Err(error) = apply(thread, &[operation]) {
            tracing::debug!(address, %error, "a stack could not grow");
            return false;
        }
        state.tree.insert(grown);
        state.note_peak();
        true
    }
}

/// Whether a stack stays away from a mapping below it (`expand_downwards`): not from another stack, nor from what nobody can
/// access.
fn needs_guard_gap(below: &Vma) -> bool {
    let Protection { read, write, execute } = below.protection;
    !below.flags.contains(VmaFlags::GROWSDOWN) && (read || write || execute)
}
