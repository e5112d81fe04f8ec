//! What a guest thread's platform shows of a file where it answers `stat(2)`, `statx(2)` and their kin by itself.

/// Size of `struct stat`.
pub const STAT_SIZE: usize = 144;

/// What `stat(2)` and `statx(2)` show of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// `struct stat`. Its unused end counts as zero.
    pub stat: [u8; STAT_SIZE],
    /// What is not in it.
    pub rest: StatxRest,
}

/// What `statx(2)` shows of a file besides `struct stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatxRest {
    /// When it was made: seconds and nanoseconds; `None` if that is not known.
    pub born: Option<(i64, u32)>,
    /// Number of the mount that it is on.
    pub mount: u64,
    /// It is the root of that.
    pub is_mount_root: bool,
}
