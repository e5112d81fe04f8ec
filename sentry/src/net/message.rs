//! Messages on their way, and the open files that travel in them.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use usk_abi::Errno;
use usk_abi::socket::UserCredentials;

use crate::vfs::OpenFile;

/// Most open files that travel at one time. Sockets that travel in each other's messages are not found and freed (Linux
/// has a garbage collector for that): they count against this until the sandbox ends.
const MAX_IN_FLIGHT: usize = 16_384;

/// What a queued message costs besides its bytes, so that many tiny ones are bounded too.
pub(super) const MESSAGE_OVERHEAD: usize = 512;

/// Most bytes that one part of a stream's send carries.
pub(super) const STREAM_PART: usize = 64 << 10;

/// A message in a socket's inbox.
#[derive(Default)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    /// Bytes of a stream's message that have been read.
    pub(super) consumed: usize,
    /// The sender's address as `struct sockaddr_*`, if it is worth telling.
    pub(super) source: Option<Vec<u8>>,
    pub(super) credentials: UserCredentials,
    pub(super) rights: Rights,
}

impl Message {
    /// What has not been read.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.consumed..]
    }

    /// What it counts against the buffer.
    pub(super) fn cost(&self) -> usize {
        self.bytes.len() + MESSAGE_OVERHEAD
    }
}

/// Open files in flight. Counted; dropping them from within another drop does not recurse.
#[derive(Default)]
pub(super) struct Rights {
    files: Vec<Arc<OpenFile>>,
    in_flight: Option<Arc<AtomicUsize>>,
}

impl Rights {
    /// Counts the files as in flight. `ETOOMANYREFS` if there are too many, and then gives them back.
    pub(super) fn new(
        files: Vec<Arc<OpenFile>>,
        in_flight: &Arc<AtomicUsize>,
    ) -> Result<Self, (Errno, Vec<Arc<OpenFile>>)> {
        if files.is_empty() {
            return Ok(Self::default());
        }
        let count = in_flight.fetch_add(files.len(), Ordering::Relaxed) + files.len();
        if count > MAX_IN_FLIGHT {
            in_flight.fetch_sub(files.len(), Ordering::Relaxed);
            return Err((Errno::ETOOMANYREFS, files));
        }
        Ok(Rights { files, in_flight: Some(in_flight.clone()) })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The files, which stay in flight (`MSG_PEEK`).
    pub(super) fn duplicate(&self) -> Vec<Arc<OpenFile>> {
        self.files.clone()
    }

    /// Takes the files out: they have arrived.
    pub(super) fn take(&mut self) -> Vec<Arc<OpenFile>> {
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.fetch_sub(self.files.len(), Ordering::Relaxed);
        }
        std::mem::take(&mut self.files)
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        let files = self.take();
        if !files.is_empty() {
            drop_without_recursion(files);
        }
    }
}

thread_local! {
    /// Files to be dropped by the outermost drop on this thread.
    static DOOMED: RefCell<Option<Vec<Arc<OpenFile>>>> = const { RefCell::new(None) };
}

/// Drops files. A file may be a socket whose inbox holds a socket whose inbox holds …: the chain is as long as the guest
/// likes, so it is worked off in a loop.
fn drop_without_recursion(files: Vec<Arc<OpenFile>>) {
    let is_outermost = DOOMED.with_borrow_mut(|doomed| match doomed {
        Some(doomed) => {
            doomed.extend(files);
            false
        }
        None => {
            *doomed = Some(files);
            true
        }
    });
    if !is_outermost {
        return;
    }
    while let Some(file) = DOOMED.with_borrow_mut(|doomed| doomed.as_mut().and_then(Vec::pop)) {
        drop(file);
    }
    DOOMED.with_borrow_mut(|doomed| *doomed = None);
}
