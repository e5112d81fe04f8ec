//! Limits of this process. getrlimit(2).

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use usk_abi::Errno;

use super::result::from_nix;

/// Lets this process open as many descriptors as its hard limit says, and returns that count.
pub fn raise_descriptor_limit() -> Result<u64, Errno> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(from_nix)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(from_nix)?;
    Ok(hard)
}

/// Forbids core files: they would hold guest memory and land outside the sandbox.
pub fn forbid_core_files() -> Result<(), Errno> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(from_nix)
}

/// Bounds the address space of this process, in bytes: memory beyond it is refused.
pub fn limit_address_space(bytes: u64) -> Result<(), Errno> {
    let (_, hard) = getrlimit(Resource::RLIMIT_AS).map_err(from_nix)?;
    let bytes = bytes.min(hard);
    setrlimit(Resource::RLIMIT_AS, bytes, bytes).map_err(from_nix)
}

/// Bytes of memory that this machine has; a cgroup may allow less. sysinfo(2).
pub fn total_memory() -> u64 {
    nix::sys::sysinfo::sysinfo().map(|information| information.ram_total()).unwrap_or(0)
}
