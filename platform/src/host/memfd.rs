//! Anonymous files of the host: the memory that guests share.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use usk_abi::Errno;

use super::result::from_nix;

/// An anonymous file of `length` bytes, all zero (`memfd_create(2)`, `ftruncate(2)`). `name` is for the host's `/proc`
/// only. It cannot be executed by path and is closed on exec.
pub fn create_memfd(name: &CStr, length: u64) -> Result<OwnedFd, Errno> {
    let length = i64::try_from(length).map_err(|_| Errno::EFBIG)?;
    let file = memfd_create(name, MFdFlags::MFD_CLOEXEC).map_err(from_nix)?;
    if length > 0 {
        nix::unistd::ftruncate(&file, length).map_err(from_nix)?;
    }
    Ok(file)
}

/// A second descriptor for `file`, through which it can only be read, and never mapped writable. `proc` refers to a
/// mounted `proc(5)` in which `self` is this process.
pub fn reopen_read_only(proc: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let path = format!("self/fd/{}", file.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    nix::fcntl::openat(proc, path.as_str(), flags, Mode::empty()).map_err(from_nix)
}

/// Device and inode number: equal for two descriptors if and only if they are the same file.
pub fn file_identity(file: impl AsFd) -> Result<(u64, u64), Errno> {
    let status = nix::sys::stat::fstat(file).map_err(from_nix)?;
    Ok((status.st_dev, status.st_ino))
}
