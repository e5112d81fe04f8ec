//! The handle by which other sentry threads reach a guest thread.

use std::sync::OnceLock;
use std::time::Duration;

use crate::host::pidfd::ProcessDescriptor;
use crate::host::{Pid, process_cpu_time};
use crate::interface::Kick;
use crate::stub::geometry::KICK_SIGNAL;

use super::handover::Handover;

/// A guest thread's host process, as much of it as is shared.
pub(super) struct Handle {
    pub(super) process: ProcessDescriptor,
    pub(super) pid: Pid,
    pub(super) handover: Handover,
    /// Processor time at the end, once it is reaped.
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

    fn is_alive(&self) -> bool {
        !self.process.has_ended()
    }

    fn cpu_time(&self) -> Duration {
        // The number is the process's until it is reaped, and the time is kept before that. A reaper between the two
        // steps makes the clock disappear; the second look finds the final time.
        let known = self.final_cpu_time.get().copied();
        let time = known.or_else(|| process_cpu_time(self.pid).ok());
        time.or_else(|| self.final_cpu_time.get().copied()).unwrap_or_default()
    }
}
