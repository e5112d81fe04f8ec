//! `mlock(2)`: locked memory is counted and faulted in. The host may still swap it, as it may any memory of the sandbox.

use usk_abi::Errno;
use usk_abi::mm::{MlockallFlags, PAGE_SIZE, madvise};
use usk_platform::{GuestThread, MemoryOp};

use crate::mm::mm::{MemoryLimits, Mm, State, page_align};
use crate::mm::vma::{Backing, Vma, VmaFlags};

const LOCK_FLAGS: VmaFlags = VmaFlags::LOCKED.union(VmaFlags::LOCK_ON_FAULT);

impl Mm {
    /// Locks a range. Errors as in `mlock2(2)`.
    pub fn lock(
        &self,
        thread: &mut dyn GuestThread,
        address: u64,
        length: u64,
        on_fault: bool,
        limits: &MemoryLimits,
    ) -> Result<(), Errno> {
        limits.check_may_lock()?;
        let (start, end) = whole_pages(address, length)?;
        let mut state = self.change();
        let already: u64 = state
            .tree
            .overlapping(start, end)
            .filter(|vma| vma.flags.contains(VmaFlags::LOCKED))
            .map(|vma| vma.end.min(end) - vma.start.max(start))
            .sum();
        let locked = (state.tree.totals().locked - already).saturating_add(end - start);
        if !limits.permits_locked(locked) {
            return Err(Errno::ENOMEM);
        }
        let outcome = set_lock_flags(&mut state, start, end, lock_flags(on_fault));
        if outcome.is_ok() && !on_fault {
            populate(&state, thread, start, end);
        }
        outcome
    }

    /// Unlocks a range. Errors as in `munlock(2)`.
    pub fn unlock(&self, address: u64, length: u64) -> Result<(), Errno> {
        let (start, end) = whole_pages(address, length)?;
        set_lock_flags(&mut self.change(), start, end, VmaFlags::empty())
    }

    /// Locks everything that is mapped, or will be. Errors as in `mlockall(2)`.
    pub fn lock_all(
        &self,
        thread: &mut dyn GuestThread,
        flags: MlockallFlags,
        limits: &MemoryLimits,
    ) -> Result<(), Errno> {
        if flags.is_empty() || flags == MlockallFlags::ONFAULT {
            return Err(Errno::EINVAL);
        }
        limits.check_may_lock()?;
        let mut state = self.change();
        let current = flags.contains(MlockallFlags::CURRENT);
        if current && !limits.permits_locked(state.tree.totals().total) {
            return Err(Errno::ENOMEM);
        }
        let on_fault = flags.contains(MlockallFlags::ONFAULT);
        let future = flags.contains(MlockallFlags::FUTURE);
        state.future_flags = if future { lock_flags(on_fault) } else { VmaFlags::empty() };
        if current {
            state.tree.change(0, u64::MAX, |vma| set_lock(vma, lock_flags(on_fault)));
            if !on_fault {
                populate(&state, thread, 0, u64::MAX);
            }
        }
        Ok(())
    }

    /// Unlocks everything, and what will be mapped (`munlockall(2)`).
    pub fn unlock_all(&self) {
        let mut state = self.change();
        state.future_flags = VmaFlags::empty();
        state.tree.change(0, u64::MAX, |vma| vma.flags -= LOCK_FLAGS);
    }
}

fn lock_flags(on_fault: bool) -> VmaFlags {
    if on_fault { LOCK_FLAGS } else { VmaFlags::LOCKED }
}

/// The pages that the range touches.
fn whole_pages(address: u64, length: u64) -> Result<(u64, u64), Errno> {
    let within = address % PAGE_SIZE;
    let start = address - within;
    let length = length.checked_add(within).and_then(page_align).ok_or(Errno::EINVAL)?;
    Ok((start, start.checked_add(length).ok_or(Errno::EINVAL)?))
}

fn set_lock(vma: &mut Vma, flags: VmaFlags) {
    if !matches!(vma.backing, Backing::Vdso | Backing::Vvar) {
        vma.flags = (vma.flags - LOCK_FLAGS) | flags;
    }
}

/// Sets the lock flags up to the first hole, and reports that as `ENOMEM`.
fn set_lock_flags(state: &mut State, start: u64, end: u64, flags: VmaFlags) -> Result<(), Errno> {
    if start == end {
        return Ok(());
    }
    let mapped_end = state.tree.first_hole(start, end);
    if mapped_end > start {
        state.check_map_count(state.tree.splits(start, mapped_end))?;
        state.tree.change(start, mapped_end, |vma| set_lock(vma, flags));
    }
    if mapped_end < end { Err(Errno::ENOMEM) } else { Ok(()) }
}

/// Has the host fault pages in. What it cannot (an old host, no memory) comes in when it is touched.
fn populate(state: &State, thread: &mut dyn GuestThread, start: u64, end: u64) {
    for vma in state.tree.overlapping(start, end) {
        if vma.flags.contains(VmaFlags::STACK) || matches!(vma.backing, Backing::Vdso | Backing::Vvar) {
            continue;
        }
        let advice = match vma.protection {
            protection if protection.write && !vma.shared => madvise::POPULATE_WRITE,
            protection if protection.read => madvise::POPULATE_READ,
            _ => continue,
        };
        let (from, to) = (vma.start.max(start), vma.end.min(end));
        let operation = MemoryOp::Advise { address: from, length: to - from, advice };
        if let Err((_, error)) = thread.apply(&[operation]) {
            tracing::debug!(from, to, %error, "locked memory was not faulted in");
        }
    }
}
