//! Waiting for any of several open files: what poll(2) and select(2) have in common.

use std::sync::Arc;

use usk_abi::{Errno, PollEvents};

use crate::task::Current;
use crate::time::Deadline;
use crate::vfs::OpenFile;
use crate::wait::WaitQueue;
use crate::{Restart, SysError, SysResult};

/// One file to wait for.
pub struct Polled {
    /// The file; `None` for a descriptor that is not open, which is ready at once (`POLLNVAL`).
    pub file: Option<Arc<OpenFile>>,
    /// What to wait for; errors and hang-ups always count.
    pub interest: PollEvents,
    /// What it is ready for.
    pub ready: PollEvents,
}

impl Polled {
    /// A file to wait for, not looked at yet.
    pub fn new(file: Option<Arc<OpenFile>>, interest: PollEvents) -> Self {
        let interest = interest | PollEvents::ERR | PollEvents::HUP;
        Polled { file, interest, ready: PollEvents::empty() }
    }

    fn look(&mut self) -> bool {
        self.ready = match &self.file {
            Some(file) => file.ops.poll(file) & self.interest,
            None => PollEvents::NVAL,
        };
        !self.ready.is_empty()
    }
}

/// Looks at all files once; returns how many are ready.
pub fn look(files: &mut [Polled]) -> usize {
    files.iter_mut().map(|polled| usize::from(polled.look())).sum()
}

/// Waits until a file is ready, and returns how many are; 0 when the deadline has passed (`None` is never). A signal
/// gives [`Restart::IfNoHandler`].
pub fn wait(current: &mut Current, files: &mut [Polled], deadline: Option<Deadline>) -> SysResult<usize> {
    current.expect_reads();
    let count = look(files);
    if count > 0 || deadline.is_some_and(Deadline::has_passed) {
        return Ok(count);
    }
    let owners: Vec<_> = files.iter().map(|polled| (polled.file.clone(), polled.interest)).collect();
    let queues: Vec<(&WaitQueue, PollEvents)> = owners
        .iter()
        .filter_map(|(file, interest)| Some((file.as_ref()?.ops.wait_queue()?, *interest)))
        .collect();
    let result = current.block(&queues, deadline, |_| match look(files) {
        0 => Err(SysError::Errno(Errno::EAGAIN)),
        count => Ok(count),
    });
    match result {
        Err(SysError::Errno(Errno::ETIMEDOUT)) => Ok(0),
        Err(SysError::Restart(_)) => Err(Restart::IfNoHandler.into()),
        other => other,
    }
}
