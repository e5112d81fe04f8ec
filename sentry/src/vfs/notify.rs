//! What happens to files, for those who watch them (the kernel's `fs/notify`).
//!
//! A file's watches hang on its inode ([`Watches`]). Three kinds of events are told: of a file, to its own watches and, with its
//! name, to those of its directory ([`on_file`]); of a name, to the directory's ([`on_name`]); of a file's identity, to its own
//! ([`on_inode`]). While nothing in the sandbox is watched, an event costs one load of [`is_active`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;
use usk_abi::inotify::InotifyMask;

use crate::file::inotify::Watch;
use crate::vfs::{Dentry, FileType, InodeRef};

/// Watches in the sandbox.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// True if anything is watched.
pub fn is_active() -> bool {
    COUNT.load(Ordering::Relaxed) > 0
}

/// A watch that is about to be added: [`is_active`] is true from now on, and stays so until this is dropped.
pub(crate) struct Announced(());

/// Announces a watch. False if there are some already.
pub(crate) fn announce() -> (Announced, bool) {
    (Announced(()), COUNT.fetch_add(1, Ordering::SeqCst) == 0)
}

impl Drop for Announced {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The watches of one file.
#[derive(Default)]
pub struct Watches {
    list: Mutex<Vec<Arc<Watch>>>,
}

impl Watches {
    /// Finds a watch, or adds what `make` makes, with the list locked: two threads that watch one file for one inotify instance make one
    /// watch.
    pub(crate) fn find_or_add<T>(
        &self,
        is_it: impl Fn(&Watch) -> bool,
        found: impl FnOnce(&Arc<Watch>) -> T,
        make: impl FnOnce() -> Result<(Arc<Watch>, T), usk_abi::Errno>,
    ) -> Result<T, usk_abi::Errno> {
        let mut list = self.list.lock();
        if let Some(known) = list.iter().find(|watch| is_it(watch)) {
            return Ok(found(known));
        }
        let (watch, result) = make()?;
        list.push(watch);
        COUNT.fetch_add(1, Ordering::Relaxed);
        Ok(result)
    }

    /// Takes a watch away.
    pub(crate) fn remove(&self, watch: &Arc<Watch>) {
        let mut list = self.list.lock();
        let Some(index) = list.iter().position(|known| Arc::ptr_eq(known, watch)) else { return };
        let removed = list.remove(index);
        drop(list);
        COUNT.fetch_sub(1, Ordering::Relaxed);
        // Without the lock: it may be the end of a dentry.
        drop(removed);
    }

    fn all(&self) -> SmallVec<[Arc<Watch>; 4]> {
        self.list.lock().iter().cloned().collect()
    }
}

/// Something that happened.
#[derive(Clone, Copy)]
pub(crate) struct Event<'a> {
    /// What, without `IN_ISDIR`.
    pub(crate) mask: InotifyMask,
    /// It happened to a directory.
    pub(crate) is_directory: bool,
    /// Joins the two halves of a rename.
    pub(crate) cookie: u32,
    /// The name in the watched directory; `None` if it happened to the watched file itself.
    pub(crate) name: Option<&'a [u8]>,
    /// The name had been removed before.
    pub(crate) is_unlinked: bool,
}

fn tell(inode: &InodeRef, event: Event<'_>) {
    let Some(watches) = inode.common().watches_if_any() else { return };
    for watch in watches.all() {
        watch.tell(event);
    }
}

fn is_directory(inode: &InodeRef) -> bool {
    inode.file_type() == FileType::Directory
}

/// Something happened to the file that `dentry` names.
pub fn on_file(dentry: &Dentry, mask: InotifyMask) {
    if !is_active() {
        return;
    }
    let Some(inode) = dentry.inode() else { return };
    let event = Event {
        mask,
        is_directory: is_directory(inode),
        cookie: 0,
        name: None,
        is_unlinked: dentry.is_deleted(),
    };
    let parent = dentry.parent();
    if let Some(directory) = parent.as_ref().and_then(|parent| parent.inode())
        && directory.common().watches_if_any().is_some()
    {
        tell(directory, Event { name: Some(&dentry.name()), ..event });
    }
    tell(inode, event);
}

/// Something happened to a name in `directory`.
pub(super) fn on_name(directory: &Dentry, name: &[u8], mask: InotifyMask, is_directory: bool, cookie: u32) {
    if !is_active() {
        return;
    }
    if let Some(inode) = directory.inode() {
        tell(inode, Event { mask, is_directory, cookie, name: Some(name), is_unlinked: false });
    }
}

/// Something happened to the file itself, whatever its name. Linux does not say here that it is a directory.
pub(super) fn on_inode(inode: &InodeRef, mask: InotifyMask) {
    if is_active() {
        tell(inode, Event { mask, is_directory: false, cookie: 0, name: None, is_unlinked: false });
    }
}

/// True if the file's last name goes away with the next name: asked before that, and only of files that are watched.
pub(super) fn loses_last_name(inode: &InodeRef) -> bool {
    inode.common().watches_if_any().is_some()
        && (is_directory(inode) || inode.attributes().is_ok_and(|attributes| attributes.links <= 1))
}

/// A name of a file is gone. `is_last` says that it was the last; the file itself is gone once nobody has it open.
pub(super) fn on_name_gone(inode: &InodeRef, is_last: bool) {
    if !is_active() {
        return;
    }
    if !is_directory(inode) {
        on_inode(inode, InotifyMask::ATTRIB);
    }
    if is_last {
        let common = inode.common();
        common.is_gone.store(true, Ordering::Relaxed);
        if common.opens.load(Ordering::Relaxed) == 0 {
            on_end(inode);
        }
    }
}

/// An open file of `inode` has been closed for good.
pub(super) fn on_last_close(inode: &InodeRef) {
    let common = inode.common();
    if common.opens.fetch_sub(1, Ordering::Relaxed) == 1 && common.is_gone.load(Ordering::Relaxed) {
        on_end(inode);
    }
}

/// The file is gone: so are its watches.
fn on_end(inode: &InodeRef) {
    on_inode(inode, InotifyMask::DELETE_SELF);
    if let Some(watches) = inode.common().watches_if_any() {
        for watch in watches.all() {
            watch.end();
        }
    }
}

/// A number for the two halves of a rename.
pub(super) fn next_cookie() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed).max(1)
}
