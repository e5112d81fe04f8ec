//! Trees that the client may see.

use std::os::fd::OwnedFd;

/// A tree of the host's that the client may see, and what it may do there.
#[derive(Debug)]
pub struct Export {
    /// Its root: an `O_PATH` descriptor, of a directory as a rule; a regular file can be exported alone.
    pub root: OwnedFd,
    /// Whether changes are allowed.
    pub mode: ExportMode,
    /// Whether others may change it.
    pub sharing: Sharing,
    /// Whether the tree goes on below mount points.
    pub crossing: MountCrossing,
}

/// Whether an export may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportMode {
    /// Files are opened `O_RDONLY` only, and whatever would change something is `EROFS`.
    ReadOnly,
    /// Changes reach the host.
    ReadWrite,
}

/// Whether somebody else may change an export while it is served. The gofer only passes this on: it is about
/// what the client may cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody does.
    Exclusive,
    /// Somebody may.
    Shared,
}

/// What becomes of mount points below an export's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountCrossing {
    /// They cannot be entered (`EXDEV`).
    Stay,
    /// They are entered; but the root of a file system that shows the host's kernel (proc, sysfs, cgroup,
    /// debugfs, …) appears as an empty directory, or as a file that cannot be opened.
    Cross,
}
