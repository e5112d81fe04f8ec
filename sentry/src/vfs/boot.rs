//! Building the tree of mounts when the sandbox starts.

use std::sync::Arc;

use hashbrown::HashMap;
use usk_abi::Errno;

use crate::fs::tmpfs::{Tmpfs, TmpfsOptions};
use crate::task::Credentials;
use crate::vfs::{
    Dentry, FileSystem, FileType, FsContext, Mount, MountFlags, MountNamespace, NameContext, Path,
    SetAttributes, SuperBlock, WalkOptions,
};

/// A file that stands for something else.
#[derive(Clone, Copy, Debug)]
pub struct SpecialFile {
    /// A device or a FIFO.
    pub file_type: FileType,
    /// The device's number.
    pub number: u64,
    /// Permission bits.
    pub permissions: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl MountNamespace {
    /// Mounts a file system at an absolute path. What is missing of the path is created, if the file system there can be
    /// written; its last component becomes a directory or an empty file, as the root of what is mounted is one.
    pub fn mount_at(
        self: &Arc<Self>,
        name: &[u8],
        file_system: Arc<dyn FileSystem>,
        flags: MountFlags,
        source: &str,
    ) -> Result<Path, Errno> {
        let root = SuperBlock::mount_root(file_system);
        let at = self.with_names(|names| make_place(names, name, root.is_directory()))?;
        self.mount(&at, root, flags, source)
    }

    /// Shows the file or directory `from` at another absolute path, too (a bind mount).
    pub fn bind(
        self: &Arc<Self>,
        name: &[u8],
        from: &Path,
        flags: MountFlags,
        source: &str,
    ) -> Result<Path, Errno> {
        let at = self.with_names(|names| make_place(names, name, from.dentry.is_directory()))?;
        self.mount(&at, from.dentry.clone(), flags, source)
    }

    /// The same with everything that is mounted at `from` and below it (`MS_REC`, `mount(2)`): only the topmost mount has these
    /// flags and this source.
    pub fn bind_tree(
        self: &Arc<Self>,
        name: &[u8],
        from: &Path,
        flags: MountFlags,
        source: &str,
    ) -> Result<Path, Errno> {
        let mounts = self.mounts();
        let top = self.bind(name, from, flags, source)?;
        let mut copies: HashMap<u64, Arc<Mount>> = HashMap::from([(from.mount.id, top.mount.clone())]);
        // Each comes after the one that it is on top of.
        for mount in mounts {
            let Some(at) = &mount.parent else { continue };
            let Some(copy) = copies.get(&at.mount.id) else { continue };
            if at.mount.id == from.mount.id && !from.dentry.is_ancestor_of(&at.dentry) {
                continue;
            }
            let at = Path { mount: copy.clone(), dentry: at.dentry.clone() };
            let copied = self.mount(&at, mount.root.clone(), mount.flags, &mount.source)?;
            copies.insert(mount.id, copied.mount);
        }
        Ok(top)
    }

    /// Lets the file or directory at an absolute path appear empty and read-only. Nothing happens if there is none.
    pub fn hide(self: &Arc<Self>, name: &[u8]) -> Result<(), Errno> {
        let found = self.with_names(|names| names.resolve(&names.root, name, WalkOptions::FOLLOW));
        let at = match found {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            found => found?,
        };
        let file_system: Arc<dyn FileSystem> = if at.dentry.is_directory() {
            Tmpfs::new(TmpfsOptions { permissions: 0o755, ..TmpfsOptions::default() })
        } else {
            Tmpfs::single_file(0o444)
        };
        let root: Arc<Dentry> = SuperBlock::mount_root(file_system);
        let flags = MountFlags::READ_ONLY | MountFlags::NO_EXECUTE | MountFlags::NO_SUID;
        self.mount(&at, root, flags, "hidden").map(drop)
    }

    /// Makes a device file or a FIFO at an absolute path, instead of what is there, with the directories above it.
    pub fn make_special(self: &Arc<Self>, name: &[u8], special: SpecialFile) -> Result<(), Errno> {
        let SpecialFile { file_type, number, permissions, uid, gid } = special;
        self.with_names(|names| {
            let parent = name.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            make_place(names, &name[..parent], true)?;
            match names.unlink(&names.root, name) {
                Ok(_) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
            let made = names.make_node(&names.root, name, file_type, permissions, number)?;
            let owner = SetAttributes { uid: Some(uid), gid: Some(gid), ..SetAttributes::default() };
            made.inode()?.set_attributes(&owner)
        })
    }

    /// Calls `action` with the names as the kernel itself sees them.
    pub fn with_names<T>(self: &Arc<Self>, action: impl FnOnce(&NameContext<'_>) -> T) -> T {
        let credentials = Credentials::user(0, 0);
        let context = FsContext::new(self.clone());
        // What the kernel makes has the permissions it names.
        context.set_umask(0);
        action(&context.names(&credentials, None))
    }
}

/// The place of this name; makes what is missing.
fn make_place(names: &NameContext<'_>, name: &[u8], directory: bool) -> Result<Path, Errno> {
    let mut made = Vec::new();
    for component in name.split(|&byte| byte == b'/').filter(|component| !component.is_empty()) {
        if !made.is_empty() {
            make_unless_there(names, &made, true)?;
        }
        made.push(b'/');
        made.extend_from_slice(component);
    }
    if made.is_empty() {
        return Ok(names.root.clone());
    }
    make_unless_there(names, &made, directory)
}

fn make_unless_there(names: &NameContext<'_>, name: &[u8], directory: bool) -> Result<Path, Errno> {
    match names.resolve(&names.root, name, WalkOptions::FOLLOW) {
        Err(Errno::ENOENT) => {}
        found => return found,
    }
    if directory {
        names.make_directory(&names.root, name, 0o755)?;
    } else {
        names.make_node(&names.root, name, FileType::Regular, 0o644, 0)?;
    }
    names.resolve(&names.root, name, WalkOptions::FOLLOW)
}
