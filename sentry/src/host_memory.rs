//! Files of the host that are guests' memory: shared memory, System V segments, files of a tmpfs that are large or mapped.
//!
//! Each is a descriptor of this process for as long as a guest wants it, and guests may want as many as they please. The host
//! limits descriptors, and opening files, forking and executing take some too: those of memory get a share.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use usk_abi::Errno;
use usk_platform::host;

/// Files in use.
static IN_USE: AtomicUsize = AtomicUsize::new(0);
/// Most that there may be.
static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Leaves half of the descriptors that this process may have to everything else.
pub fn share_descriptors(limit: u64) {
    MOST.store(usize::try_from(limit / 2).unwrap_or(usize::MAX), Ordering::Relaxed);
}

/// How many files there are.
pub(crate) fn in_use() -> usize {
    IN_USE.load(Ordering::Relaxed)
}

/// A memfd of the host, which is counted until this is dropped.
#[derive(Debug)]
pub struct HostMemory(pub Arc<OwnedFd>);

impl HostMemory {
    /// `length` bytes of zeros. `ENFILE` if there are as many files as there may be.
    pub(crate) fn new(name: &CStr, length: u64) -> Result<Self, Errno> {
        let most = MOST.load(Ordering::Relaxed);
        let count = |files: usize| (files < most).then_some(files + 1);
        IN_USE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).map_err(|_| Errno::ENFILE)?;
        match host::create_memfd(name, length) {
            Ok(file) => Ok(HostMemory(Arc::new(file))),
            Err(errno) => {
                IN_USE.fetch_sub(1, Ordering::Relaxed);
                Err(errno)
            }
        }
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        IN_USE.fetch_sub(1, Ordering::Relaxed);
    }
}
