//! Address spaces whose last guest thread has ended, emptied and kept for the next program.
//!
//! To execute a program after a `vfork` takes an address space that is not the caller's. A fresh one costs a fork of the
//! template, a guest thread with its filter and listener, and later the end of both: some 150 µs. One that is used again costs the
//! unmapping of what was in it, which nobody waits for.
//!
//! It may belong to another guest process next, whose secrets and whose safety are not the last one's to have. So only an
//! address space is kept that had room for one guest thread at a time: that one is dead to the guest and sits in its doorbell,
//! and nothing else can write there. What it can have left is overwritten: its slot, its orders, and the words of the
//! spawner. It waits with all signals blocked, in a signal handler, whose frame restores what else the kernel keeps for a
//! thread; so one that came from a patched site, without a frame, is not kept.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::host::Pid;
use crate::host::pidfd::ProcessDescriptor;
use crate::interface::{Layout, MemoryOp};
use crate::stub::addresses::site;
use crate::stub::geometry::*;

use super::calls::translate;
use super::graveyard::{Corpse, Remains};
use super::parked::Parked;
use super::space::Sandbox;
use super::spawner::Spawner;
use super::thread::receive;
use super::windows::Window;

/// Address spaces that are kept: as many as a build makes at the same time on a small machine.
const LIMIT: usize = 4;

/// An address space without a guest thread, which empties itself.
pub(super) struct Spare {
    pub(super) process: ProcessDescriptor,
    pub(super) pid: Pid,
    pub(super) window: Arc<Window>,
    pub(super) spawner: Spawner,
    pub(super) parked: Parked,
}

impl Spare {
    /// Whether nobody but its one guest thread can have left anything in an address space, or hold it yet.
    pub(super) fn is_fit(window: &Arc<Window>, spawner: &Spawner, parked: &Parked) -> bool {
        // The space's own, the spawner's slot, and the parked thread's slot and orders: a thread that is not dead yet, and a
        // kicker that somebody keeps, would hold another.
        const HOLDERS: usize = 4;
        parked.patched.is_none()
            && window.has_one_thread()
            && Arc::strong_count(window) == HOLDERS
            && spawner.is_idle()
            && !parked.handle.process.has_ended()
    }

    /// Overwrites what the last guest has left, and has the stub empty the guest's range. Does not wait for it.
    fn begin(&mut self, layout: &Layout) -> bool {
        self.spawner.scrub();
        let slot = &self.parked.slot;
        slot.scrub();
        self.parked.frame.lay_out(slot);
        let Ok((call, None)) = translate(&MemoryOp::UnmapAll, layout) else { return false };
        call.write(slot, 0);
        slot.write_order(CALL_COUNT, 1);
        self.parked.listener.answer(self.parked.waiting, slot.answer(ANSWER_CALLS)).is_ok()
    }

    /// Waits until it is empty. False if it is not fit for use.
    fn finish(&mut self, sandbox: &Sandbox) -> bool {
        let Parked { listener, handle, frame, slot, waiting, .. } = &mut self.parked;
        let Some(ring) = receive(listener, &handle.process, sandbox.receive_sees_death) else { return false };
        *waiting = ring.id;
        let expected = [u64::from(RING_CALLS_ENDED), frame.address(slot), 1];
        // It was not the next program that has emptied it.
        self.parked.restart_clock();
        ring.number as u32 == DOORBELL
            && ring.instruction_pointer == site::doorbell()
            && ring.arguments[..3] == expected
            && !self.process.has_ended()
    }

    fn end(self, sandbox: &Sandbox) {
        let Spare { process, window, parked, .. } = self;
        parked.end(sandbox, &window);
        bury(process, &window, sandbox);
    }
}

/// Ends a spawner.
pub(super) fn bury(process: ProcessDescriptor, window: &Arc<Window>, sandbox: &Sandbox) {
    // Those who have died before.
    sandbox.graveyard.sweep(false);
    sandbox.deaths.end(&process);
    // It fails only if it has ended already.
    let _ = process.signal(libc::SIGKILL);
    let process = Remains::Spawner(process);
    sandbox.graveyard.bury(Corpse { process, _slot: None, window: Some(Arc::clone(window)) });
}

/// A sandbox's.
#[derive(Default)]
pub(super) struct Spares(Mutex<Vec<Spare>>);

impl Spares {
    /// Whether one more would be kept: to find out whether it is fit takes two questions to the host.
    pub(super) fn have_room(&self) -> bool {
        self.0.lock().len() < LIMIT
    }

    /// Takes one in, or ends it.
    pub(super) fn keep(&self, mut spare: Spare, sandbox: &Sandbox) {
        let mut all = self.0.lock();
        if all.len() < LIMIT && spare.begin(&sandbox.layout) {
            return all.push(spare);
        }
        drop(all);
        spare.end(sandbox);
    }

    /// One that is empty. The last one in, whose memory is warm.
    pub(super) fn take(&self, sandbox: &Sandbox) -> Option<Spare> {
        loop {
            // A statement of its own, so that the lock is not held during the wait.
            let mut spare = self.0.lock().pop()?;
            if spare.finish(sandbox) {
                return Some(spare);
            }
            spare.end(sandbox);
        }
    }

    /// Ends all.
    pub(super) fn clear(&self, sandbox: &Sandbox) {
        let all = std::mem::take(&mut *self.0.lock());
        all.into_iter().for_each(|spare| spare.end(sandbox));
    }
}
