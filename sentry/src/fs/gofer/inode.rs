//! The inodes of an export.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use usk_abi::Errno;
use usk_abi::capability::XATTR_NAME_CAPS;
use usk_abi::fs::{OpenFlags, RenameFlags, XATTR_CREATE, XATTR_REPLACE};
use usk_platform::host;

use super::file::GoferFile;
use super::listed::{Listed, listing};
use super::{MAX_LISTED_MEMORY, Tree, attributes};
use crate::gofer::{self, Access, Name, Node, Owner, RenameMode, WalkEnd, WalkStep, XattrMode, XattrName};
use crate::time::monotonic_now;
use crate::vfs::{
    Attributes, Caller, FileOps, FileType, Inode, InodeCommon, InodeRef, KnownFile, Link, Listing, NewNode,
    Rename, SetAttributes, Timestamp,
};

/// How long attributes that a walk has just brought count as current on a shared export, in nanoseconds: long enough for the
/// call that walked.
const FRESH_NS: u64 = 1_000_000;

/// How long after a change of a file another one cannot have the same time any more, in seconds.
const SETTLED_S: i64 = 1;

/// Where an inode that has no node yet was announced.
pub(super) struct Origin {
    pub(super) directory: Arc<GoferInode>,
    pub(super) name: Box<[u8]>,
}

/// What is known of a file's attributes.
pub(super) struct Known {
    pub(super) attributes: Attributes,
    /// The file has been written to since.
    outdated: bool,
    /// Monotonic time of the answer.
    learned_ns: u64,
}

/// The attribute with a file's capabilities, for which each execve(2) asks. It holds until the file's attributes change.
struct KnownCapabilities {
    /// The time of the change before.
    changed: Timestamp,
    /// `None` if there is no such attribute.
    value: Option<Box<[u8]>>,
}

/// Donated descriptors in use, by access.
#[derive(Default)]
struct Donated {
    read: Weak<OwnedFd>,
    write: Weak<OwnedFd>,
    both: Weak<OwnedFd>,
}

impl Donated {
    fn slot(&mut self, access: Access) -> &mut Weak<OwnedFd> {
        match access {
            Access::Read => &mut self.read,
            Access::Write => &mut self.write,
            Access::ReadWrite => &mut self.both,
        }
    }

    fn any(&self) -> Option<Arc<OwnedFd>> {
        self.read.upgrade().or_else(|| self.both.upgrade()).or_else(|| self.write.upgrade())
    }
}

/// A file of an export. No lock is held while the gofer is asked, but for [`GoferInode::writers`].
pub(super) struct GoferInode {
    pub(super) this: Weak<GoferInode>,
    pub(super) tree: Arc<Tree>,
    common: InodeCommon,
    file_type: FileType,
    /// The host's device and inode number.
    pub(super) identity: (u64, u64),
    pub(super) node: OnceLock<Node>,
    pub(super) origin: Mutex<Option<Origin>>,
    /// Of a directory that was read with others, the one that it is in and its name there: no names are changed there.
    pub(super) above: Mutex<Option<(Weak<GoferInode>, Box<[u8]>)>>,
    pub(super) known: Mutex<Known>,
    link: OnceLock<Vec<u8>>,
    known_capabilities: Mutex<Option<KnownCapabilities>>,
    /// The names of its extended attributes, on an export that nobody changes.
    pub(super) known_xattrs: OnceLock<Box<[u8]>>,
    /// What the last listing of an exclusive directory said, by name.
    pub(super) listed: Mutex<Option<Arc<Listed>>>,
    donated: Mutex<Donated>,
    /// Held by whoever writes, so that appends find the end.
    pub(super) writers: Mutex<()>,
    /// Names in this directory that the gofer was asked for, and that are no directories.
    pub(super) lookups: AtomicU32,
    /// A name that a walk through this directory has not found, where names are fixed.
    missing: Mutex<Option<Box<[u8]>>>,
    /// A shared mapping may change the contents at any time.
    is_mapped_for_writing: AtomicBool,
    /// It has lost its last name; the gofer does not find it any more.
    is_unlinked: AtomicBool,
}

impl GoferInode {
    pub(super) fn root(tree: &Arc<Tree>, node: Node, attributes: &gofer::Attributes) -> Arc<Self> {
        Self::make(tree, attributes, Some(node), None)
    }

    fn make(
        tree: &Arc<Tree>,
        from: &gofer::Attributes,
        node: Option<Node>,
        origin: Option<Origin>,
    ) -> Arc<Self> {
        let known = Known {
            attributes: attributes::attributes(tree, from),
            outdated: false,
            learned_ns: monotonic_now(),
        };
        Arc::new_cyclic(|this| GoferInode {
            this: this.clone(),
            tree: tree.clone(),
            common: InodeCommon::default(),
            file_type: attributes::file_type(from.file_type()),
            identity: (from.dev, from.ino),
            node: node.map(OnceLock::from).unwrap_or_default(),
            origin: Mutex::new(origin),
            above: Mutex::default(),
            known: Mutex::new(known),
            link: OnceLock::new(),
            known_capabilities: Mutex::default(),
            known_xattrs: OnceLock::new(),
            listed: Mutex::default(),
            donated: Mutex::default(),
            writers: Mutex::default(),
            lookups: AtomicU32::new(0),
            missing: Mutex::default(),
            is_mapped_for_writing: AtomicBool::new(false),
            is_unlinked: AtomicBool::new(false),
        })
    }

    /// The inode for a file that the gofer handed out; the one that is there already if the file has several names.
    fn found(
        tree: &Arc<Tree>,
        from: &gofer::Attributes,
        node: Option<Node>,
        origin: Option<Origin>,
    ) -> Arc<Self> {
        if from.nlink < 2 || from.is_directory() {
            return Self::make(tree, from, node, origin);
        }
        let key = (from.dev, from.ino);
        let mut linked = tree.linked.lock();
        let known = linked.get(&key).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| known.file_type == attributes::file_type(from.file_type()))
        {
            drop(linked);
            known.learn(from);
            return known;
        }
        let inode = Self::make(tree, from, node, origin);
        linked.insert(key, Arc::downgrade(&inode));
        inode
    }

    fn of(inode: &InodeRef) -> Result<&GoferInode, Errno> {
        inode.as_any().downcast_ref().ok_or(Errno::EXDEV)
    }

    fn strong(&self) -> Result<Arc<GoferInode>, Errno> {
        self.this.upgrade().ok_or(Errno::EIO)
    }

    /// The gofer's node; walks to it if the file is known from a listing only.
    pub(super) fn node(&self) -> Result<&Node, Errno> {
        if self.node.get().is_none() && self.file_type == FileType::Directory {
            self.take_what_was_read();
        }
        if self.node.get().is_none() {
            self.walk_here(None)?;
        }
        self.node.get().ok_or(Errno::ENOENT)
    }

    /// Walks to the file from the directory that announced it, opening it if that is wanted.
    fn walk_here(&self, open: Option<Access>) -> Result<Option<Arc<OwnedFd>>, Errno> {
        let (directory, name) = {
            let origin = self.origin.lock();
            let origin = origin.as_ref().ok_or(Errno::ENOENT)?;
            (origin.directory.clone(), origin.name.clone())
        };
        let outcome = directory.node()?.walk(&[Name::new(&name)?], open)?;
        let step = outcome.steps.into_iter().next().ok_or(Errno::ENOENT)?;
        if (step.attributes.dev, step.attributes.ino) != self.identity {
            return Err(Errno::ESTALE);
        }
        self.learn(&step.attributes);
        // Another thread may have been faster; its node is as good.
        let _ = self.node.set(step.node);
        *self.origin.lock() = None;
        match outcome.end {
            WalkEnd::Complete { opened: Some(opened) } => Ok(Some(self.donate(Access::Read, opened?))),
            WalkEnd::Symlink(target) => {
                let _ = self.link.set(target.into_bytes().into_vec());
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Takes a donated descriptor into use.
    pub(super) fn donate(&self, access: Access, file: OwnedFd) -> Arc<OwnedFd> {
        let file = Arc::new(file);
        *self.donated.lock().slot(access) = Arc::downgrade(&file);
        self.tree.keep(self.identity, &file, false);
        file
    }

    /// Notes a descriptor for reading.
    pub(super) fn use_for_reading(&self, file: &Arc<OwnedFd>) {
        self.donated.lock().read = Arc::downgrade(file);
    }

    fn learn(&self, from: &gofer::Attributes) {
        let attributes = attributes::attributes(&self.tree, from);
        *self.known.lock() = Known { attributes, outdated: false, learned_ns: monotonic_now() };
    }

    fn outdate(&self) {
        self.known.lock().outdated = true;
    }

    /// Notes that the contents were written to.
    pub(super) fn contents_changed(&self) {
        self.outdate();
    }

    /// Notes that the contents may be written to at any time.
    pub(super) fn mapped_for_writing(&self) {
        self.is_mapped_for_writing.store(true, Ordering::Relaxed);
    }

    /// The length, if it cannot change.
    pub(super) fn fixed_size(&self) -> Option<u64> {
        self.tree.is_fixed().then(|| self.known.lock().attributes.size)
    }

    /// Forgets what the directory's listing said: its names have changed.
    fn names_changed(&self) {
        *self.listed.lock() = None;
        self.outdate();
    }

    fn access(flags: OpenFlags) -> Access {
        match (flags.is_readable(), flags.is_writable()) {
            (true, true) => Access::ReadWrite,
            (false, true) => Access::Write,
            _ => Access::Read,
        }
    }

    /// The attribute with the file's capabilities.
    pub(super) fn capabilities(&self) -> Result<Vec<u8>, Errno> {
        let changed = self.attributes()?.changed;
        if let Some(known) = &*self.known_capabilities.lock()
            && known.changed == changed
        {
            return known.value.as_deref().map(<[u8]>::to_vec).ok_or(Errno::ENODATA);
        }
        let answer = self.ask_xattr(XATTR_NAME_CAPS);
        // Another change may have the same time if that is not over yet.
        let is_over = changed.seconds.saturating_add(SETTLED_S) < Timestamp::now().seconds;
        let value = match &answer {
            Ok(value) => Some(value.as_slice().into()),
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => None,
            Err(_) => return answer,
        };
        if is_over {
            *self.known_capabilities.lock() = Some(KnownCapabilities { changed, value });
        }
        answer
    }

    /// Runs a creation with an owner, or without one if the gofer may not give files away.
    fn as_owner<T>(
        &self,
        node: &NewNode<'_>,
        create: impl Fn(Option<Owner>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if !self.tree.refuses_owner() {
            match create(Some(Owner { uid: node.uid, gid: node.gid })) {
                Err(Errno::EPERM) => {}
                result => return result,
            }
        }
        let created = create(None)?;
        self.tree.owner_refused.store(true, Ordering::Relaxed);
        Ok(created)
    }
}

impl Inode for GoferInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn file_type(&self) -> FileType {
        self.file_type
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        let is_unlinked = self.is_unlinked.load(Ordering::Relaxed);
        {
            let known = self.known.lock();
            let is_current = if self.tree.is_shared {
                monotonic_now().saturating_sub(known.learned_ns) < FRESH_NS
            } else {
                !self.is_mapped_for_writing.load(Ordering::Relaxed)
            };
            if is_current && !known.outdated {
                return Ok(known.attributes);
            }
        }
        if !is_unlinked {
            match self.node()?.attributes() {
                Ok(attributes) => self.learn(&attributes),
                // Another has removed it. What is open stays.
                Err(Errno::ESTALE) => self.is_unlinked.store(true, Ordering::Relaxed),
                Err(error) => return Err(error),
            }
        }
        let mut known = self.known.lock();
        if self.is_unlinked.load(Ordering::Relaxed) {
            known.attributes.links = 0;
            if let Some(file) = self.donated.lock().any()
                && let Ok(extent) = host::extent(&*file)
            {
                known.attributes.size = extent.size;
                known.attributes.blocks = extent.blocks;
            }
        }
        Ok(known.attributes)
    }

    fn fixed_attributes(&self) -> Option<Attributes> {
        self.tree.is_fixed().then(|| self.attributes().ok())?
    }

    fn known_after(&self, name: Option<&[u8]>, limit: usize) -> Vec<(Box<[u8]>, KnownFile)> {
        let Some(listed) = self.listed().filter(|_| self.tree.is_fixed()) else { return Vec::new() };
        let known = |from| KnownFile { attributes: attributes::attributes(&self.tree, &from), mark: None };
        let next = listed.attributes_after(name, &self.tree.habits, limit).into_iter();
        next.map(|(name, from)| (name.into(), known(from))).collect()
    }

    fn set_attributes(&self, change: &SetAttributes) -> Result<(), Errno> {
        let before = self.known.lock().attributes;
        let mut change = attributes::change(change);
        // What stays the same need not be allowed to the gofer.
        change.uid = change.uid.filter(|uid| *uid != before.uid);
        change.gid = change.gid.filter(|gid| *gid != before.gid);
        let attributes = self.node()?.set_attributes(change)?;
        self.learn(&attributes);
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        let found = self.lookup_chain(&[name], false)?;
        found.into_iter().next().ok_or(Errno::ENOENT)
    }

    fn lookup_chain(&self, names: &[&[u8]], opens: bool) -> Result<Vec<InodeRef>, Errno> {
        let first = names.first().ok_or(Errno::ENOENT)?;
        if self.missing.lock().as_deref() == Some(first) {
            return Err(Errno::ENOENT);
        }
        self.consider_listing();
        if let Some(announced) = self.announced(first) {
            let attributes = announced?;
            if names.len() == 1 || !attributes.is_directory() {
                let origin = Origin { directory: self.strong()?, name: (*first).into() };
                return Ok(vec![Self::found(&self.tree, &attributes, None, Some(origin))]);
            }
        }
        let names: Vec<Name<'_>> = names.iter().map(|name| Name::new(name)).collect::<Result<_, _>>()?;
        let access = (opens && self.tree.is_read_only).then_some(Access::Read);
        let outcome = self.node()?.walk(&names, access)?;
        let mut found: Vec<Arc<GoferInode>> = Vec::with_capacity(outcome.steps.len());
        for WalkStep { node, attributes } in outcome.steps {
            found.push(Self::found(&self.tree, &attributes, Some(node), None));
        }
        self.note_lookup(found.first());
        match (outcome.end, found.last()) {
            (WalkEnd::Missing, None) => return Err(Errno::ENOENT),
            (WalkEnd::NotDirectory, None) => return Err(Errno::ENOTDIR),
            (WalkEnd::Failed(error), None) => return Err(error),
            (WalkEnd::Symlink(target), Some(last)) => {
                let _ = last.link.set(target.into_bytes().into_vec());
            }
            (WalkEnd::Complete { opened: Some(Ok(file)) }, Some(last)) => {
                last.donate(Access::Read, file);
            }
            // Whoever walks asks for it next.
            (WalkEnd::Missing, Some(last)) if self.tree.is_fixed() => {
                *last.missing.lock() = names.get(found.len()).map(|name| name.as_bytes().into());
            }
            _ => {}
        }
        Ok(found.into_iter().map(|inode| inode as InodeRef).collect())
    }

    fn revalidate(&self, name: &[u8], child: &InodeRef) -> bool {
        let still = || -> Result<bool, Errno> {
            let child = Self::of(child)?;
            let outcome = self.node()?.walk(&[Name::new(name)?], None)?;
            let Some(step) = outcome.steps.first() else { return Ok(false) };
            let attributes = &step.attributes;
            if (attributes.dev, attributes.ino) != child.identity
                || attributes::file_type(attributes.file_type()) != child.file_type
            {
                return Ok(false);
            }
            child.learn(attributes);
            Ok(true)
        };
        still().unwrap_or(false)
    }

    fn create(&self, name: &[u8], node: &NewNode<'_>) -> Result<InodeRef, Errno> {
        let directory = self.node()?;
        let name = Name::new(name)?;
        let permissions = u16::try_from(node.permissions & 0o7777).map_err(|_| Errno::EINVAL)?;
        let special = |file_type| {
            self.as_owner(node, |owner| directory.make_special(name, file_type, permissions, owner))
        };
        let (step, file) = match node.file_type {
            FileType::Regular => {
                let created = self.as_owner(node, |owner| {
                    directory.create_file(name, permissions, owner, Access::ReadWrite)
                })?;
                let step = WalkStep { node: created.node, attributes: created.attributes };
                (step, created.descriptor)
            }
            FileType::Directory => {
                (self.as_owner(node, |owner| directory.make_directory(name, permissions, owner))?, None)
            }
            FileType::Symlink => {
                (self.as_owner(node, |owner| directory.make_symlink(name, node.target, owner))?, None)
            }
            FileType::Fifo => (special(gofer::FileType::Fifo)?, None),
            FileType::Socket => (special(gofer::FileType::Socket)?, None),
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Anonymous => {
                return Err(Errno::EPERM);
            }
        };
        self.names_changed();
        let inode = Self::make(&self.tree, &step.attributes, Some(step.node), None);
        if let Some(file) = file {
            inode.donate(Access::ReadWrite, file);
        }
        Ok(inode)
    }

    fn link(&self, name: &[u8], target: &InodeRef) -> Result<(), Errno> {
        let target = Self::of(target)?;
        let step = target.node()?.link(self.node()?, Name::new(name)?)?;
        target.learn(&step.attributes);
        self.tree.linked.lock().insert(target.identity, target.this.clone());
        self.names_changed();
        Ok(())
    }

    fn unlink(&self, name: &[u8], child: &InodeRef) -> Result<(), Errno> {
        let child = Self::of(child)?;
        // A file that was only announced is still open to nobody; with its node it can be asked about afterwards.
        child.node()?;
        self.node()?.unlink(Name::new(name)?)?;
        if child.known.lock().attributes.links <= 1 {
            child.is_unlinked.store(true, Ordering::Relaxed);
        }
        child.outdate();
        self.names_changed();
        Ok(())
    }

    fn rmdir(&self, name: &[u8], child: &InodeRef) -> Result<(), Errno> {
        self.node()?.remove_directory(Name::new(name)?)?;
        let child = Self::of(child)?;
        child.is_unlinked.store(true, Ordering::Relaxed);
        child.outdate();
        self.names_changed();
        Ok(())
    }

    fn rename(&self, rename: &Rename<'_>) -> Result<(), Errno> {
        let mode = match rename.flags {
            flags if flags.is_empty() => RenameMode::Replace,
            RenameFlags::NOREPLACE => RenameMode::NoReplace,
            RenameFlags::EXCHANGE => RenameMode::Exchange,
            _ => return Err(Errno::EINVAL),
        };
        let (child, target) = (Self::of(rename.child)?, Self::of(rename.new_directory)?);
        let replaced = rename.replaced.map(Self::of).transpose()?;
        // Names by which they were announced stop to be true.
        child.node()?;
        if let Some(replaced) = replaced {
            replaced.node()?;
        }
        let (old, new) = (Name::new(rename.name)?, Name::new(rename.new_name)?);
        self.node()?.rename(old, target.node()?, new, mode)?;
        if let Some(replaced) = replaced {
            let is_last =
                replaced.file_type == FileType::Directory || replaced.known.lock().attributes.links <= 1;
            if mode == RenameMode::Replace && is_last {
                replaced.is_unlinked.store(true, Ordering::Relaxed);
            }
            replaced.outdate();
        }
        child.outdate();
        self.names_changed();
        target.names_changed();
        Ok(())
    }

    fn list(&self) -> Result<Listing, Errno> {
        self.tree.habits.directory_listed();
        if self.listed().is_none() && self.node.get().is_none() {
            self.take_what_was_read();
            if self.node.get().is_none() {
                self.read_with_others()?;
            }
        }
        if let Some(listed) = self.listed() {
            listed.note_used();
            return Ok(listed.listing.clone());
        }
        let keeps = self.tree.is_fixed();
        let all = keeps && self.tree.habits.want_attributes();
        let entries = self.node()?.read_whole_directory(all)?;
        if !keeps {
            return Ok(listing(entries, self.tree.inode_numbers(self.identity.0)).0);
        }
        let listed = self.whole(self.identity.0, entries, all);
        let listing = listed.listing.clone();
        if listed.memory() <= MAX_LISTED_MEMORY {
            self.keep_listed(listed);
        }
        Ok(listing)
    }

    fn read_link(&self, _: Caller<'_>) -> Result<Link, Errno> {
        if let Some(target) = self.link.get() {
            return Ok(Link::Target(target.clone()));
        }
        let node = self.node()?;
        // The walk there may have brought it.
        if let Some(target) = self.link.get() {
            return Ok(Link::Target(target.clone()));
        }
        let target = node.read_link()?.into_bytes().into_vec();
        if !self.tree.is_shared {
            let _ = self.link.set(target.clone());
        }
        Ok(Link::Target(target))
    }

    fn open(&self, _: &InodeRef, flags: OpenFlags, _: Caller<'_>) -> Result<Arc<dyn FileOps>, Errno> {
        if self.file_type != FileType::Regular {
            return Err(Errno::ENXIO);
        }
        let access = Self::access(flags);
        let mut held = self.donated.lock().slot(access).upgrade();
        if held.is_none() && access == Access::Read {
            held = self.opened_before();
            if held.is_none() && self.node.get().is_none() {
                held = self.open_with_others()?;
            }
            if held.is_none() && self.node.get().is_none() {
                held = self.walk_here(Some(access))?;
            }
        }
        let file = match held {
            Some(file) => file,
            None => self.donate(access, self.node()?.open(access)?),
        };
        Ok(Arc::new(GoferFile::new(self.strong()?, file)))
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.xattr(name)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        let mode = match flags {
            XATTR_CREATE => XattrMode::Create,
            XATTR_REPLACE => XattrMode::Replace,
            _ => XattrMode::Any,
        };
        self.node()?.set_xattr(XattrName::new(name)?, value, mode)?;
        self.outdate();
        Ok(())
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        self.node()?.remove_xattr(XattrName::new(name)?)?;
        self.outdate();
        Ok(())
    }

    fn list_xattr(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let list = self.xattr_names()?;
        Ok(list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for GoferInode {
    fn drop(&mut self) {
        let mut linked = self.tree.linked.lock();
        if linked.get(&self.identity).is_some_and(|known| known.strong_count() == 0) {
            linked.remove(&self.identity);
        }
    }
}
