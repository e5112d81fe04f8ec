//! Directory entries: the names that the VFS knows, as a tree, and the cache of those that nobody uses at the moment.
//!
//! A dentry is a name in a directory together with the inode that it means, or with none: a *negative* dentry remembers
//! that there is no such file. What a dentry means never changes; creating a file puts a new dentry in the place of the
//! negative one. Its name and parent change by renames only.
//!
//! A directory's dentry holds its children that are cached; each child holds its parent. A child that nobody else holds is evicted
//! when the file system's cache is over its capacity, by a clock: entries that were used since the hand came by last stay.
//! A child that is in use stays in the map, so that one name is one dentry at any time.
//!
//! # Locks
//!
//! [`Dentry::entries`] orders what happens to the names of one directory: lookups that ask the file system share it, changes
//! take it whole. It is held while the file system is asked (which may mean the gofer): otherwise an answer could be put into
//! the cache after a change has made it wrong. Lookups that the cache answers take only the map's short lock.
//! Two directories are locked ancestor first, and only by renames, which hold [`SuperBlock::renames`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use usk_abi::Errno;
use usk_abi::fs::NAME_MAX;

use crate::vfs::{Caching, FileSystem, FileType, InodeRef, KnownFile, Mark, NameChange};

/// Dentries that a file system keeps although nobody uses them.
const CACHE_CAPACITY: usize = 16384;

/// Cached entries looked at for eviction whenever one is added to a full cache.
const EVICTION_STEPS: usize = 8;

/// What the VFS keeps for each file system that is mounted somewhere.
pub struct SuperBlock {
    /// The file system.
    pub file_system: Arc<dyn FileSystem>,
    caching: Caching,
    /// Held whole by renames; shared by whoever needs parents to stay what they are.
    pub renames: RwLock<()>,
    /// Entries that may be evicted, the next to be looked at first.
    cache: Mutex<VecDeque<Weak<Dentry>>>,
}

impl SuperBlock {
    /// Makes a file system mountable: the dentry of its root.
    pub fn mount_root(file_system: Arc<dyn FileSystem>) -> Arc<Dentry> {
        let inode = file_system.root();
        let block = Arc::new(SuperBlock {
            caching: file_system.caching(),
            file_system,
            renames: RwLock::default(),
            cache: Mutex::default(),
        });
        Arc::new(Dentry::with(block, None, b"/".as_slice().into(), Some(inode)))
    }

    /// Notes a new dentry, and evicts old ones if there are too many.
    fn cached(&self, dentry: &Arc<Dentry>) {
        let mut evicted = Vec::new();
        let mut cache = self.cache.lock();
        cache.push_back(Arc::downgrade(dentry));
        let mut steps = 0;
        while cache.len() > CACHE_CAPACITY && steps < EVICTION_STEPS {
            steps += 1;
            let Some(candidate) = cache.pop_front() else { break };
            let Some(dentry) = candidate.upgrade() else { continue };
            if dentry.referenced.swap(false, Ordering::Relaxed) || !dentry.evict() {
                cache.push_back(candidate);
            }
            evicted.push(dentry);
        }
        drop(cache);
        // Dropped without the lock: it may be the end of an inode.
        drop(evicted);
    }

    /// Evicts everything that nobody uses.
    fn shrink(&self) {
        let mut evicted = Vec::new();
        loop {
            // Parents become free when their children are gone: go round until nothing changes.
            let mut cache = self.cache.lock();
            let before = evicted.len();
            cache.retain(|candidate| {
                let Some(dentry) = candidate.upgrade() else { return false };
                let gone = dentry.evict();
                evicted.push((dentry, gone));
                !gone
            });
            drop(cache);
            let progress = evicted.drain(before..).filter(|(_, gone)| *gone).count();
            if progress == 0 {
                break;
            }
        }
    }
}

/// Moves of directories that have begun.
static MOVES_BEGUN: AtomicU64 = AtomicU64::new(0);

/// Moves of directories that have ended.
static MOVES_ENDED: AtomicU64 = AtomicU64::new(0);

/// A move of a directory, which is under way while this is held.
struct DirectoryMove(());

impl DirectoryMove {
    fn begin() -> Self {
        MOVES_BEGUN.fetch_add(1, Ordering::SeqCst);
        DirectoryMove(())
    }
}

impl Drop for DirectoryMove {
    fn drop(&mut self) {
        MOVES_ENDED.fetch_add(1, Ordering::SeqCst);
    }
}

/// A time at which directories were where they were (the kernel's `rename_lock`, as a reader).
#[derive(Clone, Copy, Debug)]
pub(super) struct PlacesAsOf(u64);

impl PlacesAsOf {
    pub(super) fn now() -> Self {
        PlacesAsOf(MOVES_ENDED.load(Ordering::SeqCst))
    }

    /// True if no directory has been moved since, and none was being moved.
    pub(super) fn still_hold(self) -> bool {
        MOVES_BEGUN.load(Ordering::SeqCst) == self.0
    }
}

struct Position {
    parent: Option<Arc<Dentry>>,
    name: Arc<[u8]>,
}

/// A name and what it means.
pub struct Dentry {
    block: Arc<SuperBlock>,
    inode: Option<InodeRef>,
    position: RwLock<Position>,
    children: Mutex<HashMap<Arc<[u8]>, Arc<Dentry>>>,
    /// See the module's comment.
    pub(super) entries: RwLock<()>,
    /// The name is gone; what it meant may still be open.
    deleted: AtomicBool,
    /// Count of mounts on top of it.
    mounts: AtomicU32,
    /// Used since the eviction's hand came by last.
    referenced: AtomicBool,
    /// The inode's number, or 0 if nobody has needed it yet.
    number: AtomicU64,
}

impl Dentry {
    fn with(
        block: Arc<SuperBlock>,
        parent: Option<Arc<Dentry>>,
        name: Arc<[u8]>,
        inode: Option<InodeRef>,
    ) -> Dentry {
        Dentry {
            block,
            inode,
            position: RwLock::new(Position { parent, name }),
            children: Mutex::default(),
            entries: RwLock::default(),
            deleted: AtomicBool::new(false),
            mounts: AtomicU32::new(0),
            referenced: AtomicBool::new(true),
            number: AtomicU64::new(0),
        }
    }

    /// A dentry that no directory has: for files without a name, `label` is what shows instead.
    pub fn disconnected(block: &Arc<SuperBlock>, label: &[u8], inode: InodeRef) -> Arc<Dentry> {
        Arc::new(Dentry::with(block.clone(), None, label.into(), Some(inode)))
    }

    /// A dentry below this one for a file that never had a name (`O_TMPFILE`): it shows as deleted from the beginning.
    pub(super) fn unnamed_child(self: &Arc<Self>, label: &[u8], inode: InodeRef) -> Arc<Dentry> {
        let dentry = Dentry::with(self.block.clone(), Some(self.clone()), label.into(), Some(inode));
        dentry.deleted.store(true, Ordering::Release);
        Arc::new(dentry)
    }

    /// The file system that it belongs to.
    pub fn block(&self) -> &Arc<SuperBlock> {
        &self.block
    }

    /// True if its file system's names change through the VFS only, which announces it.
    pub(crate) fn has_lasting_names(&self) -> bool {
        self.block.caching == Caching::Forever
    }

    /// What it means; `None` if it is negative.
    pub fn inode(&self) -> Option<&InodeRef> {
        self.inode.as_ref()
    }

    /// What it means, or `ENOENT`.
    pub fn require(&self) -> Result<&InodeRef, Errno> {
        self.inode.as_ref().ok_or(Errno::ENOENT)
    }

    /// Its type; `None` if it is negative.
    pub fn file_type(&self) -> Option<FileType> {
        self.inode.as_ref().map(|inode| inode.file_type())
    }

    /// True if it is a directory.
    pub fn is_directory(&self) -> bool {
        self.file_type() == Some(FileType::Directory)
    }

    /// The directory that it is in; `None` for a file system's root and for files without a name.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.position.read().parent.clone()
    }

    /// Its name there.
    pub fn name(&self) -> Arc<[u8]> {
        self.position.read().name.clone()
    }

    /// True if the name has been removed.
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// True if something is mounted on it.
    pub fn is_mount_point(&self) -> bool {
        self.mounts.load(Ordering::Acquire) > 0
    }

    pub(super) fn count_mount(&self) {
        self.mounts.fetch_add(1, Ordering::AcqRel);
    }

    /// True if `self` is `other` or above it in its file system. The caller keeps renames out.
    pub(super) fn is_ancestor_of(self: &Arc<Self>, other: &Arc<Dentry>) -> bool {
        let mut at = Some(other.clone());
        while let Some(dentry) = at {
            if Arc::ptr_eq(&dentry, self) {
                return true;
            }
            at = dentry.parent();
        }
        false
    }

    /// The child of this name if the cache knows it for certain.
    pub(super) fn cached_child(&self, name: &[u8]) -> Option<Arc<Dentry>> {
        let child = self.children.lock().get(name).cloned()?;
        if !child.referenced.load(Ordering::Relaxed) {
            child.referenced.store(true, Ordering::Relaxed);
        }
        if self.block.caching == Caching::Forever || child.is_mount_point() || self.still_means(name, &child)
        {
            return Some(child);
        }
        // The name means something else by now. Whoever holds the old dentry keeps a deleted file.
        let mut children = self.children.lock();
        if children.get(name).is_some_and(|known| Arc::ptr_eq(known, &child)) {
            children.remove(name);
            child.deleted.store(true, Ordering::Release);
        }
        None
    }

    fn still_means(&self, name: &[u8], child: &Arc<Dentry>) -> bool {
        match (&self.inode, &child.inode) {
            (Some(directory), Some(inode)) => directory.revalidate(name, inode),
            _ => false,
        }
    }

    /// The child `names[0]` of this directory, negative if there is none; asks the file system if the cache does not know.
    /// The further names are those that will be asked for below it, for file systems that can fetch more in one go.
    /// `opens` says that the last of all will be opened for reading.
    pub(super) fn child(self: &Arc<Self>, names: &[&[u8]], opens: bool) -> Result<Arc<Dentry>, Errno> {
        let Some(name) = names.first() else { return Err(Errno::ENOENT) };
        if let Some(child) = self.cached_child(name) {
            return Ok(child);
        }
        let _lookups = self.entries.read();
        self.look_up(names, opens)
    }

    /// As [`Inode::known_after`](crate::vfs::Inode::known_after), but for children on which something is mounted.
    pub(crate) fn known_after(&self, name: Option<&[u8]>, limit: usize) -> Vec<(Box<[u8]>, KnownFile)> {
        let Some(inode) = &self.inode else { return Vec::new() };
        let mut next = inode.known_after(name, limit);
        next.retain_mut(|(name, file)| {
            let child = self.children.lock().get(&**name).cloned();
            let Some(child) = child else { return true };
            let known = child.inode.as_ref().filter(|_| !child.is_mount_point());
            known.and_then(|inode| inode.known_by_name()).map(|known| *file = known).is_some()
        });
        next
    }

    /// The child of this name, for a caller that holds [`Dentry::entries`] whole and means to change what it is.
    pub(super) fn child_locked(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Dentry>, Errno> {
        let child = self.look_up(&[name], false)?;
        if child.inode.is_none() && self.block.file_system.has_fixed_names() {
            return Err(Errno::ENOENT);
        }
        Ok(child)
    }

    fn look_up(self: &Arc<Self>, names: &[&[u8]], opens: bool) -> Result<Arc<Dentry>, Errno> {
        let Some(name) = names.first() else { return Err(Errno::ENOENT) };
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if let Some(child) = self.children.lock().get(*name)
            && (self.block.caching == Caching::Forever || child.inode.is_some())
        {
            return Ok(child.clone());
        }
        let directory = self.require()?;
        if self.is_deleted() {
            return Err(Errno::ENOENT);
        }
        let mut found = directory.lookup_chain(names, opens);
        if found.as_ref().err() == Some(&Errno::ENFILE) {
            // The gofer has no room for more files: let go of those that nobody uses.
            self.block.shrink();
            found = directory.lookup_chain(names, opens);
        }
        match found {
            Ok(chain) => self.insert_chain(names, chain),
            Err(Errno::ENOENT) => Ok(self.insert_negative(name)),
            Err(error) => Err(error),
        }
    }

    /// Puts a looked-up chain into the tree as one: nobody sees its first link before the others hang below it.
    fn insert_chain(self: &Arc<Self>, names: &[&[u8]], chain: Vec<InodeRef>) -> Result<Arc<Dentry>, Errno> {
        let mut made: Vec<Arc<Dentry>> = Vec::with_capacity(chain.len());
        for (name, inode) in names.iter().zip(chain) {
            let parent = made.last().unwrap_or(self).clone();
            let name: Arc<[u8]> = (*name).into();
            made.push(Arc::new(Dentry::with(self.block.clone(), Some(parent), name.clone(), Some(inode))));
            if let [.., above, below] = made.as_slice() {
                above.children.lock().insert(name, below.clone());
            }
        }
        let first = made.first().ok_or(Errno::EIO)?.clone();
        let name = first.name();
        {
            let mut children = self.children.lock();
            if let Some(known) = children.get(&name).filter(|known| known.inode.is_some()) {
                // Another lookup was faster. Take the new chain apart again: parents and children hold each other.
                let known = known.clone();
                drop(children);
                for dentry in &made {
                    dentry.children.lock().clear();
                }
                return Ok(known);
            }
            children.insert(name, first.clone());
        }
        for dentry in &made {
            self.block.cached(dentry);
        }
        Ok(first)
    }

    fn insert_negative(self: &Arc<Self>, name: &[u8]) -> Arc<Dentry> {
        let name: Arc<[u8]> = name.into();
        let dentry = Arc::new(Dentry::with(self.block.clone(), Some(self.clone()), name.clone(), None));
        if self.block.caching == Caching::Forever {
            {
                let mut children = self.children.lock();
                if let Some(known) = children.get(&name) {
                    return known.clone();
                }
                children.insert(name, dentry.clone());
            }
            self.block.cached(&dentry);
        }
        dentry
    }

    /// Gives a new file its dentry. The caller holds [`Dentry::entries`] whole.
    pub(super) fn attach(self: &Arc<Self>, name: &[u8], inode: InodeRef) -> Arc<Dentry> {
        let _change = self.change_of(name);
        let name: Arc<[u8]> = name.into();
        let dentry =
            Arc::new(Dentry::with(self.block.clone(), Some(self.clone()), name.clone(), Some(inode)));
        self.children.lock().insert(name, dentry.clone());
        self.block.cached(&dentry);
        dentry
    }

    /// What depends on the meaning of this name in this directory. By the directory's number, which outlives dentries and inodes. `None`
    /// if that cannot be found out.
    pub(crate) fn mark_of(&self, name: &[u8]) -> Option<Mark> {
        let mut number = self.number.load(Ordering::Relaxed);
        if number == 0 {
            number = self.inode.as_ref()?.attributes().ok()?.inode;
            self.number.store(number, Ordering::Relaxed);
        }
        Some(Mark::of_name(number, name))
    }

    /// The change of a name in this directory that has not meant another directory, and is not to mean one that there was.
    fn change_of(&self, name: &[u8]) -> NameChange {
        self.mark_of(name).map_or_else(NameChange::begin, NameChange::begin_of)
    }

    /// The change of a name in this directory that has meant `child`, or is to mean it.
    fn change_to(&self, name: &[u8], child: &Dentry) -> NameChange {
        if child.is_directory() { NameChange::begin() } else { self.change_of(name) }
    }

    /// Notes that `child` has lost its name. The caller holds [`Dentry::entries`] of the directory whole.
    pub(super) fn detach(self: &Arc<Self>, name: &[u8], child: &Arc<Dentry>) {
        let _change = self.change_to(name, child);
        child.lose_name();
        self.children.lock().remove(name);
        self.insert_negative(name);
    }

    /// Notes that another file is about to get the name of this one, which it has until then. The caller holds [`Dentry::entries`] of
    /// the directory whole.
    pub(super) fn give_way(&self, name: &[u8]) {
        let _change = self.parent().map_or_else(NameChange::begin, |parent| parent.change_to(name, self));
        self.lose_name();
    }

    fn lose_name(&self) {
        self.deleted.store(true, Ordering::Release);
        // Children of a directory that is gone can only be negative; they hold their parent.
        self.children.lock().clear();
    }

    /// Forgets what is cached of a name. The caller holds [`Dentry::entries`] whole.
    pub(super) fn forget(&self, name: &[u8]) {
        let _change = self.change_of(name);
        self.children.lock().remove(name);
    }

    /// Moves a dentry to another name. The caller holds the rename lock and both directories' entries.
    pub(super) fn move_to(self: &Arc<Self>, directory: &Arc<Dentry>, name: &[u8]) {
        let _change = directory.change_to(name, self);
        let _move = self.is_directory().then(DirectoryMove::begin);
        let name: Arc<[u8]> = name.into();
        *self.position.write() = Position { parent: Some(directory.clone()), name: name.clone() };
        directory.children.lock().insert(name, self.clone());
    }

    /// Takes the dentry out of its directory's map if nobody but the map and the caller holds it.
    fn evict(self: &Arc<Self>) -> bool {
        let Some(parent) = self.parent() else { return false };
        let name = self.name();
        let mut children = parent.children.lock();
        // The map's reference and the caller's. References are handed out under the map's lock only.
        if Arc::strong_count(self) == 2 && children.get(&name).is_some_and(|known| Arc::ptr_eq(known, self)) {
            children.remove(&name);
            return true;
        }
        false
    }
}

impl Drop for Dentry {
    /// Lets go of the ancestors one after the other: a guest can make a chain of deleted directories, each held by the next
    /// only, that is too long for recursion.
    fn drop(&mut self) {
        let mut next = self.position.get_mut().parent.take();
        while let Some(mut parent) = next.and_then(Arc::into_inner) {
            next = parent.position.get_mut().parent.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::tmpfs::{Tmpfs, TmpfsOptions};

    #[test]
    fn the_cache_stays_within_its_capacity_and_keeps_what_is_in_use() {
        let root = SuperBlock::mount_root(Tmpfs::new(TmpfsOptions::default()));
        let kept = root.child(&[b"kept"], false).unwrap();
        for number in 0..2 * CACHE_CAPACITY {
            root.child(&[format!("absent{number}").as_bytes()], false).unwrap();
        }
        assert!(root.children.lock().len() <= CACHE_CAPACITY + 1);
        assert!(Arc::ptr_eq(&kept, &root.child(&[b"kept"], false).unwrap()));
    }
}
