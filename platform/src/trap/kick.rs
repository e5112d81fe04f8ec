//! The handle by which other sentry threads reach a guest thread.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::host::pidfd::ProcessDescriptor;
use crate::host::{Pid, process_cpu_time};
use crate::interface::{Kick, Left};
use crate::stub::geometry::*;

use super::handover::Handover;
use super::windows::Orders;

/// A guest thread's host process, as much of it as is shared.
pub(super) struct Handle {
    pub(super) process: Arc<ProcessDescriptor>,
    pub(super) pid: Pid,
    pub(super) handover: Handover,
    pub(super) orders: Orders,
    /// Processor time that the process had used before it became this guest thread (see `parked`).
    pub(super) earlier_cpu_time: Duration,
    /// Processor time at the end, once it is reaped or parked.
    pub(super) final_cpu_time: OnceLock<Duration>,
}

impl Kick for Handle {
    fn kick(&self) {
        if self.handover.kick() {
            // It fails only for a process that has ended, and that ends the run as well.
            let _ = self.process.signal(KICK_SIGNAL);
        }
    }

    fn kill(&self) {
        // As above.
        let _ = self.process.signal(libc::SIGKILL);
    }

    fn withdraw_answers(&self) {
        self.orders.set_standing([0; MAX_STANDING]);
        // Who withdraws looks next at what the thread says it does: see `host_calls.S`.
        fence(Ordering::SeqCst);
    }

    fn withdraw_lending(&self) {
        self.orders.set_leave(LENT_ANSWER, false);
        fence(Ordering::SeqCst);
    }

    fn withdraw_names(&self) {
        self.orders.withdraw_names();
        fence(Ordering::SeqCst);
    }

    fn withdraw_name(&self, place: usize) {
        self.orders.withdraw_name(place);
        fence(Ordering::SeqCst);
    }

    fn withdraw_advice(&self) -> bool {
        self.end_advice()
    }

    fn is_in_host_call(&self) -> bool {
        self.orders.slot_word(ENTRY_HOST_CALL) == HOST_CALL_GUESTS
    }

    fn sleeps_with_nothing(&self) -> bool {
        let is_zero = |word| self.orders.slot_u64(word) == 0;
        // In this order: before it is there it may do something yet.
        self.is_in_host_call()
            && [LENT_CHANGED, LENT_MOVED, LEDGER_USED].into_iter().all(is_zero)
            && self.orders.slot_word(NOTED_COUNT) == 0
    }

    fn left(&self) -> Left {
        self.read_left()
    }

    fn is_alive(&self) -> bool {
        !self.process.has_ended()
    }

    fn cpu_time(&self) -> Duration {
        // The number is the process's until it is reaped, and the time is kept before that. A reaper between the two
        // steps makes the clock disappear; the second look finds the final time.
        let known = self.final_cpu_time.get().copied();
        let time = known.or_else(|| process_cpu_time(self.pid).ok().map(|time| self.own_part(time)));
        time.or_else(|| self.final_cpu_time.get().copied()).unwrap_or_default()
    }
}

impl Handle {
    /// This guest thread's part of the process's processor time.
    fn own_part(&self, time: Duration) -> Duration {
        time.saturating_sub(self.earlier_cpu_time)
    }

    /// Keeps the processor time: it has ended. `time` is the process's; `None` asks the host.
    pub(super) fn stop_clock(&self, time: Option<Duration>) {
        let time = time.or_else(|| process_cpu_time(self.pid).ok()).unwrap_or(self.earlier_cpu_time);
        // The first is right: a parked process may live on.
        let _: Result<(), _> = self.final_cpu_time.set(self.own_part(time));
    }
}
