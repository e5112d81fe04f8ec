//! Scratch memory of a stub: buffers for injected host calls and for signal frames.
//!
//! It is ordinary memory of the guest's address space, so other guest threads there can see and change it. Nothing
//! read from it is trusted further than its own guest.

use parking_lot::{Condvar, Mutex};
use usk_abi::Errno;

use crate::host::{self, Pid};

use super::geography::{PAGE, SCRATCH, SCRATCH_SLOTS};
use crate::arch::extended_state::FORMAT;

/// Bytes of a signal frame besides the extended state, and of the red zone above it; generous.
const FRAME_ROOM: u64 = 2048;

/// Size of a slot in bytes.
pub(super) fn slot_size() -> u64 {
    (FORMAT.image_size() as u64 + FRAME_ROOM).next_multiple_of(PAGE)
}

/// The slots of one address space that nobody uses at the moment.
pub(super) struct ScratchPool {
    free: Mutex<Vec<u64>>,
    returned: Condvar,
}

impl ScratchPool {
    pub(super) fn new() -> ScratchPool {
        ScratchPool { free: Mutex::new((0..SCRATCH_SLOTS).rev().collect()), returned: Condvar::new() }
    }

    /// A slot; waits for one if all are taken. Holders do a few host calls and no more.
    pub(super) fn take(&self) -> Scratch<'_> {
        let mut free = self.free.lock();
        loop {
            match free.pop() {
                Some(slot) => return Scratch { pool: self, slot },
                None => self.returned.wait(&mut free),
            }
        }
    }
}

/// A slot in use.
pub(super) struct Scratch<'a> {
    pool: &'a ScratchPool,
    slot: u64,
}

impl Scratch<'_> {
    /// Its first address in the stub.
    pub(super) fn start(&self) -> u64 {
        SCRATCH + self.slot * slot_size()
    }

    /// The address after its last byte, a stack pointer for a signal frame.
    pub(super) fn end(&self) -> u64 {
        self.start() + slot_size()
    }

    /// Writes at an offset in bytes.
    pub(super) fn write(&self, pid: Pid, offset: u64, data: &[u8]) -> Result<(), Errno> {
        match host::write_process(pid, self.start() + offset, data)? {
            count if count == data.len() => Ok(()),
            _ => Err(Errno::EFAULT),
        }
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.pool.free.lock().push(self.slot);
        self.pool.returned.notify_one();
    }
}
