//! Trees that the client may see.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use usk_abi::capability::FileCapabilities;

use crate::host::DevIno;

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
    /// Whose its files are, if not those that the host says.
    pub owners: Option<Owners>,
    /// Which names in it the client is not shown.
    pub hidden: HiddenNames,
}

/// Names that the client is not shown, whatever has them and wherever the directory appears: to look one up is `ENOENT`, no listing
/// has it, and to make, replace or remove it is `EACCES`. A directory is told by its device and inode, so what the host puts there
/// later is hidden like what was there, and another mount of the same files shows no more than the first.
#[derive(Clone, Debug, Default)]
pub struct HiddenNames {
    /// By device (major and minor) and inode of the directory.
    names: HashMap<DevIno, Vec<Box<[u8]>>>,
    /// Device of what was put over hidden places, which may be seen in their stead.
    cover: Option<(u32, u32)>,
}

impl HiddenNames {
    /// Hides a name in the directory with this `st_dev` and `st_ino`.
    pub fn hide(&mut self, (dev, ino): (u64, u64), name: &[u8]) {
        let names = self.names.entry((device(dev), ino)).or_default();
        if !names.iter().any(|hidden| **hidden == *name) {
            names.push(name.into());
        }
    }

    /// The same names, but for what is on the device `st_dev`: it was mounted there to be seen instead.
    #[must_use]
    pub fn covered_by(mut self, dev: u64) -> HiddenNames {
        self.cover = Some(device(dev));
        self
    }

    /// Those in a directory.
    pub(crate) fn in_directory(&self, directory: DevIno) -> &[Box<[u8]>] {
        if self.names.is_empty() {
            return &[];
        }
        self.names.get(&directory).map_or(&[], Vec::as_slice)
    }

    /// Whether a file on this device is a cover.
    pub(crate) fn is_cover(&self, (device, _): DevIno) -> bool {
        self.cover == Some(device)
    }
}

fn device(dev: u64) -> (u32, u32) {
    (rustix::fs::major(dev), rustix::fs::minor(dev))
}

/// Whose the files of a tree are to the client, where the host's say nothing about that: a tree that an ordinary user has
/// unpacked is that user's. All files that are not listed are root's, and have one name.
#[derive(Clone, Debug, Default)]
pub struct Owners(Arc<HashMap<u64, HeldAttributes>>);

/// What the client is told about a file instead of what the host says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldAttributes {
    /// Permissions, set-id and sticky bits.
    pub permissions: u16,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// How many names it has; a directory's are the host's to count.
    pub nlink: u32,
    /// What it gives to whoever executes it inside: its attribute `security.capability`, the only one that it has.
    pub capabilities: Option<FileCapabilities>,
}

impl Owners {
    /// By inode number, in the file system that the export's root is in.
    pub fn new(listed: HashMap<u64, HeldAttributes>) -> Owners {
        Owners(Arc::new(listed))
    }

    pub(crate) fn get(&self, inode: u64) -> Option<&HeldAttributes> {
        self.0.get(&inode)
    }
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
