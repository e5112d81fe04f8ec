//! Shared memory segments (`shmget(2)`, `shmop(2)`, `shmctl(2)`).
//!
//! A segment is a memfd. Who is attached is counted by who holds it: every mapping does. A segment that is to be removed is
//! held by its mappings only, and is gone with the last.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use usk_abi::Errno;
use usk_abi::ipc::{IpcPermissions, SHM_DEST, SHM_LOCKED, SHMALL, ShmidDs};

use usk_platform::host;

use crate::ipc::IpcLimits;
use crate::ipc::identifiers::{GetRequest, Identifiers, IpcObject, IpcObjects, IpcPerm};
use crate::mm::{SharedMemory, page_align};
use crate::task::Credentials;

/// The segments of a sandbox.
pub struct Segments {
    table: Identifiers<Segment>,
}

/// A segment.
pub struct Segment {
    size: u64,
    creator_pid: i32,
    memory: Weak<SharedMemory>,
    state: Mutex<State>,
}

struct State {
    perm: IpcPerm,
    /// Until nothing but who is attached shall keep the segment.
    owner: Option<Arc<SharedMemory>>,
    /// It is to go, and no key finds it any more.
    is_removed: bool,
    attach_time: i64,
    detach_time: i64,
    change_time: i64,
    last_pid: i32,
}

/// Bytes of a page, which `shmall` counts.
const PAGE_SIZE: u64 = 4096;

impl IpcObject for Segment {
    type Status = ShmidDs;

    fn perm(&self) -> IpcPerm {
        self.state.lock().perm
    }

    fn is_gone(&self) -> bool {
        self.memory.strong_count() == 0
    }

    fn has_key(&self, key: i32) -> bool {
        let state = self.state.lock();
        !state.is_removed && state.perm.key == key
    }

    fn describe(&self) -> ShmidDs {
        let state = self.state.lock();
        let mut perm = state.perm.to_abi();
        let own = u64::from(state.owner.is_some());
        if state.is_removed {
            perm.mode |= SHM_DEST;
            perm.key = 0;
        }
        ShmidDs {
            perm,
            size: self.size,
            attach_time: state.attach_time,
            detach_time: state.detach_time,
            change_time: state.change_time,
            creator_pid: self.creator_pid,
            last_pid: state.last_pid,
            attached: (self.memory.strong_count() as u64).saturating_sub(own),
            ..ShmidDs::default()
        }
    }
}

impl Segment {}

/// A segment about to be mapped.
pub struct Attachment {
    /// What to map.
    pub memory: Arc<SharedMemory>,
    /// Bytes, a multiple of the page size.
    pub length: u64,
}

impl IpcObjects for Segments {
    type Object = Segment;

    fn table(&self) -> &Identifiers<Segment> {
        &self.table
    }
}

impl Segments {
    /// None yet.
    pub(super) fn new(limits: Arc<IpcLimits>) -> Self {
        Segments { table: Identifiers::new(limits, |limits| &limits.shmmni) }
    }

    /// The identifier of the segment of a key, which is made if need be. `now` is seconds since 1970. Errors as in
    /// `shmget(2)`.
    pub fn get(&self, request: GetRequest<'_>, size: u64, pid: i32, now: i64) -> Result<i32, Errno> {
        let fits = |segment: &Segment| if segment.size < size { Err(Errno::EINVAL) } else { Ok(()) };
        let limits = self.table.limits();
        let most_pages = limits.shmall.get();
        // The table is locked later. Of two that are made at the same time both may count the other as missing.
        let used = if most_pages < SHMALL { self.usage().1 } else { 0 };
        self.table.get(request, fits, |perm| {
            if size == 0 || size > limits.shmmax.get() {
                return Err(Errno::EINVAL);
            }
            if used.saturating_add(size.div_ceil(PAGE_SIZE)) > most_pages {
                return Err(Errno::ENOSPC);
            }
            let length = page_align(size).filter(|&length| length <= i64::MAX as u64).ok_or(Errno::ENOMEM)?;
            let memory = SharedMemory::segment(perm.key, length)?;
            Ok(Segment {
                size,
                creator_pid: pid,
                memory: Arc::downgrade(&memory),
                state: Mutex::new(State {
                    perm,
                    owner: Some(memory),
                    is_removed: false,
                    attach_time: 0,
                    detach_time: 0,
                    change_time: now,
                    last_pid: 0,
                }),
            })
        })
    }

    /// Checks that the segment may be attached with the access `wanted` (mode bits). Errors as in `shmat(2)`.
    pub fn attach(&self, id: i32, credentials: &Credentials, wanted: u32) -> Result<Attachment, Errno> {
        let segment = self.table.find(id)?;
        segment.perm().check(credentials, wanted)?;
        let memory = segment.memory.upgrade().ok_or(Errno::EIDRM)?;
        let length = page_align(segment.size).ok_or(Errno::EINVAL)?;
        if self.table.limits().shm_rmid_forced.get() != 0 {
            // From now on it stays only as long as somebody is attached.
            let owner = segment.state.lock().owner.take();
            drop(owner);
        }
        Ok(Attachment { memory, length })
    }

    /// A process has ended: where segments shall not outlive their use, those that it made and nobody has attached go
    /// (`exit_shm`). Segments that were there before `shm_rmid_forced` was set stay until they are attached.
    pub fn process_exited(&self, pid: i32) {
        if self.table.limits().shm_rmid_forced.get() == 0 {
            return;
        }
        let made = self.table.all().into_iter().filter(|(_, segment)| segment.creator_pid == pid);
        for (_, segment) in made {
            let owner = segment.state.lock().owner.take();
            drop(owner);
        }
        self.table.sweep();
    }

    /// Notes who attached or detached `memory` last.
    pub fn note(&self, memory: &Arc<SharedMemory>, attached: bool, pid: i32, now: i64) {
        let segments = self.table.all();
        let found = segments.iter().find(|(_, segment)| segment.memory.as_ptr() == Arc::as_ptr(memory));
        if let Some((_, segment)) = found {
            let mut state = segment.state.lock();
            state.last_pid = pid;
            if attached {
                state.attach_time = now;
            } else {
                state.detach_time = now;
            }
        }
    }

    /// `IPC_SET`
    pub fn set(
        &self,
        id: i32,
        credentials: &Credentials,
        new: &IpcPermissions,
        now: i64,
    ) -> Result<(), Errno> {
        let segment = self.table.find(id)?;
        let mut state = segment.state.lock();
        state.perm.check_owner(credentials)?;
        state.perm.set(new);
        state.change_time = now;
        Ok(())
    }

    /// `SHM_LOCK` and `SHM_UNLOCK`: shown in the mode; nothing is locked on the host.
    pub fn set_locked(&self, id: i32, credentials: &Credentials, locked: bool) -> Result<(), Errno> {
        let segment = self.table.find(id)?;
        let mut state = segment.state.lock();
        state.perm.check_owner(credentials)?;
        if locked {
            state.perm.mode |= SHM_LOCKED;
        } else {
            state.perm.mode &= !SHM_LOCKED;
        }
        Ok(())
    }

    /// `IPC_RMID`: the segment goes when nobody is attached any more.
    pub fn remove(&self, id: i32, credentials: &Credentials) -> Result<(), Errno> {
        let segment = self.table.find(id)?;
        let owner = {
            let mut state = segment.state.lock();
            state.perm.check_owner(credentials)?;
            state.is_removed = true;
            state.owner.take()
        };
        drop(owner);
        self.table.sweep();
        Ok(())
    }

    /// Bytes of memory that a segment takes; 0 once it is gone.
    pub fn resident(&self, id: i32) -> u64 {
        let memory = self.table.find(id).ok().and_then(|segment| segment.memory.upgrade());
        memory.and_then(|memory| host::extent(&*memory.host.0).ok()).map_or(0, |extent| extent.blocks * 512)
    }

    /// Count of segments, their pages in all, and the highest index in use.
    pub fn usage(&self) -> (i32, u64, i32) {
        let all = self.table.all();
        let pages = all.iter().map(|(_, segment)| segment.size.div_ceil(PAGE_SIZE)).sum();
        (all.len() as i32, pages, self.table.highest_index())
    }
}
