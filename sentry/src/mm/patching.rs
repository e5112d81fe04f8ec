//! Patched call sites: which, when, and what becomes of them when the guest changes its memory.
//!
//! The platform rewrites code ([`usk_platform::GuestThread::patch`]); here is what it must not know: that the code comes
//! from a file and cannot be written, where trampolines may lie, and that no other thread of the address space runs
//! meanwhile. Only such code is patched, so code that a program writes by itself never is. Trampolines lie in areas that
//! `/proc/PID/maps` does not show and that yield to the guest: whatever it maps, unmaps or protects there, or in
//! patched code, first restores the code as it was.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use usk_abi::Errno;
use usk_abi::mm::PAGE_SIZE;
use usk_platform::trap::CodeImage;
use usk_platform::{GuestThread, Layout, MapFlags, MemoryOp, PatchRequest, Protection};

use crate::Kernel;
use crate::mm::FileBacking;
use crate::mm::mm::{Mm, State, apply};
use crate::mm::slow_sites::SlowCalls;
use crate::mm::vma::{Backing, Vma, VmaFlags};

/// Size of an area of trampolines in bytes.
const AREA_SIZE: u64 = CodeImage::AREA_SIZE;
/// Areas that an address space may have.
const MAX_AREAS: usize = 64;
/// How far from the code its trampolines may be: jumps reach two gigabytes, and both ends have a size.
const REACH: u64 = 0x7000_0000;
/// Access to trampolines, and to the code that may be patched.
const READ_EXECUTE: Protection = Protection { read: true, write: false, execute: true };
/// Access while they are written.
const ALL: Protection = Protection { read: true, write: true, execute: true };
/// How often to look again for threads that were just about to enter guest code.
const PATIENCE: Duration = Duration::from_millis(1);

impl Mm {
    /// Patches the site of the system call that `thread` has just made. `EOPNOTSUPP` if it cannot be: nothing has
    /// changed then, and will not if it is tried again.
    pub(crate) fn patch(&self, thread: &mut dyn GuestThread) -> Result<(), Errno> {
        let site = thread.patchable_site().ok_or(Errno::EOPNOTSUPP)?;
        let mut state = self.state.lock();
        let vma = state.tree.find(site).ok_or(Errno::EOPNOTSUPP)?;
        if !is_patchable(vma) {
            return Err(Errno::EOPNOTSUPP);
        }
        let text = vma.start..vma.end;
        let trampolines = match area_near(&mut state, &self.layout, &text)? {
            Area::Old(area) => area,
            Area::New(area) => {
                apply(thread, &[map_area(&area, READ_EXECUTE)])?;
                state.record_area(&area);
                area
            }
        };
        let _stopped = self.stop_threads();
        thread.patch(&PatchRequest { text, trampolines })
    }

    /// Patches what is known of the code that has just been mapped in a range, and in which nobody runs yet. Code that cannot
    /// be patched stays as it is.
    pub fn patch_known_code(&self, thread: &mut dyn GuestThread, kernel: &Kernel, range: Range<u64>) {
        if !thread.patches_code() {
            return;
        }
        let mut state = self.state.lock();
        let mut texts = Vec::new();
        for vma in state.tree.overlapping(range.start, range.end).filter(|vma| is_patchable(vma)) {
            let Backing::File(backing) = &vma.backing else { continue };
            if let Some(image) = kernel.known_code.image(backing.identity) {
                texts.push((vma.start..vma.end, vma.offset, backing.identity, image));
            }
        }
        for (text, offset, identity, image) in texts {
            match self.write_image(&mut state, thread, text.clone(), offset, &image) {
                Ok(()) => {}
                Err(Errno::ESTALE) => kernel.known_code.forget(identity),
                Err(error) => tracing::debug!(start = text.start, %error, "code stays as it is"),
            }
        }
    }

    fn write_image(
        &self,
        state: &mut State,
        thread: &mut dyn GuestThread,
        text: Range<u64>,
        offset: u64,
        image: &Arc<CodeImage>,
    ) -> Result<(), Errno> {
        let base = text.start.checked_sub(offset).ok_or(Errno::EOPNOTSUPP)?;
        let needed = base.saturating_add(image.range().start)..base.saturating_add(image.range().end);
        let area = base.checked_sub(AREA_SIZE).ok_or(Errno::EOPNOTSUPP)?..base;
        let is_possible = needed.start >= text.start
            && needed.end <= text.end
            && area.start >= self.layout.guest_start
            && state.tree.is_free(area.start, area.end)
            && state.trampolines.len() < MAX_AREAS;
        if !is_possible {
            return Err(Errno::EOPNOTSUPP);
        }
        // The code is split in three while part of it can be written.
        state.check_map_count(3)?;
        let opened = thread.apply(&[map_area(&area, ALL), protect(&needed, ALL)]);
        if matches!(opened, Err((0, _))) {
            return Err(Errno::ENOMEM);
        }
        state.record_area(&area);
        let request = PatchRequest { text, trampolines: area.clone() };
        let written = match opened {
            Ok(()) => thread.patch_known(&request, offset, image),
            Err((_, error)) => Err(error),
        };
        // In any case: what could not be opened is as it was.
        apply(thread, &[protect(&area, READ_EXECUTE), protect(&needed, READ_EXECUTE)])?;
        written
    }

    /// The program ends: what it has called slowly is worth knowing for the next.
    pub(crate) fn learn_slow_calls(&self, kernel: &Kernel) {
        let calls = self.slow_sites.lock().take();
        if calls.is_empty() {
            return;
        }
        let state = self.state.lock();
        let mut by_file: BTreeMap<(u64, u64), (&FileBacking, Vec<(u64, SlowCalls, &Vma)>)> = BTreeMap::new();
        for (site, calls) in calls {
            let Some(vma) = state.tree.find(site).filter(|vma| is_patchable(vma)) else { continue };
            let Backing::File(backing) = &vma.backing else { continue };
            let (_, list) = by_file.entry(backing.identity).or_insert_with(|| (backing, Vec::new()));
            list.push((site, calls, vma));
        }
        for (backing, calls) in by_file.into_values() {
            kernel.known_code.learn(backing, &calls);
        }
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

/// Room for trampolines.
enum Area {
    /// That is mapped.
    Old(Range<u64>),
    /// That is free.
    New(Range<u64>),
}

/// An area of trampolines that is near all of `text`.
fn area_near(state: &mut State, layout: &Layout, text: &Range<u64>) -> Result<Area, Errno> {
    let low = text.end.saturating_sub(REACH).max(layout.guest_start);
    let high = text.start.saturating_add(REACH).min(layout.guest_end);
    if let Some(area) = state.trampolines.iter().find(|area| area.start >= low && area.end <= high) {
        return Ok(Area::Old(area.clone()));
    }
    if state.trampolines.len() == MAX_AREAS || low >= text.start || high <= text.end {
        return Err(Errno::EOPNOTSUPP);
    }
    let below = state.tree.gap_from_top(AREA_SIZE, PAGE_SIZE, low, text.start);
    let start =
        below.or_else(|| state.tree.gap_from_bottom(AREA_SIZE, text.end, high)).ok_or(Errno::EOPNOTSUPP)?;
    state.check_map_count(1)?;
    Ok(Area::New(start..start + AREA_SIZE))
}

fn map_area(area: &Range<u64>, protection: Protection) -> MemoryOp<'static> {
    let flags = MapFlags { populate: false, no_reserve: true };
    MemoryOp::MapAnonymous { address: area.start, length: AREA_SIZE, protection, flags }
}

fn protect(range: &Range<u64>, protection: Protection) -> MemoryOp<'static> {
    MemoryOp::Protect { address: range.start, length: range.end - range.start, protection }
}

impl State {
    /// Records an area that has been mapped.
    fn record_area(&mut self, area: &Range<u64>) {
        self.tree.insert(Vma {
            start: area.start,
            end: area.end,
            protection: READ_EXECUTE,
            max_protection: READ_EXECUTE,
            shared: false,
            backing: Backing::Trampolines,
            offset: area.start,
            flags: VmaFlags::empty(),
        });
        self.trampolines.push(area.clone());
    }
}

/// Whether code of a mapping may be patched.
fn is_patchable(vma: &Vma) -> bool {
    matches!(vma.backing, Backing::File(_)) && !vma.shared && vma.protection == READ_EXECUTE
}

/// All threads of an address space are out of guest code, until this is dropped.
struct Stopped<'a>(&'a Mm);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.is_stopping.store(false, Ordering::SeqCst);
    }
}
