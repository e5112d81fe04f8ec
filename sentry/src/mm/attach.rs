//! System V segments in an address space: `shmat(2)`, `shmdt(2)`.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::mm::PAGE_SIZE;
use usk_platform::{GuestThread, MapFlags, MemoryOp, Protection};

use crate::mm::map::After;
use crate::mm::mm::{MemoryLimits, Mm, apply};
use crate::mm::vma::{Backing, Vma};
use crate::mm::{SharedMemory, VmaFlags};

/// What to map, and where.
pub struct AttachRequest {
    /// The segment.
    pub memory: Arc<SharedMemory>,
    /// Its length in bytes, a multiple of the page size.
    pub length: u64,
    /// Where, page aligned; `None` is anywhere.
    pub address: Option<u64>,
    /// What is mapped there goes (`SHM_REMAP`); else it is an error.
    pub replace: bool,
    /// Access. Without write access it cannot be had later either.
    pub protection: Protection,
}

impl Mm {
    /// Maps a segment and returns its address. Errors as in `shmat(2)`.
    pub fn attach(
        &self,
        thread: &mut dyn GuestThread,
        request: AttachRequest,
        limits: &MemoryLimits,
    ) -> Result<u64, Errno> {
        let AttachRequest { memory, length, address, replace, protection } = request;
        let mut state = self.change();
        let address = match address {
            Some(address) => {
                let end = address.checked_add(length).filter(|&end| end <= self.layout.guest_end);
                let end = end.ok_or(Errno::EINVAL)?;
                self.clear_patches(&mut state, thread, address..end)?;
                if address < self.layout.guest_start || !replace && !state.tree.is_free(address, end) {
                    return Err(Errno::EINVAL);
                }
                address
            }
            None => self.find_room(&mut state, 0, length, PAGE_SIZE, false)?,
        };
        let end = address + length;
        state.check_map_count(1 + state.tree.splits(address, end))?;
        state.check_not_sealed(address, end)?;
        let replaced = state.tree.mapped_bytes(address, end);
        state.check_room(limits, length, replaced, false)?;
        let vma = Vma {
            start: address,
            end,
            protection,
            max_protection: Protection { read: true, write: protection.write, execute: true },
            shared: true,
            backing: Backing::Memory(memory),
            offset: 0,
            flags: state.future_flags - VmaFlags::LOCKED,
        };
        if let Err(error) = apply(thread, &[vma.host_mapping(MapFlags::default())]) {
            if replaced > 0 && apply(thread, &[MemoryOp::Unmap { address, length }]).is_ok() {
                state.tree.remove(address, end);
            }
            return Err(error);
        }
        state.tree.remove(address, end);
        state.tree.insert(vma);
        state.note_peak();
        Ok(address)
    }

    /// Unmaps the segment that was attached at `address`, whatever of it is still there, and returns it. `EINVAL` if there is
    /// none.
    pub fn detach(&self, thread: &mut dyn GuestThread, address: u64) -> Result<Arc<SharedMemory>, Errno> {
        let mut state = self.change();
        let mut memory: Option<Arc<SharedMemory>> = None;
        let mut parts = Vec::new();
        for vma in state.tree.overlapping(address, self.layout.guest_end) {
            let Backing::Memory(candidate) = &vma.backing else { continue };
            if !candidate.is_segment || vma.start.wrapping_sub(address) != vma.offset {
                continue;
            }
            let known = memory.get_or_insert_with(|| candidate.clone());
            if Arc::ptr_eq(known, candidate) {
                parts.push((vma.start, vma.length()));
            }
        }
        let memory = memory.ok_or(Errno::EINVAL)?;
        for (start, length) in parts {
            self.remove_mappings(&mut state, thread, start, length, After::More)?;
        }
        Ok(memory)
    }
}
