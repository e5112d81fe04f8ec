//! POSIX message queues and the file system that shows them (`mq_overview(7)`; the kernel's `ipc/mqueue.c`).
//!
//! A sandbox has one such file system, which `mq_open(2)` uses by itself whether it is mounted or not: names are dentries
//! like any others, with the permissions of files. [`queue`] is what an open queue does.

mod inode;
mod notice;
mod queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::Errno;
use usk_abi::capability::CAP_SYS_RESOURCE;
use usk_abi::fs::{NAME_MAX, OpenFlags, Statfs, magic};
use usk_abi::mqueue::{HARD_MSGMAX, HARD_MSGSIZEMAX, MESSAGE_OVERHEAD, MQ_PRIO_MAX, PRIORITY_OVERHEAD};

use crate::SysResult;
use crate::ipc::IpcLimits;
use crate::vfs::{FileSystem, InodeRef, Mount, NameContext, NewNode, OpenFile, Path, devices};

use inode::RootInode;

pub use notice::{Notice, Registration};
pub use queue::Queue;

/// Most queues of a sandbox, whoever makes them: they are the sentry's memory.
const MAX_QUEUES: u64 = 65536;
/// Most bytes that all messages of a sandbox take in the sentry, with [`MESSAGE_COST`] for each.
const MAX_TOTAL: u64 = 64 << 20;
const MESSAGE_COST: u64 = 64;
/// What a user may have in queues that `open(2)` makes: the initial `RLIMIT_MSGQUEUE`.
const DEFAULT_CHARGE: u64 = 819_200;

/// What all queues of a sandbox have in common.
struct Space {
    device: u64,
    next_inode: AtomicU64,
    limits: Arc<IpcLimits>,
    /// Count of queues, those without a name included.
    count: AtomicU64,
    /// Bytes of all messages.
    total: AtomicU64,
    /// Bytes that each user's queues could take (`RLIMIT_MSGQUEUE`).
    charges: Mutex<HashMap<u32, u64>>,
}

/// How a queue is to be made.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Most messages, and bytes of a message; `None` is what the system's settings say.
    size: Option<(i64, i64)>,
    /// Whoever makes it may go beyond the system's settings.
    is_privileged: bool,
    /// What its maker may have in queues.
    limit: u64,
}

/// The queues of a sandbox.
pub struct PosixQueues {
    root: Path,
}

/// What `mq_open(2)` is asked for.
#[derive(Clone, Copy, Debug)]
pub struct OpenQueue<'a> {
    /// The name, without a slash at its beginning.
    pub name: &'a [u8],
    /// `O_*`.
    pub flags: OpenFlags,
    /// Permissions of a new queue.
    pub mode: u32,
    /// Most messages and bytes of a message of a new queue.
    pub size: Option<(i64, i64)>,
    /// `RLIMIT_MSGQUEUE`
    pub limit: u64,
}

impl PosixQueues {
    /// None yet.
    pub(crate) fn new(limits: Arc<IpcLimits>) -> Self {
        PosixQueues { root: Mount::internal(MqueueFileSystem::new(limits)) }
    }

    /// The root of the file system, to be mounted where somebody wants to see it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `mq_open(2)`.
    pub fn open(&self, names: &NameContext<'_>, wanted: OpenQueue<'_>) -> SysResult<Arc<OpenFile>> {
        let OpenQueue { name, flags, mode, size, limit } = wanted;
        check_name(name)?;
        let is_privileged = names.caller.credentials.has_capability(CAP_SYS_RESOURCE);
        let root = RootInode::of(self.root.inode()?)?;
        let create = |node: &NewNode<'_>| root.make(name, node, Shape { size, is_privileged, limit });
        let creates = flags.contains(OpenFlags::CREAT);
        let (path, is_new) = names.find_or_create(&self.root, name, creates.then_some(mode), &create)?;
        if !is_new && creates && flags.contains(OpenFlags::EXCL) {
            return Err(Errno::EEXIST.into());
        }
        if !is_new && flags.bits() & OpenFlags::ACCESS_MODE == OpenFlags::ACCESS_MODE {
            return Err(Errno::EINVAL.into());
        }
        let kept = OpenFlags::from_bits_truncate(OpenFlags::ACCESS_MODE) | OpenFlags::NONBLOCK;
        names.open_path(&path, flags & kept, is_new, None)
    }

    /// `mq_unlink(2)`.
    pub fn unlink(&self, names: &NameContext<'_>, name: &[u8]) -> Result<(), Errno> {
        check_name(name)?;
        names.unlink(&self.root, name).map(drop)
    }
}

/// A name is one component (`lookup_one_len`).
fn check_name(name: &[u8]) -> Result<(), Errno> {
    match name {
        b"" => Err(Errno::ENOENT),
        b"." | b".." => Err(Errno::EACCES),
        name if name.contains(&b'/') => Err(Errno::EACCES),
        name if name.len() > NAME_MAX => Err(Errno::ENAMETOOLONG),
        _ => Ok(()),
    }
}

impl Space {
    /// Counts a queue of `uid`'s. Returns its most messages, their most bytes, and what it is charged.
    fn admit(&self, uid: u32, shape: Shape) -> Result<(u64, u64, u64), Errno> {
        let limits = &self.limits;
        let default = || {
            let least = |a: &crate::ipc::Bound, b: &crate::ipc::Bound| a.get().min(b.get());
            let messages = least(&limits.mq_msg_max, &limits.mq_msg_default);
            (messages, least(&limits.mq_msgsize_max, &limits.mq_msgsize_default))
        };
        let (messages, size) = match shape.size {
            None => default(),
            Some((messages, size)) => {
                let positive = |value| u64::try_from(value).ok().filter(|&value| value > 0);
                positive(messages).zip(positive(size)).ok_or(Errno::EINVAL)?
            }
        };
        let most = if shape.is_privileged {
            (HARD_MSGMAX, HARD_MSGSIZEMAX)
        } else {
            (limits.mq_msg_max.get(), limits.mq_msgsize_max.get())
        };
        if messages > most.0 || size > most.1 {
            return Err(Errno::EINVAL);
        }
        let most = if shape.is_privileged { MAX_QUEUES } else { limits.mq_queues_max.get().min(MAX_QUEUES) };
        let more = |count: u64| count.checked_add(1).filter(|&count| count <= most);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| Errno::ENOSPC)?;
        // Both factors are bounded: no sum and no product is too large.
        let charge =
            messages * (size + MESSAGE_OVERHEAD) + messages.min(MQ_PRIO_MAX.into()) * PRIORITY_OVERHEAD;
        let mut charges = self.charges.lock();
        let used = charges.get(&uid).copied().unwrap_or(0);
        match used.checked_add(charge).filter(|&sum| sum <= shape.limit) {
            Some(sum) => charges.insert(uid, sum),
            None => {
                drop(charges);
                self.count.fetch_sub(1, Ordering::Relaxed);
                return Err(Errno::EMFILE);
            }
        };
        Ok((messages, size, charge))
    }

    /// A queue is gone.
    fn discharge(&self, uid: u32, charge: u64) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        let mut charges = self.charges.lock();
        if let Some(used) = charges.get_mut(&uid) {
            *used = used.saturating_sub(charge);
            if *used == 0 {
                charges.remove(&uid);
            }
        }
    }

    /// Room for a message of this length. `ENOMEM` if there is none.
    fn reserve(&self, length: usize) -> Result<(), Errno> {
        let more =
            |total: u64| total.checked_add(length as u64 + MESSAGE_COST).filter(|&total| total <= MAX_TOTAL);
        self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| Errno::ENOMEM)?;
        Ok(())
    }

    /// A message of this length is gone.
    fn release(&self, length: usize) {
        self.total.fetch_sub(length as u64 + MESSAGE_COST, Ordering::Relaxed);
    }
}

struct MqueueFileSystem {
    root: InodeRef,
}

impl MqueueFileSystem {
    fn new(limits: Arc<IpcLimits>) -> Arc<Self> {
        let space = Arc::new(Space {
            device: devices::allocate(),
            next_inode: AtomicU64::new(1),
            limits,
            count: AtomicU64::new(0),
            total: AtomicU64::new(0),
            charges: Mutex::default(),
        });
        Arc::new(MqueueFileSystem { root: Arc::new(RootInode::new(space)) })
    }
}

impl FileSystem for MqueueFileSystem {
    fn type_name(&self) -> &'static str {
        "mqueue"
    }

    fn root(&self) -> InodeRef {
        self.root.clone()
    }

    fn statistics(&self) -> Result<Statfs, Errno> {
        Ok(Statfs {
            f_type: magic::MQUEUE,
            f_bsize: 4096,
            f_frsize: 4096,
            f_namelen: NAME_MAX as i64,
            ..Statfs::default()
        })
    }
}

#[cfg(test)]
mod tests;
