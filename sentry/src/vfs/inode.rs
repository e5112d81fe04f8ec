//! File systems and their files, as the rest of the VFS sees them.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use usk_abi::Errno;
use usk_abi::fs::{OpenFlags, RenameFlags, Statfs};

use crate::task::{Credentials, Task};
use crate::vfs::notify::Watches;
use crate::vfs::{
    Access, Attributes, Borrower, Borrowers, Exclusion, FileLocks, FileOps, FileType, Holder, Listing, Mark,
    Path, SetAttributes,
};

/// A file, shared by all its names.
pub type InodeRef = Arc<dyn Inode>;

/// How long the VFS may trust what it remembers of a file system's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// Names change through this VFS only: what is cached, absences included, holds for good.
    Forever,
    /// Names may change behind its back: [`Inode::revalidate`] is asked each time, absences are not kept.
    Revalidate,
}

/// A file system: a tree of inodes.
pub trait FileSystem: Send + Sync {
    /// Its type, as in `/proc/mounts`.
    fn type_name(&self) -> &'static str;

    /// Its root.
    fn root(&self) -> InodeRef;

    /// See [`Caching`].
    fn caching(&self) -> Caching {
        Caching::Forever
    }

    /// True if no name can be added: then Linux says of every name that is not there that it is not, before it asks who may
    /// create it (`/proc`).
    fn has_fixed_names(&self) -> bool {
        false
    }

    /// What `statfs(2)` shows; the mount's flags are filled in by the caller.
    fn statistics(&self) -> Result<Statfs, Errno>;

    /// Its own options for `/proc/mounts`, such as `size=64k`; empty if there are none.
    fn options(&self) -> String {
        String::new()
    }

    /// Writes what is cached to where it lasts.
    fn sync(&self) -> Result<(), Errno> {
        Ok(())
    }
}

/// Who asks.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// As whom.
    pub credentials: &'a Credentials,
    /// The task, if one asks (and not the kernel itself): what `/proc/self` means.
    pub task: Option<&'a Arc<Task>>,
}

/// A file to be created. Umask, inherited group and set-group-ID bits have been seen to.
#[derive(Clone, Debug)]
pub struct NewNode<'a> {
    /// What it is.
    pub file_type: FileType,
    /// Its permissions (`07777`).
    pub permissions: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// For a device: its number.
    pub special_device: u64,
    /// For a symbolic link: its target.
    pub target: &'a [u8],
}

/// Where a symbolic link leads.
pub enum Link {
    /// To this path, walked from where the link is.
    Target(Vec<u8>),
    /// To this very place, whatever its name (`/proc/PID/fd/N` and its kin).
    Magic(Path),
}

/// What every inode carries for the VFS, whatever its file system.
#[derive(Default)]
pub struct InodeCommon {
    locks: OnceLock<Box<FileLocks>>,
    /// What a FIFO or a bound socket is besides a name: the object that all who open or connect to it share.
    pub special: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    /// Who has it open for writing, or executes it.
    pub(super) writers: Exclusion,
    /// Mappings that share it and may be written; sealing denies them.
    pub writable_mappings: Exclusion,
    /// It is known to have neither set-user-ID nor set-group-ID, so that a write need not look (`S_NOSEC`).
    is_plain: AtomicBool,
    /// It is known to have no capabilities that a write would take away.
    has_no_capabilities: AtomicBool,
    watches: OnceLock<Box<Watches>>,
    borrowers: OnceLock<Box<Borrowers>>,
    holder: Holder,
    /// Open files that name it.
    pub(super) opens: AtomicU32,
    /// It is open in a way of which no claim tells.
    is_open_for_good: AtomicBool,
    /// It has lost its last name while it was watched.
    pub(super) is_gone: AtomicBool,
    /// Held from the look at who owns it and what its permissions are to the change that this allows (the kernel's `inode_lock`).
    pub(super) changes: Mutex<()>,
}

impl InodeCommon {
    /// Its advisory locks.
    pub fn locks(&self) -> &FileLocks {
        self.locks.get_or_init(Box::default)
    }

    /// Those to whom its attributes are lent.
    pub fn borrowers(&self) -> &Borrowers {
        self.borrowers.get_or_init(Box::default)
    }

    /// The task that holds it.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Whether it is open once. Asked by whoever wants to hold it, with the holder locked.
    pub(crate) fn is_open_once(&self) -> bool {
        self.opens.load(Ordering::Relaxed) == 1
    }

    /// It is open once more: whoever held it has to ask from now on.
    pub(super) fn opened(&self) {
        self.opens.fetch_add(1, Ordering::Relaxed);
        drop(self.holder.release());
    }

    /// The same, without a claim to write it, and for good.
    pub(super) fn opened_for_good(&self) {
        self.is_open_for_good.store(true, Ordering::SeqCst);
        self.opened();
    }

    /// Whether somebody may have it open for writing.
    pub(crate) fn may_be_written(&self) -> bool {
        self.writers.is_used() || self.is_open_for_good.load(Ordering::SeqCst)
    }

    /// Those who watch it.
    pub fn watches(&self) -> &Watches {
        self.watches.get_or_init(Box::default)
    }

    /// Those who watch it, if anybody ever did.
    pub fn watches_if_any(&self) -> Option<&Watches> {
        self.watches.get().map(|watches| &**watches)
    }

    /// True if a write need not look for set-user-ID and set-group-ID bits.
    pub(super) fn is_plain(&self) -> bool {
        self.is_plain.load(Ordering::Relaxed)
    }

    /// Remembers whether the file may have such bits.
    pub(super) fn set_plain(&self, is_plain: bool) {
        self.is_plain.store(is_plain, Ordering::Relaxed);
    }

    /// True if a write need not look for capabilities.
    pub(super) fn has_no_capabilities(&self) -> bool {
        self.has_no_capabilities.load(Ordering::Relaxed)
    }

    /// Remembers whether the file may have some.
    pub(super) fn set_without_capabilities(&self, is_without: bool) {
        self.has_no_capabilities.store(is_without, Ordering::Relaxed);
    }

    /// Its advisory locks, if any were ever taken.
    pub fn locks_if_any(&self) -> Option<&FileLocks> {
        self.locks.get().map(|locks| &**locks)
    }
}

/// What is told of a file to those who know it by a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFile {
    /// What `stat(2)` shows.
    pub attributes: Attributes,
    /// On what that depends besides what all names do.
    pub mark: Option<Mark>,
}

/// A file of a file system. Permission, mount flags and the rules that hold on every file system have been checked by the
/// VFS before a method is called; names are non-empty, at most 255 bytes, without slashes, neither `.` nor `..`.
///
/// Changes of one directory's names are serialised by the VFS (`Dentry::entries`), and lookups exclude them.
pub trait Inode: Send + Sync + Any {
    /// The part that is the VFS's.
    fn common(&self) -> &InodeCommon;

    /// What kind of file it is.
    fn file_type(&self) -> FileType;

    /// What `stat(2)` shows.
    fn attributes(&self) -> Result<Attributes, Errno>;

    /// What `stat(2)` shows, if neither that nor the contents change without [`Borrowers::recall`].
    fn fixed_attributes(&self) -> Option<Attributes> {
        None
    }

    /// What `stat(2)` shows of a file that is written at times, if nobody has it open for writing and it does not change now without
    /// [`Borrowers::recall_lent`].
    fn attributes_at_rest(&self, to: Borrower<'_>) -> Option<Attributes> {
        let _ = to;
        None
    }

    /// Either of these, which the next recall withdraws from the borrower.
    fn lend_attributes(&self, to: Borrower<'_>) -> Option<Attributes> {
        let look = || self.fixed_attributes().or_else(|| self.attributes_at_rest(to));
        self.common().borrowers().lend(to, look)
    }

    /// What may be told of it to those who know it by a name.
    fn known_by_name(&self) -> Option<KnownFile> {
        if let Some(attributes) = self.fixed_attributes() {
            return Some(KnownFile { attributes, mark: None });
        }
        let mark = Mark::of_file(self.common());
        let attributes = self.lend_attributes(Borrower::Names(mark))?;
        Some(KnownFile { attributes, mark: Some(mark) })
    }

    /// The entries of this directory about which somebody will probably ask next, who has asked about `name` or begins to, with what
    /// may be told of these files ([`Inode::known_by_name`]): those that are known already, at most `limit`.
    fn known_after(&self, name: Option<&[u8]>, limit: usize) -> Vec<(Box<[u8]>, KnownFile)> {
        let _ = (name, limit);
        Vec::new()
    }

    /// Changes attributes. `EROFS` on a file system that cannot be written.
    fn set_attributes(&self, change: &SetAttributes) -> Result<(), Errno>;

    /// The file of this name in this directory. `ENOENT` if there is none.
    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        let _ = name;
        Err(Errno::ENOTDIR)
    }

    /// Looks up `names[0]` here, `names[1]` in what that is, and so on, as far as that costs no more than the first
    /// alone. Returns what was found, in order: at least one, else `ENOENT`. `opens` says that the last will be opened for
    /// reading next.
    fn lookup_chain(&self, names: &[&[u8]], opens: bool) -> Result<Vec<InodeRef>, Errno> {
        let _ = opens;
        match names.first() {
            Some(name) => Ok(vec![self.lookup(name)?]),
            None => Err(Errno::ENOENT),
        }
    }

    /// True if `name` still means `child` in this directory. Asked with [`Caching::Revalidate`] only.
    fn revalidate(&self, name: &[u8], child: &InodeRef) -> bool {
        let _ = (name, child);
        true
    }

    /// Creates a file in this directory. `EEXIST` if the name is taken after all.
    fn create(&self, name: &[u8], node: &NewNode<'_>) -> Result<InodeRef, Errno> {
        let _ = (name, node);
        Err(Errno::EPERM)
    }

    /// Creates a regular file without a name (`O_TMPFILE`); `linkable` if it may get one later.
    fn create_unnamed(&self, node: &NewNode<'_>, linkable: bool) -> Result<InodeRef, Errno> {
        let _ = (node, linkable);
        Err(Errno::EOPNOTSUPP)
    }

    /// Gives `target`, a file of this file system that is no directory, another name.
    fn link(&self, name: &[u8], target: &InodeRef) -> Result<(), Errno> {
        let _ = (name, target);
        Err(Errno::EPERM)
    }

    /// Takes away a name of `child`, which is no directory.
    fn unlink(&self, name: &[u8], child: &InodeRef) -> Result<(), Errno> {
        let _ = (name, child);
        Err(Errno::EPERM)
    }

    /// Removes the directory `child`. `ENOTEMPTY` if it has entries.
    fn rmdir(&self, name: &[u8], child: &InodeRef) -> Result<(), Errno> {
        let _ = (name, child);
        Err(Errno::EPERM)
    }

    /// Renames `child` from `name` here to `new_name` in `new_directory`, which is of this file system. `replaced` is
    /// what has that name now: with `EXCHANGE` it gets the old name, else it goes away (`ENOTEMPTY` for a directory that has
    /// entries).
    fn rename(&self, rename: &Rename<'_>) -> Result<(), Errno> {
        let _ = rename;
        Err(Errno::EPERM)
    }

    /// All entries of this directory but `.` and `..`.
    fn list(&self) -> Result<Listing, Errno> {
        Err(Errno::ENOTDIR)
    }

    /// Whether `caller` is admitted to it, if that is not for its permission bits to say, nor for who overrides them.
    fn judge(&self, caller: Caller<'_>, wanted: Access) -> Option<bool> {
        let _ = (caller, wanted);
        None
    }

    /// Where this symbolic link leads.
    fn read_link(&self, caller: Caller<'_>) -> Result<Link, Errno> {
        let _ = caller;
        Err(Errno::EINVAL)
    }

    /// Opens the contents of this regular file. `this` is the same inode. `O_TRUNC` is not for it to see to.
    /// (Directories and special files are opened by the VFS, unless [`Inode::opens_itself`].)
    fn open(&self, this: &InodeRef, flags: OpenFlags, caller: Caller<'_>) -> Result<Arc<dyn FileOps>, Errno> {
        let _ = (this, flags, caller);
        Err(Errno::ENXIO)
    }

    /// True if [`Inode::open`] is for this file although it is not a regular one.
    fn opens_itself(&self) -> bool {
        false
    }

    /// The value of an extended attribute. `ENODATA` if it is not set.
    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let _ = name;
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets an extended attribute; `flags` are `XATTR_CREATE` and `XATTR_REPLACE`.
    fn set_xattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        let _ = (name, value, flags);
        Err(Errno::EOPNOTSUPP)
    }

    /// Removes an extended attribute. `ENODATA` if it is not set.
    fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        let _ = name;
        Err(Errno::EOPNOTSUPP)
    }

    /// Takes away its capabilities, if it has any. Not for a file whose writers the host sees: it does so by itself.
    fn drop_capabilities(&self) -> Result<(), Errno> {
        Ok(())
    }

    /// The names of the extended attributes.
    fn list_xattr(&self) -> Result<Vec<Vec<u8>>, Errno> {
        Ok(Vec::new())
    }

    /// This object as its own type.
    fn as_any(&self) -> &dyn Any;
}

/// The arguments of [`Inode::rename`].
pub struct Rename<'a> {
    /// The old name.
    pub name: &'a [u8],
    /// What has it.
    pub child: &'a InodeRef,
    /// The directory of the new name.
    pub new_directory: &'a InodeRef,
    /// The new name.
    pub new_name: &'a [u8],
    /// What has the new name now.
    pub replaced: Option<&'a InodeRef>,
    /// `RENAME_*`.
    pub flags: RenameFlags,
}
