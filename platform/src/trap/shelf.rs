//! The shelf of a thread: room for what is left of files, beyond what its orders have.
//!
//! A shelf is a file of its own, mapped where ledgers are, but so that the guest can only read it. A thread that goes through a tree
//! gets one; others do without its pages.

use crate::host::write_at;
use crate::stub::geometry::*;

use super::thread::Thread;

impl Thread {
    /// See [`GuestThread::open_shelf`](crate::GuestThread::open_shelf).
    pub(super) fn map_shelf(&mut self) -> bool {
        if self.shelf.is_none() {
            self.shelf = self.map_memory(c"usk-shelf", SHELVES_BASE, SHELF_SIZE, libc::PROT_READ);
        }
        self.shelf.is_some()
    }

    /// Writes bytes there, and returns their address. `None` if there is no room.
    pub(super) fn write_shelf(&self, at: usize, bytes: &[u8]) -> Option<u64> {
        let (shelf, at) = (self.shelf.as_ref()?, at as u64);
        if bytes.len() as u64 > SHELF_SIZE.checked_sub(at)? {
            return None;
        }
        let written = write_at(shelf, bytes, at).ok()?;
        (written == bytes.len()).then(|| SHELVES_BASE + self.slot().number() * SHELF_SIZE + at)
    }
}
