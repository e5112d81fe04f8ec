//! What `stat(2)` and `statfs(2)` say of a file, and what may be changed of it.

use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::message::{enumeration, structure};

const S_IFMT: u32 = 0o170_000;
const NANOSECONDS_PER_SECOND: u32 = 1_000_000_000;

structure! {
    /// A file's attributes, named as in `stat(2)` and `statx(2)`.
    #[derive(Copy)]
    pub struct Attributes {
        /// Number of the host's device that holds the file, as `st_dev`.
        pub dev: u64,
        /// Inode number on that device. `(dev, ino)` identifies the file while it exists.
        pub ino: u64,
        /// Type and permission bits, as `st_mode`.
        pub mode: Mode,
        /// Count of names.
        pub nlink: u32,
        /// Owner.
        pub uid: u32,
        /// Group.
        pub gid: u32,
        /// Which device a device file stands for, as `st_rdev`.
        pub rdev: u64,
        /// Size in bytes.
        pub size: u64,
        /// Size on the medium, in units of 512 bytes.
        pub blocks: u64,
        /// Preferred size of a transfer, in bytes.
        pub blksize: u32,
        /// Last access.
        pub atime: Timestamp,
        /// Last change of the contents.
        pub mtime: Timestamp,
        /// Last change of the attributes.
        pub ctime: Timestamp,
        /// Creation, where the host's file system knows it.
        pub btime: Option<Timestamp>,
    }
}

impl Attributes {
    /// The type in [`Attributes::mode`].
    pub fn file_type(&self) -> FileType {
        self.mode.file_type
    }

    /// Type and permission bits as `st_mode` has them.
    pub fn st_mode(&self) -> u32 {
        self.mode.file_type.bits() | u32::from(self.mode.permissions)
    }

    /// True for a directory.
    pub fn is_directory(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    /// True for a regular file.
    pub fn is_regular(&self) -> bool {
        self.file_type() == FileType::Regular
    }

    /// True for a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.file_type() == FileType::Symlink
    }
}

/// A file's type and its permission bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// The type.
    pub file_type: FileType,
    /// The twelve permission bits, set-id and sticky included.
    pub permissions: u16,
}

impl Mode {
    /// From `st_mode`; `None` if its type is none that Linux has or it has bits above the type.
    pub fn from_st_mode(mode: u32) -> Option<Mode> {
        let permissions = u16::try_from(mode & !S_IFMT).ok().filter(|bits| bits & !0o7777 == 0)?;
        Some(Mode { file_type: FileType::from_bits(mode & S_IFMT)?, permissions })
    }
}

impl<'a> Wire<'a> for Mode {
    fn encode(&self, writer: &mut Writer) {
        (self.file_type.bits() | u32::from(self.permissions)).encode(writer);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Mode::from_st_mode(u32::decode(reader)?).ok_or(DecodeError::Invalid("mode"))
    }
}

enumeration! {
    /// The types of files that Linux has.
    pub enum FileType {
        /// `S_IFREG`.
        Regular = 1,
        /// `S_IFDIR`.
        Directory = 2,
        /// `S_IFLNK`.
        Symlink = 3,
        /// `S_IFIFO`.
        Fifo = 4,
        /// `S_IFSOCK`.
        Socket = 5,
        /// `S_IFCHR`.
        CharacterDevice = 6,
        /// `S_IFBLK`.
        BlockDevice = 7,
    }
}

impl FileType {
    /// The type's bits in `st_mode`.
    pub const fn bits(self) -> u32 {
        match self {
            FileType::Fifo => 0o010_000,
            FileType::CharacterDevice => 0o020_000,
            FileType::Directory => 0o040_000,
            FileType::BlockDevice => 0o060_000,
            FileType::Regular => 0o100_000,
            FileType::Symlink => 0o120_000,
            FileType::Socket => 0o140_000,
        }
    }

    /// The type with these bits of `st_mode`.
    pub const fn from_bits(bits: u32) -> Option<FileType> {
        match bits {
            0o010_000 => Some(FileType::Fifo),
            0o020_000 => Some(FileType::CharacterDevice),
            0o040_000 => Some(FileType::Directory),
            0o060_000 => Some(FileType::BlockDevice),
            0o100_000 => Some(FileType::Regular),
            0o120_000 => Some(FileType::Symlink),
            0o140_000 => Some(FileType::Socket),
            _ => None,
        }
    }
}

/// A point in time since the epoch, normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    seconds: i64,
    nanoseconds: u32,
}

impl Timestamp {
    /// `nanoseconds` must be less than a second.
    pub fn new(seconds: i64, nanoseconds: u32) -> Option<Timestamp> {
        (nanoseconds < NANOSECONDS_PER_SECOND).then_some(Timestamp { seconds, nanoseconds })
    }

    /// Whole seconds.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// The rest, `0..1_000_000_000`.
    pub fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }
}

impl<'a> Wire<'a> for Timestamp {
    fn encode(&self, writer: &mut Writer) {
        self.seconds.encode(writer);
        self.nanoseconds.encode(writer);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Timestamp::new(i64::decode(reader)?, u32::decode(reader)?).ok_or(DecodeError::Invalid("timestamp"))
    }
}

structure! {
    /// Whom a new file belongs to.
    #[derive(Copy)]
    pub struct Owner {
        /// Owner.
        pub uid: u32,
        /// Group.
        pub gid: u32,
    }
}

structure! {
    /// What to change of a file; `None` leaves a value as it is. The order of application is: size, owner and
    /// group, mode, times.
    #[derive(Copy, Default)]
    pub struct AttributeChange {
        /// Permission bits (`chmod(2)`), at most `0o7777`.
        pub permissions: Option<u16>,
        /// Owner (`chown(2)`).
        pub uid: Option<u32>,
        /// Group (`chown(2)`).
        pub gid: Option<u32>,
        /// Size in bytes (`truncate(2)`).
        pub size: Option<u64>,
        /// Last access (`utimensat(2)`).
        pub atime: Option<TimeChange>,
        /// Last modification (`utimensat(2)`).
        pub mtime: Option<TimeChange>,
    }
}

/// What a time becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeChange {
    /// The host's present (`UTIME_NOW`).
    Now,
    /// This.
    At(Timestamp),
}

impl<'a> Wire<'a> for TimeChange {
    fn encode(&self, writer: &mut Writer) {
        let at = match self {
            TimeChange::Now => None,
            TimeChange::At(time) => Some(*time),
        };
        at.encode(writer);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match Option::decode(reader)? {
            None => TimeChange::Now,
            Some(time) => TimeChange::At(time),
        })
    }
}

structure! {
    /// What `statfs(2)` says of the file system that holds a file.
    #[derive(Copy)]
    pub struct FileSystemStatistics {
        /// `f_type`.
        pub kind: u64,
        /// Size of a block in bytes.
        pub block_size: u64,
        /// Blocks in all.
        pub blocks: u64,
        /// Free blocks.
        pub blocks_free: u64,
        /// Free blocks that an ordinary user may take.
        pub blocks_available: u64,
        /// Inodes in all.
        pub files: u64,
        /// Free inodes.
        pub files_free: u64,
        /// Longest name in bytes.
        pub name_length: u64,
        /// Size of a fragment in bytes.
        pub fragment_size: u64,
    }
}
