//! What Internet sockets of a sandbox hold together, as `tcp_mem` and `udp_mem` bound it (`tcp(7)`, `udp(7)`), and what AF_UNIX sockets
//! do, which Linux charges to their users' memory.
//!
//! Each inbox is bounded by the buffers of its sender and its receiver, but a listener's backlog alone can be thousands of
//! inboxes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes in all inboxes of a sandbox, overhead included, but for what each may hold in any case.
const TOTAL_MAX: usize = 128 << 20;

/// What each inbox may hold in any case, as by the first value of `tcp_rmem`: no connection comes to a halt because of others.
const EACH_MIN: usize = 4096;

/// The bound, and what counts against it. Senders look before they queue, so it is passed by what is being sent at a time.
pub(super) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget::new(TOTAL_MAX)
    }
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Budget { limit, used: AtomicUsize::new(0) }
    }

    /// Bytes that are held now.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// What one inbox holds. Dropping it gives that back.
#[derive(Default)]
pub(super) struct Charge {
    /// Without one, only the inbox has a bound.
    budget: Option<Arc<Budget>>,
    bytes: usize,
}

impl Charge {
    /// Nothing yet, of this budget.
    pub(super) fn of(budget: &Arc<Budget>) -> Self {
        Charge { budget: Some(budget.clone()), bytes: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many more the inbox may hold as far as others are concerned.
    pub(super) fn room(&self) -> usize {
        let Some(budget) = &self.budget else { return usize::MAX };
        let left = budget.limit.saturating_sub(budget.used.load(Ordering::Relaxed));
        left.max(EACH_MIN.saturating_sub(self.bytes))
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        if let Some(budget) = &self.budget {
            budget.used.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(super) fn remove(&mut self, bytes: usize) {
        self.bytes -= bytes;
        if let Some(budget) = &self.budget {
            budget.used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.remove(self.bytes);
    }
}
