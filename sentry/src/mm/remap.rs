//! `mremap(2)`.

use usk_abi::Errno;
use usk_abi::mm::{MremapFlags, PAGE_SIZE, TASK_SIZE_MAX};
use usk_platform::{GuestThread, MapFlags, MemoryOp};

use crate::mm::map::After;
use crate::mm::mm::{MemoryLimits, Mm, State, apply, is_page_aligned, page_align};
use crate::mm::vma::{Vma, VmaFlags};

/// What `mremap(2)` was asked for, with lengths rounded up to pages.
#[derive(Clone, Copy)]
struct Request {
    address: u64,
    old_length: u64,
    new_length: u64,
    flags: MremapFlags,
}

impl Mm {
    /// Resizes or moves a mapping and returns its new address. `new_address` counts with `MREMAP_FIXED`, and is a hint with
    /// `MREMAP_DONTUNMAP`. Errors as in `mremap(2)`.
    #[allow(clippy::too_many_arguments)]
    pub fn remap(
        &self,
        thread: &mut dyn GuestThread,
        address: u64,
        old_length: u64,
        new_length: u64,
        flags: MremapFlags,
        new_address: u64,
        limits: &MemoryLimits,
    ) -> Result<u64, Errno> {
        let may_move = flags.contains(MremapFlags::MAYMOVE);
        let keeps_old = flags.contains(MremapFlags::DONTUNMAP);
        if flags.contains(MremapFlags::FIXED) && !may_move {
            return Err(Errno::EINVAL);
        }
        if keeps_old && (!may_move || old_length != new_length) {
            return Err(Errno::EINVAL);
        }
        if !is_page_aligned(address) {
            return Err(Errno::EINVAL);
        }
        let old_length = page_align(old_length).ok_or(Errno::EINVAL)?;
        let new_length = page_align(new_length).filter(|&length| length > 0).ok_or(Errno::EINVAL)?;
        let request = Request { address, old_length, new_length, flags };

        let mut state = self.change();
        let end = address.checked_add(old_length).ok_or(Errno::EINVAL)?;
        self.clear_patches(&mut state, thread, address..end.max(address.saturating_add(PAGE_SIZE)))?;
        if state.tree.find(address).is_none() {
            return Err(Errno::EFAULT);
        }
        if old_length > new_length && end > TASK_SIZE_MAX {
            return Err(Errno::EINVAL);
        }
        state.check_not_sealed(address, end.max(address + PAGE_SIZE))?;
        let moved = if flags.intersects(MremapFlags::FIXED | MremapFlags::DONTUNMAP) {
            self.move_to(&mut state, thread, request, new_address, limits)
        } else if old_length >= new_length {
            if old_length > new_length {
                self.remove_mappings(
                    &mut state,
                    thread,
                    address + new_length,
                    old_length - new_length,
                    After::More,
                )?;
            }
            Ok(address)
        } else {
            self.grow(&mut state, thread, request, limits)
        };
        state.note_peak();
        moved
    }

    /// To a place that the caller names.
    fn move_to(
        &self,
        state: &mut State,
        thread: &mut dyn GuestThread,
        mut request: Request,
        new_address: u64,
        limits: &MemoryLimits,
    ) -> Result<u64, Errno> {
        let Request { address, new_length, flags, .. } = request;
        let guest_end = self.layout.guest_end;
        if !is_page_aligned(new_address) || new_length > guest_end || new_address > guest_end - new_length {
            return Err(Errno::EINVAL);
        }
        if address + request.old_length > new_address && new_address + new_length > address {
            return Err(Errno::EINVAL);
        }
        state.check_map_count(2)?;
        let fixed = flags.contains(MremapFlags::FIXED);
        if fixed {
            if new_address < self.layout.guest_start {
                return Err(Errno::EPERM);
            }
            self.remove_mappings(state, thread, new_address, new_length, After::More)?;
        }
        if request.old_length > new_length {
            self.remove_mappings(
                state,
                thread,
                address + new_length,
                request.old_length - new_length,
                After::More,
            )?;
            request.old_length = new_length;
        }
        let vma = resizable(state, request, limits)?;
        if flags.contains(MremapFlags::DONTUNMAP) {
            state.check_room(limits, request.old_length, 0, vma.is_data())?;
        }
        let target =
            if fixed { new_address } else { self.find_room(state, new_address, new_length, 1, false)? };
        relocate(state, thread, request, &vma, target)
    }

    /// In place where there is room, else elsewhere.
    fn grow(
        &self,
        state: &mut State,
        thread: &mut dyn GuestThread,
        request: Request,
        limits: &MemoryLimits,
    ) -> Result<u64, Errno> {
        let Request { address, old_length, new_length, flags } = request;
        let vma = resizable(state, request, limits)?;
        let (old_end, new_end) = (address + old_length, address.checked_add(new_length));
        let in_place = new_end.filter(|&end| {
            old_length > 0
                && old_end == vma.end
                && end <= self.layout.guest_end
                && state.tree.is_free(old_end, end)
        });
        if let Some(new_end) = in_place {
            apply(
                thread,
                &[MemoryOp::Remap {
                    address,
                    length: old_length,
                    new_address: address,
                    new_length,
                    keep_old: false,
                }],
            )?;
            state.tree.insert(Vma { start: old_end, end: new_end, offset: vma.offset_of(old_end), ..vma });
            return Ok(address);
        }
        if !flags.contains(MremapFlags::MAYMOVE) {
            return Err(Errno::ENOMEM);
        }
        let target = self.find_room(state, 0, new_length, 1, false)?;
        relocate(state, thread, request, &vma, target)
    }
}

/// The mapping that the request is about, if it may get the new size (`vma_to_resize`).
fn resizable(state: &State, request: Request, limits: &MemoryLimits) -> Result<Vma, Errno> {
    let Request { address, old_length, new_length, .. } = request;
    let vma = state.tree.find(address).ok_or(Errno::EFAULT)?;
    if old_length == 0 && !vma.shared {
        return Err(Errno::EINVAL);
    }
    if old_length > vma.end - address {
        return Err(Errno::EFAULT);
    }
    let added = new_length.saturating_sub(old_length);
    if added == 0 {
        return Ok(vma.clone());
    }
    vma.offset_of(address).checked_add(new_length).ok_or(Errno::EINVAL)?;
    let locked = state.tree.totals().locked.saturating_add(added);
    if vma.flags.contains(VmaFlags::LOCKED) && !limits.permits_locked(locked) {
        return Err(Errno::EAGAIN);
    }
    state.check_room(limits, added, 0, vma.is_data())?;
    Ok(vma.clone())
}

/// Moves the pages of `vma` that the request names to `target`, which is free.
fn relocate(
    state: &mut State,
    thread: &mut dyn GuestThread,
    request: Request,
    vma: &Vma,
    target: u64,
) -> Result<u64, Errno> {
    let Request { address, old_length, new_length, flags } = request;
    state.check_map_count(1 + state.tree.splits(address, address + old_length))?;
    let keep_old = flags.contains(MremapFlags::DONTUNMAP);
    let moved =
        Vma { start: target, end: target + new_length, offset: vma.offset_of(address), ..vma.clone() };
    if old_length == 0 {
        // A second mapping of shared memory.
        apply(thread, &[moved.host_mapping(MapFlags::default())])?;
    } else {
        apply(
            thread,
            &[MemoryOp::Remap { address, length: old_length, new_address: target, new_length, keep_old }],
        )?;
        if keep_old {
            state.tree.change(address, address + old_length, |old| {
                old.flags -= VmaFlags::LOCKED | VmaFlags::LOCK_ON_FAULT;
            });
        } else {
            state.tree.remove(address, address + old_length);
        }
    }
    state.tree.insert(moved);
    Ok(target)
}
