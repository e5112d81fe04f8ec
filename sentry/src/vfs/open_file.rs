//! An open file description, and what the objects behind it can do.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use usk_abi::fs::{FallocateMode, OpenFlags, Seals};
use usk_abi::inotify::InotifyMask;
use usk_abi::{Errno, PollEvents};

use crate::file::async_io::{self, FileOwner};
use crate::task::{Credentials, Current};
use crate::vfs::anonymous::{anonymous_path, path_without_name};
use crate::vfs::locks::LockOwner;
use crate::vfs::{Arrivals, Caller, DirectoryEntry, FileClaim, FileType, InodeRef, Path, Timestamp, notify};
use crate::wait::WaitQueue;
use crate::{Sink, Source, SysResult};

/// The offset that means "at your own position" to files that [keep it](FileOps::keeps_position).
pub const OWN_POSITION: u64 = u64::MAX;
/// Longest file in memory, in bytes, that may be kept for a while without a name.
const MOST_KEPT: u64 = 64 << 10;

/// What can be done with an open file. One object implements it for one kind of file.
///
/// No method blocks for an event: an operation that would have to wait returns `EAGAIN`, and the caller waits on
/// [`FileOps::wait_queue`] with `Current::block`, unless the file is non-blocking. (Host files on disk are not events.)
/// Methods that a kind of file does not have keep the default, which gives Linux's error.
pub trait FileOps: Send + Sync + Any {
    /// Reads into `destination` at byte `offset` (ignored by files that have no position). Returns the bytes read, 0
    /// at the end.
    fn read(&self, file: &OpenFile, destination: &mut dyn Sink, offset: u64) -> Result<usize, Errno> {
        let _ = (file, destination, offset);
        Err(Errno::EINVAL)
    }

    /// Writes from `source` at byte `offset` (ignored by files that have no position). Returns the bytes written.
    fn write(&self, file: &OpenFile, source: &mut dyn Source, offset: u64) -> Result<usize, Errno> {
        let _ = (file, source, offset);
        Err(Errno::EINVAL)
    }

    /// Writes from `source` at the end of a file that has a position (`O_APPEND`). Returns the bytes written and the byte
    /// offset after them.
    fn append(&self, file: &OpenFile, source: &mut dyn Source) -> Result<(usize, u64), Errno> {
        let end = self.length(file)?;
        let written = self.write(file, source, end)?;
        Ok((written, end + written as u64))
    }

    /// The length in bytes of a file that has a position: where `SEEK_END` is.
    fn length(&self, file: &OpenFile) -> Result<u64, Errno> {
        Ok(file.inode().attributes()?.size)
    }

    /// The first byte at or after `offset` that is data (or, if `hole`, that is in a hole or the end of the file).
    /// `ENXIO` beyond the end.
    fn seek_data(&self, file: &OpenFile, offset: u64, hole: bool) -> Result<u64, Errno> {
        let length = self.length(file)?;
        match offset {
            _ if offset >= length => Err(Errno::ENXIO),
            _ if hole => Ok(length),
            _ => Ok(offset),
        }
    }

    /// `fallocate(2)`; the range has been checked.
    fn allocate(&self, file: &OpenFile, mode: FallocateMode, offset: u64, length: u64) -> Result<(), Errno> {
        let _ = (file, mode, offset, length);
        Err(Errno::EOPNOTSUPP)
    }

    /// Up to which byte nothing but the file's holder can tell when it is written: no write fails there, and none changes anything but
    /// the contents, the length and the times. `None` if there is no such file.
    fn late_writes_end(&self) -> Option<u64> {
        None
    }

    /// Does the writes that the file's holder has made below [`FileOps::late_writes_end`], in order.
    fn write_late(&self, writes: &[LateWrite<'_>]) -> Result<(), Errno> {
        let _ = writes;
        Err(Errno::EINVAL)
    }

    /// `ftruncate(2)`; the file is open for writing.
    fn set_length(&self, file: &OpenFile, length: u64) -> Result<(), Errno> {
        let _ = (file, length);
        Err(Errno::EINVAL)
    }

    /// Entries of a directory from `position` on, which moves along. `emit` is told each entry and the position after it, and
    /// says false for an entry that it has no room for.
    fn read_directory(
        &self,
        file: &OpenFile,
        position: &mut u64,
        emit: &mut dyn FnMut(&DirectoryEntry<'_>, u64) -> bool,
    ) -> Result<(), Errno> {
        let _ = (file, position, emit);
        Err(Errno::ENOTDIR)
    }

    /// The seals of a memory file (`F_GET_SEALS`).
    fn seals(&self) -> Result<Seals, Errno> {
        Err(Errno::EINVAL)
    }

    /// Adds seals to a memory file (`F_ADD_SEALS`).
    fn add_seals(&self, seals: Seals) -> Result<(), Errno> {
        let _ = seals;
        Err(Errno::EINVAL)
    }

    /// True if opening `/proc/PID/fd/N` of a file that no directory names gives the same object again (streams of the host).
    fn can_be_reopened(&self) -> bool {
        false
    }

    /// Whether the caller may read (or, if `writing`, write) now: asked once by each call that transfers data, before it
    /// does. Terminals stop background processes here (`SIGTTIN`, `SIGTTOU`).
    fn admit(&self, current: &mut Current, file: &OpenFile, writing: bool) -> SysResult<()> {
        let _ = (current, file, writing);
        Ok(())
    }

    /// True if a blocking write goes on until everything is written (pipes, stream sockets, terminals): after a part
    /// the caller waits and calls again. Interrupted after a part, the write returns the part.
    fn write_is_all_or_wait(&self) -> bool {
        false
    }

    /// True if `writev(2)` is as many writes as it has ranges.
    fn takes_ranges_apart(&self) -> bool {
        false
    }

    /// True if the file has a position, so that `lseek`, `pread` and `pwrite` work; else they fail with `ESPIPE`.
    fn is_seekable(&self) -> bool {
        false
    }

    /// True if the file keeps its position itself (a descriptor of the host shares it with the host's processes): reads and
    /// writes at the position pass [`OWN_POSITION`] as offset, and `lseek(2)` is [`FileOps::seek`].
    fn keeps_position(&self) -> bool {
        false
    }

    /// `lseek(2)` for files that keep their position themselves, and for those that have none but do not mind.
    fn seek(&self, file: &OpenFile, offset: i64, whence: u32) -> Result<u64, Errno> {
        let _ = (file, offset, whence);
        Err(Errno::ESPIPE)
    }

    /// What the file is ready for now.
    fn poll(&self, file: &OpenFile) -> PollEvents {
        let _ = file;
        PollEvents::IN | PollEvents::OUT | PollEvents::RDNORM | PollEvents::WRNORM
    }

    /// True if the file has signal-driven input and output (`O_ASYNC`): pipes, sockets, terminals.
    fn raises_signals(&self) -> bool {
        false
    }

    /// Where changes of readiness are notified; `None` for files that are always ready (and that epoll refuses with
    /// `EPERM`).
    fn wait_queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// `ioctl(2)`; generic commands (`FIONBIO`, `FIOCLEX`, …) have been dealt with before.
    fn ioctl(&self, current: &mut Current, file: &OpenFile, command: u32, argument: u64) -> SysResult {
        let _ = (current, file, command, argument);
        Err(Errno::ENOTTY.into())
    }

    /// What `mmap(2)` of this file maps. `ENODEV` for files that cannot be mapped.
    fn mapping(&self, file: &OpenFile, shared: bool) -> Result<Mapping, Errno> {
        let _ = (file, shared);
        Err(Errno::ENODEV)
    }

    /// Writes what is cached to the backing store.
    fn sync(&self, file: &OpenFile, data_only: bool) -> Result<(), Errno> {
        let _ = (file, data_only);
        Err(Errno::EINVAL)
    }

    /// True if it has no backing store, and never gets one: [`FileOps::sync`] has nothing to do.
    fn is_volatile(&self) -> bool {
        false
    }

    /// True if there is nothing to read, ever, and writes succeed and leave nothing behind.
    fn is_void(&self) -> bool {
        false
    }

    /// A descriptor of this open file in the table of this number has been closed (there may be others): Linux's `flush`.
    fn flush(&self, file: &OpenFile, table: u64) -> Result<(), Errno> {
        let _ = (file, table);
        Ok(())
    }

    /// What arrives here, if it is a stream of the guests' own that is read from the front.
    fn arrivals(&self) -> Option<&dyn Arrivals> {
        None
    }

    /// What `/proc/PID/fdinfo/N` says besides position and flags: whole lines.
    fn information(&self) -> String {
        String::new()
    }

    /// This object as its own type, for code that works on one kind of file only.
    fn as_any(&self) -> &dyn Any;
}

/// A write that was made before it is told of.
#[derive(Clone, Copy, Debug)]
pub struct LateWrite<'a> {
    /// Where.
    pub offset: u64,
    /// What.
    pub data: &'a [u8],
    /// When.
    pub when: Timestamp,
}

/// What a mapping of a file is made of.
#[derive(Clone, Debug)]
pub enum Mapping {
    /// A host file or memfd whose byte offsets are the file's own.
    Host(Arc<OwnedFd>),
    /// Zeros: mapping `/dev/zero` is mapping anonymous memory.
    Anonymous,
}

/// What an open file is an open file of.
enum Place {
    /// A name in a directory.
    Named(Path),
    /// Nothing that a directory names.
    Anonymous {
        /// What `/proc/PID/fd/N` shows, such as `anon_inode:[eventfd]`.
        label: String,
        /// Made when somebody asks for it.
        path: OnceLock<Path>,
    },
}

/// An open file description (`struct file`): what `open(2)` makes and `dup(2)` shares.
pub struct OpenFile {
    /// The object.
    pub ops: Arc<dyn FileOps>,
    /// A number that no other open file of this process has had.
    id: u64,
    /// Status flags (`O_APPEND`, `O_NONBLOCK`, …) and access mode, as `F_GETFL` returns them.
    flags: AtomicU32,
    /// The position, in bytes. Held locked while a read or a write moves it.
    pub position: Mutex<u64>,
    place: Place,
    /// As whom it was opened, if it was by a name (`f_cred`): their [`Credentials::identity`].
    opener: Option<u64>,
    /// Who gets signals about it, once somebody has asked.
    owner: OnceLock<Arc<FileOwner>>,
    /// That it is open for writing, if it is a regular file and is.
    _claim: Option<FileClaim>,
    /// How many of the references to it are mappings'.
    mappings: AtomicUsize,
    /// No program has opened it yet: nobody is told of its end.
    is_prepared: AtomicBool,
    /// Who wants to know when this open file is gone.
    close_watchers: Mutex<Vec<Weak<dyn CloseWatcher>>>,
}

/// Is told when an open file is gone: an epoll instance forgets it then.
pub trait CloseWatcher: Send + Sync {
    /// The last reference to `file` has been dropped. It is the same object (the same address) that was watched.
    fn file_closed(&self, file: &OpenFile);
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Place::Named(path) = &self.place
            && let Some(inode) = path.dentry.inode()
            && !*self.is_prepared.get_mut()
        {
            let mask = if self.open_flags().is_writable() {
                InotifyMask::CLOSE_WRITE
            } else {
                InotifyMask::CLOSE_NOWRITE
            };
            self.happened(mask);
            notify::on_last_close(inode);
        }
        if self.owner.get().is_some() {
            async_io::set_async(self, -1, false);
        }
        for watcher in std::mem::take(self.close_watchers.get_mut()) {
            if let Some(watcher) = watcher.upgrade() {
                watcher.file_closed(self);
            }
        }
        if let Some(inode) = self.inode_if_known()
            && let Some(locks) = inode.common().locks_if_any()
        {
            locks.release(LockOwner::Description(self.id));
        }
    }
}

impl OpenFile {
    fn with(
        ops: Arc<dyn FileOps>,
        flags: u32,
        place: Place,
        claim: Option<FileClaim>,
        opener: Option<u64>,
    ) -> Arc<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        if let Place::Named(path) = &place
            && let Some(inode) = path.dentry.inode()
        {
            inode.common().opened();
        }
        Arc::new(OpenFile {
            ops,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            flags: AtomicU32::new(flags),
            position: Mutex::new(0),
            place,
            opener,
            owner: OnceLock::new(),
            _claim: claim,
            mappings: AtomicUsize::new(0),
            is_prepared: AtomicBool::new(false),
            close_watchers: Mutex::default(),
        })
    }

    /// An open file of the file at `path`, which exists. `flags` are `O_*`. Nobody counts as who has opened it.
    pub fn named(ops: Arc<dyn FileOps>, flags: OpenFlags, path: Path) -> Arc<Self> {
        Self::with(ops, flags.bits(), Place::Named(path), None, None)
    }

    /// [`OpenFile::named`], by who opens it, with the claim to write it.
    pub(crate) fn opened(
        ops: Arc<dyn FileOps>,
        flags: OpenFlags,
        path: Path,
        claim: Option<FileClaim>,
        caller: Caller<'_>,
    ) -> Arc<Self> {
        let opener = caller.credentials.identity;
        Self::with(ops, flags.bits(), Place::Named(path), claim, Some(opener))
    }

    /// A file that no directory names: a pipe, a socket, an eventfd. `flags` are `O_*`; `label` is what
    /// `/proc/PID/fd/N` shows. Its inode is made when it is asked for; the label says what it is (see
    /// [`AnonymousInode`](crate::vfs::AnonymousInode)).
    pub fn anonymous(ops: Arc<dyn FileOps>, flags: u32, label: impl Into<String>) -> Arc<Self> {
        Self::with(ops, flags, Place::Anonymous { label: label.into(), path: OnceLock::new() }, None, None)
    }

    /// [`OpenFile::anonymous`], with an inode that exists already.
    pub fn unnamed(ops: Arc<dyn FileOps>, flags: u32, label: &str, inode: InodeRef) -> Arc<Self> {
        // Open for good, so that nobody holds it who opens it by way of `/proc/PID/fd`.
        inode.common().opened_for_good();
        let path = OnceLock::from(anonymous_path(label, inode));
        Self::with(ops, flags, Place::Anonymous { label: label.into(), path }, None, None)
    }

    /// Whether it was opened as these very credentials: those that a task has had since, and shares with the other threads that it has
    /// made. Equal ones are not enough. What no directory names counts as opened by whoever asks.
    pub fn is_opened_as(&self, credentials: &Credentials) -> bool {
        match self.place {
            Place::Named(_) => self.opener == Some(credentials.identity),
            Place::Anonymous { .. } => true,
        }
    }

    /// A number that no other open file has had.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where the file is: a place in the tree of mounts, or a dentry of its own for a file without a name.
    pub fn path(&self) -> &Path {
        match &self.place {
            Place::Named(path) => path,
            Place::Anonymous { label, path } => path.get_or_init(|| path_without_name(label, &self.ops)),
        }
    }

    /// The file.
    pub fn inode(&self) -> &InodeRef {
        match self.path().dentry.inode() {
            Some(inode) => inode,
            None => unreachable!("negative dentries are not opened"),
        }
    }

    /// The file, if somebody has asked for it before or a directory names it.
    pub(crate) fn inode_if_known(&self) -> Option<&InodeRef> {
        match &self.place {
            Place::Named(path) => path.dentry.inode(),
            Place::Anonymous { path, .. } => path.get().and_then(|path| path.dentry.inode()),
        }
    }

    /// What `/proc/PID/fd/N` shows to a task with this root directory.
    pub fn display_name(&self, root: &Path) -> Vec<u8> {
        match &self.place {
            Place::Named(path) => path.seen_from(root).display(),
            Place::Anonymous { label, .. } => label.as_bytes().to_vec(),
        }
    }

    /// Its flags as a type.
    pub fn open_flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags())
    }

    /// `EBADF` unless it is open for reading.
    pub fn check_readable(&self) -> Result<(), Errno> {
        let flags = self.open_flags();
        if flags.is_readable() && !flags.contains(OpenFlags::PATH) { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// `EBADF` unless it is open for writing.
    pub fn check_writable(&self) -> Result<(), Errno> {
        let flags = self.open_flags();
        if flags.is_writable() && !flags.contains(OpenFlags::PATH) { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// Tells those who watch the file (not by an `O_PATH` descriptor) what has been done with it.
    pub fn happened(&self, mask: InotifyMask) {
        if notify::is_active()
            && let Place::Named(path) = &self.place
            && !self.open_flags().contains(OpenFlags::PATH)
        {
            notify::on_file(&path.dentry, mask);
        }
    }

    /// Whether it is a regular file, open for writing. While it is, it cannot be executed.
    pub(crate) fn writes_regular(&self) -> bool {
        let is_regular = |inode: &InodeRef| inode.file_type() == FileType::Regular;
        self.open_flags().is_writable() && self.inode_if_known().is_some_and(is_regular)
    }

    /// True if operations do not wait.
    pub fn is_nonblocking(&self) -> bool {
        self.open_flags().contains(OpenFlags::NONBLOCK)
    }

    /// Who gets signals about it.
    pub fn owner(&self) -> &Arc<FileOwner> {
        self.owner.get_or_init(FileOwner::new)
    }

    /// The same, if anybody has ever asked.
    pub fn owner_if_any(&self) -> Option<&Arc<FileOwner>> {
        self.owner.get()
    }

    /// `O_*` status flags and access mode.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Replaces the flags.
    pub fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Ordering::Relaxed);
    }

    /// True if nobody notices when it ends a little late: it was opened for reading, and [`OpenFile::ends_unlocked`].
    pub(crate) fn ends_silently(&self) -> bool {
        !self.open_flags().is_writable() && self.ends_unlocked()
    }

    /// True if its end changes nothing but who has it open: it has no locks, nothing is watched, and it is not a large file in memory,
    /// which takes room until then once it has no name.
    pub(crate) fn ends_unlocked(&self) -> bool {
        let has_locks = |inode: &InodeRef| inode.common().locks_if_any().is_some();
        let is_small = || self.ops.length(self).is_ok_and(|length| length <= MOST_KEPT);
        !notify::is_active()
            && !self.inode_if_known().is_some_and(has_locks)
            && (!self.ops.is_volatile() || is_small())
    }

    /// Notes whether it is there before any program has opened it.
    pub(crate) fn set_prepared(&self, is_prepared: bool) {
        self.is_prepared.store(is_prepared, Ordering::Relaxed);
    }

    /// One who maps it has a reference.
    pub(crate) fn begin_mapping(&self) {
        self.mappings.fetch_add(1, Ordering::Relaxed);
    }

    /// One who maps it is about to drop its reference.
    pub(crate) fn end_mapping(&self) {
        self.mappings.fetch_sub(1, Ordering::Relaxed);
    }

    /// True if all references to it but so many are mappings, which keep it open and do nothing with it.
    pub(crate) fn is_only_mapped_beyond(self: &Arc<Self>, references: usize) -> bool {
        self.mappings.load(Ordering::Relaxed) + references == Arc::strong_count(self)
    }

    /// Has `watcher` told when this open file is gone.
    pub fn watch_close(&self, watcher: Weak<dyn CloseWatcher>) {
        let mut watchers = self.close_watchers.lock();
        watchers.retain(|known| known.strong_count() > 0 && !known.ptr_eq(&watcher));
        watchers.push(watcher);
    }

    /// What a file that no directory names was called when it was made; empty for others.
    pub fn label(&self) -> &str {
        match &self.place {
            Place::Named(_) => "",
            Place::Anonymous { label, .. } => label,
        }
    }
}
