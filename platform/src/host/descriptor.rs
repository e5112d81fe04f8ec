//! What a descriptor stands for.

use std::os::fd::BorrowedFd;

use nix::sys::stat::{self, SFlag};
use usk_abi::Errno;

use super::result::from_nix;

/// True for a regular file (a memfd is one). See fstat(2).
pub fn is_regular_file(descriptor: BorrowedFd<'_>) -> Result<bool, Errno> {
    let status = stat::fstat(descriptor).map_err(from_nix)?;
    Ok(status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits())
}
