//! Memory mapping: `mmap(2)`, `mprotect(2)`, `mremap(2)`, `madvise(2)`, `msync(2)`, `mlock(2)`
//! (`asm-generic/mman-common.h`, `asm-generic/mman.h`, `asm/mman.h`, `linux/mman.h`).

use bitflags::bitflags;

/// Bytes in a page.
pub const PAGE_SIZE: u64 = 4096;

/// First address that no user range reaches (`TASK_SIZE_MAX`).
pub const TASK_SIZE_MAX: u64 = 0x7fff_ffff_f000;

/// `vm.max_map_count`: most mappings that an address space may have.
pub const DEFAULT_MAX_MAP_COUNT: usize = 65530;

bitflags! {
    /// `PROT_*`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Prot: u64 {
        /// Pages may be read.
        const READ = 0x1;
        /// Pages may be written.
        const WRITE = 0x2;
        /// Pages may be executed.
        const EXEC = 0x4;
        /// Usable for atomic operations; means nothing on x86-64.
        const SEM = 0x8;
        /// `mprotect` only: extend the change down to the start of a mapping that grows down.
        const GROWSDOWN = 0x0100_0000;
        /// `mprotect` only: extend the change up to the end of a mapping that grows up.
        const GROWSUP = 0x0200_0000;
    }
}

bitflags! {
    /// `MAP_*`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MmapFlags: u64 {
        /// Changes are shared.
        const SHARED = 0x01;
        /// Changes are private.
        const PRIVATE = 0x02;
        /// Shared, and unknown flags are refused: both type bits.
        const SHARED_VALIDATE = 0x03;
        /// Place it exactly at the address, replacing what is there.
        const FIXED = 0x10;
        /// Not backed by a file.
        const ANONYMOUS = 0x20;
        /// Place it in the first 2 GiB.
        const MAP_32BIT = 0x40;
        /// Place it above 4 GiB (for shadow stacks).
        const ABOVE4G = 0x80;
        /// A stack that grows down.
        const GROWSDOWN = 0x0100;
        /// Ignored.
        const DENYWRITE = 0x0800;
        /// Ignored.
        const EXECUTABLE = 0x1000;
        /// As if `mlock` were called.
        const LOCKED = 0x2000;
        /// Reserve no swap space.
        const NORESERVE = 0x4000;
        /// Fault the pages in.
        const POPULATE = 0x8000;
        /// With `POPULATE`: only what needs no I/O.
        const NONBLOCK = 0x1_0000;
        /// Ignored.
        const STACK = 0x2_0000;
        /// From the pool of huge pages.
        const HUGETLB = 0x4_0000;
        /// Synchronous page faults (DAX only).
        const SYNC = 0x8_0000;
        /// Like `FIXED`, but fail if something is there.
        const FIXED_NOREPLACE = 0x10_0000;
        /// Ignored without a configured kernel.
        const UNINITIALIZED = 0x400_0000;
        /// The size of huge pages, with `HUGETLB`.
        const HUGE_SIZE = 0x3f << 26;
    }
}

impl MmapFlags {
    /// `LEGACY_MAP_MASK`: the flags that `MAP_SHARED_VALIDATE` accepts from any file.
    pub const LEGACY: MmapFlags = MmapFlags::SHARED
        .union(MmapFlags::PRIVATE)
        .union(MmapFlags::FIXED)
        .union(MmapFlags::ANONYMOUS)
        .union(MmapFlags::DENYWRITE)
        .union(MmapFlags::EXECUTABLE)
        .union(MmapFlags::UNINITIALIZED)
        .union(MmapFlags::GROWSDOWN)
        .union(MmapFlags::LOCKED)
        .union(MmapFlags::NORESERVE)
        .union(MmapFlags::POPULATE)
        .union(MmapFlags::NONBLOCK)
        .union(MmapFlags::STACK)
        .union(MmapFlags::HUGETLB)
        .union(MmapFlags::MAP_32BIT)
        .union(MmapFlags::ABOVE4G)
        .union(MmapFlags::HUGE_SIZE);
}

bitflags! {
    /// `MREMAP_*`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MremapFlags: u64 {
        /// The mapping may move.
        const MAYMOVE = 1;
        /// It moves to the given address.
        const FIXED = 2;
        /// The old range stays mapped, and empty.
        const DONTUNMAP = 4;
    }
}

bitflags! {
    /// `MS_*`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MsyncFlags: u32 {
        /// Start writing.
        const ASYNC = 1;
        /// Invalidate other mappings.
        const INVALIDATE = 2;
        /// Write and wait.
        const SYNC = 4;
    }
}

bitflags! {
    /// `MCL_*`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MlockallFlags: u32 {
        /// All mappings of now.
        const CURRENT = 1;
        /// All mappings to come.
        const FUTURE = 2;
        /// When faulted in.
        const ONFAULT = 4;
    }
}

/// `MLOCK_ONFAULT` of `mlock2(2)`.
pub const MLOCK_ONFAULT: u32 = 1;

/// `MADV_*` values of `madvise(2)`.
#[allow(missing_docs)]
pub mod madvise {
    pub const NORMAL: i32 = 0;
    pub const RANDOM: i32 = 1;
    pub const SEQUENTIAL: i32 = 2;
    pub const WILLNEED: i32 = 3;
    pub const DONTNEED: i32 = 4;
    pub const FREE: i32 = 8;
    pub const REMOVE: i32 = 9;
    pub const DONTFORK: i32 = 10;
    pub const DOFORK: i32 = 11;
    pub const MERGEABLE: i32 = 12;
    pub const UNMERGEABLE: i32 = 13;
    pub const HUGEPAGE: i32 = 14;
    pub const NOHUGEPAGE: i32 = 15;
    pub const DONTDUMP: i32 = 16;
    pub const DODUMP: i32 = 17;
    pub const WIPEONFORK: i32 = 18;
    pub const KEEPONFORK: i32 = 19;
    pub const COLD: i32 = 20;
    pub const PAGEOUT: i32 = 21;
    pub const POPULATE_READ: i32 = 22;
    pub const POPULATE_WRITE: i32 = 23;
    pub const DONTNEED_LOCKED: i32 = 24;
    pub const COLLAPSE: i32 = 25;
    pub const HWPOISON: i32 = 100;
    pub const SOFT_OFFLINE: i32 = 101;
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::general as raw;

    #[test]
    fn values_are_the_kernel_headers() {
        assert_eq!(Prot::GROWSDOWN.bits(), u64::from(raw::PROT_GROWSDOWN));
        assert_eq!(Prot::GROWSUP.bits(), u64::from(raw::PROT_GROWSUP));
        let flags = [
            (MmapFlags::SHARED, raw::MAP_SHARED),
            (MmapFlags::PRIVATE, raw::MAP_PRIVATE),
            (MmapFlags::SHARED_VALIDATE, raw::MAP_SHARED_VALIDATE),
            (MmapFlags::FIXED, raw::MAP_FIXED),
            (MmapFlags::ANONYMOUS, raw::MAP_ANONYMOUS),
            (MmapFlags::MAP_32BIT, raw::MAP_32BIT),
            (MmapFlags::GROWSDOWN, raw::MAP_GROWSDOWN),
            (MmapFlags::DENYWRITE, raw::MAP_DENYWRITE),
            (MmapFlags::EXECUTABLE, raw::MAP_EXECUTABLE),
            (MmapFlags::LOCKED, raw::MAP_LOCKED),
            (MmapFlags::NORESERVE, raw::MAP_NORESERVE),
            (MmapFlags::POPULATE, raw::MAP_POPULATE),
            (MmapFlags::NONBLOCK, raw::MAP_NONBLOCK),
            (MmapFlags::STACK, raw::MAP_STACK),
            (MmapFlags::HUGETLB, raw::MAP_HUGETLB),
            (MmapFlags::SYNC, raw::MAP_SYNC),
            (MmapFlags::FIXED_NOREPLACE, raw::MAP_FIXED_NOREPLACE),
        ];
        for (ours, theirs) in flags {
            assert_eq!(ours.bits(), u64::from(theirs), "{ours:?}");
        }
        assert_eq!(MremapFlags::DONTUNMAP.bits(), u64::from(raw::MREMAP_DONTUNMAP));
        assert_eq!(MsyncFlags::SYNC.bits(), raw::MS_SYNC);
        assert_eq!(MlockallFlags::ONFAULT.bits(), raw::MCL_ONFAULT);
        assert_eq!(MLOCK_ONFAULT, raw::MLOCK_ONFAULT);
        assert_eq!(madvise::WIPEONFORK as u32, raw::MADV_WIPEONFORK);
        assert_eq!(madvise::COLLAPSE as u32, raw::MADV_COLLAPSE);
        assert_eq!(madvise::POPULATE_WRITE as u32, raw::MADV_POPULATE_WRITE);
    }
}
