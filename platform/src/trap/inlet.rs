//! The inlet of a thread: where it leaves what it writes to a pipe (`stub/inlet.S`).
//!
//! An inlet is a file of its own, mapped as a ledger is. How much is in it stands in the slot, how much may be in the record of the
//! file that it belongs to. Unlike a ledger it is read while the thread runs: the guest can change what is read, but nothing else.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

use crate::arch::Registers;
use crate::host::{can_wait_for_two, read_at};
use crate::inlet::{Bell, Inlet};
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

/// The call is over, and who listens is being woken.
pub(super) fn is_ringing(rip: u64) -> bool {
    (inlet::rings()..inlet::rung()).contains(&rip)
}

/// An inlet that is open.
struct Open {
    orders: Orders,
    /// Where in the orders it says how much may be left.
    limit: u64,
    room: u64,
    file: Arc<OwnedFd>,
    bell: Option<Arc<dyn Bell>>,
}

impl Open {
    /// What was left before somebody could know of this can be seen afterwards.
    fn set_leave(&self, leave: u64) {
        self.orders.write_order(self.limit, leave);
        fence(Ordering::SeqCst);
    }
}

impl Inlet for Open {
    fn filled(&self) -> u64 {
        self.orders.slot_u64(INLET_FILLED)
    }

    fn read(&self, start: u64, buffer: &mut [u8]) -> usize {
        read_at(&*self.file, buffer, start).unwrap_or(0)
    }

    fn close(&self) {
        self.set_leave(0);
    }

    fn bell(&self) -> Option<&Arc<dyn Bell>> {
        self.bell.as_ref()
    }

    fn set_listener(&self, listens: bool) {
        self.set_leave(self.room | u64::from(listens) << INLET_LISTENER_BIT);
    }
}

/// The bell of a thread's inlet: a word of its slot.
pub(super) struct SlotBell(Orders);

impl Bell for SlotBell {
    fn times_rung(&self) -> u32 {
        self.0.slot_atomic(INLET_BELL).load(Ordering::SeqCst)
    }

    fn wait(&self, times_rung: u32, other: &AtomicU32, value: u32, timeout: Option<Duration>) {
        self.0.wait_for_two(INLET_BELL, times_rung, other, value, timeout);
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
        let room = room.min(INLET_SIZE);
        if self.bell.is_none() && can_wait_for_two() {
            self.bell = Some(Arc::new(SlotBell(self.slot().orders())));
        }
        let bell = self.bell.clone();
        let slot = self.slot();
        slot.write_u64(INLET_FILLED, 0);
        slot.write_order(limit, room);
        Some(Arc::new(Open { orders: slot.orders(), limit, room, file, bell }))
    }

    /// The guest's registers after a write that has rung the bell, or was about to, by those that it would go back with.
    pub(super) fn after_bell(&self, after: Registers) -> Registers {
        let argument = |index: u64| self.slot().read_u64(ENTRY_ARGUMENTS + 8 * index);
        let written = argument(2);
        Registers { rdi: argument(0), rsi: argument(1), rdx: written, rax: written, ..after }
    }

    fn map_inlet(&mut self) -> Option<Arc<OwnedFd>> {
        if self.inlet.is_none() {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            self.inlet = self.map_memory(c"usk-inlet", INLETS_BASE, INLET_SIZE, access).map(Arc::new);
        }
        self.inlet.clone()
    }
}

#[cfg(test)]
mod model;
