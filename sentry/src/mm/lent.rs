//! Memory that the only task of an address space maps and unmaps without its sentry thread (tier 1).
//!
//! A range is lent to the guest thread: the free addresses below a private anonymous mapping, and that mapping. The guest
//! thread maps more below it and unmaps it from its lower end, by itself; where the mapping begins is a word that the guest
//! writes. So there is no journal: whoever looks at the memory map, of whichever task, first brings it to what the word says
//! ([`Mm::look`]). Whatever the guest forges it could have come to by calls.
//!
//! Only such mappings are made there as would have been placed there: smaller than what is aligned, larger than all gaps further
//! up, within the limits. Every change of the map by a call ends the lending ([`Mm::change`]), for it may change what fits; the next
//! mapping of the kind lends anew.

use std::cmp::Ordering;
use std::sync::Arc;

use parking_lot::MutexGuard;
use usk_abi::mm::PAGE_SIZE;
use usk_platform::{GuestThread, LentMemory, MemoryWord};

use crate::mm::map::HUGE_PAGE;
use crate::mm::mm::{MemoryLimits, Mm, State, anonymous_vma, is_page_aligned};
use crate::mm::vma::{READ_WRITE, Vma, VmaFlags};
use crate::task::Current;

/// The numbers of `mmap(2)`, `munmap(2)` and `madvise(2)`: a filter that looks at one of them wants to see them all.
const CALLS: [u32; 3] = [9, 11, 28];

/// What is lent, and what the map says of it.
#[derive(Clone)]
pub(in crate::mm) struct Lent {
    range: LentMemory,
    word: Arc<dyn MemoryWord>,
}

impl Mm {
    /// The map, to look at.
    pub(in crate::mm) fn look(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        state.catch_up();
        state
    }

    /// The map, to be changed: by a task that uses it and is not in guest code.
    pub(in crate::mm) fn change(&self) -> MutexGuard<'_, State> {
        let mut state = self.look();
        state.end_lending();
        state
    }

    /// The limits have changed by which a range was lent.
    pub fn withdraw_memory(&self) {
        if let Some(lent) = &self.state.lock().lent {
            lent.word.withdraw_memory();
        }
    }

    /// Lends the thread, which has just mapped `address` and alone uses this memory, what is below. True if it is lent now.
    fn lend(
        &self,
        thread: &mut dyn GuestThread,
        address: u64,
        limits: impl FnOnce() -> MemoryLimits,
    ) -> bool {
        let mut state = self.change();
        // With the map locked: who lowers them withdraws what is lent.
        let limits = limits();
        state.lent = state
            .lendable(address, self.layout.guest_start, &limits)
            .and_then(|range| Some(Lent { range, word: thread.lend_memory(&range)? }));
        state.lent.is_some()
    }
}

impl Current {
    /// The task has mapped private anonymous memory where there was room, at `address`: lets it do the like by itself from now
    /// on.
    pub fn lend_memory(&mut self, address: u64) {
        let standing = self.task.standing.now();
        // What has changed since the answers were left is seen the next time.
        let mm = self.task.mm();
        let may = self.thread.can_lend()
            && self.standing == Some(standing)
            && mm.users() == 1
            && self.task.seccomp.always_allows(&CALLS);
        // Withdrawn meanwhile: before it was lent, perhaps.
        let limits = || MemoryLimits::of(&self.task);
        if may && mm.lend(&mut *self.thread, address, limits) && self.task.standing.now() != standing {
            mm.withdraw_memory();
        }
    }
}

impl State {
    /// Brings the map to what the guest has made of what it was lent.
    fn catch_up(&mut self) {
        let Some(lent) = &mut self.lent else { return };
        let LentMemory { low, bottom: known, top, .. } = lent.range;
        let or = |address: u64, other: u64| match is_page_aligned(address) && (low..=top).contains(&address) {
            true => address,
            false => other,
        };
        // What cannot be, because it is forged, has not changed.
        let bottom = or(lent.word.bottom(), known);
        let lowest = or(lent.word.lowest(), bottom);
        lent.range.bottom = bottom;
        match bottom.cmp(&known) {
            Ordering::Less => self.tree.insert(anonymous_vma(bottom, known, READ_WRITE, VmaFlags::empty())),
            Ordering::Equal => {}
            Ordering::Greater => _ = self.tree.remove(known, bottom),
        }
        let most = self.tree.totals().total + bottom.saturating_sub(lowest);
        self.peak = self.peak.max(most);
    }

    /// Nothing is lent any more. What was is in the map.
    pub(in crate::mm) fn end_lending(&mut self) {
        if let Some(lent) = self.lent.take() {
            lent.word.withdraw_memory();
        }
    }

    /// What can be lent to the task that has just mapped `address` in the highest gap that fits.
    fn lendable(&self, address: u64, guest_start: u64, limits: &MemoryLimits) -> Option<LentMemory> {
        let vma = self.tree.find(address).filter(|vma| vma.start == address && is_plain(vma))?;
        let mmap_base = self.placement.mmap_base;
        let (gap_start, largest_above) = self.tree.gap_below(address, mmap_base)?;
        let totals = self.tree.totals();
        let room =
            limits.address_space.saturating_sub(totals.total).min(limits.data.saturating_sub(totals.data));
        let low = gap_start.max(guest_start).max(address.saturating_sub(room & !(PAGE_SIZE - 1)));
        // With nothing left of the mapping the gap must not have become a longer one.
        let has_neighbour = vma.end >= mmap_base || !self.tree.is_free(vma.end, vma.end + PAGE_SIZE);
        let top = if has_neighbour { vma.end.min(mmap_base) } else { vma.end - PAGE_SIZE };
        (self.future_flags.is_empty() && low <= address).then_some(LentMemory {
            low,
            bottom: address,
            top,
            shortest: largest_above + PAGE_SIZE,
            longest: HUGE_PAGE - PAGE_SIZE,
        })
    }
}

/// A mapping like those that the guest thread makes by itself.
fn is_plain(vma: &Vma) -> bool {
    let plain = anonymous_vma(vma.start, vma.end, READ_WRITE, VmaFlags::empty());
    vma.is_private_anonymous()
        && vma.protection == plain.protection
        && vma.max_protection == plain.max_protection
        && vma.flags == plain.flags
        && vma.offset == plain.offset
}

#[cfg(test)]
#[path = "lent_tests.rs"]
mod tests;
