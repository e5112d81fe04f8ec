//! `mprotect(2)` and `mseal(2)`.

use usk_abi::Errno;
use usk_abi::mm::Prot;
use usk_platform::{GuestThread, MemoryOp};

use crate::mm::deferred::{Undo, take_back};
use crate::mm::map::protection_of;
use crate::mm::mm::{MemoryLimits, Mm, State, is_page_aligned, page_align};
use crate::mm::vma::{Vma, VmaFlags, protection_within};

impl Mm {
    /// Changes the access to a range. Like Linux it goes from mapping to mapping, and what precedes a hole or a mapping that
    /// does not permit the access is changed when the error is reported. Errors as in `mprotect(2)`.
    pub fn protect(
        &self,
        thread: &mut dyn GuestThread,
        address: u64,
        length: u64,
        prot: Prot,
        limits: &MemoryLimits,
    ) -> Result<(), Errno> {
        let grows = prot & (Prot::GROWSDOWN | Prot::GROWSUP);
        if grows == Prot::GROWSDOWN | Prot::GROWSUP || !is_page_aligned(address) {
            return Err(Errno::EINVAL);
        }
        if length == 0 {
            return Ok(());
        }
        let end = page_align(length)
            .and_then(|length| address.checked_add(length))
            .filter(|&end| end > address)
            .ok_or(Errno::ENOMEM)?;
        if !(Prot::READ | Prot::WRITE | Prot::EXEC | Prot::SEM).contains(prot - grows) {
            return Err(Errno::EINVAL);
        }
        let mut state = self.change();
        self.clear_patches(&mut state, thread, address..end)?;
        let start = first_address(&state, address, end, grows)?;
        let (permitted_end, outcome) = permitted(&state, start, end, prot, limits);
        if permitted_end > start {
            self.set_protection(&mut state, thread, start, permitted_end, prot)?;
        }
        outcome
    }

    fn set_protection(
        &self,
        state: &mut State,
        thread: &mut dyn GuestThread,
        start: u64,
        end: u64,
        prot: Prot,
    ) -> Result<(), Errno> {
        let protection = protection_of(prot);
        if state.tree.overlapping(start, end).all(|vma| vma.protection == protection) {
            return Ok(());
        }
        state.check_map_count(state.tree.splits(start, end))?;
        let operation = MemoryOp::Protect { address: start, length: end - start, protection };
        let as_before = |state: &State| {
            let part = |vma: &Vma| (vma.start.max(start), vma.end.min(end), vma.protection);
            Undo::Protect(state.tree.overlapping(start, end).map(part).collect())
        };
        if let Err(error) = self.apply_last(state, thread, operation, as_before) {
            // The host may have changed some of its mappings before it failed.
            state.undo = Some(as_before(state));
            take_back(state, thread);
            return Err(error);
        }
        state.tree.change(start, end, |vma| vma.protection = protection);
        Ok(())
    }

    /// Seals a range against changes. Errors as in `mseal(2)`.
    pub fn seal(&self, address: u64, length: u64) -> Result<(), Errno> {
        if !is_page_aligned(address) {
            return Err(Errno::EINVAL);
        }
        let end = page_align(length).and_then(|length| address.checked_add(length)).ok_or(Errno::EINVAL)?;
        if end == address {
            return Ok(());
        }
        let mut state = self.change();
        if state.tree.first_hole(address, end) < end {
            return Err(Errno::ENOMEM);
        }
        state.check_map_count(state.tree.splits(address, end))?;
        state.tree.change(address, end, |vma| vma.flags |= VmaFlags::SEALED);
        Ok(())
    }
}

fn first_address(state: &State, address: u64, end: u64, grows: Prot) -> Result<u64, Errno> {
    let first = state.tree.find_from(address).ok_or(Errno::ENOMEM)?;
    if grows.contains(Prot::GROWSDOWN) {
        if first.start >= end {
            return Err(Errno::ENOMEM);
        }
        if !first.flags.contains(VmaFlags::GROWSDOWN) {
            return Err(Errno::EINVAL);
        }
        return Ok(first.start);
    }
    if first.start > address {
        return Err(Errno::ENOMEM);
    }
    if grows.contains(Prot::GROWSUP) {
        // Nothing grows up on x86-64.
        return Err(Errno::EINVAL);
    }
    Ok(address)
}

/// How far the change may go, and what is reported then.
fn permitted(
    state: &State,
    start: u64,
    end: u64,
    prot: Prot,
    limits: &MemoryLimits,
) -> (u64, Result<(), Errno>) {
    let protection = protection_of(prot);
    let mut data = state.tree.totals().data;
    let mut at = start;
    for vma in state.tree.overlapping(start, end) {
        if vma.start > at {
            return (at, Err(Errno::ENOMEM));
        }
        if vma.is_sealed() {
            return (at, Err(Errno::EPERM));
        }
        if !protection_within(protection, vma.max_protection) {
            return (at, Err(Errno::EACCES));
        }
        let part = vma.end.min(end) - vma.start.max(start);
        if protection.write && !vma.protection.write && !vma.shared && !vma.flags.contains(VmaFlags::STACK) {
            data = data.saturating_add(part);
            if data > limits.data {
                return (at, Err(Errno::ENOMEM));
            }
        }
        at = vma.end.min(end);
    }
    if at < end { (at, Err(Errno::ENOMEM)) } else { (end, Ok(())) }
}
