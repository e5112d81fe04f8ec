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
use usk_platform::trap::CodeImage;
use usk_platform::{GuestThread, Layout, MapFlags, MemoryOp, PatchRequest, Protection};

use crate::Kernel;
use crate::mm::mm::{Mm, State, apply};
use crate::mm::slow_sites::SlowCalls;
use crate::mm::vma::{Backing, Vma, VmaFlags};
use crate::mm::{FileBacking, KnownCode, VmaTree};
use crate::task::Kicks;

/// Size of an area of trampolines in bytes.
const AREA_SIZE: u64 = CodeImage::AREA_SIZE;
/// Areas that an address space may have.
const MAX_AREAS: usize = 64;
/// How far from the code its trampolines may be: jumps reach two gigabytes, and both ends have a size.
const REACH: u64 = 0x7000_0000;
/// Access to trampolines, and to the code that may be patched.
const READ_EXECUTE: Protection = Protection { read: true, write: false, execute: true };
/// Mappings that the host may have more while known code is written, and for its trampolines.
const SPLITS: usize = 3;
/// Access while they are written.
const ALL: Protection = Protection { read: true, write: true, execute: true };
/// How often to look again for threads that were just about to enter guest code.
const PATIENCE: Duration = Duration::from_millis(1);

impl Mm {
    /// Patches a site that has called `number`, while `thread` is in a call. `EOPNOTSUPP` if it cannot be: nothing has changed
    /// then, and will not if it is tried again.
    pub(crate) fn patch(&self, thread: &mut dyn GuestThread, site: u64, number: u64) -> Result<(), Errno> {
        let mut state = self.look();
        let vma = state.tree.find(site).ok_or(Errno::EOPNOTSUPP)?;
        if state.keeps_code || self.is_traced() || !is_patchable(vma) {
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
        thread.patch(site, number, &PatchRequest { text, trampolines })
    }

    /// Patches what is known of the code that has just been mapped in a range, and in which nobody runs yet. Code that cannot
    /// be patched stays as it is, and so does what a program maps that was loaded without an interpreter: it is hardly a library
    /// that it will call, but code that it reads and translates (Valgrind), and to which the trampolines do not belong.
    pub fn patch_known_code(&self, thread: &mut dyn GuestThread, kernel: &Kernel, range: Range<u64>) {
        if !thread.patches_code() {
            return;
        }
        let mut state = self.look();
        if state.keeps_code || self.is_traced() || !state.has_interpreter {
            return;
        }
        let known = &kernel.known_code;
        let texts = self.known_texts(&state.tree, known, range);
        let opening: Vec<_> = texts.iter().flat_map(KnownText::opening).collect();
        let has_room = state.trampolines.len() + texts.len() <= MAX_AREAS
            && state.check_map_count(SPLITS * texts.len()).is_ok();
        if texts.is_empty() || !has_room {
            return;
        }
        match thread.apply(&opening) {
            Ok(()) => self.write_known_code(&mut state, thread, known, &texts),
            Err((done, error)) => {
                tracing::debug!(%error, "code stays as it is");
                let undo = texts.iter().flat_map(KnownText::taking_back).take(done);
                // What is left of it: room that nobody knows of, which the next mapping there replaces.
                let _ = thread.apply(&undo.collect::<Vec<_>>());
            }
        }
    }

    /// Code in a range whose file is known, and for whose trampolines there is room.
    pub(in crate::mm) fn known_texts(
        &self,
        tree: &VmaTree,
        known: &KnownCode,
        range: Range<u64>,
    ) -> Vec<KnownText> {
        let texts = tree.overlapping(range.start, range.end).filter(|vma| is_patchable(vma));
        let texts = texts.filter_map(|vma| {
            let Backing::File(backing) = &vma.backing else { return None };
            let identity = backing.identity().ok()?;
            let image = known.image(identity)?;
            let base = vma.start.checked_sub(vma.offset)?;
            let code = base.checked_add(image.range().start)?..base.checked_add(image.range().end)?;
            let area = base.checked_sub(AREA_SIZE)?..base;
            let is_possible = code.start >= vma.start
                && code.end <= vma.end
                && area.start >= self.layout.guest_start
                && tree.is_free(area.start, area.end);
            let text = vma.start..vma.end;
            is_possible.then_some(KnownText { text, offset: vma.offset, identity, image, code, area })
        });
        texts.take(MAX_AREAS).collect()
    }

    /// Writes known code where the host has opened it ([`KnownText::opening`]), and closes it.
    pub(in crate::mm) fn write_known_code(
        &self,
        state: &mut State,
        thread: &mut dyn GuestThread,
        known: &KnownCode,
        texts: &[KnownText],
    ) {
        for KnownText { text, offset, identity, image, area, .. } in texts {
            state.record_area(area);
            let request = PatchRequest { text: text.clone(), trampolines: area.clone() };
            match thread.patch_known(&request, *offset, image) {
                Ok(()) => {}
                Err(Errno::ESTALE) => known.forget(*identity),
                Err(error) => tracing::debug!(start = text.start, %error, "code stays as it is"),
            }
        }
        let closing: Vec<_> = texts.iter().flat_map(KnownText::closing).collect();
        // It joins what opening has split, for which the host needs nothing. If it refuses all the same the guest can write
        // its own code, and the call that has mapped it fails.
        let closed = if self.users() == 1 {
            state.undo = None;
            thread.apply_on_return(&closing)
        } else {
            thread.apply(&closing)
        };
        if let Err((_, error)) = closed {
            tracing::warn!(%error, "code could not be closed");
        }
    }

    /// The program ends: what it has called slowly is worth knowing for the next.
    pub(crate) fn learn_slow_calls(&self, kernel: &Kernel) {
        let calls = self.slow_sites.lock().take();
        if calls.is_empty() {
            return;
        }
        let state = self.look();
        let mut by_file: BTreeMap<(u64, u64), (&FileBacking, Vec<(u64, SlowCalls, &Vma)>)> = BTreeMap::new();
        for (site, calls) in calls {
            let Some(vma) = state.tree.find(site).filter(|vma| is_patchable(vma)) else { continue };
            let Backing::File(backing) = &vma.backing else { continue };
            let Ok(identity) = backing.identity() else { continue };
            let (_, list) = by_file.entry(identity).or_insert_with(|| (backing, Vec::new()));
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
        if !areas.is_empty() {
            state.end_lending();
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
    pub(in crate::mm) fn stop_threads(&self) -> Stopped<'_> {
        self.is_stopping.store(true, Ordering::SeqCst);
        let stopped = Stopped(self);
        let mut guard = self.stopping.lock();
        let mut kicks = Kicks::default();
        loop {
            // Who enters guest code from now on sees that it must not. Who sleeps on the host need not be woken: a sleeper that
            // has been moved to another futex would not find its way back there.
            self.withdraw_answers();
            let tasks = self.tasks();
            let mut running = tasks.iter().filter(|task| task.may_run_guest_code()).peekable();
            if running.peek().is_none() {
                return stopped;
            }
            running.for_each(|task| {
                task.kick();
                kicks.note(task);
            });
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

/// A mapping of known code.
pub(in crate::mm) struct KnownText {
    text: Range<u64>,
    /// Where its file is mapped from.
    offset: u64,
    identity: (u64, u64),
    image: Arc<CodeImage>,
    /// The part of it that is written.
    code: Range<u64>,
    /// Where its trampolines go.
    area: Range<u64>,
}

impl KnownText {
    /// What lets it be written.
    pub(in crate::mm) fn opening<'a>(&self) -> [MemoryOp<'a>; 2] {
        [map_area(&self.area, ALL), protect(&self.code, ALL)]
    }

    fn closing(&self) -> [MemoryOp<'static>; 2] {
        [protect(&self.area, READ_EXECUTE), protect(&self.code, READ_EXECUTE)]
    }

    fn taking_back(&self) -> [MemoryOp<'static>; 2] {
        let (address, length) = (self.area.start, AREA_SIZE);
        [MemoryOp::Unmap { address, length }, protect(&self.code, READ_EXECUTE)]
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
    let below = state.tree.gap_below(AREA_SIZE, low, text.start);
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
        self.end_lending();
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
pub(in crate::mm) struct Stopped<'a>(&'a Mm);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.is_stopping.store(false, Ordering::SeqCst);
    }
}
