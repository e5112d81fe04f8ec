//! Keys, identifiers and permissions (`ipc/util.c`).

use std::sync::Arc;

use parking_lot::Mutex;
use slab::Slab;
use usk_abi::Errno;
use usk_abi::ipc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, IpcPermissions};

use crate::ipc::{Bound, IpcLimits};
use crate::task::Credentials;

/// Identifiers are an index and, this many times, a sequence number, so that an old one does not name a new object.
const SEQUENCE_MULTIPLIER: i32 = 32768;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_IPC_OWNER: u32 = 15;
/// The mode bits that reading asks for.
const MAY_READ: u32 = 0o444;

/// Owner, creator and mode of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct IpcPerm {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
    pub sequence: u16,
}

impl IpcPerm {
    /// As the `*ctl` calls show it.
    pub fn to_abi(self) -> IpcPermissions {
        let IpcPerm { key, uid, gid, cuid, cgid, mode, sequence } = self;
        IpcPermissions { key, uid, gid, cuid, cgid, mode, sequence, ..IpcPermissions::default() }
    }

    /// `EACCES` unless `credentials` have the access that `wanted` (mode bits, in any of the three places) asks for.
    pub fn check(&self, credentials: &Credentials, wanted: u32) -> Result<(), Errno> {
        let wanted = (wanted >> 6 | wanted >> 3 | wanted) & 7;
        let granted = if credentials.euid == self.cuid || credentials.euid == self.uid {
            self.mode >> 6
        } else if in_group(credentials, self.cgid) || in_group(credentials, self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted != 0 && !credentials.has_capability(CAP_IPC_OWNER) {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    /// `EPERM` unless `credentials` own the object: they may change and remove it.
    pub fn check_owner(&self, credentials: &Credentials) -> Result<(), Errno> {
        let owns = credentials.euid == self.uid || credentials.euid == self.cuid;
        if owns || credentials.has_capability(CAP_SYS_ADMIN) { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// `IPC_SET`: owner and permission bits.
    pub fn set(&mut self, new: &IpcPermissions) {
        self.uid = new.uid;
        self.gid = new.gid;
        self.mode = (self.mode & !0o777) | (new.mode & 0o777);
    }
}

fn in_group(credentials: &Credentials, gid: u32) -> bool {
    credentials.egid == gid || credentials.groups.contains(&gid)
}

/// What `shmget(2)`, `semget(2)` and `msgget(2)` have in common.
#[derive(Clone, Copy, Debug)]
pub struct GetRequest<'a> {
    /// The key, or `IPC_PRIVATE`.
    pub key: i32,
    /// `IPC_CREAT`, `IPC_EXCL` and mode bits.
    pub flags: u32,
    /// Who asks.
    pub credentials: &'a Credentials,
}

/// An object of the table.
pub trait IpcObject {
    /// What the `*ctl` calls show of it.
    type Status;

    /// Its permissions.
    fn perm(&self) -> IpcPerm;

    /// True once it has been removed, or has nobody left to stay for.
    fn is_gone(&self) -> bool;

    /// What is shown of it at the moment.
    fn describe(&self) -> Self::Status;

    /// True if its key finds it.
    fn has_key(&self, key: i32) -> bool {
        self.perm().key == key
    }
}

/// The objects of one kind in a sandbox, and what can be asked about any kind.
pub trait IpcObjects {
    /// One of them.
    type Object: IpcObject;

    /// All of them.
    fn table(&self) -> &Identifiers<Self::Object>;

    /// `IPC_STAT`. `EINVAL` if there is none, `EACCES` if it may not be read.
    fn status(&self, id: i32, credentials: &Credentials) -> Result<Status<Self>, Errno> {
        let object = self.table().find(id)?;
        object.perm().check(credentials, MAY_READ)?;
        Ok(object.describe())
    }

    /// `MSG_STAT`, `SEM_STAT`, `SHM_STAT` and, if `any` is set, the same with `_ANY`: by index; returns the identifier, too.
    fn status_at(
        &self,
        index: i32,
        credentials: &Credentials,
        any: bool,
    ) -> Result<(i32, Status<Self>), Errno> {
        let (id, object) = self.table().at(index)?;
        if !any {
            object.perm().check(credentials, MAY_READ)?;
        }
        Ok((id, object.describe()))
    }

    /// All of them, for `/proc/sysvipc`, with their identifiers.
    fn list(&self) -> Vec<(i32, Status<Self>)> {
        self.table().all().iter().map(|(id, object)| (*id, object.describe())).collect()
    }
}

/// What is shown of an object of this kind.
type Status<Kind> = <<Kind as IpcObjects>::Object as IpcObject>::Status;

struct Entries<T> {
    slots: Slab<Arc<T>>,
    sequence: u16,
}

/// The objects of one kind.
pub struct Identifiers<T> {
    entries: Mutex<Entries<T>>,
    limit: fn(&IpcLimits) -> &Bound,
    limits: Arc<IpcLimits>,
}

impl<T: IpcObject> Identifiers<T> {
    /// An empty table; `limit` is the bound on objects of this kind.
    pub(super) fn new(limits: Arc<IpcLimits>, limit: fn(&IpcLimits) -> &Bound) -> Self {
        Identifiers { entries: Mutex::new(Entries { slots: Slab::new(), sequence: 0 }), limit, limits }
    }

    /// Bounds of the sandbox.
    pub(super) fn limits(&self) -> &IpcLimits {
        &self.limits
    }

    /// Finds the object of a key, or makes one; returns its identifier. `fits` checks an object that exists, `create` makes
    /// one with the permissions it gets.
    pub(super) fn get(
        &self,
        request: GetRequest<'_>,
        fits: impl FnOnce(&T) -> Result<(), Errno>,
        create: impl FnOnce(IpcPerm) -> Result<T, Errno>,
    ) -> Result<i32, Errno> {
        let GetRequest { key, flags, credentials } = request;
        let mut entries = self.entries.lock();
        if key != IPC_PRIVATE {
            let found = entries.slots.iter().find(|(_, object)| object.has_key(key) && !object.is_gone());
            if let Some((index, object)) = found {
                if flags & (IPC_CREAT | IPC_EXCL) == IPC_CREAT | IPC_EXCL {
                    return Err(Errno::EEXIST);
                }
                fits(object)?;
                object.perm().check(credentials, flags)?;
                return Ok(identifier(index, object.perm().sequence));
            }
            if flags & IPC_CREAT == 0 {
                return Err(Errno::ENOENT);
            }
        }
        let limit = (self.limit)(&self.limits).count();
        if entries.slots.len() >= limit {
            // Only now: done each time, it would make filling the table quadratic.
            entries.slots.retain(|_, object| !object.is_gone());
        }
        if entries.slots.len() >= limit {
            return Err(Errno::ENOSPC);
        }
        let sequence = entries.sequence;
        let object = create(IpcPerm {
            key,
            uid: credentials.euid,
            gid: credentials.egid,
            cuid: credentials.euid,
            cgid: credentials.egid,
            mode: flags & 0o777,
            sequence,
        })?;
        // Sequence numbers stay below 2^16, so that identifiers stay positive.
        entries.sequence = (sequence + 1) & 0x7fff;
        let index = entries.slots.insert(Arc::new(object));
        Ok(identifier(index, sequence))
    }

    /// The object that an identifier names. `EINVAL` if there is none.
    pub(super) fn find(&self, id: i32) -> Result<Arc<T>, Errno> {
        let index = usize::try_from(id % SEQUENCE_MULTIPLIER).map_err(|_| Errno::EINVAL)?;
        let entries = self.entries.lock();
        let object = entries.slots.get(index).filter(|object| !object.is_gone()).ok_or(Errno::EINVAL)?;
        if identifier(index, object.perm().sequence) == id { Ok(object.clone()) } else { Err(Errno::EINVAL) }
    }

    /// The object at an index, and its identifier: what the `*_STAT` commands walk. `EINVAL` if there is none.
    pub(super) fn at(&self, index: i32) -> Result<(i32, Arc<T>), Errno> {
        let index = usize::try_from(index).map_err(|_| Errno::EINVAL)?;
        let entries = self.entries.lock();
        let object = entries.slots.get(index).filter(|object| !object.is_gone()).ok_or(Errno::EINVAL)?;
        Ok((identifier(index, object.perm().sequence), object.clone()))
    }

    /// Takes out what is gone.
    pub(super) fn sweep(&self) {
        self.entries.lock().slots.retain(|_, object| !object.is_gone());
    }

    /// All objects and their identifiers.
    pub(super) fn all(&self) -> Vec<(i32, Arc<T>)> {
        let entries = self.entries.lock();
        let live = entries.slots.iter().filter(|(_, object)| !object.is_gone());
        live.map(|(index, object)| (identifier(index, object.perm().sequence), object.clone())).collect()
    }

    /// The highest index in use; 0 if there is none, as Linux reports it.
    pub(super) fn highest_index(&self) -> i32 {
        let entries = self.entries.lock();
        let live = entries.slots.iter().filter(|(_, object)| !object.is_gone());
        live.map(|(index, _)| index as i32).max().unwrap_or(0)
    }
}

fn identifier(index: usize, sequence: u16) -> i32 {
    i32::from(sequence) * SEQUENCE_MULTIPLIER + index as i32
}
