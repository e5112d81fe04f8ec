//! The inodes of a tmpfs.
//!
//! Locks, from the outside in: a regular file's contents or a directory's entries, then attributes. Names of one directory
//! change under the VFS's lock of that directory, so that no two directories' entries need to be locked at a time.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use usk_abi::Errno;
use usk_abi::capability::XATTR_NAME_CAPS;
use usk_abi::fs::{OpenFlags, RenameFlags, Seals, XATTR_CREATE, XATTR_REPLACE};

use super::contents::Contents;
use super::directory::Entries;
use super::file::TmpfsFile;
use super::{PAGE, Volume};
use crate::vfs::{
    Attributes, Borrower, Caller, FileOps, FileType, Inode, InodeCommon, InodeRef, Link, Listing, NewNode,
    Recall, Rename, SetAttributes, Timestamp,
};

/// Bytes that all extended attributes of one file may take; guards the sentry's memory.
const MAX_XATTR_BYTES: usize = 128 << 10;

/// What `st_size` of a directory counts for each entry, `.` and `..` included.
const ENTRY_SIZE: u64 = 20;

pub(super) enum Body {
    Regular(RwLock<Contents>),
    Directory(RwLock<Entries>),
    Symlink(Box<[u8]>),
    Special,
}

pub(super) struct State {
    /// Size, blocks and, for a directory, links are computed when they are asked for.
    pub(super) attributes: Attributes,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Count of subdirectories of a directory.
    subdirectories: u32,
    /// A file without links may get one (`O_TMPFILE`).
    linkable: bool,
}

/// A file of a tmpfs.
pub(super) struct TmpfsInode {
    this: Weak<TmpfsInode>,
    pub(super) volume: Arc<Volume>,
    number: u64,
    file_type: FileType,
    common: InodeCommon,
    pub(super) state: Mutex<State>,
    pub(super) body: Body,
}

impl Drop for TmpfsInode {
    fn drop(&mut self) {
        self.volume.files.fetch_sub(1, Ordering::Relaxed);
        if let Body::Regular(contents) = &self.body {
            self.volume.recount(contents.read().counted_pages(), 0);
        }
    }
}

impl TmpfsInode {
    /// A fresh inode; the volume has counted it.
    pub(super) fn new(volume: &Arc<Volume>, number: u64, node: &NewNode<'_>, linkable: bool) -> Arc<Self> {
        Self::sealed(volume, number, node, linkable, Seals::SEAL)
    }

    /// [`TmpfsInode::new`] with these seals.
    pub(super) fn sealed(
        volume: &Arc<Volume>,
        number: u64,
        node: &NewNode<'_>,
        linkable: bool,
        seals: Seals,
    ) -> Arc<Self> {
        let mode = node.file_type.mode() | (node.permissions & 0o7777);
        let attributes = Attributes {
            uid: node.uid,
            gid: node.gid,
            special_device: node.special_device,
            size: node.target.len() as u64,
            ..Attributes::new(volume.device, number, mode, Timestamp::now())
        };
        let body = match node.file_type {
            FileType::Regular => Body::Regular(RwLock::new(Contents::new(seals))),
            FileType::Directory => Body::Directory(RwLock::default()),
            FileType::Symlink => Body::Symlink(node.target.into()),
            _ => Body::Special,
        };
        Arc::new_cyclic(|this| TmpfsInode {
            this: this.clone(),
            volume: volume.clone(),
            number,
            file_type: node.file_type,
            common: InodeCommon::default(),
            state: Mutex::new(State { attributes, xattrs: BTreeMap::new(), subdirectories: 0, linkable }),
            body,
        })
    }

    pub(super) fn of(inode: &InodeRef) -> Result<&TmpfsInode, Errno> {
        inode.as_any().downcast_ref().ok_or(Errno::EXDEV)
    }

    fn entries(&self) -> Result<&RwLock<Entries>, Errno> {
        match &self.body {
            Body::Directory(entries) => Ok(entries),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Notes a change of a directory's entries, with what becomes of the count of its subdirectories.
    fn entries_changed(&self, added: u32, removed: u32) {
        let _nobody = self.recall();
        let now = Timestamp::now();
        let mut state = self.state.lock();
        state.subdirectories = (state.subdirectories + added).saturating_sub(removed);
        state.attributes.modified = now;
        state.attributes.changed = now;
    }

    /// Notes that a name of this file has come or gone.
    fn count_links(&self, added: u32, removed: u32) {
        let _nobody = self.recall();
        let mut state = self.state.lock();
        state.attributes.links = (state.attributes.links + added).saturating_sub(removed);
        state.attributes.changed = Timestamp::now();
    }

    /// Notes that this directory has lost its name.
    fn is_removed(&self) {
        let _nobody = self.recall();
        self.state.lock().attributes.links = 0;
    }

    fn is_directory(&self) -> bool {
        self.file_type == FileType::Directory
    }

    fn is_empty_directory(&self) -> bool {
        matches!(&self.body, Body::Directory(entries) if entries.read().len() == 0)
    }

    /// Notes that the contents were read, as `relatime` does.
    pub(super) fn accessed(&self) {
        const DAY: i64 = 24 * 60 * 60;
        let Attributes { accessed, modified, changed, .. } = self.state.lock().attributes;
        let is_older = accessed <= modified || accessed <= changed;
        if is_older || Timestamp::now().seconds - accessed.seconds >= DAY {
            let _nobody = self.recall();
            self.state.lock().attributes.accessed = Timestamp::now();
        }
    }

    /// Before a change of attributes, other than by those who have it open for writing.
    pub(super) fn recall(&self) -> Recall<'_> {
        self.common.borrowers().recall_lent()
    }

    /// Notes that the contents have changed.
    pub(super) fn modified(&self) {
        let now = Timestamp::now();
        let mut state = self.state.lock();
        state.attributes.modified = now;
        state.attributes.changed = now;
    }

    /// Notes that the contents have changed at that time. Names may have come and gone since.
    pub(super) fn modified_at(&self, when: Timestamp) {
        let attributes = &mut self.state.lock().attributes;
        attributes.modified = when;
        attributes.changed = attributes.changed.max(when);
    }

    /// What `stat(2)` shows, but for what has been noted only.
    fn shown(&self) -> Result<Attributes, Errno> {
        let measured = match &self.body {
            Body::Regular(contents) => {
                let contents = contents.read();
                Some((contents.size(), contents.pages() * (PAGE / 512)))
            }
            Body::Directory(entries) => Some(((entries.read().len() as u64 + 2) * ENTRY_SIZE, 0)),
            Body::Symlink(_) | Body::Special => None,
        };
        let state = self.state.lock();
        let mut attributes = state.attributes;
        if let Some((size, blocks)) = measured {
            attributes.size = size;
            attributes.blocks = blocks;
        }
        if self.is_directory() && attributes.links > 0 {
            attributes.links = 2 + state.subdirectories;
        }
        Ok(attributes)
    }

    fn make(&self, node: &NewNode<'_>) -> Result<Arc<TmpfsInode>, Errno> {
        let number = self.volume.add_file()?;
        Ok(TmpfsInode::new(&self.volume, number, node, false))
    }
}

impl Inode for TmpfsInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn file_type(&self) -> FileType {
        self.file_type
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        self.common.holder().settle();
        self.shown()
    }

    fn set_attributes(&self, change: &SetAttributes) -> Result<(), Errno> {
        let _released = self.common.holder().release();
        let _nobody = self.recall();
        if let Some(size) = change.size {
            let Body::Regular(contents) = &self.body else { return Err(Errno::EINVAL) };
            contents.write().set_size(&self.volume, size)?;
        }
        let contents = match &self.body {
            Body::Regular(contents) => Some(contents.read()),
            _ => None,
        };
        let mut state = self.state.lock();
        let is_fixed = contents.is_some_and(|contents| contents.seals.contains(Seals::EXEC));
        if is_fixed && change.permissions.is_some_and(|new| (new ^ state.attributes.mode) & 0o111 != 0) {
            return Err(Errno::EPERM);
        }
        change.apply(&mut state.attributes);
        Ok(())
    }

    fn attributes_at_rest(&self, to: Borrower<'_>) -> Option<Attributes> {
        let is_at_rest = match &self.body {
            Body::Regular(contents) => !self.common.may_be_written() && contents.read().has_no_holes(),
            // To a task that fills a directory it would be lent anew with each name.
            Body::Directory(_) => matches!(to, Borrower::Names(_)),
            Body::Symlink(_) => true,
            Body::Special => false,
        };
        if is_at_rest { self.shown().ok() } else { None }
    }

    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        self.entries()?.read().get(name)
    }

    fn create(&self, name: &[u8], node: &NewNode<'_>) -> Result<InodeRef, Errno> {
        let mut entries = self.entries()?.write();
        if entries.contains(name) {
            return Err(Errno::EEXIST);
        }
        let inode = self.make(node)?;
        entries.insert(name, inode.clone());
        drop(entries);
        self.entries_changed(u32::from(node.file_type == FileType::Directory), 0);
        Ok(inode)
    }

    fn create_unnamed(&self, node: &NewNode<'_>, linkable: bool) -> Result<InodeRef, Errno> {
        let inode = self.make(node)?;
        let mut state = inode.state.lock();
        state.attributes.links = 0;
        state.linkable = linkable;
        drop(state);
        Ok(inode)
    }

    fn link(&self, name: &[u8], target: &InodeRef) -> Result<(), Errno> {
        let inode = TmpfsInode::of(target)?;
        if !Arc::ptr_eq(&inode.volume, &self.volume) {
            return Err(Errno::EXDEV);
        }
        {
            let mut state = inode.state.lock();
            match state.attributes.links {
                0 if !state.linkable => return Err(Errno::ENOENT),
                u32::MAX => return Err(Errno::EMLINK),
                _ => state.linkable = false,
            }
        }
        let mut entries = self.entries()?.write();
        if entries.contains(name) {
            return Err(Errno::EEXIST);
        }
        entries.insert(name, target.clone());
        drop(entries);
        inode.count_links(1, 0);
        self.entries_changed(0, 0);
        Ok(())
    }

    fn unlink(&self, name: &[u8], child: &InodeRef) -> Result<(), Errno> {
        let inode = TmpfsInode::of(child)?;
        self.entries()?.write().remove(name);
        inode.count_links(0, 1);
        self.entries_changed(0, 0);
        Ok(())
    }

    fn rmdir(&self, name: &[u8], child: &InodeRef) -> Result<(), Errno> {
        let inode = TmpfsInode::of(child)?;
        if !inode.is_empty_directory() {
            return Err(Errno::ENOTEMPTY);
        }
        self.entries()?.write().remove(name);
        inode.is_removed();
        self.entries_changed(0, 1);
        Ok(())
    }

    fn rename(&self, rename: &Rename<'_>) -> Result<(), Errno> {
        let child = TmpfsInode::of(rename.child)?;
        let target = TmpfsInode::of(rename.new_directory)?;
        let replaced = rename.replaced.map(TmpfsInode::of).transpose()?;
        let moved = u32::from(child.is_directory());
        if rename.flags.contains(RenameFlags::EXCHANGE) {
            let (Some(other), Some(other_inode)) = (replaced, rename.replaced) else {
                return Err(Errno::ENOENT);
            };
            let other_moved = u32::from(other.is_directory());
            self.entries()?.write().insert(rename.name, other_inode.clone());
            target.entries()?.write().insert(rename.new_name, rename.child.clone());
            self.entries_changed(other_moved, moved);
            target.entries_changed(moved, other_moved);
            child.count_links(0, 0);
            other.count_links(0, 0);
            return Ok(());
        }
        let mut replaced_directories = 0;
        if let Some(other) = replaced {
            if other.is_directory() {
                if !other.is_empty_directory() {
                    return Err(Errno::ENOTEMPTY);
                }
                other.is_removed();
                replaced_directories = 1;
            } else {
                other.count_links(0, 1);
            }
        }
        let whiteout = if rename.flags.contains(RenameFlags::WHITEOUT) {
            let owner = child.state.lock().attributes;
            Some(self.make(&NewNode {
                file_type: FileType::CharacterDevice,
                permissions: 0,
                uid: owner.uid,
                gid: owner.gid,
                special_device: 0,
                target: b"",
            })?)
        } else {
            None
        };
        {
            let mut entries = self.entries()?.write();
            match whiteout {
                Some(whiteout) => entries.insert(rename.name, whiteout),
                None => entries.remove(rename.name),
            }
        }
        target.entries()?.write().insert(rename.new_name, rename.child.clone());
        self.entries_changed(0, moved);
        target.entries_changed(moved, replaced_directories);
        child.count_links(0, 0);
        Ok(())
    }

    fn list(&self) -> Result<Listing, Errno> {
        let listing =
            self.entries()?.read().list(|inode| TmpfsInode::of(inode).map_or(0, |inode| inode.number));
        self.accessed();
        Ok(listing)
    }

    fn read_link(&self, _: Caller<'_>) -> Result<Link, Errno> {
        match &self.body {
            Body::Symlink(target) => Ok(Link::Target(target.to_vec())),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(&self, _: &InodeRef, _: OpenFlags, _: Caller<'_>) -> Result<Arc<dyn FileOps>, Errno> {
        match &self.body {
            Body::Regular(_) => Ok(Arc::new(TmpfsFile::new(self.this.upgrade().ok_or(Errno::EIO)?))),
            _ => Err(Errno::ENXIO),
        }
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.state.lock().xattrs.get(name).cloned().ok_or(Errno::ENODATA)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        let _nobody = self.recall();
        let mut state = self.state.lock();
        let exists = state.xattrs.contains_key(name);
        if exists && flags & XATTR_CREATE != 0 {
            return Err(Errno::EEXIST);
        }
        if !exists && flags & XATTR_REPLACE != 0 {
            return Err(Errno::ENODATA);
        }
        let others = state.xattrs.iter().filter(|(known, _)| known.as_slice() != name);
        let used: usize = others.map(|(name, value)| name.len() + value.len()).sum();
        if used + name.len() + value.len() > MAX_XATTR_BYTES {
            return Err(Errno::ENOSPC);
        }
        state.xattrs.insert(name.to_vec(), value.to_vec());
        state.attributes.changed = Timestamp::now();
        Ok(())
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        let _nobody = self.recall();
        let mut state = self.state.lock();
        state.xattrs.remove(name).ok_or(Errno::ENODATA)?;
        state.attributes.changed = Timestamp::now();
        Ok(())
    }

    fn drop_capabilities(&self) -> Result<(), Errno> {
        self.state.lock().xattrs.remove(XATTR_NAME_CAPS);
        Ok(())
    }

    fn list_xattr(&self) -> Result<Vec<Vec<u8>>, Errno> {
        Ok(self.state.lock().xattrs.keys().cloned().collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
