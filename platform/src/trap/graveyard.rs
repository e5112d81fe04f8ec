//! Processes that were killed and not yet reaped, with what they occupy.
//!
//! The end of a process takes the host tens of microseconds, on whichever CPU it ran; nobody waits for it. The dead
//! keep their slot and window until they are reaped, which happens when others die, and before something new is made if they are
//! many: who makes something new is waited for, who dies is not.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::host::pidfd::ProcessDescriptor;

use super::windows::{Slot, Window};

/// More than this many are not left lying: the next burial waits.
const LIMIT: usize = 256;
/// More than this many do not lie in the way of what is new.
const FEW: usize = 8;

/// A process that has been sent SIGKILL.
pub(super) struct Corpse {
    pub(super) process: Remains,
    /// Held until it is surely dead.
    pub(super) _slot: Option<Slot>,
    /// Held until it is surely dead.
    pub(super) window: Option<Arc<Window>>,
}

/// The descriptor of a dying process, alone or shared with those who may still ask for its processor time.
pub(super) enum Remains {
    Spawner(ProcessDescriptor),
    Thread(Arc<super::kick::Handle>),
}

impl Remains {
    fn process(&self) -> &ProcessDescriptor {
        match self {
            Remains::Spawner(process) => process,
            Remains::Thread(handle) => &handle.process,
        }
    }

    /// Whether it is gone for good.
    fn reap(&self, wait: bool) -> bool {
        match self.process().reap(wait) {
            Ok(None) => false,
            Ok(Some((_, time))) => {
                if let Remains::Thread(handle) = self {
                    handle.stop_clock(Some(time));
                }
                true
            }
            // Nothing to reap: not ours any more.
            Err(_) => true,
        }
    }
}

/// All of a sandbox's.
#[derive(Default)]
pub(super) struct Graveyard(Mutex<Vec<Corpse>>);

impl Graveyard {
    /// Takes a process that has been sent SIGKILL.
    pub(super) fn bury(&self, corpse: Corpse) {
        let mut corpses = self.0.lock();
        corpses.push(corpse);
        if corpses.len() > LIMIT {
            let oldest = corpses.remove(0);
            drop(corpses);
            oldest.process.reap(true);
        }
    }

    /// Waits until all dead threads of an address space are dead indeed: until then one that was killed while it ran
    /// may still write to memory.
    pub(super) fn settle(&self, window: &Arc<Window>) {
        let is_of_it = |corpse: &Corpse| {
            matches!(corpse.process, Remains::Thread(_))
                && corpse.window.as_ref().is_some_and(|other| Arc::ptr_eq(other, window))
        };
        let mut corpses = self.0.lock();
        let theirs: Vec<Corpse> = corpses.extract_if(.., |corpse| is_of_it(corpse)).collect();
        drop(corpses);
        for corpse in theirs {
            corpse.process.reap(true);
        }
    }

    /// As [`Graveyard::sweep`], if there are many.
    pub(super) fn make_room(&self) {
        // A statement of its own, so that the lock is not held meanwhile.
        let count = self.0.lock().len();
        if count > FEW {
            self.sweep(false);
        }
    }

    /// Reaps those that have ended by now; all of them, waiting for the end, if `wait`.
    pub(super) fn sweep(&self, wait: bool) {
        let mut dead = Vec::new();
        let mut corpses = self.0.lock();
        let mut index = 0;
        while index < corpses.len() {
            if corpses[index].process.reap(wait) {
                dead.push(corpses.swap_remove(index));
            } else {
                index += 1;
            }
        }
        drop(corpses);
        // Windows are emptied here, outside the lock.
        drop(dead);
    }
}
