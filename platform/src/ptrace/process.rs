//! A stub's host process, as everybody but its tracer sees it: a number that can be signalled, asked and reaped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use usk_abi::Errno;

use crate::deaths::DeathWatch;
use crate::host::pidfd::ProcessDescriptor;
use crate::host::wait::{self, Change};
use crate::host::{self, Pid};

/// Sent to interrupt guest code. Guests cannot make host calls, so every signal of the stubs is the platform's to
/// use; a standard one merges with itself while it is pending.
pub(super) const KICK_SIGNAL: i32 = libc::SIGURG;

/// A child of the sentry. It stays a zombie until [`HostProcess::end`], which dropping implies, so its number means
/// nothing else as long as this exists.
pub(super) struct HostProcess {
    pid: Pid,
    /// Who hears of its end, if it is not expected.
    watch: Option<(ProcessDescriptor, Arc<DeathWatch>)>,
    /// The processor time it used, once it has been reaped.
    reaped: Mutex<Option<Duration>>,
    /// It was kicked, perhaps before it had a tracer to see the signal.
    is_kicked: AtomicBool,
}

impl HostProcess {
    pub(super) fn new(pid: Pid) -> HostProcess {
        HostProcess { pid, watch: None, reaped: Mutex::new(None), is_kicked: AtomicBool::new(false) }
    }

    /// One whose end is heard of.
    pub(super) fn watched(pid: Pid, deaths: &Arc<DeathWatch>) -> Result<HostProcess, Errno> {
        let mut process = HostProcess::new(pid);
        let descriptor = ProcessDescriptor::open(pid)?;
        deaths.begin(&descriptor)?;
        process.watch = Some((descriptor, Arc::clone(deaths)));
        Ok(process)
    }

    /// Valid for requests until [`HostProcess::end`].
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends it a signal, if it is still there.
    pub(super) fn signal(&self, signal: i32) {
        let reaped = self.reaped.lock();
        if reaped.is_none() {
            // Fails only for a process that is gone, and then there is nothing to signal.
            let _ = host::signal_process(self.pid, signal);
        }
    }

    /// Interrupts it. A tracer sees the signal; a process that has none yet ignores it, so a note is left as well.
    pub(super) fn kick(&self) {
        self.is_kicked.store(true, Ordering::SeqCst);
        self.signal(KICK_SIGNAL);
    }

    /// For the tracer that has just attached: whether there was a kick before.
    pub(super) fn was_kicked(&self) -> bool {
        self.is_kicked.load(Ordering::SeqCst)
    }

    /// Whether it still runs.
    pub(super) fn is_alive(&self) -> bool {
        let reaped = self.reaped.lock();
        reaped.is_none() && !wait::has_ended(self.pid)
    }

    /// Processor time used so far.
    pub(super) fn cpu_time(&self) -> Duration {
        let reaped = self.reaped.lock();
        match *reaped {
            Some(time) => time,
            None => host::process_cpu_time(self.pid).unwrap_or_default(),
        }
    }

    /// Waits until it has ended and says how, unless it has been reaped.
    pub(super) fn outcome(&self) -> Option<Change> {
        loop {
            match wait::change(self.pid).ok()? {
                Change::Stopped { .. } => std::thread::yield_now(),
                ended => return Some(ended),
            }
        }
    }

    /// Kills it and waits for its end, but does not reap it: its number stays its own.
    pub(super) fn kill(&self) {
        if let Some((descriptor, deaths)) = &self.watch {
            deaths.end(descriptor);
        }
        self.signal(libc::SIGKILL);
        self.outcome();
    }

    /// Kills it, waits for its end and reaps it.
    pub(super) fn end(&self) {
        let mut reaped = self.reaped.lock();
        if reaped.is_none() {
            if let Some((descriptor, deaths)) = &self.watch {
                deaths.end(descriptor);
            }
            let _ = host::signal_process(self.pid, libc::SIGKILL);
            *reaped = Some(wait::reap(self.pid).map(|(_, time)| time).unwrap_or_default());
        }
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        self.end();
    }
}
