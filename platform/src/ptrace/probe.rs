//! Whether the platform works on this host.

use std::thread;

use super::platform::{PtracePlatform, SetupError};

/// Sets the platform up as [`PtracePlatform::new`] does, makes one address space, and throws both away. For
/// `usk doctor`; takes some milliseconds.
pub fn probe() -> Result<(), SetupError> {
    // On a thread of its own, because the stubs belong to the thread that makes the platform.
    let attempt = thread::Builder::new().name("ptrace probe".into()).spawn(|| {
        use crate::interface::Platform;
        let platform = PtracePlatform::new()?;
        platform.create_space().map(drop).map_err(SetupError::at("make an address space"))
    });
    let attempt = attempt.map_err(|error| {
        SetupError::at("start a thread")(usk_abi::Errno::from_raw(
            error.raw_os_error().unwrap_or(libc::EAGAIN),
        ))
    })?;
    attempt.join().unwrap_or(Err(SetupError::at("finish the attempt")(usk_abi::Errno::EIO)))
}
