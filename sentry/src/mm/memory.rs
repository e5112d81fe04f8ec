//! Memory that several mappings share and no file names: `MAP_SHARED | MAP_ANONYMOUS` and System V segments.

use std::ffi::CStr;
use std::sync::Arc;

use usk_abi::Errno;
use usk_platform::host;

use crate::host_memory::HostMemory;

/// Shared memory: a memfd of the host that lives as long as something maps it.
#[derive(Debug)]
pub struct SharedMemory {
    /// The memfd.
    pub host: HostMemory,
    /// Its device and inode number on the host.
    pub identity: (u64, u64),
    /// What `/proc/PID/maps` shows: a path.
    pub name: String,
    /// What it shows as the inode number.
    pub inode: u64,
    /// A System V segment, which `shmdt(2)` unmaps.
    pub is_segment: bool,
}

impl SharedMemory {
    /// Zeroed memory of `length` bytes. `ENOMEM` if there is too much of it, or too many pieces.
    fn new(host_name: &CStr, length: u64, name: String, is_segment: bool) -> Result<Arc<Self>, Errno> {
        let host = HostMemory::new(host_name, length).map_err(|_| Errno::ENOMEM)?;
        let identity = host::file_identity(&*host.0)?;
        Ok(Arc::new(SharedMemory { host, identity, name, inode: identity.1, is_segment }))
    }

    /// What a shared mapping of nothing (or of `/dev/zero`) shares.
    pub fn anonymous(length: u64) -> Result<Arc<Self>, Errno> {
        Self::new(c"usk-shared", length, "/dev/zero (deleted)".into(), false)
    }

    /// A System V segment with this key.
    pub fn segment(key: i32, length: u64) -> Result<Arc<Self>, Errno> {
        Self::new(c"usk-segment", length, format!("/SYSV{key:08x} (deleted)"), true)
    }
}
