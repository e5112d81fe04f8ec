//! Which word a futex operation means.

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
    /// address space uses it, which needs no look at the map. Words in private mappings are private in any case.
    pub fn futex_key(&self, address: u64, private: bool) -> FutexKey {
        let own = FutexKey::Private { mm: self.id, address };
        if private {
            return own;
        }
        let state = self.state.lock();
        let Some(vma) = state.tree.find(address).filter(|vma| vma.shared) else { return own };
        let identity = match &vma.backing {
            Backing::File(file) => file.identity,
            Backing::Memory(memory) => memory.identity,
            Backing::Anonymous | Backing::Vdso | Backing::Vvar | Backing::Trampolines => return own,
        };
        FutexKey::Shared { identity, offset: vma.offset_of(address) }
    }
}
