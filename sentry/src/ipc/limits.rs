//! Bounds on System V objects (`proc_sys_kernel(5)`), which whoever runs the sandbox, or root in it, can change.

use std::sync::atomic::{AtomicU64, Ordering};

use usk_abi::ipc::{MSGMAX, MSGMNB, MSGMNI, SEMMNI, SEMMNS, SEMMSL, SEMOPM, SHMALL, SHMMAX, SHMMNI};

/// One bound.
pub struct Bound {
    value: AtomicU64,
    /// The most that it can be set to.
    pub most: u64,
}

impl Bound {
    pub(crate) const fn new(value: u64, most: u64) -> Bound {
        Bound { value: AtomicU64::new(value), most }
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// The same as a count in memory.
    pub fn count(&self) -> usize {
        usize::try_from(self.get()).unwrap_or(usize::MAX)
    }

    /// The same as a structure of the `*_INFO` commands shows it.
    pub fn as_shown(&self) -> i32 {
        i32::try_from(self.get()).unwrap_or(i32::MAX)
    }

    /// Changes it. The caller has looked at [`Bound::most`].
    pub(crate) fn set(&self, value: u64) {
        self.value.store(value.min(self.most), Ordering::Relaxed);
    }
}

/// Most objects of a kind (`IPCMNI`): identifiers have no room for more.
const MAX_OBJECTS: u64 = 32768;
/// The most of what one message may have, and a queue: all messages of the sandbox have no more room.
const MAX_MESSAGE_BYTES: u64 = 64 << 20;
/// Semaphores of a set, and operations of a call, at most.
const MAX_OF_A_SET: u64 = 65536;

/// The bounds of a sandbox.
#[allow(missing_docs)]
pub struct IpcLimits {
    pub msgmax: Bound,
    pub msgmnb: Bound,
    pub msgmni: Bound,
    pub semmsl: Bound,
    pub semmns: Bound,
    pub semopm: Bound,
    pub semmni: Bound,
    pub shmall: Bound,
    pub shmmax: Bound,
    pub shmmni: Bound,
    /// 1 if segments do not outlive their use.
    pub shm_rmid_forced: Bound,
}

impl Default for IpcLimits {
    fn default() -> Self {
        IpcLimits {
            msgmax: Bound::new(MSGMAX as u64, MAX_MESSAGE_BYTES),
            msgmnb: Bound::new(MSGMNB, MAX_MESSAGE_BYTES),
            msgmni: Bound::new(MSGMNI as u64, MAX_OBJECTS),
            semmsl: Bound::new(SEMMSL as u64, MAX_OF_A_SET),
            semmns: Bound::new(SEMMNS as u64, i32::MAX as u64),
            semopm: Bound::new(SEMOPM as u64, MAX_OF_A_SET),
            semmni: Bound::new(SEMMNI as u64, MAX_OBJECTS),
            shmall: Bound::new(SHMALL, u64::MAX),
            shmmax: Bound::new(SHMMAX, u64::MAX),
            shmmni: Bound::new(SHMMNI as u64, MAX_OBJECTS),
            shm_rmid_forced: Bound::new(0, 1),
        }
    }
}
