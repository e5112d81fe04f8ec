//! What is known about a file besides its contents.

use usk_abi::fs::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, Stat};
use usk_platform::host;

/// The kind of a file. It never changes while the inode lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    /// Bytes.
    Regular,
    /// Names.
    Directory,
    /// A path that stands for another.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A bound AF_UNIX socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// None of Linux's: what stands behind an eventfd, an epoll instance and the like.
    Anonymous,
}

impl FileType {
    /// The `S_IFMT` bits.
    pub const fn mode(self) -> u32 {
        match self {
            FileType::Regular => S_IFREG,
            FileType::Directory => S_IFDIR,
            FileType::Symlink => S_IFLNK,
            FileType::Fifo => S_IFIFO,
            FileType::Socket => S_IFSOCK,
            FileType::CharacterDevice => S_IFCHR,
            FileType::BlockDevice => S_IFBLK,
            FileType::Anonymous => 0,
        }
    }

    /// The type that these `S_IFMT` bits mean; `None` for bits that mean none.
    pub const fn from_mode(mode: u32) -> Option<FileType> {
        Some(match mode & S_IFMT {
            S_IFREG => FileType::Regular,
            S_IFDIR => FileType::Directory,
            S_IFLNK => FileType::Symlink,
            S_IFIFO => FileType::Fifo,
            S_IFSOCK => FileType::Socket,
            S_IFCHR => FileType::CharacterDevice,
            S_IFBLK => FileType::BlockDevice,
            _ => return None,
        })
    }

    /// `d_type` of a directory entry (`DT_*`): the `S_IFMT` bits, shifted down.
    pub const fn directory_entry_type(self) -> u8 {
        (self.mode() >> 12) as u8
    }
}

/// A time on the real-time clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Nanoseconds, below 10⁹.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// The current time.
    pub fn now() -> Self {
        Self::at_ns(host::clock_ns(host::Clock::Realtime))
    }

    /// So many nanoseconds after the epoch.
    pub fn at_ns(ns: u64) -> Self {
        Timestamp { seconds: (ns / 1_000_000_000) as i64, nanoseconds: (ns % 1_000_000_000) as u32 }
    }
}

/// What `stat(2)` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Number of the file system's device.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// File type and permissions.
    pub mode: u32,
    /// Count of hard links.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of the device that a device file stands for.
    pub special_device: u64,
    /// Length in bytes.
    pub size: u64,
    /// Preferred size of reads and writes, in bytes.
    pub block_size: u32,
    /// Space in use, in units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub accessed: Timestamp,
    /// Last change of the contents.
    pub modified: Timestamp,
    /// Last change of anything.
    pub changed: Timestamp,
    /// Creation, where it is known.
    pub born: Option<Timestamp>,
}

impl Attributes {
    /// Attributes of a fresh file: one link (a directory two), no contents, all times `now`.
    pub fn new(device: u64, inode: u64, mode: u32, now: Timestamp) -> Self {
        Attributes {
            device,
            inode,
            mode,
            links: if mode & S_IFMT == S_IFDIR { 2 } else { 1 },
            uid: 0,
            gid: 0,
            special_device: 0,
            size: 0,
            block_size: 4096,
            blocks: 0,
            accessed: now,
            modified: now,
            changed: now,
            born: Some(now),
        }
    }

    /// The type that the mode says.
    pub fn file_type(&self) -> FileType {
        FileType::from_mode(self.mode).unwrap_or(FileType::Anonymous)
    }
}

/// A change of attributes. Permission has been checked, and the values are final. The time of change is updated with
/// every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// New permissions, set-user-ID, set-group-ID and sticky bits (`07777`).
    pub permissions: Option<u32>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New length in bytes; regular files only. Also updates the time of modification.
    pub size: Option<u64>,
    /// New time of access.
    pub accessed: Option<Timestamp>,
    /// New time of modification.
    pub modified: Option<Timestamp>,
}

impl SetAttributes {
    /// Carries the change out on stored attributes; `size` is only noted.
    pub fn apply(&self, attributes: &mut Attributes) {
        let now = Timestamp::now();
        if let Some(permissions) = self.permissions {
            attributes.mode = (attributes.mode & S_IFMT) | (permissions & 0o7777);
        }
        if let Some(uid) = self.uid {
            attributes.uid = uid;
        }
        if let Some(gid) = self.gid {
            attributes.gid = gid;
        }
        if let Some(size) = self.size {
            attributes.size = size;
            attributes.modified = now;
        }
        if let Some(accessed) = self.accessed {
            attributes.accessed = accessed;
        }
        if let Some(modified) = self.modified {
            attributes.modified = modified;
        }
        attributes.changed = now;
    }
}

impl Attributes {
    /// As `struct stat`.
    pub fn to_stat(&self) -> Stat {
        Stat {
            st_dev: self.device,
            st_ino: self.inode,
            st_nlink: self.links.into(),
            st_mode: self.mode,
            st_uid: self.uid,
            st_gid: self.gid,
            st_rdev: self.special_device,
            st_size: signed(self.size),
            st_blksize: self.block_size.into(),
            st_blocks: signed(self.blocks),
            st_atime: self.accessed.seconds.cast_unsigned(),
            st_atime_nsec: self.accessed.nanoseconds.into(),
            st_mtime: self.modified.seconds.cast_unsigned(),
            st_mtime_nsec: self.modified.nanoseconds.into(),
            st_ctime: self.changed.seconds.cast_unsigned(),
            st_ctime_nsec: self.changed.nanoseconds.into(),
            ..Stat::default()
        }
    }
}

/// A length or count as the guest's signed type; what does not fit is the largest.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
