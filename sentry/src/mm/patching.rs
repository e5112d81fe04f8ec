//! Patched call sites: which, when, and what becomes of them when the guest changes its memory.
//!
//! The platform rewrites code ([`usk_platform::GuestThread::patch`]); here is what it must not know: that the code comes
//! from a file and cannot be written, where trampolines may lie, and that no other thread of the address space runs
//! meanwhile. Only such code is patched, so code that a program writes by itself never is. Trampolines lie in areas that
//! `/proc/PID/maps` does not show and that yield to the guest: whatever it maps, unmaps or protects there, or in
//! patched code, first restores the code as it was.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use usk_abi::Errno;
use usk_abi::mm::PAGE_SIZE;
use usk_platform::{GuestThread, MapFlags, MemoryOp, PatchRequest, Protection};

use crate::mm::mm::{Mm, State, apply};
use crate::mm::vma::{Backing, Vma, VmaFlags};

/// Size of an area of trampolines in bytes.
const AREA_SIZE: u64 = 64 << 10;
/// Areas that an address space may have.
const MAX_AREAS: usize = 64;
/// How far from the code its trampolines may be: jumps reach two gigabytes, and both ends have a size.
const REACH: u64 = 0x7000_0000;
/// Access to trampolines, and to the code that may be patched.
const READ_EXECUTE: Protection = Protection { read: true, write: false, execute: true };
/// How often to look again for threads that were just about to enter guest code.
const PATIENCE: Duration = Duration::from_millis(1);

impl Mm {
    /// Patches the site of the system call that `thread` has just made. `EOPNOTSUPP` if it cannot be: nothing has
    /// changed then, and will not if it is tried again.
    pub(crate) fn patch(&self, thread: &mut dyn GuestThread) -> Result<(), Errno> {
        let site = thread.patchable_site().ok_or(Errno::EOPNOTSUPP)?;
        let mut state = self.state.lock();
        let vma = state.tree.find(site).ok_or(Errno::EOPNOTSUPP)?;
        let is_file = matches!(vma.backing, Backing::File(_)) && !vma.shared;
        if !is_file || vma.protection != READ_EXECUTE {
            return Err(Errno::EOPNOTSUPP);
        }
        let text = vma.start..vma.end;
        let trampolines = self.area_near(&mut state, thread, &text)?;
        let _stopped = self.stop_threads();
        thread.patch(&PatchRequest { text, trampolines })
    }

    /// Restores all code in a range, and all code whose trampolines lie there, and frees the range of trampolines: for
    /// whoever changes mappings, before the tree is asked what is there.
    pub(in crate::mm) fn clear_patches(
        &self,
        state: &mut State,
        thread: &mut dyn GuestThread,
        range: Range<u64>,
    ) -> Result<(), Errno> {
        let overlaps = |area: &Range<u64>| area.start < range.end && area.end > range.start;
        let areas: Vec<_> = state.trampolines.iter().filter(|area| overlaps(area)).cloned().collect();
        for range in areas.iter().chain([&range]) {
            if thread.is_patched(range) {
                let _stopped = self.stop_threads();
                thread.unpatch(range.clone())?;
            }
        }
        for area in areas {
            let (address, length) = (area.start, area.end - area.start);
            apply(thread, &[MemoryOp::Unmap { address, length }])?;
            state.tree.remove(area.start, area.end);
            state.trampolines.retain(|other| *other != area);
        }
        Ok(())
    }

    /// An area of trampolines that is near all of `text`.
    fn area_near(
        &self,
        state: &mut State,
        thread: &mut dyn GuestThread,
        text: &Range<u64>,
    ) -> Result<Range<u64>, Errno> {
        let low = text.end.saturating_sub(REACH).max(self.layout.guest_start);
        let high = text.start.saturating_add(REACH).min(self.layout.guest_end);
        if let Some(area) = state.trampolines.iter().find(|area| area.start >= low && area.end <= high) {
            return Ok(area.clone());
        }
        if state.trampolines.len() == MAX_AREAS || low >= text.start || high <= text.end {
            return Err(Errno::EOPNOTSUPP);
        }
        let below = state.tree.gap_from_top(AREA_SIZE, PAGE_SIZE, low, text.start);
        let start = below
            .or_else(|| state.tree.gap_from_bottom(AREA_SIZE, text.end, high))
            .ok_or(Errno::EOPNOTSUPP)?;
        let area = start..start + AREA_SIZE;
        state.check_map_count(1)?;
        let flags = MapFlags { populate: false, no_reserve: true };
        let (length, protection) = (AREA_SIZE, READ_EXECUTE);
        apply(thread, &[MemoryOp::MapAnonymous { address: start, length, protection, flags }])?;
        state.tree.insert(Vma {
            start: area.start,
            end: area.end,
            protection,
            max_protection: protection,
            shared: false,
            backing: Backing::Trampolines,
            offset: start,
            flags: VmaFlags::empty(),
        });
        state.trampolines.push(area.clone());
        Ok(area)
    }

    /// Gets all threads of this address space out of guest code and keeps them out. The caller is not in guest code
    /// and holds the lock of the state, on which the others wait.
    fn stop_threads(&self) -> Stopped<'_> {
        self.is_stopping.store(true, Ordering::SeqCst);
        let stopped = Stopped(self);
        let mut guard = self.stopping.lock();
        loop {
            // Who enters guest code from now on sees that it must not.
            let tasks: Vec<_> = self.tasks.lock().iter().filter_map(std::sync::Weak::upgrade).collect();
            let mut running = tasks.iter().filter(|task| task.in_guest.load(Ordering::SeqCst)).peekable();
            if running.peek().is_none() {
                return stopped;
            }
            running.for_each(|task| task.kick());
            self.has_stopped.wait_for(&mut guard, PATIENCE);
        }
    }

    /// True if guest threads must not enter guest code now: ask after having announced it (`in_guest`).
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// A thread has left guest code while [`Mm::is_stopping`].
    pub(crate) fn note_stopped(&self) {
        let _guard = self.stopping.lock();
        self.has_stopped.notify_all();
    }

    /// Waits until threads may enter guest code again.
    pub(crate) fn await_start(&self) {
        drop(self.state.lock());
    }
}

/// All threads of an address space are out of guest code, until this is dropped.
struct Stopped<'a>(&'a Mm);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.is_stopping.store(false, Ordering::SeqCst);
    }
}
