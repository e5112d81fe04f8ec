//! Guest threads that have ended, as far as the guest knows, and whose host processes wait for the next guest thread of the
//! same address space.
//!
//! A host process with a listener takes some hundred microseconds to make, and to end. One that is parked waits for the
//! answer to its last call, as it would in any other; what it is told then are the registers of another guest thread. It
//! holds nothing of the last one's but what is replaced: registers, segment bases, extended state.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::host::process_cpu_time;
use crate::host::seccomp::Listener;

use super::frame::Frame;
use super::graveyard::{Corpse, Remains};
use super::handover::Handover;
use super::kick::Handle;
use super::patched::PatchedCall;
use super::space::Sandbox;
use super::windows::{Slot, Window};

/// This many are kept in an address space; more are ended.
const LIMIT: usize = 8;

/// What of a guest thread is used again.
pub(super) struct Parked {
    /// The ended thread's: its process is everybody's.
    pub(super) handle: Arc<Handle>,
    pub(super) listener: Arc<Listener>,
    pub(super) slot: Slot,
    pub(super) frame: Frame,
    pub(super) waiting: u64,
    pub(super) bases: (u64, u64),
    pub(super) patched: Option<PatchedCall>,
    /// See [`Thread`](super::thread::Thread).
    pub(super) keeps_kicks_away: bool,
}

impl Parked {
    /// The handle of the guest thread that is next.
    pub(super) fn next_handle(&self) -> Handle {
        let Handle { process, pid, earlier_cpu_time, .. } = &*self.handle;
        let used = self.handle.final_cpu_time.get().copied().unwrap_or(Duration::ZERO);
        Handle {
            process: Arc::clone(process),
            pid: *pid,
            handover: Handover::new(),
            orders: self.slot.orders(),
            earlier_cpu_time: *earlier_cpu_time + used,
            final_cpu_time: OnceLock::new(),
        }
    }

    /// What its host process has used up to now is nobody's: the next guest thread's time begins here.
    pub(super) fn restart_clock(&mut self) {
        let next = self.next_handle();
        let earlier_cpu_time = process_cpu_time(next.pid).unwrap_or(next.earlier_cpu_time);
        let final_cpu_time = OnceLock::from(Duration::ZERO);
        self.handle = Arc::new(Handle { earlier_cpu_time, final_cpu_time, ..next });
    }

    /// Ends its host process.
    pub(super) fn end(self, sandbox: &Sandbox, window: &Arc<Window>) {
        sandbox.deaths.end(&self.handle.process);
        let _ = self.handle.process.signal(libc::SIGKILL);
        let (process, window) = (Remains::Thread(self.handle), Some(Arc::clone(window)));
        sandbox.graveyard.bury(Corpse { process, _slot: Some(self.slot), window });
    }
}

/// An address space's.
#[derive(Default)]
pub(super) struct Parking(Mutex<Vec<Parked>>);

impl Parking {
    /// Takes one in; gives it back if there is no room.
    pub(super) fn park(&self, parked: Parked) -> Option<Parked> {
        let mut all = self.0.lock();
        if all.len() == LIMIT {
            return Some(parked);
        }
        all.push(parked);
        None
    }

    /// The last one in, whose memory is warm.
    pub(super) fn take(&self) -> Option<Parked> {
        self.0.lock().pop()
    }
}
