//! From the host's way of reporting errors to ours.

use usk_abi::Errno;

/// The error of the host call that has just failed on this thread.
pub(crate) fn last_error() -> Errno {
    Errno::from_raw(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// The result of a host call that returns -1 on failure.
pub(crate) fn check(returned: libc::c_long) -> Result<libc::c_long, Errno> {
    if returned == -1 { Err(last_error()) } else { Ok(returned) }
}

/// The error of a call made through nix.
pub(crate) fn from_nix(error: nix::errno::Errno) -> Errno {
    Errno::from_raw(error as i32)
}
