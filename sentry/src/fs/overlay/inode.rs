//! The inodes of an overlay.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use usk_abi::Errno;
use usk_abi::fs::{OpenFlags, RenameFlags};

use super::Layers;
use super::copy_up::CopyUp;
use super::directory::{Entries, Entry};
use super::file::OverlayFile;
use crate::vfs::{
    Attributes, Borrower, Caller, FileOps, FileSystem, FileType, Inode, InodeCommon, InodeRef, KnownFile,
    Link, Listing, NewNode, Recall, Rename, SetAttributes,
};

/// Size in bytes that a directory made in the overlay shows.
const DIRECTORY_SIZE: u64 = 4096;

/// A directory and a name in it.
pub(super) type Place = (Arc<OverlayInode>, Box<[u8]>);

/// The upper file of a changed or new one.
#[derive(Clone)]
pub(super) struct Upper {
    pub(super) inode: InodeRef,
    /// False while a regular file's contents are still below.
    pub(super) has_contents: bool,
}

/// A file of an overlay.
pub(super) struct OverlayInode {
    this: Weak<OverlayInode>,
    layers: Arc<Layers>,
    common: InodeCommon,
    file_type: FileType,
    number: u64,
    lower: Option<InodeRef>,
    upper: RwLock<Option<Upper>>,
    /// Held while copying up.
    pub(super) copying: Mutex<()>,
    /// A name of it; `None` for the root, and when it has none.
    place: Mutex<Option<Place>>,
    /// Its directory's entries hold it.
    is_pinned: AtomicBool,
    /// Count of names. For a directory, 0 once it is removed.
    links: AtomicU32,
    /// It has no name but may get one (`O_TMPFILE`).
    linkable: AtomicBool,
    /// Of a directory.
    entries: RwLock<Entries>,
}

impl OverlayInode {
    fn make(
        layers: &Arc<Layers>,
        (lower, upper): (Option<InodeRef>, Option<Upper>),
        attributes: &Attributes,
        place: Option<Place>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| OverlayInode {
            this: this.clone(),
            layers: layers.clone(),
            common: InodeCommon::default(),
            file_type: lower
                .as_ref()
                .or(upper.as_ref().map(|upper| &upper.inode))
                .map_or_else(|| attributes.file_type(), |inode| inode.file_type()),
            number: attributes.inode,
            is_pinned: AtomicBool::new(upper.is_some() || place.is_none()),
            lower,
            upper: RwLock::new(upper),
            copying: Mutex::default(),
            place: Mutex::new(place),
            links: AtomicU32::new(attributes.links.max(1)),
            linkable: AtomicBool::new(false),
            entries: RwLock::default(),
        })
    }

    /// The inode for a lower file that was found at `place`; the one that is there already if the file has several names.
    pub(super) fn from_lower(
        layers: &Arc<Layers>,
        lower: InodeRef,
        place: Option<Place>,
    ) -> Result<Arc<Self>, Errno> {
        let attributes = lower.attributes()?;
        if attributes.links < 2 || lower.file_type() == FileType::Directory {
            return Ok(Self::make(layers, (Some(lower), None), &attributes, place));
        }
        let mut linked = layers.linked.lock();
        if let Some(known) = linked.get(&attributes.inode).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let inode = Self::make(layers, (Some(lower), None), &attributes, place);
        linked.insert(attributes.inode, Arc::downgrade(&inode));
        Ok(inode)
    }

    /// A new file.
    fn from_node(layers: &Arc<Layers>, node: &NewNode<'_>, place: Option<Place>) -> Result<Arc<Self>, Errno> {
        let inode = layers.upper.root().create_unnamed(node, false)?;
        let attributes = inode.attributes()?;
        Ok(Self::make(layers, (None, Some(Upper { inode, has_contents: true })), &attributes, place))
    }

    fn of(inode: &InodeRef) -> Result<&OverlayInode, Errno> {
        inode.as_any().downcast_ref().ok_or(Errno::EXDEV)
    }

    fn strong(&self) -> Result<Arc<OverlayInode>, Errno> {
        self.this.upgrade().ok_or(Errno::EIO)
    }

    pub(super) fn layers(&self) -> &Arc<Layers> {
        &self.layers
    }

    pub(super) fn lower(&self) -> Option<&InodeRef> {
        self.lower.as_ref()
    }

    pub(super) fn upper(&self) -> Option<Upper> {
        self.upper.read().clone()
    }

    pub(super) fn set_upper(&self, upper: Upper) -> Upper {
        let _nobody = self.recall();
        *self.upper.write() = Some(upper.clone());
        upper
    }

    /// Before a change of attributes that is this file's own.
    fn recall(&self) -> Recall<'_> {
        let borrowers = self.common.borrowers();
        // Those of an upper file are known by no name.
        if self.upper().is_none() { borrowers.recall() } else { borrowers.recall_lent() }
    }

    pub(super) fn kind(&self) -> FileType {
        self.file_type
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The file that says the attributes at the moment.
    fn top(&self) -> Result<InodeRef, Errno> {
        let upper = self.upper().map(|upper| upper.inode);
        upper.or_else(|| self.lower.clone()).ok_or(Errno::EIO)
    }

    /// The file that has the contents at the moment, and whether that is the upper one.
    pub(super) fn contents(&self) -> Result<(InodeRef, bool), Errno> {
        if let Some(upper) = self.upper().filter(|upper| upper.has_contents) {
            return Ok((upper.inode, true));
        }
        Ok((self.lower.clone().ok_or(Errno::EIO)?, false))
    }

    /// Sees to it that this inode and its directories are held as long as they have names.
    pub(super) fn keep(&self) {
        let Some(this) = self.this.upgrade() else { return };
        if self.file_type != FileType::Directory && self.lower.is_some() {
            let linked = self.layers.linked.lock();
            if linked.contains_key(&self.number) {
                drop(linked);
                self.layers.kept.lock().insert(self.number, this.clone());
            }
        }
        let mut at = this;
        while !at.is_pinned.swap(true, Ordering::AcqRel) {
            let place = at.place.lock().clone();
            let Some((directory, name)) = place else { break };
            directory.entries.write().pin(&name, at);
            at = directory;
        }
    }

    /// Notes that its attributes have changed because of a name that came or went.
    fn touch(&self) -> Result<(), Errno> {
        self.copy_up(CopyUp::Attributes)?.set_attributes(&SetAttributes::default())
    }

    /// Notes that the entries of this directory have changed.
    fn names_changed(&self) -> Result<(), Errno> {
        let now = crate::vfs::Timestamp::now();
        let change = SetAttributes { modified: Some(now), ..SetAttributes::default() };
        self.copy_up(CopyUp::Attributes)?.set_attributes(&change)
    }

    /// Notes that the count of subdirectories has changed, if `child` is one.
    fn subdirectories_changed(&self, child: &OverlayInode) {
        if child.file_type == FileType::Directory {
            drop(self.recall());
        }
    }

    /// Whether nothing that is shown of the lower file, beside what an upper one says, changes below.
    fn is_merged_with_fixed(&self, has_contents: bool) -> bool {
        let is_fixed = |lower: &InodeRef| lower.fixed_attributes().is_some();
        let shows_none = has_contents && self.file_type != FileType::Directory;
        shows_none || self.lower.as_ref().is_none_or(is_fixed)
    }

    /// [`Inode::known_after`] of a directory that was made here: those whose names come next.
    fn known_own_after(&self, name: Option<&[u8]>, limit: usize) -> Vec<(Box<[u8]>, KnownFile)> {
        let next = self.entries.read().next_after(name, limit);
        next.into_iter().filter_map(|(name, inode)| Some((name, inode.known_by_name()?))).collect()
    }

    /// What the file below shows.
    fn below(&self) -> Result<Attributes, Errno> {
        self.lower.as_ref().ok_or(Errno::EIO)?.attributes()
    }

    /// What this file shows where the upper file, or without one the lower, has these attributes.
    fn shown(&self, upper: Option<&Upper>, mut attributes: Attributes) -> Result<Attributes, Errno> {
        if self.file_type == FileType::Regular && upper.is_some_and(|upper| !upper.has_contents) {
            let below = self.below()?;
            (attributes.size, attributes.blocks) = (below.size, below.blocks);
        }
        attributes.device = self.layers.device;
        attributes.inode = self.number;
        attributes.links = self.links.load(Ordering::Relaxed);
        if self.file_type == FileType::Directory {
            match &self.lower {
                // As Linux's overlayfs says for directories that are merged: the count is not known.
                Some(_) => {
                    if upper.is_some() {
                        attributes.size = self.below()?.size;
                    }
                    attributes.links = attributes.links.min(1);
                }
                None => {
                    attributes.size = DIRECTORY_SIZE;
                    if attributes.links > 0 {
                        attributes.links = 2 + self.entries.read().subdirectories();
                    }
                }
            }
        }
        Ok(attributes)
    }

    fn lower_listing(&self) -> Result<Option<Listing>, Errno> {
        self.lower.as_ref().map(|lower| lower.list()).transpose()
    }

    fn check_empty(&self) -> Result<(), Errno> {
        let lower = self.lower_listing()?;
        self.entries.read().check_empty(lower)
    }

    /// Notes that a name of this file has gone.
    fn lost_name(&self) {
        let left = self.links.load(Ordering::Relaxed).saturating_sub(1);
        let left = if self.file_type == FileType::Directory { 0 } else { left };
        let nobody = self.recall();
        self.links.store(left, Ordering::Relaxed);
        drop(nobody);
        if left == 0 {
            *self.place.lock() = None;
            self.layers.kept.lock().remove(&self.number);
        }
    }

    /// Notes where this file is now.
    fn moved_to(&self, directory: &Arc<OverlayInode>, name: &[u8]) {
        *self.place.lock() = Some((directory.clone(), name.into()));
        self.is_pinned.store(true, Ordering::Release);
    }
}

impl Inode for OverlayInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn file_type(&self) -> FileType {
        self.file_type
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        self.common.holder().settle();
        match self.upper() {
            Some(upper) => self.shown(Some(&upper), upper.inode.attributes()?),
            None => self.shown(None, self.below()?),
        }
    }

    fn fixed_attributes(&self) -> Option<Attributes> {
        // Whatever changes is copied up first, but for the count of names.
        if self.upper().is_some() {
            return None;
        }
        self.shown(None, self.lower.as_ref()?.fixed_attributes()?).ok()
    }

    fn attributes_at_rest(&self, to: Borrower<'_>) -> Option<Attributes> {
        let upper = self.upper()?;
        if self.common.may_be_written() || !self.is_merged_with_fixed(upper.has_contents) {
            return None;
        }
        // Both files change, each by itself.
        let attributes = upper.inode.lend_attributes(to)?;
        self.shown(Some(&upper), attributes).ok()
    }

    fn known_after(&self, name: Option<&[u8]>, limit: usize) -> Vec<(Box<[u8]>, KnownFile)> {
        let Some(lower) = &self.lower else { return self.known_own_after(name, limit) };
        let mut next = lower.known_after(name, limit);
        let entries = self.entries.read();
        // A file with several names may have been changed by another of them.
        next.retain(|(name, KnownFile { attributes, .. })| {
            entries.get(name).is_none()
                && (attributes.links < 2 || attributes.file_type() == FileType::Directory)
        });
        for (_, KnownFile { attributes, .. }) in &mut next {
            attributes.device = self.layers.device;
            attributes.links = 1;
        }
        next
    }

    fn set_attributes(&self, change: &SetAttributes) -> Result<(), Errno> {
        let extent = match change.size {
            None => CopyUp::Attributes,
            Some(0) => CopyUp::Empty,
            Some(_) => CopyUp::Contents,
        };
        let _released = self.common.holder().release();
        self.copy_up(extent)?.set_attributes(change)
    }

    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        self.lookup_chain(&[name], false)?.into_iter().next().ok_or(Errno::ENOENT)
    }

    fn lookup_chain(&self, names: &[&[u8]], opens: bool) -> Result<Vec<InodeRef>, Errno> {
        let first = names.first().ok_or(Errno::ENOENT)?;
        match self.entries.read().get(first) {
            Some(Entry::File { inode, .. }) => return Ok(vec![inode.clone()]),
            Some(Entry::Whiteout) => return Err(Errno::ENOENT),
            None => {}
        }
        let lower = self.lower.as_ref().ok_or(Errno::ENOENT)?;
        let mut chain: Vec<InodeRef> = Vec::new();
        let mut directory = self.strong()?;
        for (name, lower) in names.iter().zip(lower.lookup_chain(names, opens)?) {
            let inode = OverlayInode::from_lower(&self.layers, lower, Some((directory, (*name).into())))?;
            chain.push(inode.clone());
            directory = inode;
        }
        Ok(chain)
    }

    fn create(&self, name: &[u8], node: &NewNode<'_>) -> Result<InodeRef, Errno> {
        let directory = self.strong()?;
        self.names_changed()?;
        let inode = OverlayInode::from_node(&self.layers, node, Some((directory, name.into())))?;
        self.entries.write().set(name, inode.clone(), false);
        self.subdirectories_changed(&inode);
        Ok(inode)
    }

    fn create_unnamed(&self, node: &NewNode<'_>, linkable: bool) -> Result<InodeRef, Errno> {
        let inode = OverlayInode::from_node(&self.layers, node, None)?;
        inode.links.store(0, Ordering::Relaxed);
        inode.linkable.store(linkable, Ordering::Relaxed);
        Ok(inode)
    }

    fn link(&self, name: &[u8], target: &InodeRef) -> Result<(), Errno> {
        let target = Self::of(target)?;
        if !Arc::ptr_eq(&target.layers, &self.layers) {
            return Err(Errno::EXDEV);
        }
        let had_no_name = target.links.load(Ordering::Relaxed) == 0;
        if had_no_name && !target.linkable.swap(false, Ordering::Relaxed) {
            return Err(Errno::ENOENT);
        }
        target.touch()?;
        self.names_changed()?;
        let nobody = target.recall();
        target.links.fetch_add(1, Ordering::Relaxed);
        drop(nobody);
        if had_no_name {
            target.moved_to(&self.strong()?, name);
        }
        self.entries.write().set(name, target.strong()?, false);
        Ok(())
    }

    fn unlink(&self, name: &[u8], child: &InodeRef) -> Result<(), Errno> {
        let child = Self::of(child)?;
        self.names_changed()?;
        if child.links.load(Ordering::Relaxed) > 1 {
            child.touch()?;
        }
        self.entries.write().remove(name);
        child.lost_name();
        Ok(())
    }

    fn rmdir(&self, name: &[u8], child: &InodeRef) -> Result<(), Errno> {
        let child = Self::of(child)?;
        child.check_empty()?;
        self.names_changed()?;
        self.entries.write().remove(name);
        self.subdirectories_changed(child);
        child.lost_name();
        Ok(())
    }

    fn rename(&self, rename: &Rename<'_>) -> Result<(), Errno> {
        if rename.flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::EINVAL);
        }
        let (child, target) = (Self::of(rename.child)?, Self::of(rename.new_directory)?);
        let replaced = rename.replaced.map(Self::of).transpose()?;
        let exchange = rename.flags.contains(RenameFlags::EXCHANGE);
        if let Some(replaced) =
            replaced.filter(|replaced| !exchange && replaced.kind() == FileType::Directory)
        {
            replaced.check_empty()?;
        }
        let (this, target) = (self.strong()?, target.strong()?);
        self.names_changed()?;
        target.names_changed()?;
        child.touch()?;
        // What was looked up below and is replaced hides the lower name.
        let hides = |directory: &OverlayInode, name| directory.entries.read().get(name).is_none();
        let new_is_from_lower = replaced.is_some() && hides(&target, rename.new_name);
        match replaced {
            Some(replaced) if exchange => {
                replaced.touch()?;
                let old_is_from_lower = hides(self, rename.name);
                self.entries.write().set(rename.name, replaced.strong()?, old_is_from_lower);
                replaced.moved_to(&this, rename.name);
            }
            Some(replaced) => {
                self.entries.write().remove(rename.name);
                replaced.lost_name();
            }
            None => self.entries.write().remove(rename.name),
        }
        target.entries.write().set(rename.new_name, child.strong()?, new_is_from_lower);
        child.moved_to(&target, rename.new_name);
        for changed in replaced.into_iter().chain([child]) {
            self.subdirectories_changed(changed);
            target.subdirectories_changed(changed);
        }
        Ok(())
    }

    fn list(&self) -> Result<Listing, Errno> {
        let lower = self.lower_listing()?;
        Ok(self.entries.read().merge(lower))
    }

    fn read_link(&self, caller: Caller<'_>) -> Result<Link, Errno> {
        self.top()?.read_link(caller)
    }

    fn open(&self, _: &InodeRef, flags: OpenFlags, _: Caller<'_>) -> Result<Arc<dyn FileOps>, Errno> {
        if self.file_type != FileType::Regular {
            return Err(Errno::ENXIO);
        }
        if flags.is_writable() {
            let cut = flags.contains(OpenFlags::TRUNC);
            self.copy_up(if cut { CopyUp::Empty } else { CopyUp::Contents })?;
        }
        Ok(Arc::new(OverlayFile::open(self.strong()?, flags)?))
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.top()?.get_xattr(name)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        self.copy_up(CopyUp::Attributes)?.set_xattr(name, value, flags)
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        self.copy_up(CopyUp::Attributes)?.remove_xattr(name)
    }

    /// After the change that takes them away: the file is in the upper layer.
    fn drop_capabilities(&self) -> Result<(), Errno> {
        self.upper().map_or(Ok(()), |upper| upper.inode.drop_capabilities())
    }

    fn list_xattr(&self) -> Result<Vec<Vec<u8>>, Errno> {
        self.top()?.list_xattr()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for OverlayInode {
    fn drop(&mut self) {
        let mut linked = self.layers.linked.lock();
        if linked.get(&self.number).is_some_and(|known| known.strong_count() == 0) {
            linked.remove(&self.number);
        }
    }
}
