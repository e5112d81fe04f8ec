//! A writable layer over a tree that is only read.
//!
//! Looks like Linux's overlayfs and is built differently. The writable layer is no second tree: an inode of the overlay holds the
//! lower file it came from and, once it was changed, an *upper* file, which is a nameless file of a tmpfs. A directory holds
//! what is different from the lower one: entries that were added, moved here or changed, and whiteouts for names that are gone.
//! So renaming a directory moves one entry whatever is below it, a hard link needs no copy, and inode numbers never change.
//!
//! Changing contents copies them up; changing attributes copies attributes only. An open file reads from wherever the contents
//! are at the moment, so a reader that came first sees what a writer writes.
//!
//! What was changed must not be forgotten: such an inode is *pinned*, which means that its directory's entries hold it, and the
//! directory is pinned in turn. Everything else can be made again from the lower tree and is held by the dentry cache only.
//!
//! Locks, from the outside in: `copying` of an inode, a directory's entries, `place`, the upper file's own.

mod copy_up;
mod directory;
mod file;
mod inode;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::Errno;
use usk_abi::fs::{Statfs, magic};

use crate::fs::tmpfs::{Tmpfs, TmpfsOptions};
use crate::vfs::{FileSystem, InodeRef, devices};

use inode::OverlayInode;

/// Inode numbers of files that were made in the overlay begin here, beyond what file systems of hosts use.
const FIRST_UPPER_INODE: u64 = 1 << 48;

/// What the files of one overlay have in common.
struct Layers {
    device: u64,
    /// Makes upper files.
    upper: Arc<Tmpfs>,
    /// Lower files with several names, by inode number.
    linked: Mutex<HashMap<u64, Weak<OverlayInode>>>,
    /// Those of them that were changed: other names of theirs may be looked up at any time.
    kept: Mutex<HashMap<u64, Arc<OverlayInode>>>,
}

/// An overlay.
pub struct Overlay {
    layers: Arc<Layers>,
    root: Arc<OverlayInode>,
    lower: Arc<dyn FileSystem>,
}

impl Overlay {
    /// A writable layer over `lower`. `size` and `files` bound the contents and the number of the files that are made or
    /// changed.
    pub fn new(
        lower: Arc<dyn FileSystem>,
        size: Option<u64>,
        files: Option<u64>,
    ) -> Result<Arc<Self>, Errno> {
        let options = TmpfsOptions { size, files, first_inode: FIRST_UPPER_INODE, ..TmpfsOptions::default() };
        let layers = Arc::new(Layers {
            device: devices::allocate(),
            upper: Tmpfs::new(options),
            linked: Mutex::default(),
            kept: Mutex::default(),
        });
        let root = OverlayInode::from_lower(&layers, lower.root(), None)?;
        Ok(Arc::new(Overlay { layers, root, lower }))
    }
}

impl FileSystem for Overlay {
    fn type_name(&self) -> &'static str {
        "overlay"
    }

    fn root(&self) -> InodeRef {
        self.root.clone()
    }

    fn statistics(&self) -> Result<Statfs, Errno> {
        Ok(Statfs { f_type: magic::OVERLAYFS, ..self.layers.upper.statistics()? })
    }

    fn sync(&self) -> Result<(), Errno> {
        self.lower.sync()
    }
}
