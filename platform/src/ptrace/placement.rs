//! Which CPU a guest thread and its sentry thread run on.
//!
//! The two take turns, so nothing is lost if they share a CPU, and much is won: when one wakes the other the host
//! likes to put it on an idle CPU, and getting that out of its sleep costs 50 µs and more on a virtual machine. One
//! system call after the other in a single guest thread took 48 µs without any binding, 16 µs with the guest thread
//! bound to wherever the sentry thread is, and 10 µs with both bound (two CPUs).
//!
//! But bound threads cannot spread over the CPUs. So a pair is bound for some milliseconds only: a service thread
//! sets all pairs free that were bound since its last round, whether they chat, compute or sleep, and then each binds
//! itself again wherever the host lets it continue. While no pair is bound that thread sleeps.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::host::{self, Cpus, Pid};

/// How long a pair stays bound.
const ROUND: Duration = Duration::from_millis(10);

/// What all pairs of a platform share. Dropping it ends the service thread.
pub(super) struct Placement {
    /// The CPUs that threads are set free to; `None` if nothing is to be bound.
    free: Option<Cpus>,
    round: Arc<Round>,
    service: OnceLock<bool>,
}

/// Between the pairs and the service thread.
#[derive(Default)]
struct Round {
    state: Mutex<State>,
    has_news: Condvar,
}

#[derive(Default)]
struct State {
    /// Bound since the last round.
    bound: Vec<Arc<Pair>>,
    is_over: bool,
}

/// A guest thread and its sentry thread.
#[derive(Debug)]
pub(super) struct Pair {
    tracer: Pid,
    tracee: Pid,
    /// The CPU that both are bound to, plus one; 0 if they are free.
    bound_to: AtomicUsize,
    /// Locked while the two are bound or set free.
    change: Mutex<()>,
}

/// A pair in its platform, held by the tracer.
pub(super) struct Binding {
    placement: Arc<Placement>,
    pair: Arc<Pair>,
}

impl Placement {
    pub(super) fn new() -> Placement {
        let free = Cpus::of(Pid::from_raw(0)).ok();
        Placement { free, round: Arc::default(), service: OnceLock::new() }
    }

    /// Starts the service thread at the first call. False if there is none, and so nothing may be bound.
    fn is_served(&self) -> bool {
        let Some(free) = self.free else { return false };
        *self.service.get_or_init(|| {
            let round = Arc::clone(&self.round);
            thread::Builder::new().name("ptrace placement".into()).spawn(move || round.serve(&free)).is_ok()
        })
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        self.round.state.lock().is_over = true;
        self.round.has_news.notify_one();
    }
}

impl Round {
    fn serve(&self, free: &Cpus) {
        loop {
            let mut state = self.state.lock();
            while state.bound.is_empty() && !state.is_over {
                self.has_news.wait(&mut state);
            }
            if state.is_over {
                return;
            }
            drop(state);
            thread::sleep(ROUND);
            let bound = std::mem::take(&mut self.state.lock().bound);
            bound.iter().for_each(|pair| pair.set_free(free));
        }
    }
}

impl Pair {
    fn set_free(&self, free: &Cpus) {
        let _one_at_a_time = self.change.lock();
        if self.bound_to.swap(0, Ordering::AcqRel) != 0 {
            // They fail only for threads that are gone.
            let _ = free.allow(self.tracer);
            let _ = free.allow(self.tracee);
        }
    }
}

impl Binding {
    /// For the calling thread and a process that it traces.
    pub(super) fn new(placement: &Arc<Placement>, tracee: Pid) -> Binding {
        let pair = Pair {
            tracer: nix::unistd::gettid(),
            tracee,
            bound_to: AtomicUsize::new(0),
            change: Mutex::new(()),
        };
        Binding { placement: Arc::clone(placement), pair: Arc::new(pair) }
    }

    /// Called by the tracer before it resumes the tracee: binds both to the CPU that the tracer is on.
    pub(super) fn bind(&self) {
        let cpu = host::current_cpu();
        if self.pair.bound_to.load(Ordering::Acquire) == cpu + 1 || !self.placement.is_served() {
            return;
        }
        {
            let _one_at_a_time = self.pair.change.lock();
            if host::pin(self.pair.tracee, cpu).is_err() || host::pin(self.pair.tracer, cpu).is_err() {
                return;
            }
            self.pair.bound_to.store(cpu + 1, Ordering::Release);
        }
        self.placement.round.state.lock().bound.push(Arc::clone(&self.pair));
        self.placement.round.has_news.notify_one();
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        if let Some(free) = &self.placement.free {
            self.pair.set_free(free);
        }
    }
}
