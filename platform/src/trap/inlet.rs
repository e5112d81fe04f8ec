//! The inlet of a thread: where it leaves what it writes to a pipe (`stub/inlet.S`).
//!
//! An inlet is a file of its own, mapped as a ledger is. How much is in it stands in the slot, how much may be in the record of the
//! file that it belongs to. Unlike a ledger it is read while the thread runs: the guest can change what is read, but nothing else.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use crate::host::read_at;
use crate::inlet::Inlet;
use crate::stub::addresses::inlet;
use crate::stub::geometry::*;

use super::thread::Thread;
use super::windows::Orders;

/// In the code that leaves what is written.
pub(super) fn is_leaving_data(rip: u64) -> bool {
    (inlet::begin()..inlet::end()).contains(&rip)
}

/// Four registers are in the entry area.
pub(super) fn has_saved(rip: u64) -> bool {
    (inlet::saved()..inlet::restored()).contains(&rip)
}

/// The call is over, but for the way back, or for telling the sentry.
pub(super) fn has_left(rip: u64) -> bool {
    (inlet::left()..inlet::end()).contains(&rip)
}

/// An inlet that is open.
struct Open {
    orders: Orders,
    /// Where in the orders it says how much may be left.
    limit: u64,
    file: Arc<OwnedFd>,
}

impl Inlet for Open {
    fn filled(&self) -> u64 {
        self.orders.slot_u64(INLET_FILLED)
    }

    fn read(&self, start: u64, buffer: &mut [u8]) -> usize {
        read_at(&*self.file, buffer, start).unwrap_or(0)
    }

    fn close(&self) {
        self.orders.write_order(self.limit, 0);
        fence(Ordering::SeqCst);
    }
}

impl Thread {
    /// See [`GuestThread::open_inlet`](crate::GuestThread::open_inlet).
    pub(super) fn begin_inlet(&mut self, record: usize, room: u64) -> Option<Arc<dyn Inlet>> {
        if record >= MAX_RECORDS || room == 0 {
            return None;
        }
        let file = self.map_inlet()?;
        let limit = RECORDS + RECORD_SIZE * record as u64 + RECORD_WRITES_END;
        let slot = self.slot();
        slot.write_u64(INLET_FILLED, 0);
        slot.write_order(limit, room.min(INLET_SIZE));
        Some(Arc::new(Open { orders: slot.orders(), limit, file }))
    }

    fn map_inlet(&mut self) -> Option<Arc<OwnedFd>> {
        if self.inlet.is_none() {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            self.inlet = self.map_memory(c"usk-inlet", INLETS_BASE, INLET_SIZE, access).map(Arc::new);
        }
        self.inlet.clone()
    }
}
