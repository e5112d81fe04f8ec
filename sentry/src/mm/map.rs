//! `mmap(2)` and `munmap(2)`.

use std::ops::Range;
use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::fs::Seals;
use usk_abi::mm::{MmapFlags, PAGE_SIZE, Prot, TASK_SIZE_MAX};
use usk_platform::{GuestThread, MapFlags, MemoryOp, Protection};

use crate::mm::SharedMemory;
use crate::mm::deferred::{Undo, clear};
use crate::mm::mm::{MemoryLimits, Mm, State, apply, is_page_aligned, page_align};
use crate::mm::vma::{ALL_ACCESS, Backing, FileBacking, Vma, VmaFlags};
use crate::vfs::{FileClaim, Mapping, MountFlags, OpenFile};

/// Bytes of a huge page: larger anonymous mappings are aligned to it, so that the host can use them.
pub(in crate::mm) const HUGE_PAGE: u64 = 2 << 20;
/// Where mappings with `MAP_32BIT` lie.
const LOW_RANGE: (u64, u64) = (0x4000_0000, 0x8000_0000);
/// `O_ACCMODE` and its values.
const ACCESS_MODE: u32 = 3;
const WRITE_ONLY: u32 = 1;
const READ_WRITE: u32 = 2;

/// What `mmap(2)` was asked for.
pub struct MapRequest {
    /// Where, or near where; 0 is anywhere.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// `PROT_*`
    pub protection: Prot,
    /// `MAP_*`
    pub flags: MmapFlags,
    /// The file; `None` with `MAP_ANONYMOUS`.
    pub file: Option<Arc<OpenFile>>,
    /// Byte offset into the file, page aligned; without one it does not matter.
    pub offset: u64,
}

impl MapRequest {
    /// Whether it asks for something wherever there is room that the task can soon map or unmap by itself: private anonymous
    /// memory, as the like of `malloc(3)` do, or a file to look at.
    pub fn is_plain(&self) -> bool {
        let is_usual = match self.file {
            None => {
                self.length < HUGE_PAGE
                    && self.protection == Prot::READ | Prot::WRITE
                    && self.flags == MmapFlags::PRIVATE | MmapFlags::ANONYMOUS
            }
            Some(_) => !self.protection.contains(Prot::EXEC) && self.flags == MmapFlags::PRIVATE,
        };
        self.address == 0 && is_usual
    }
}

/// What a call does once it has removed mappings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::mm) enum After {
    /// More, for which they have to be gone.
    More,
    /// Nothing.
    Nothing,
    /// It moves the end of the heap there, and returns where that is.
    HeapEnd,
}

impl Mm {
    /// Maps memory and returns its address. Errors as in `mmap(2)`.
    pub fn map(
        &self,
        thread: &mut dyn GuestThread,
        request: MapRequest,
        limits: &MemoryLimits,
    ) -> Result<u64, Errno> {
        if request.length == 0 {
            return Err(Errno::EINVAL);
        }
        let length = page_align(request.length).ok_or(Errno::ENOMEM)?;
        if length > self.layout.guest_end {
            return Err(Errno::ENOMEM);
        }
        let is_in_file = request.offset.checked_add(length).is_some_and(|end| end <= i64::MAX as u64);
        if request.file.is_some() && !is_in_file {
            return Err(Errno::EOVERFLOW);
        }

        let mut state = self.begin_mapping();
        let untouched = std::mem::take(&mut state.untouched);
        state.check_map_count(1)?;
        let address = self.place(&mut state, &request, length)?;
        let end = address + length;
        self.clear_patches(&mut state, thread, address..end)?;
        if request.flags.contains(MmapFlags::FIXED_NOREPLACE) && !state.tree.is_free(address, end) {
            return Err(Errno::EEXIST);
        }
        let flags = initial_flags(&state, &request, limits, length)?;
        let vma = describe(&request, address, end, flags)?;
        let replaced = state.tree.mapped_bytes(address, end);
        state.check_not_sealed(address, end)?;
        state.check_room(limits, length, replaced, vma.is_data())?;
        state.check_map_count(state.tree.splits(address, end))?;

        let populate = request.flags.contains(MmapFlags::POPULATE)
            && !request.flags.contains(MmapFlags::NONBLOCK)
            || vma.flags.contains(VmaFlags::LOCKED) && !vma.flags.contains(VmaFlags::LOCK_ON_FAULT);
        let options = MapFlags { populate, no_reserve: vma.flags.contains(VmaFlags::NORESERVE) };
        let present = state.present(&vma, &untouched).filter(|_| !populate);
        let operation = match present {
            Some(_) => MemoryOp::Protect { address, length, protection: vma.protection },
            None => vma.host_mapping(options),
        };
        let undo = |_: &State| match replaced {
            0 => Undo::Map { start: address, end },
            _ => Undo::Clear { start: address, end },
        };
        let made = match state.has_claims(address, end) {
            _ if present == Some(vma.protection) => Ok(()),
            true => apply(thread, &[operation]),
            false => self.apply_last(&mut state, thread, operation, undo),
        };
        if let Err(error) = made {
            if replaced > 0 {
                clear(&mut state, thread, address, end);
            }
            return Err(as_mmap_says(error));
        }
        state.untouched = match present {
            // Loaders map the segments of a file in their order.
            Some(_) => end..untouched.end,
            None if vma.is_only_looked_at() => address..end,
            None => 0..0,
        };
        state.tree.remove(address, end);
        state.tree.insert(vma);
        state.note_peak();
        Ok(address)
    }

    /// Removes all mappings in a range. Errors as in `munmap(2)`.
    pub fn unmap(&self, thread: &mut dyn GuestThread, address: u64, length: u64) -> Result<(), Errno> {
        let end = address.checked_add(length).filter(|&end| end <= TASK_SIZE_MAX).and_then(page_align);
        let is_valid = is_page_aligned(address) && length > 0 && address < self.layout.guest_end;
        let end = end.filter(|_| is_valid).ok_or(Errno::EINVAL)?;
        // Whoever unmaps more than the guest's range has all of that unmapped; the vDSO above it stays.
        let (start, end) = (address.max(self.layout.guest_start), end.min(self.layout.guest_end));
        let Some(length) = end.checked_sub(start).filter(|&length| length > 0) else { return Ok(()) };
        let mut state = self.change();
        self.remove_mappings(&mut state, thread, start, length, After::Nothing)
    }

    /// Removes all mappings in a range of whole pages. Errors as in `munmap(2)`.
    pub(in crate::mm) fn remove_mappings(
        &self,
        state: &mut State,
        thread: &mut dyn GuestThread,
        address: u64,
        length: u64,
        after: After,
    ) -> Result<(), Errno> {
        let end = address + length;
        self.clear_patches(state, thread, address..end)?;
        if state.tree.is_free(address, end) {
            return Ok(());
        }
        state.check_not_sealed(address, end)?;
        if state.tree.splits(address, end) == 2 && state.tree.find(address).is_some_and(|vma| vma.end > end) {
            state.check_map_count(1)?;
        }
        let operation = MemoryOp::Unmap { address, length };
        // Others hold files, which are to be let go as soon as they are unmapped. What is not cut the host hardly has a reason to keep, but
        // where it has, as for several that are one mapping to it, a claim must not be gone before the mapping.
        let can_come_back = state.tree.overlapping(address, end).all(Vma::is_private_anonymous);
        let may_wait = match after {
            After::Nothing => {
                can_come_back || state.tree.splits(address, end) == 0 && !state.has_claims(address, end)
            }
            After::HeapEnd => can_come_back,
            After::More => false,
        };
        if may_wait {
            let removed = |state: &State| match can_come_back {
                true => Undo::Unmap {
                    vmas: state.parts(address, end),
                    brk: (after == After::HeapEnd).then_some(state.brk),
                },
                false => Undo::Clear { start: address, end },
            };
            self.apply_last(state, thread, operation, removed)?;
        } else {
            apply(thread, &[operation])?;
        }
        state.tree.remove(address, end);
        Ok(())
    }

    fn place(&self, state: &mut State, request: &MapRequest, length: u64) -> Result<u64, Errno> {
        let (guest_start, guest_end) = (self.layout.guest_start, self.layout.guest_end);
        let fixed = MmapFlags::FIXED | MmapFlags::FIXED_NOREPLACE;
        if request.flags.intersects(fixed) {
            if request.address > guest_end - length {
                return Err(Errno::ENOMEM);
            }
            if !is_page_aligned(request.address) {
                return Err(Errno::EINVAL);
            }
            if request.address < guest_start {
                return Err(Errno::EPERM);
            }
            return Ok(request.address);
        }
        let alignment =
            if request.file.is_none() && length.is_multiple_of(HUGE_PAGE) { HUGE_PAGE } else { 1 };
        let hint = page_align(request.address).unwrap_or(0);
        self.find_room(state, hint, length, alignment, request.flags.contains(MmapFlags::MAP_32BIT))
    }

    /// A free range of `length` bytes: at the hint if that is free, else as high below the mapping base as possible.
    pub(in crate::mm) fn find_room(
        &self,
        state: &mut State,
        hint: u64,
        length: u64,
        alignment: u64,
        low: bool,
    ) -> Result<u64, Errno> {
        let (guest_start, guest_end) = (self.layout.guest_start, self.layout.guest_end);
        let mmap_base = state.placement.mmap_base;
        if length > guest_end {
            return Err(Errno::ENOMEM);
        }
        if hint != 0 {
            let hint = hint.max(guest_start);
            let limit = if low { LOW_RANGE.1 } else { guest_end };
            if hint.checked_add(length).is_some_and(|end| end <= limit && state.tree.is_free(hint, end)) {
                return Ok(hint);
            }
        }
        if low {
            return state.tree.gap_from_bottom(length, LOW_RANGE.0, LOW_RANGE.1).ok_or(Errno::ENOMEM);
        }
        let tree = &mut state.tree;
        let mut found = None;
        if alignment > PAGE_SIZE {
            found = tree.gap_from_top(length, alignment, guest_start, mmap_base);
        }
        found
            .or_else(|| tree.gap_from_top(length, PAGE_SIZE, guest_start, mmap_base))
            .or_else(|| tree.gap_from_bottom(length, mmap_base, guest_end))
            .ok_or(Errno::ENOMEM)
    }
}

impl State {
    /// The access with which the host maps already what `vma` is to show: loaders map the whole of a library and then its segments over that, each
    /// of the same file and from the same place in it. `None` if it maps something else, or if somebody may have written outside of
    /// `untouched`, which a new mapping would not show.
    fn present(&self, vma: &Vma, untouched: &Range<u64>) -> Option<Protection> {
        let there = self.tree.find(vma.start).filter(|there| vma.end <= there.end)?;
        let (Backing::File(file), Backing::File(its)) = (&there.backing, &vma.backing) else { return None };
        let is_same = Arc::ptr_eq(&file.host, &its.host)
            && there.offset_of(vma.start) == vma.offset
            && there.flags == vma.flags
            && !there.shared
            && !vma.shared;
        let is_untouched = untouched.start <= vma.start && vma.end <= untouched.end;
        (is_same && is_untouched).then_some(there.protection)
    }
}

/// What `mmap(2)` says where the host says this. What is on a mount without programs `mprotect(2)` reports in its own way.
pub(in crate::mm) fn as_mmap_says(error: Errno) -> Errno {
    if error == Errno::EACCES { Errno::EPERM } else { error }
}

/// Access as the platform has it. Bits that mean nothing here are ignored, as Linux does.
pub(in crate::mm) fn protection_of(prot: Prot) -> Protection {
    Protection {
        read: prot.contains(Prot::READ),
        write: prot.contains(Prot::WRITE),
        execute: prot.contains(Prot::EXEC),
    }
}

fn initial_flags(
    state: &State,
    request: &MapRequest,
    limits: &MemoryLimits,
    length: u64,
) -> Result<VmaFlags, Errno> {
    let mut flags = state.future_flags;
    if request.flags.contains(MmapFlags::LOCKED) {
        limits.check_may_lock()?;
        flags |= VmaFlags::LOCKED;
    }
    if flags.contains(VmaFlags::LOCKED) {
        let locked = state.tree.totals().locked.saturating_add(length);
        if !limits.permits_locked(locked) {
            return Err(Errno::EAGAIN);
        }
    }
    if request.flags.contains(MmapFlags::NORESERVE) {
        flags |= VmaFlags::NORESERVE;
    }
    if request.flags.contains(MmapFlags::GROWSDOWN) {
        flags |= VmaFlags::GROWSDOWN;
    }
    Ok(flags)
}

/// Checks the type of mapping and the file's access mode, and describes the mapping.
fn describe(request: &MapRequest, start: u64, end: u64, flags: VmaFlags) -> Result<Vma, Errno> {
    let kind = request.flags & MmapFlags::SHARED_VALIDATE;
    let protection = protection_of(request.protection);
    let mut vma = Vma {
        start,
        end,
        protection,
        max_protection: ALL_ACCESS,
        shared: kind != MmapFlags::PRIVATE,
        backing: Backing::Anonymous,
        offset: start,
        flags,
    };
    if request.flags.contains(MmapFlags::HUGETLB) {
        // There is no pool of huge pages.
        return Err(if request.file.is_some() { Errno::EINVAL } else { Errno::ENOMEM });
    }
    let Some(file) = &request.file else {
        if kind == MmapFlags::SHARED && !request.flags.contains(MmapFlags::GROWSDOWN) {
            vma.backing = Backing::Memory(SharedMemory::anonymous(end - start)?);
            vma.offset = 0;
        } else if kind != MmapFlags::PRIVATE {
            return Err(Errno::EINVAL);
        }
        return Ok(vma);
    };
    if kind.is_empty() {
        return Err(Errno::EINVAL);
    }
    if kind == MmapFlags::SHARED_VALIDATE && !(request.flags - MmapFlags::LEGACY).is_empty() {
        return Err(Errno::EOPNOTSUPP);
    }
    let mode = file.flags() & ACCESS_MODE;
    if vma.shared && mode != READ_WRITE {
        if protection.write {
            return Err(Errno::EACCES);
        }
        vma.max_protection.write = false;
    }
    if mode == WRITE_ONLY {
        return Err(Errno::EACCES);
    }
    if file.path().mount.flags.contains(MountFlags::NO_EXECUTE) {
        if protection.execute {
            return Err(Errno::EPERM);
        }
        vma.max_protection.execute = false;
    }
    // Before the look at the seals: sealing looks at the claims first.
    let may_write = vma.shared && vma.max_protection.write;
    let mut claim = if may_write { FileClaim::map_writable(file.inode()).ok() } else { None };
    // Files without seals say EINVAL.
    let seals = file.ops.seals().unwrap_or(Seals::empty());
    if vma.shared && seals.intersects(Seals::WRITE | Seals::FUTURE_WRITE) {
        if protection.write {
            return Err(Errno::EPERM);
        }
        vma.max_protection.write = false;
        claim = None;
    }
    if request.flags.contains(MmapFlags::GROWSDOWN) {
        return Err(Errno::EINVAL);
    }
    match file.ops.mapping(file, vma.shared)? {
        Mapping::Host(host_file) => {
            vma.backing = Backing::File(FileBacking::new(file.clone(), host_file, claim));
            vma.offset = request.offset;
        }
        Mapping::Anonymous if vma.shared => {
            vma.backing = Backing::Memory(SharedMemory::anonymous(end - start)?);
            vma.offset = 0;
        }
        Mapping::Anonymous => {}
    }
    Ok(vma)
}
