//! Memory barriers on other processors.

use usk_abi::Errno;

use super::result::check;

/// `MEMBARRIER_CMD_GLOBAL`
const GLOBAL: libc::c_int = 1;

/// Has every thread of the host that is running pass a full memory barrier before this returns
/// (`membarrier(MEMBARRIER_CMD_GLOBAL)`). Takes milliseconds.
pub fn memory_barrier_everywhere() -> Result<(), Errno> {
    // SAFETY: the call takes numbers only and changes no memory.
    check(unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) }).map(drop)
}
