//! Hearing of host processes that end behind the platform's back: the host's OOM killer ends them, or an operator.
//!
//! A guest thread that runs is waited for, so its end is noticed at once. Nobody waits for a guest thread that the sentry
//! holds in a system call, nor for what keeps an address space: these are watched here.

use usk_abi::Errno;

use crate::host::EdgePoll;
use crate::host::pidfd::ProcessDescriptor;

/// Processes that must not end by themselves.
pub(crate) struct DeathWatch {
    poll: EdgePoll,
}

impl DeathWatch {
    /// A watch over nobody.
    pub(crate) fn new() -> Result<DeathWatch, Errno> {
        Ok(DeathWatch { poll: EdgePoll::new()? })
    }

    /// Begins to watch a process.
    pub(crate) fn begin(&self, process: &ProcessDescriptor) -> Result<(), Errno> {
        self.poll.add(process, 0)
    }

    /// Ends watching a process: it is about to be killed, or its end is known.
    pub(crate) fn end(&self, process: &ProcessDescriptor) {
        // It fails only for a process that is not watched any more.
        let _ = self.poll.remove(process);
    }

    /// Sleeps until one that is watched has ended.
    pub(crate) fn wait(&self) -> Result<(), Errno> {
        while self.poll.wait()?.is_empty() {}
        Ok(())
    }
}
