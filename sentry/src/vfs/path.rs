//! A place in the tree of mounts, and its name.

use std::fmt;
use std::sync::Arc;

use usk_abi::Errno;

use crate::vfs::{Dentry, InodeRef, Mount};

/// A dentry, seen through a mount.
#[derive(Clone)]
pub struct Path {
    /// Through which mount.
    pub mount: Arc<Mount>,
    /// Which name.
    pub dentry: Arc<Dentry>,
}

impl PartialEq for Path {
    fn eq(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }
}

impl Eq for Path {}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.mount.id, String::from_utf8_lossy(&self.full_name()))
    }
}

/// A path's name as it is seen from a root directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenName {
    /// The absolute path, up from the root directory, or from the end of the tree if the root is not above.
    pub name: Vec<u8>,
    /// False if the place does not lie below the root directory.
    pub is_reachable: bool,
    /// True if the name has been removed.
    pub is_deleted: bool,
}

impl SeenName {
    /// As `/proc/PID/fd/N`, `/proc/PID/cwd` and their kin show it.
    pub fn display(mut self) -> Vec<u8> {
        if self.is_deleted {
            self.name.extend_from_slice(b" (deleted)");
        }
        self.name
    }
}

impl Path {
    /// What is there. `ENOENT` if the name is negative.
    pub fn inode(&self) -> Result<&InodeRef, Errno> {
        self.dentry.require()
    }

    /// True if it is the root of its mount.
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.mount.root, &self.dentry)
    }

    /// Its name as seen from the root of all mounts.
    pub fn full_name(&self) -> Vec<u8> {
        self.name_from(None).display()
    }

    /// Its name as seen by a task whose root directory is `root`.
    pub fn seen_from(&self, root: &Path) -> SeenName {
        self.name_from(Some(root))
    }

    fn name_from(&self, root: Option<&Path>) -> SeenName {
        let is_deleted = self.dentry.is_deleted();
        if self.dentry.parent().is_none() && !self.is_mount_root() {
            // A file that no directory names: its label.
            let name = self.dentry.name().to_vec();
            return SeenName { name, is_reachable: true, is_deleted };
        }
        let mut components: Vec<Arc<[u8]>> = Vec::new();
        let mut at = self.clone();
        let is_reachable = loop {
            if root.is_some_and(|root| *root == at) {
                break true;
            }
            if at.is_mount_root() {
                match &at.mount.parent {
                    Some(parent) => at = parent.clone(),
                    None => break root.is_none(),
                }
                continue;
            }
            let _renames = at.dentry.block().renames.read();
            let Some(parent) = at.dentry.parent() else { break false };
            components.push(at.dentry.name());
            drop(_renames);
            at.dentry = parent;
        };
        let mut name = Vec::new();
        for component in components.iter().rev() {
            name.push(b'/');
            name.extend_from_slice(component);
        }
        if name.is_empty() {
            name.push(b'/');
        }
        SeenName { name, is_reachable, is_deleted }
    }
}
