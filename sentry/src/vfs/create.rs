//! New names: `mkdir(2)`, `mknod(2)`, `symlink(2)`, `link(2)`.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::capability::{CAP_FSETID, CAP_MKNOD};
use usk_abi::fs::{ResolveFlags, S_ISGID, S_ISVTX};
use usk_abi::inotify::InotifyMask;

use crate::vfs::permission::{check_inode, check_link};
use crate::vfs::walk::{Last, Walk};
use crate::vfs::{Access, Dentry, FileType, InodeRef, NameContext, NewNode, Path, notify};

/// A file to be created, as the caller wants it.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewFile<'a> {
    /// What it is.
    pub file_type: FileType,
    /// Its permissions, before the umask.
    pub permissions: u32,
    /// For a device: its number.
    pub special_device: u64,
    /// For a symbolic link: its target.
    pub target: &'a [u8],
}

impl NameContext<'_> {
    /// `mkdir(2)`.
    pub fn make_directory(&self, start: &Path, name: &[u8], mode: u32) -> Result<(), Errno> {
        let permissions = mode & (0o777 | S_ISVTX);
        let file = NewFile { file_type: FileType::Directory, permissions, special_device: 0, target: b"" };
        self.make(start, name, &file).map(drop)
    }

    /// `symlink(2)`.
    pub fn make_symlink(&self, start: &Path, name: &[u8], target: &[u8]) -> Result<(), Errno> {
        let file = NewFile { file_type: FileType::Symlink, permissions: 0o777, special_device: 0, target };
        self.make(start, name, &file).map(drop)
    }

    /// `mknod(2)` of anything but a directory; also the name of a bound socket. Returns where it is.
    pub fn make_node(
        &self,
        start: &Path,
        name: &[u8],
        file_type: FileType,
        mode: u32,
        special_device: u64,
    ) -> Result<Path, Errno> {
        let is_device = matches!(file_type, FileType::CharacterDevice | FileType::BlockDevice);
        // Anybody may make a whiteout: a character device 0:0.
        let is_whiteout = file_type == FileType::CharacterDevice && special_device == 0;
        if is_device && !is_whiteout && !self.caller.credentials.has_capability(CAP_MKNOD) {
            return Err(Errno::EPERM);
        }
        let permissions = mode & 0o7777;
        self.make(start, name, &NewFile { file_type, permissions, special_device, target: b"" })
    }

    fn make(&self, start: &Path, name: &[u8], file: &NewFile<'_>) -> Result<Path, Errno> {
        let mut walk = Walk::new(self, start, name, ResolveFlags::empty())?;
        let Last::Name { name, directory } = walk.advance()? else { return Err(Errno::EEXIST) };
        let parent = walk.path;
        let _changes = parent.dentry.entries.write();
        let child = parent.dentry.child_locked(&name)?;
        if child.inode().is_some() {
            return Err(Errno::EEXIST);
        }
        if directory && file.file_type != FileType::Directory {
            return Err(Errno::ENOENT);
        }
        let dentry = self.create_locked(&parent, &name, file)?;
        let is_directory = file.file_type == FileType::Directory;
        notify::on_name(&parent.dentry, &name, InotifyMask::CREATE, is_directory, 0);
        Ok(Path { mount: parent.mount.clone(), dentry })
    }

    /// The file of this name in a directory; if there is none and permissions for one are given, `create` makes one. True if
    /// it is new. `name` is one component, and none of dots.
    pub(crate) fn find_or_create(
        &self,
        directory: &Path,
        name: &[u8],
        mode: Option<u32>,
        create: &dyn Fn(&NewNode<'_>) -> Result<InodeRef, Errno>,
    ) -> Result<(Path, bool), Errno> {
        check_inode(directory.inode()?, self.caller, Access::EXECUTE)?;
        let _changes = directory.dentry.entries.write();
        let child = directory.dentry.child_locked(name)?;
        let place = |dentry| Path { mount: directory.mount.clone(), dentry };
        if child.inode().is_some() {
            return Ok((place(child), false));
        }
        let permissions = mode.ok_or(Errno::ENOENT)? & 0o7777;
        let file = NewFile { file_type: FileType::Regular, permissions, special_device: 0, target: b"" };
        let made = self.create_with(directory, name, &file, create)?;
        notify::on_name(&directory.dentry, name, InotifyMask::CREATE, false, 0);
        Ok((place(made), true))
    }

    /// Creates a file whose name is free. The caller holds the directory's entries whole.
    pub(super) fn create_locked(
        &self,
        directory: &Path,
        name: &[u8],
        file: &NewFile<'_>,
    ) -> Result<Arc<Dentry>, Errno> {
        let parent = directory.inode()?;
        self.create_with(directory, name, file, &|node| parent.create(name, node))
    }

    /// [`NameContext::create_locked`] by something else than [`Inode::create`](super::Inode::create).
    fn create_with(
        &self,
        directory: &Path,
        name: &[u8],
        file: &NewFile<'_>,
        create: &dyn Fn(&NewNode<'_>) -> Result<InodeRef, Errno>,
    ) -> Result<Arc<Dentry>, Errno> {
        if directory.dentry.is_deleted() {
            return Err(Errno::ENOENT);
        }
        directory.mount.check_writable()?;
        let parent = directory.inode()?;
        check_inode(parent, self.caller, Access::WRITE | Access::EXECUTE)?;
        let node = self.new_node(parent, file)?;
        match create(&node) {
            Ok(inode) => Ok(directory.dentry.attach(name, inode)),
            Err(error) => {
                if error == Errno::EEXIST {
                    directory.dentry.forget(name);
                }
                Err(error)
            }
        }
    }

    /// Owner, group and permissions that a new file gets in a directory.
    pub(super) fn new_node<'f>(
        &self,
        directory: &InodeRef,
        file: &NewFile<'f>,
    ) -> Result<NewNode<'f>, Errno> {
        let credentials = self.caller.credentials;
        let parent = directory.attributes()?;
        let mut permissions = file.permissions;
        let mut gid = credentials.fsgid;
        if parent.mode & S_ISGID != 0 {
            gid = parent.gid;
            if file.file_type == FileType::Directory {
                permissions |= S_ISGID;
            } else if permissions & (S_ISGID | 0o010) == S_ISGID | 0o010
                && !credentials.in_group(gid)
                && !credentials.has_capability(CAP_FSETID)
            {
                permissions &= !S_ISGID;
            }
        }
        if file.file_type != FileType::Symlink {
            permissions &= !self.umask;
        }
        Ok(NewNode {
            file_type: file.file_type,
            permissions,
            uid: credentials.fsuid,
            gid,
            special_device: file.special_device,
            target: file.target,
        })
    }

    /// `link(2)`: gives the file at `target` another name.
    pub fn link(&self, target: &Path, start: &Path, name: &[u8]) -> Result<(), Errno> {
        let mut walk = Walk::new(self, start, name, ResolveFlags::empty())?;
        let Last::Name { name, directory } = walk.advance()? else { return Err(Errno::EEXIST) };
        let parent = walk.path;
        let _changes = parent.dentry.entries.write();
        let child = parent.dentry.child_locked(&name)?;
        if child.inode().is_some() {
            return Err(Errno::EEXIST);
        }
        if directory {
            return Err(Errno::ENOENT);
        }
        if !Arc::ptr_eq(&target.mount, &parent.mount) {
            return Err(Errno::EXDEV);
        }
        let inode = target.inode()?;
        check_link(inode, self.caller)?;
        if inode.file_type() == FileType::Directory {
            return Err(Errno::EPERM);
        }
        if parent.dentry.is_deleted() {
            return Err(Errno::ENOENT);
        }
        parent.mount.check_writable()?;
        let directory_inode = parent.inode()?;
        check_inode(directory_inode, self.caller, Access::WRITE | Access::EXECUTE)?;
        inode.common().holder().change(|| directory_inode.link(&name, inode))?;
        parent.dentry.attach(&name, inode.clone());
        notify::on_inode(inode, InotifyMask::ATTRIB);
        notify::on_name(&parent.dentry, &name, InotifyMask::CREATE, false, 0);
        Ok(())
    }
}
