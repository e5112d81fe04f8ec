//! Which word a futex operation means.

use usk_abi::Errno;

use crate::mm::mm::Mm;
use crate::mm::vma::Backing;

/// The identity of a futex word: equal for two tasks if and only if they mean the same memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FutexKey {
    /// A word of one address space.
    Private {
        /// [`Mm::id`]
        mm: u64,
        /// Its address.
        address: u64,
    },
    /// A word of one address space that nobody has promised to be one: the two do not meet (`FUT_OFF_MMSHARED`).
    Unshared {
        /// [`Mm::id`]
        mm: u64,
        /// Its address.
        address: u64,
    },
    /// A word of a file or of shared memory.
    Shared {
        /// Device and inode number on the host.
        identity: (u64, u64),
        /// Byte offset of the word.
        offset: u64,
    },
}

impl Mm {
    /// The key of the word at `address`. `private` says that the caller promised (`FUTEX_PRIVATE_FLAG`) that no other
    /// address space uses it, which needs no look at the map. Words in private mappings have a key of their address space in any
    /// case, but not the same. `EFAULT` for an address outside the guest's range, and, where the map is looked at, for memory
    /// that cannot be read or that is private and cannot be written: it never changes (`get_futex_key`).
    pub fn futex_key(&self, address: u64, private: bool) -> Result<FutexKey, Errno> {
        if address >= self.layout().guest_end {
            return Err(Errno::EFAULT);
        }
        if private {
            return Ok(FutexKey::Private { mm: self.id(), address });
        }
        let own = FutexKey::Unshared { mm: self.id(), address };
        let state = self.look();
        let vma = state.tree.find(address).ok_or(Errno::EFAULT)?;
        if !vma.protection.read || (!vma.shared && !vma.protection.write) {
            return Err(Errno::EFAULT);
        }
        let identity = match &vma.backing {
            _ if !vma.shared => return Ok(own),
            Backing::File(file) => file.identity()?,
            Backing::Memory(memory) => memory.identity,
            Backing::Anonymous | Backing::Vdso | Backing::Vvar | Backing::Trampolines => return Ok(own),
        };
        Ok(FutexKey::Shared { identity, offset: vma.offset_of(address) })
    }
}
