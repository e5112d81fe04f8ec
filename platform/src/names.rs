//! What the sentry says of names, so that a guest thread's platform answers calls about them by itself.

use crate::status::FileStatus;

/// A call about a name that the platform may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NameCall {
    /// `stat(2)`
    Stat = 0,
    /// `lstat(2)`
    Lstat = 1,
    /// `access(2)`
    Access = 2,
    /// `open(2)`, as far as it fails, or the file is prepared.
    Open = 3,
    /// `faccessat(2)`
    AccessAt = 6,
    /// `openat(2)`, as far as it fails, or the file is prepared.
    OpenAt = 7,
    /// `readlink(2)`, as far as there is no link to be read.
    ReadLink = 9,
    /// `readlinkat(2)`, as far as there is no link to be read.
    ReadLinkAt = 13,
}

/// Longest name that can be left.
pub const MAX_KNOWN_NAME: usize = 79;

/// A name, as guests pass it, and what it means.
#[derive(Clone, Copy, Debug)]
pub struct KnownName<'a> {
    /// Where a relative name starts: [`LentFile::identity`](crate::LentFile::identity) of an open directory, or 0 for the working
    /// directory. 0 for an absolute name as well.
    pub start: u64,
    /// Whether a symbolic link at the end is followed.
    pub follows: bool,
    /// The name. One that is empty, or longer than [`MAX_KNOWN_NAME`], is not left.
    pub name: &'a [u8],
    /// What it means.
    pub meaning: NameMeaning,
}

/// Names that are left with a thread at a time, at most.
pub const NAME_PLACES: usize = 128;

/// What was left of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftName {
    /// In the place of what was left there before; below [`NAME_PLACES`].
    pub place: usize,
    /// No name stood before this one.
    pub is_first: bool,
}

/// What a name means.
#[derive(Clone, Copy, Debug)]
pub enum NameMeaning {
    /// There is no such file.
    Missing,
    /// A file.
    File {
        /// What is shown of it.
        attributes: FileStatus,
        /// Which access is allowed, as far as that is known: bits of `access(2)`.
        access: u8,
    },
    /// A file that has a record. Which access is allowed is not known.
    Held {
        /// The number of its record, which [has the attributes](crate::LentFile::until_written).
        record: u8,
        /// The record's [`LentFile::identity`](crate::LentFile::identity), not 0.
        identity: u64,
    },
    /// A file that is there to be opened. Which access is allowed is not known.
    Prepared {
        /// What is shown of it.
        attributes: FileStatus,
        /// The number of its record, which [says the same](crate::LentFile::is_prepared), and how it is opened.
        record: u8,
        /// The record's [`LentFile::identity`](crate::LentFile::identity), not 0.
        identity: u64,
    },
}
