//! The ledger of a thread: what it notes instead of calling (`stub/ledger.S`).
//!
//! A ledger is a file of its own, mapped above the guest's range where windows are, and left out of forks. The guest can forge all of
//! it. The sentry copies what is used of it once, while the thread does not run, and judges the copy.

use std::os::fd::OwnedFd;

use crate::arch::{Registers, time_stamp};
use crate::host::{Clock, clock_ns, read_at};
use crate::ledger::{Moment, Notes};
use crate::stub::addresses::ledger;
use crate::stub::geometry::*;

use super::thread::Thread;

/// A thread's ledger, and when the thread has begun to run.
pub(super) struct Ledger {
    file: OwnedFd,
    began: Moment,
}

fn now() -> Moment {
    let ns = clock_ns(Clock::Realtime);
    Moment { ns, stamp: time_stamp() }
}

/// In the code that notes.
pub(super) fn is_noting(rip: u64) -> bool {
    (ledger::begin()..ledger::end()).contains(&rip)
}

/// A note has been made, but for the position that may have to move.
pub(super) fn has_noted(rip: u64) -> bool {
    (ledger::noted()..ledger::going()).contains(&rip)
}

/// The call is over, but for the way back.
pub(super) fn has_done(rip: u64) -> bool {
    has_noted(rip) || (ledger::done()..ledger::end()).contains(&rip)
}

/// Five registers are in the entry area.
pub(super) fn has_saved(rip: u64) -> bool {
    (ledger::saved()..ledger::restored()).contains(&rip)
}

impl Thread {
    /// See [`GuestThread::open_ledger`](crate::GuestThread::open_ledger).
    pub(super) fn map_ledger(&mut self) -> bool {
        if self.ledger.is_some() {
            return true;
        }
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let Some(file) = self.map_memory(c"usk-ledger", LEDGERS_BASE, LEDGER_SIZE, access) else {
            return false;
        };
        self.slot().write_u64(LEDGER_USED, 0);
        self.slot().write_u64(LEDGER_WRITTEN, 0);
        self.ledger = Some(Ledger { file, began: Moment::default() });
        true
    }

    /// The thread is about to run.
    pub(super) fn date_ledger(&mut self) {
        if let Some(ledger) = &mut self.ledger {
            ledger.began = now();
        }
    }

    /// The notes that it has made since.
    pub(super) fn read_notes(&mut self) -> Notes {
        let Some(ledger) = &self.ledger else { return Notes::default() };
        let used = self.slot().read_u64(LEDGER_USED).min(LEDGER_SIZE);
        self.slot().write_u64(LEDGER_WRITTEN, 0);
        if used == 0 {
            return Notes::default();
        }
        self.slot().write_u64(LEDGER_USED, 0);
        let mut bytes = vec![0; used as usize];
        let count = read_at(&ledger.file, &mut bytes, 0).unwrap_or(0);
        bytes.truncate(count);
        Notes::new(bytes, [ledger.began, now()])
    }

    /// Whether notes have been made that nobody has read.
    pub(super) fn has_notes(&self) -> bool {
        self.ledger.is_some() && self.slot().read_u64(LEDGER_USED) != 0
    }

    /// Moves the position, if a signal has come between a note and that; the result of the call.
    pub(super) fn finish_note(&self, raw: &Registers) -> u64 {
        let slot = self.slot();
        let record = u64::from(raw.rax as u32);
        if record < MAX_RECORDS as u64 {
            slot.write_u64(LENT_MOVED, slot.read_u64(LENT_MOVED) | 1 << record);
            slot.write_u64(LENT_POSITIONS + 8 * record, raw.r11);
        }
        raw.rdx
    }
}
