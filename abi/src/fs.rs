//! Files: open flags, modes, `struct stat` and its kin, `fcntl` commands, and the rest of what the file calls exchange
//! (`asm-generic/fcntl.h`, `asm/stat.h`, `linux/stat.h`, `linux/fs.h`, `linux/openat2.h`, `linux/falloc.h`).

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::fcntl;

/// Bytes of a path name, with its NUL (`PATH_MAX`).
pub const PATH_MAX: usize = 4096;
/// Bytes of one component of a path name (`NAME_MAX`).
pub const NAME_MAX: usize = 255;
/// Symbolic links followed in one walk before `ELOOP` (`MAXSYMLINKS`).
pub const MAX_SYMLINKS: usize = 40;
/// Elements of an `iovec` array (`UIO_MAXIOV`).
pub const IOV_MAX: usize = 1024;
/// The directory argument that stands for the working directory.
pub const AT_FDCWD: i32 = -100;
/// Bytes of an extended attribute's name, without the NUL (`XATTR_NAME_MAX`).
pub const XATTR_NAME_MAX: usize = 255;
/// Bytes of an extended attribute's value (`XATTR_SIZE_MAX`).
pub const XATTR_SIZE_MAX: usize = 65536;
/// Bytes of a list of extended attributes (`XATTR_LIST_MAX`).
pub const XATTR_LIST_MAX: usize = 65536;
/// `XATTR_CREATE`: the attribute must not exist.
pub const XATTR_CREATE: u32 = 1;
/// `XATTR_REPLACE`: the attribute must exist.
pub const XATTR_REPLACE: u32 = 2;

/// Mask of the file type in a mode.
pub const S_IFMT: u32 = 0o170000;
/// Socket.
pub const S_IFSOCK: u32 = 0o140000;
/// Symbolic link.
pub const S_IFLNK: u32 = 0o120000;
/// Regular file.
pub const S_IFREG: u32 = 0o100000;
/// Block device.
pub const S_IFBLK: u32 = 0o060000;
/// Directory.
pub const S_IFDIR: u32 = 0o040000;
/// Character device.
pub const S_IFCHR: u32 = 0o020000;
/// FIFO.
pub const S_IFIFO: u32 = 0o010000;
/// Set-user-ID.
pub const S_ISUID: u32 = 0o4000;
/// Set-group-ID.
pub const S_ISGID: u32 = 0o2000;
/// Sticky.
pub const S_ISVTX: u32 = 0o1000;

bitflags! {
    /// `O_*`: access mode, creation flags and status flags of an open file.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct OpenFlags: u32 {
        /// Write only. (Read only is zero.)
        const WRONLY = fcntl::O_WRONLY;
        /// Read and write.
        const RDWR = fcntl::O_RDWR;
        /// Create the file if it does not exist.
        const CREAT = fcntl::O_CREAT;
        /// With `CREAT`: fail if it exists.
        const EXCL = fcntl::O_EXCL;
        /// Do not make a terminal the controlling one.
        const NOCTTY = fcntl::O_NOCTTY;
        /// Cut the file to length zero.
        const TRUNC = fcntl::O_TRUNC;
        /// Write at the end.
        const APPEND = fcntl::O_APPEND;
        /// Do not wait.
        const NONBLOCK = fcntl::O_NONBLOCK;
        /// Write data through.
        const DSYNC = fcntl::O_DSYNC;
        /// Signal-driven I/O.
        const ASYNC = fcntl::O_ASYNC;
        /// Bypass the page cache.
        const DIRECT = fcntl::O_DIRECT;
        /// Always set by 64-bit programs; without effect.
        const LARGEFILE = fcntl::O_LARGEFILE;
        /// Fail unless it is a directory.
        const DIRECTORY = fcntl::O_DIRECTORY;
        /// Fail if the last component is a symbolic link.
        const NOFOLLOW = fcntl::O_NOFOLLOW;
        /// Leave the access time alone.
        const NOATIME = fcntl::O_NOATIME;
        /// Close on exec.
        const CLOEXEC = fcntl::O_CLOEXEC;
        /// The half of `SYNC` that is not `DSYNC`.
        const SYNC_BIT = 0o4000000;
        /// A mere reference to the place in the tree.
        const PATH = fcntl::O_PATH;
        /// The half of `TMPFILE` that is not `DIRECTORY`.
        const TMPFILE_BIT = 0o20000000;
    }
}

impl OpenFlags {
    /// The bits of the access mode: 0 read, 1 write, 2 both, 3 neither (`ioctl` only).
    pub const ACCESS_MODE: u32 = 3;
    /// `O_SYNC`.
    pub const SYNC: OpenFlags = OpenFlags::SYNC_BIT.union(OpenFlags::DSYNC);
    /// `O_TMPFILE`: an unnamed file in the directory.
    pub const TMPFILE: OpenFlags = OpenFlags::TMPFILE_BIT.union(OpenFlags::DIRECTORY);
    /// What `fcntl(F_SETFL)` can change.
    pub const SETTABLE: OpenFlags = OpenFlags::APPEND
        .union(OpenFlags::NONBLOCK)
        .union(OpenFlags::ASYNC)
        .union(OpenFlags::DIRECT)
        .union(OpenFlags::NOATIME);

    /// True if the access mode allows reading.
    pub const fn is_readable(self) -> bool {
        matches!(self.bits() & Self::ACCESS_MODE, 0 | 2)
    }

    /// True if the access mode allows writing.
    pub const fn is_writable(self) -> bool {
        matches!(self.bits() & Self::ACCESS_MODE, 1 | 2)
    }
}

bitflags! {
    /// `AT_*` flags of the calls that take a directory descriptor.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AtFlags: u32 {
        /// Do not follow a symbolic link that is the last component.
        const SYMLINK_NOFOLLOW = 0x100;
        /// `unlinkat` only: remove a directory.
        const REMOVEDIR = 0x200;
        /// `linkat` only: follow.
        const SYMLINK_FOLLOW = 0x400;
        /// Do not trigger automounts; without effect.
        const NO_AUTOMOUNT = 0x800;
        /// An empty path stands for the descriptor itself.
        const EMPTY_PATH = 0x1000;
        /// `statx` only.
        const STATX_FORCE_SYNC = 0x2000;
        /// `statx` only.
        const STATX_DONT_SYNC = 0x4000;
    }
}

impl AtFlags {
    /// `faccessat` only: check with the effective identifiers (the same bit as `REMOVEDIR`).
    pub const EACCESS: AtFlags = AtFlags::REMOVEDIR;
}

bitflags! {
    /// `RESOLVE_*` flags of `openat2(2)`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ResolveFlags: u64 {
        /// Stay on one mount.
        const NO_XDEV = 0x01;
        /// Follow no magic links.
        const NO_MAGICLINKS = 0x02;
        /// Follow no symbolic links at all.
        const NO_SYMLINKS = 0x04;
        /// Stay below the starting directory.
        const BENEATH = 0x08;
        /// Treat the starting directory as the root.
        const IN_ROOT = 0x10;
        /// Only if everything is cached.
        const CACHED = 0x20;
    }
}

bitflags! {
    /// `RENAME_*` flags of `renameat2(2)`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RenameFlags: u32 {
        /// Fail if the new name exists.
        const NOREPLACE = 1;
        /// Exchange the two.
        const EXCHANGE = 2;
        /// Leave a whiteout at the old name.
        const WHITEOUT = 4;
    }
}

bitflags! {
    /// `FALLOC_FL_*` modes of `fallocate(2)`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct FallocateMode: u32 {
        /// Do not extend the file.
        const KEEP_SIZE = 0x01;
        /// Make a hole.
        const PUNCH_HOLE = 0x02;
        /// Remove a range and close the gap.
        const COLLAPSE_RANGE = 0x08;
        /// Make a range read as zeros.
        const ZERO_RANGE = 0x10;
        /// Insert a hole, moving what follows.
        const INSERT_RANGE = 0x20;
        /// Unshare shared extents.
        const UNSHARE_RANGE = 0x40;
    }
}

bitflags! {
    /// `F_SEAL_*`: what can no longer be done to a memory file.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Seals: u32 {
        /// No further seals.
        const SEAL = 0x01;
        /// No shrinking.
        const SHRINK = 0x02;
        /// No growing.
        const GROW = 0x04;
        /// No writing.
        const WRITE = 0x08;
        /// No writing except by mappings that exist.
        const FUTURE_WRITE = 0x10;
        /// The executable bits are fixed.
        const EXEC = 0x20;
    }
}

bitflags! {
    /// `MFD_*` flags of `memfd_create(2)`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MemfdFlags: u32 {
        /// Close on exec.
        const CLOEXEC = 0x01;
        /// Seals may be added.
        const ALLOW_SEALING = 0x02;
        /// Huge pages.
        const HUGETLB = 0x04;
        /// Not executable, and sealed so.
        const NOEXEC_SEAL = 0x08;
        /// Executable.
        const EXEC = 0x10;
    }
}

bitflags! {
    /// `RWF_*` flags of `preadv2(2)` and `pwritev2(2)`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RwFlags: u32 {
        /// High priority.
        const HIPRI = 0x01;
        /// As if `O_DSYNC`.
        const DSYNC = 0x02;
        /// As if `O_SYNC`.
        const SYNC = 0x04;
        /// Do not wait.
        const NOWAIT = 0x08;
        /// As if `O_APPEND`.
        const APPEND = 0x10;
        /// As if not `O_APPEND`.
        const NOAPPEND = 0x20;
    }
}

bitflags! {
    /// `STATX_*`: which fields of [`Statx`] are wanted or valid.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct StatxMask: u32 {
        /// Everything in `struct stat`.
        const BASIC_STATS = 0x07ff;
        /// `stx_btime`.
        const BTIME = 0x0800;
        /// `stx_mnt_id`.
        const MNT_ID = 0x1000;
        /// Reserved: `EINVAL`.
        const RESERVED = 0x8000_0000;
    }
}

/// `STATX_ATTR_MOUNT_ROOT`: the file is the root of a mount.
pub const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;

/// `struct iovec`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct RawIoVec {
    pub iov_base: u64,
    pub iov_len: u64,
}

/// `struct utimbuf`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Utimbuf {
    pub actime: i64,
    pub modtime: i64,
}

/// `tv_nsec` that means the current time.
pub const UTIME_NOW: i64 = (1 << 30) - 1;
/// `tv_nsec` that means no change.
pub const UTIME_OMIT: i64 = (1 << 30) - 2;

/// `struct stat` of x86-64.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Stat {
    pub st_dev: u64,
    pub st_ino: u64,
    pub st_nlink: u64,
    pub st_mode: u32,
    pub st_uid: u32,
    pub st_gid: u32,
    pub __pad0: u32,
    pub st_rdev: u64,
    pub st_size: i64,
    pub st_blksize: i64,
    pub st_blocks: i64,
    pub st_atime: u64,
    pub st_atime_nsec: u64,
    pub st_mtime: u64,
    pub st_mtime_nsec: u64,
    pub st_ctime: u64,
    pub st_ctime_nsec: u64,
    pub __unused: [i64; 3],
}

/// `struct statx_timestamp`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct StatxTimestamp {
    pub tv_sec: i64,
    pub tv_nsec: u32,
    pub __reserved: i32,
}

/// `struct statx`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Statx {
    pub stx_mask: u32,
    pub stx_blksize: u32,
    pub stx_attributes: u64,
    pub stx_nlink: u32,
    pub stx_uid: u32,
    pub stx_gid: u32,
    pub stx_mode: u16,
    pub __spare0: u16,
    pub stx_ino: u64,
    pub stx_size: u64,
    pub stx_blocks: u64,
    pub stx_attributes_mask: u64,
    pub stx_atime: StatxTimestamp,
    pub stx_btime: StatxTimestamp,
    pub stx_ctime: StatxTimestamp,
    pub stx_mtime: StatxTimestamp,
    pub stx_rdev_major: u32,
    pub stx_rdev_minor: u32,
    pub stx_dev_major: u32,
    pub stx_dev_minor: u32,
    pub stx_mnt_id: u64,
    pub stx_dio_mem_align: u32,
    pub stx_dio_offset_align: u32,
    pub stx_subvol: u64,
    pub stx_atomic_write_unit_min: u32,
    pub stx_atomic_write_unit_max: u32,
    pub stx_atomic_write_segments_max: u32,
    pub __spare1: u32,
    pub __spare3: [u64; 9],
}

/// `struct statfs`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Statfs {
    pub f_type: i64,
    pub f_bsize: i64,
    pub f_blocks: u64,
    pub f_bfree: u64,
    pub f_bavail: u64,
    pub f_files: u64,
    pub f_ffree: u64,
    pub f_fsid: [i32; 2],
    pub f_namelen: i64,
    pub f_frsize: i64,
    pub f_flags: i64,
    pub f_spare: [i64; 4],
}

/// `struct flock`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Flock {
    pub l_type: i16,
    pub l_whence: i16,
    pub __pad0: u32,
    pub l_start: i64,
    pub l_len: i64,
    pub l_pid: i32,
    pub __pad1: u32,
}

/// `struct open_how` of `openat2(2)`, version 0.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct OpenHow {
    pub flags: u64,
    pub mode: u64,
    pub resolve: u64,
}

/// `struct f_owner_ex`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct FileOwner {
    pub kind: i32,
    pub pid: i32,
}

/// Kinds and operations of file locks: `l_type` of [`Flock`] and the argument of `flock(2)`.
#[allow(missing_docs)]
pub mod lock {
    pub const F_RDLCK: i16 = 0;
    pub const F_WRLCK: i16 = 1;
    pub const F_UNLCK: i16 = 2;
    pub const LOCK_SH: u32 = 1;
    pub const LOCK_EX: u32 = 2;
    pub const LOCK_NB: u32 = 4;
    pub const LOCK_UN: u32 = 8;
}

/// `whence` of `lseek(2)`.
#[allow(missing_docs)]
pub mod seek {
    pub const SEEK_SET: u32 = 0;
    pub const SEEK_CUR: u32 = 1;
    pub const SEEK_END: u32 = 2;
    pub const SEEK_DATA: u32 = 3;
    pub const SEEK_HOLE: u32 = 4;
}

/// `f_type` of `statfs(2)` (`linux/magic.h`).
#[allow(missing_docs)]
pub mod magic {
    pub const TMPFS: i64 = 0x0102_1994;
    pub const OVERLAYFS: i64 = 0x794c_7630;
    pub const EXT4: i64 = 0xef53;
    pub const PROC: i64 = 0x9fa0;
    pub const SYSFS: i64 = 0x6265_6572;
    pub const DEVPTS: i64 = 0x1cd1;
    pub const MQUEUE: i64 = 0x1980_0202;
    pub const PIPEFS: i64 = 0x5049_5045;
    pub const SOCKFS: i64 = 0x534f_434b;
    pub const ANON_INODE: i64 = 0x0904_1934;
    pub const NSFS: i64 = 0x6e73_6673;
    pub const V9FS: i64 = 0x0102_1997;
}

/// Mount flags as `statfs(2)` shows them (`linux/statfs.h`).
#[allow(missing_docs)]
pub mod statfs_flags {
    pub const ST_RDONLY: i64 = 0x0001;
    pub const ST_NOSUID: i64 = 0x0002;
    pub const ST_NODEV: i64 = 0x0004;
    pub const ST_NOEXEC: i64 = 0x0008;
    pub const ST_VALID: i64 = 0x0020;
    pub const ST_RELATIME: i64 = 0x1000;
}

/// The number of a device, as the kernel gives it to programs (`new_encode_dev` in 64 bits, what glibc's `makedev`
/// computes).
pub const fn make_device(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12) | ((major & !0xfff) << 32)
}

/// Major and minor number of a device.
pub const fn split_device(device: u64) -> (u32, u32) {
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & !0xfff);
    let minor = (device & 0xff) | ((device >> 12) & 0xffff_ff00);
    (major as u32, minor as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{offset_of, size_of};

    #[test]
    fn layouts_are_those_of_libc() {
        assert_eq!(size_of::<Stat>(), size_of::<libc::stat>());
        assert_eq!(offset_of!(Stat, st_size), offset_of!(libc::stat, st_size));
        assert_eq!(offset_of!(Stat, st_ctime_nsec), offset_of!(libc::stat, st_ctime_nsec));
        assert_eq!(size_of::<Statx>(), size_of::<libc::statx>());
        assert_eq!(offset_of!(Statx, stx_mnt_id), offset_of!(libc::statx, stx_mnt_id));
        assert_eq!(offset_of!(Statx, stx_rdev_major), offset_of!(libc::statx, stx_rdev_major));
        assert_eq!(size_of::<Statfs>(), size_of::<libc::statfs>());
        assert_eq!(offset_of!(Statfs, f_frsize), offset_of!(libc::statfs, f_frsize));
        assert_eq!(size_of::<Flock>(), size_of::<libc::flock>());
        assert_eq!(offset_of!(Flock, l_start), offset_of!(libc::flock, l_start));
        assert_eq!(offset_of!(Flock, l_pid), offset_of!(libc::flock, l_pid));
    }

    #[test]
    fn flags_are_those_of_libc() {
        assert_eq!(OpenFlags::TMPFILE.bits(), libc::O_TMPFILE as u32);
        assert_eq!(OpenFlags::SYNC.bits(), libc::O_SYNC as u32);
        assert_eq!(OpenFlags::PATH.bits(), libc::O_PATH as u32);
        assert_eq!(OpenFlags::NOATIME.bits(), libc::O_NOATIME as u32);
        assert_eq!(OpenFlags::DIRECT.bits(), libc::O_DIRECT as u32);
        assert_eq!(UTIME_OMIT, libc::UTIME_OMIT);
    }

    #[test]
    fn device_numbers_are_those_of_libc() {
        for (major, minor) in [(1, 3), (136, 700), (0xabcd, 0x12_3456)] {
            assert_eq!(make_device(major, minor), libc::makedev(major, minor));
            assert_eq!(split_device(make_device(major, minor)), (major, minor));
        }
    }
}
