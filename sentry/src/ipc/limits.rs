//! Bounds on System V objects and on POSIX message queues (`proc_sys_kernel(5)`, `mq_overview(7)`), which whoever runs the sandbox, or root in it, can change.

use std::sync::atomic::{AtomicU64, Ordering};

use usk_abi::ipc::{MSGMAX, MSGMNB, MSGMNI, SEMMNI, SEMMNS, SEMMSL, SEMOPM, SHMALL, SHMMAX, SHMMNI};
use usk_abi::mqueue::{HARD_MSGMAX, HARD_MSGSIZEMAX, MIN_MSGSIZEMAX};

/// One bound.
pub struct Bound {
    value: AtomicU64,
    /// The least that it can be set to.
    pub least: u64,
    /// The most that it can be set to.
    pub most: u64,
}

impl Bound {
    pub(crate) const fn new(value: u64, most: u64) -> Bound {
        Bound { value: AtomicU64::new(value), least: 0, most }
    }

    /// One that cannot be set to less than `least`.
    const fn from(self, least: u64) -> Bound {
        Bound { least, ..self }
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

    /// Whether it can be set to this.
    pub(crate) fn allows(&self, value: u64) -> bool {
        (self.least..=self.most).contains(&value)
    }

    /// Changes it, as far as that is [allowed](Bound::allows).
    pub(crate) fn set(&self, value: u64) {
        self.value.store(value.clamp(self.least, self.most), Ordering::Relaxed);
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
    pub mq_msg_default: Bound,
    pub mq_msg_max: Bound,
    pub mq_msgsize_default: Bound,
    pub mq_msgsize_max: Bound,
    pub mq_queues_max: Bound,
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
            mq_msg_default: Bound::new(10, HARD_MSGMAX).from(1),
            mq_msg_max: Bound::new(10, HARD_MSGMAX).from(1),
            mq_msgsize_default: Bound::new(8192, HARD_MSGSIZEMAX).from(MIN_MSGSIZEMAX),
            mq_msgsize_max: Bound::new(8192, HARD_MSGSIZEMAX).from(MIN_MSGSIZEMAX),
            mq_queues_max: Bound::new(256, MAX_OBJECTS),
        }
    }
}
