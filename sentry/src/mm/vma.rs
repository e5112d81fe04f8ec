//! One mapping of the memory map.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use bitflags::bitflags;
use usk_abi::Errno;
use usk_platform::{MapFlags, MemoryOp, Protection, host};

use crate::mm::SharedMemory;
use crate::vfs::{FileClaim, OpenFile};

bitflags! {
    /// What else is known of a mapping; the letters are those of `VmFlags` in `/proc/PID/smaps`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct VmaFlags: u32 {
        /// `lo`: locked by `mlock(2)`. Counted; the host does not lock.
        const LOCKED = 1 << 0;
        /// Locked when faulted in (`MLOCK_ONFAULT`).
        const LOCK_ON_FAULT = 1 << 1;
        /// `dc`: a forked child does not get it.
        const DONTFORK = 1 << 2;
        /// `wf`: a forked child gets zeros.
        const WIPEONFORK = 1 << 3;
        /// `gd`: grows down on Linux. Here a mapping has the size it was made with.
        const GROWSDOWN = 1 << 4;
        /// `nr`: no swap space was reserved.
        const NORESERVE = 1 << 5;
        /// `hg`: huge pages were advised.
        const HUGEPAGE = 1 << 6;
        /// `nh`: huge pages were advised against.
        const NOHUGEPAGE = 1 << 7;
        /// `dd`: left out of core dumps.
        const DONTDUMP = 1 << 8;
        /// `mg`: pages may be merged. Kept for the books only.
        const MERGEABLE = 1 << 9;
        /// `sr`: sequential access was advised.
        const SEQUENTIAL = 1 << 10;
        /// `rr`: random access was advised.
        const RANDOM = 1 << 11;
        /// `sl`: sealed by `mseal(2)`: cannot be unmapped, moved, or given another protection.
        const SEALED = 1 << 12;
        /// The initial thread's stack: counted as stack, not as data.
        const STACK = 1 << 13;
    }
}

/// A range of addresses mapped in one way (`vm_area_struct`).
#[derive(Clone, Debug)]
pub struct Vma {
    /// First address, page aligned.
    pub start: u64,
    /// First address after it, page aligned.
    pub end: u64,
    /// Access.
    pub protection: Protection,
    /// The most access that `mprotect(2)` may give.
    pub max_protection: Protection,
    /// `MAP_SHARED`.
    pub shared: bool,
    /// What its pages are.
    pub backing: Backing,
    /// Byte offset of `start` into the backing. For private anonymous memory the address where it was first mapped, as
    /// Linux's `vm_pgoff`: what was moved apart does not merge.
    pub offset: u64,
    /// What else is known.
    pub flags: VmaFlags,
}

/// What the pages of a mapping are.
#[derive(Clone, Debug)]
pub enum Backing {
    /// Private anonymous memory of the host process.
    Anonymous,
    /// A file.
    File(Arc<FileBacking>),
    /// Memory that address spaces share and no file names.
    Memory(Arc<SharedMemory>),
    /// The host's vDSO: code.
    Vdso,
    /// The host's vDSO: data.
    Vvar,
    /// The platform's, for patched call sites. The guest does not see it, and whatever it maps there takes its place.
    Trampolines,
}

/// A mapped file.
pub struct FileBacking {
    /// The open file; mapping keeps it open, and is counted there.
    pub file: Arc<OpenFile>,
    /// What the host maps.
    pub host: Arc<OwnedFd>,
    /// See [`FileBacking::identity`].
    identity: OnceLock<(u64, u64)>,
    /// That the file is mapped shared and may be written.
    pub claim: Option<FileClaim>,
}

impl FileBacking {
    /// A mapping of `file`, for which the host maps `host`.
    pub(crate) fn new(file: Arc<OpenFile>, host: Arc<OwnedFd>, claim: Option<FileClaim>) -> Arc<FileBacking> {
        file.begin_mapping();
        Arc::new(FileBacking { file, host, identity: OnceLock::new(), claim })
    }

    /// Device and inode number of the host file: which memory this is, for shared futexes, and which code. The host is asked once,
    /// and not for a file that is only looked at.
    pub fn identity(&self) -> Result<(u64, u64), Errno> {
        match self.identity.get() {
            Some(identity) => Ok(*identity),
            None => {
                let identity = host::file_identity(&*self.host)?;
                Ok(*self.identity.get_or_init(|| identity))
            }
        }
    }
}

impl Drop for FileBacking {
    fn drop(&mut self) {
        self.file.end_mapping();
    }
}

impl fmt::Debug for FileBacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBacking").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Backing {
    fn is_same(&self, other: &Backing) -> bool {
        match (self, other) {
            (Backing::Anonymous, Backing::Anonymous) => true,
            // A file that was copied up meanwhile is another one of the host's.
            (Backing::File(a), Backing::File(b)) => {
                Arc::ptr_eq(a, b) || Arc::ptr_eq(&a.file, &b.file) && Arc::ptr_eq(&a.host, &b.host)
            }
            (Backing::Memory(a), Backing::Memory(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl Vma {
    /// Bytes.
    pub fn length(&self) -> u64 {
        self.end - self.start
    }

    /// True if `address` lies in it.
    pub fn contains(&self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// Private and anonymous: what `MADV_FREE` and `MADV_WIPEONFORK` want.
    pub fn is_private_anonymous(&self) -> bool {
        matches!(self.backing, Backing::Anonymous) && !self.shared
    }

    /// True if the guest is not told of it.
    pub fn is_hidden(&self) -> bool {
        matches!(self.backing, Backing::Trampolines)
    }

    /// True if the mapping may not be changed: sealed, or the host's vDSO, which the platform owns.
    pub fn is_sealed(&self) -> bool {
        self.flags.contains(VmaFlags::SEALED) || matches!(self.backing, Backing::Vdso | Backing::Vvar)
    }

    /// A private mapping of a file that the guest can neither write to nor execute.
    pub(in crate::mm) fn is_only_looked_at(&self) -> bool {
        let Protection { write, execute, .. } = self.protection;
        matches!(self.backing, Backing::File(_)) && !self.shared && !write && !execute
    }

    /// Counted against `RLIMIT_DATA`: private and writable, and not the stack.
    pub fn is_data(&self) -> bool {
        self.protection.write && !self.shared && !self.flags.contains(VmaFlags::STACK)
    }

    /// Byte offset of `address` into the backing. `address` lies in the mapping or at its end.
    pub fn offset_of(&self, address: u64) -> u64 {
        self.offset.wrapping_add(address.wrapping_sub(self.start))
    }

    /// The part of it that lies in a range, which it overlaps.
    pub(in crate::mm) fn part(&self, start: u64, end: u64) -> Vma {
        let mut part = self.clone();
        if start > part.start {
            part = part.split_off(start);
        }
        if end < part.end {
            part.split_off(end);
        }
        part
    }

    /// The part from `address` on, which is cut off from this one. `address` lies strictly inside.
    pub fn split_off(&mut self, address: u64) -> Vma {
        debug_assert!(self.start < address && address < self.end);
        let upper = Vma { start: address, offset: self.offset_of(address), ..self.clone() };
        self.end = address;
        upper
    }

    /// The host operation that maps this.
    pub(crate) fn host_mapping(&self, flags: MapFlags) -> MemoryOp<'_> {
        let (address, length, protection) = (self.start, self.length(), self.protection);
        let file = match &self.backing {
            Backing::File(backing) => &backing.host,
            Backing::Memory(memory) => &memory.host.0,
            Backing::Anonymous | Backing::Vdso | Backing::Vvar | Backing::Trampolines => {
                return MemoryOp::MapAnonymous { address, length, protection, flags };
            }
        };
        // What may never be written reads the same through a private mapping, and the host must not let the guest make it writable: the
        // descriptor here may be one for writing.
        let (offset, shared) = (self.offset, self.shared && self.max_protection.write);
        MemoryOp::MapFile { address, length, protection, shared, flags, file, offset }
    }

    /// True if `next` begins where this one ends and is mapped the same way, so that Linux would show them as one.
    pub fn can_merge(&self, next: &Vma) -> bool {
        self.end == next.start
            && self.protection == next.protection
            && self.max_protection == next.max_protection
            && self.shared == next.shared
            && self.flags == next.flags
            && self.offset_of(self.end) == next.offset
            && self.backing.is_same(&next.backing)
    }
}

/// What memory for data has.
pub(in crate::mm) const READ_WRITE: Protection = Protection { read: true, write: true, execute: false };

/// Protection that permits everything.
pub const ALL_ACCESS: Protection = Protection { read: true, write: true, execute: true };

/// True if `wanted` asks for nothing that `limit` does not have.
pub fn protection_within(wanted: Protection, limit: Protection) -> bool {
    (!wanted.read || limit.read) && (!wanted.write || limit.write) && (!wanted.execute || limit.execute)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::SharedMemory;

    #[test]
    fn what_may_never_be_written_is_private_on_the_host() {
        let read = Protection { read: true, write: false, execute: false };
        let is_shared = |shared, write| {
            let vma = Vma {
                start: 0x10_0000,
                end: 0x10_1000,
                protection: read,
                max_protection: Protection { read: true, write, execute: true },
                shared,
                backing: Backing::Memory(SharedMemory::anonymous(0x1000).unwrap()),
                offset: 0,
                flags: VmaFlags::empty(),
            };
            match vma.host_mapping(MapFlags::default()) {
                MemoryOp::MapFile { shared, .. } => shared,
                operation => panic!("{operation:?}"),
            }
        };
        assert!(is_shared(true, true));
        assert!(!is_shared(true, false));
        assert!(!is_shared(false, true));
    }
}
