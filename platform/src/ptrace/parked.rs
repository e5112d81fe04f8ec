//! Stubs that sleep: the template, and the anchor of each address space.
//!
//! They are stopped only for the length of a visit, by whichever sentry thread needs them. A service thread that
//! keeps them traced would be simpler, but handing work to another thread and waiting for it costs twice the wake-up
//! of an idle CPU: on a virtual machine with two CPUs that doubled the price of a thread and of a fork.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use usk_abi::Errno;

use crate::host::Pid;

use super::geography::CODE;
use super::process::HostProcess;
use super::tracee::Tracee;

/// A stub that sleeps.
pub(super) struct Parked {
    process: Arc<HostProcess>,
    /// Locked during a visit; a process has one tracer at a time.
    visit: Mutex<()>,
}

impl Parked {
    pub(super) fn new(process: HostProcess) -> Parked {
        Parked { process: Arc::new(process), visit: Mutex::new(()) }
    }

    pub(super) fn process(&self) -> &HostProcess {
        &self.process
    }

    /// Stops the stub, does some work in it and lets it sleep again.
    pub(super) fn visit<R>(&self, work: impl FnOnce(&mut Tracee) -> Result<R, Errno>) -> Result<R, Errno> {
        let _one_at_a_time = self.visit.lock();
        let mut tracee = Tracee::attach(Arc::clone(&self.process), CODE)?;
        let result = work(&mut tracee);
        // Fails only if the process has ended, which the next visit reports.
        let _ = tracee.release();
        result
    }
}

thread_local! {
    /// The guest threads that this sentry thread traces, by the anchor of their address space. One, as a rule.
    static TRACED: RefCell<Vec<(Pid, Weak<Mutex<Tracee>>)>> = const { RefCell::new(Vec::new()) };
}

/// Remembers that the calling thread traces a guest thread in the address space of this anchor. Work in that address
/// space can be done there, for it is stopped already.
pub(super) fn remember_traced(anchor: Pid, tracee: &Arc<Mutex<Tracee>>) {
    TRACED.with_borrow_mut(|traced| {
        traced.retain(|(_, tracee)| tracee.strong_count() > 0);
        traced.push((anchor, Arc::downgrade(tracee)));
    });
}

/// A guest thread in the address space of this anchor that the calling thread traces.
pub(super) fn traced_here(anchor: Pid) -> Option<Arc<Mutex<Tracee>>> {
    TRACED.with_borrow(|traced| {
        traced.iter().find_map(|(of, tracee)| if *of == anchor { tracee.upgrade() } else { None })
    })
}
