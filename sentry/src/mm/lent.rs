//! Memory that the only task of an address space maps and unmaps without its sentry thread (tier 1).
//!
//! A range is lent to the guest thread: the free addresses below a mapping, and that mapping if it is private, anonymous, readable and
//! writable. The guest thread maps more below it and unmaps it from its lower end, by itself; where the mapping begins is a word
//! that the guest writes. So there is no journal: whoever looks at the memory map, of whichever task, first brings it to what the word
//! says ([`Mm::look`]). Whatever the guest forges it could have come to by calls.
//!
//! Only such mappings are made there as would have been placed there: smaller than what is aligned, larger than all gaps further
//! up, within the limits. Every change of the map by a call ends the lending ([`Mm::change`]), for it may change what fits; the next
//! mapping of the kind lends anew.
//!
//! The mapping may also be a private one of a file whose end nobody notices. It is unmapped in the same way, and nothing is mapped below
//! it: what is unmapped and mapped again would be something else. The file is let go of at the next trap.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::MutexGuard;
use usk_abi::mm::PAGE_SIZE;
use usk_platform::{GuestThread, LentMemory, MemoryWord};

use crate::mm::map::HUGE_PAGE;
use crate::mm::mm::{MemoryLimits, Mm, State, anonymous_vma, is_page_aligned};
use crate::mm::vma::{Backing, READ_WRITE, Vma, VmaFlags};
use crate::task::Current;

/// The numbers of `mmap(2)`, `munmap(2)` and `madvise(2)`: a filter that looks at one of them wants to see them all.
const CALLS: [u32; 3] = [9, 11, 28];

/// What is lent, and what the map says of it.
#[derive(Clone)]
pub(in crate::mm) struct Lent {
    range: LentMemory,
    word: Arc<dyn MemoryWord>,
}

impl Lent {
    /// It can only be unmapped.
    fn is_of_file(&self) -> bool {
        self.range.longest == 0
    }
}

impl Mm {
    /// The map, to look at.
    pub(in crate::mm) fn look(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        state.catch_up();
        state
    }

    /// The map, to look at, unless somebody else has it.
    pub(in crate::mm) fn try_look(&self) -> Option<MutexGuard<'_, State>> {
        let mut state = self.state.try_lock()?;
        state.catch_up();
        Some(state)
    }

    /// The map, to be changed: by a task that uses it and is not in guest code. From now on no thread maps, unmaps or lets go of memory
    /// by itself.
    pub(in crate::mm) fn change(&self) -> MutexGuard<'_, State> {
        let mut state = self.begin_mapping();
        state.untouched = 0..0;
        state
    }

    /// As [`Mm::change`], for what maps one range and gives nobody access to write to what was there.
    pub(in crate::mm) fn begin_mapping(&self) -> MutexGuard<'_, State> {
        let mut state = self.look();
        state.end_lending();
        self.end_advice(&mut state);
        state
    }

    /// The limits have changed by which a range was lent.
    pub fn withdraw_memory(&self) {
        if let Some(lent) = &self.state.lock().lent {
            lent.word.withdraw_memory();
        }
    }

    /// Lets go of files that the only task, which is not in guest code, has unmapped by itself.
    pub(crate) fn let_go_of_files(&self) {
        if self.has_lent_file.load(Relaxed) {
            let state = self.look();
            let is_there = |lent: &Lent| lent.is_of_file() && lent.range.bottom < lent.range.top;
            self.has_lent_file.store(state.lent.as_ref().is_some_and(is_there), Relaxed);
        }
    }

    /// Files are watched from now on: what the task has unmapped by itself is let go of before that can be seen, and it makes
    /// calls for the rest.
    pub(crate) fn recall_files(&self) {
        let mut state = self.state.lock();
        if state.lent.is_some() {
            let _stopped = self.stop_threads();
            state.catch_up();
            state.end_lending();
        }
    }

    /// Lends the thread, which alone uses this memory and does not run, what can be lent now. True if that is something. What was
    /// lent before may have been withdrawn with all answers.
    fn lend(&self, thread: &mut dyn GuestThread, limits: impl FnOnce() -> MemoryLimits) -> bool {
        // What is lent the thread can only unmap, or have anonymous: both are in the tree when it is looked at next.
        let mut state = self.begin_mapping();
        // With the map locked: who lowers them withdraws what is lent.
        let limits = limits();
        state.lent = state
            .lendable(self.layout.guest_start, &limits)
            .and_then(|range| Some(Lent { range, word: thread.lend_memory(&range)? }));
        let is_of_file = state.lent.as_ref().is_some_and(Lent::is_of_file);
        self.has_lent_file.store(is_of_file, Relaxed);
        state.lent.is_some()
    }
}

impl Current {
    /// The task has made a call that it could have made by itself: lets it from now on.
    pub fn lend_memory(&mut self) {
        let standing = self.task.standing.now();
        // What has changed since the answers were left is seen the next time.
        let mm = self.task.mm();
        let may = self.thread.can_lend()
            && self.standing == Some(standing)
            && mm.users() == 1
            && self.task.hides_calls(&CALLS);
        // Withdrawn meanwhile: before it was lent, perhaps.
        let limits = || MemoryLimits::of(&self.task);
        if may && mm.lend(&mut *self.thread, limits) && self.task.standing.now() != standing {
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

    /// What can be lent: the gap that was found last, as far as nothing or plain mappings have been put there.
    fn lendable(&self, guest_start: u64, limits: &MemoryLimits) -> Option<LentMemory> {
        let mmap_base = self.placement.mmap_base;
        let (found, largest_above) = self.tree.last_gap(mmap_base)?;
        let mapped = self.tree.find(found.checked_sub(1)?);
        let is_file = mapped.is_some_and(ends_silently);
        let (bottom, end) = match mapped {
            None => (found, found),
            Some(vma) if is_plain(vma) || is_file => (vma.start, vma.end.min(mmap_base)),
            Some(_) => return None,
        };
        let gap_start = self.tree.end_below(bottom);
        // With nothing left of the mapping the gap must not have become a longer one.
        let has_neighbour = end == mmap_base || !self.tree.is_free(end, end + PAGE_SIZE);
        let top = if has_neighbour { end } else { end.saturating_sub(PAGE_SIZE) };
        let totals = self.tree.totals();
        let room =
            limits.address_space.saturating_sub(totals.total).min(limits.data.saturating_sub(totals.data));
        let low = gap_start.max(guest_start).max(bottom.saturating_sub(room & !(PAGE_SIZE - 1)));
        (self.future_flags.is_empty() && low < top && bottom <= top).then_some(LentMemory {
            low,
            bottom,
            top,
            shortest: largest_above + PAGE_SIZE,
            longest: if is_file { 0 } else { HUGE_PAGE - PAGE_SIZE },
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

/// A private mapping of a file whose end nobody notices: the task may unmap it, and say so later.
fn ends_silently(vma: &Vma) -> bool {
    let Backing::File(backing) = &vma.backing else { return false };
    !vma.shared && !vma.protection.execute && vma.flags.is_empty() && backing.file.ends_silently()
}

#[cfg(test)]
#[path = "lent_tests.rs"]
mod tests;
