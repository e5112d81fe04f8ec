//! `msync(2)` and `mincore(2)`.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::mm::{MsyncFlags, PAGE_SIZE};

use crate::mm::mm::{Mm, is_page_aligned, page_align};
use crate::mm::vma::{Backing, VmaFlags};
use crate::vfs::OpenFile;

impl Mm {
    /// Writes changes of shared file mappings in the range to their files. Errors as in `msync(2)`.
    pub fn sync(&self, address: u64, length: u64, flags: MsyncFlags) -> Result<(), Errno> {
        if !is_page_aligned(address) || flags.contains(MsyncFlags::ASYNC | MsyncFlags::SYNC) {
            return Err(Errno::EINVAL);
        }
        // A length whose last page would end beyond the addresses is none at all.
        let end = address.checked_add(page_align(length).unwrap_or(0)).ok_or(Errno::ENOMEM)?;
        let mut files: Vec<Arc<OpenFile>> = Vec::new();
        let mut outcome = Ok(());
        {
            let state = self.look();
            let mut at = address;
            for vma in state.tree.overlapping(address, end) {
                if vma.start > at {
                    outcome = Err(Errno::ENOMEM);
                }
                at = vma.end;
                if flags.contains(MsyncFlags::INVALIDATE) && vma.flags.contains(VmaFlags::LOCKED) {
                    return Err(Errno::EBUSY);
                }
                if let Backing::File(backing) = &vma.backing
                    && vma.shared
                    && flags.contains(MsyncFlags::SYNC)
                    && !files.iter().any(|file| Arc::ptr_eq(file, &backing.file))
                {
                    files.push(backing.file.clone());
                }
            }
            if at < end {
                outcome = Err(Errno::ENOMEM);
            }
        }
        // Without the lock: writing may take long.
        for file in files {
            file.ops.sync(&file, true)?;
        }
        outcome
    }

    /// The count of pages in a range, all of which is mapped. Errors as in `mincore(2)`.
    pub fn check_mapped(&self, address: u64, length: u64) -> Result<u64, Errno> {
        if !is_page_aligned(address) {
            return Err(Errno::EINVAL);
        }
        let end = page_align(length).and_then(|length| address.checked_add(length)).ok_or(Errno::ENOMEM)?;
        let state = self.look();
        if state.tree.first_hole(address, end) < end {
            return Err(Errno::ENOMEM);
        }
        Ok((end - address) / PAGE_SIZE)
    }
}
