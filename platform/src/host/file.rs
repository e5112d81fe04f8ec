//! Files of the host that the sentry holds descriptors of: memfds of its own, and files that the gofer donated.

use std::os::fd::{AsFd, AsRawFd};

use nix::fcntl::FallocateFlags;
use nix::unistd::Whence;
use usk_abi::Errno;

use super::result::{check, from_nix};

fn offset(value: u64) -> Result<i64, Errno> {
    i64::try_from(value).map_err(|_| Errno::EFBIG)
}

/// `pread(2)`: bytes read, 0 at the end of the file.
pub fn read_at(file: impl AsFd, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    let at = offset(at)?;
    loop {
        match nix::sys::uio::pread(file.as_fd(), buffer, at) {
            Err(nix::errno::Errno::EINTR) => continue,
            result => return result.map_err(from_nix),
        }
    }
}

/// `pwrite(2)`: bytes written.
pub fn write_at(file: impl AsFd, data: &[u8], at: u64) -> Result<usize, Errno> {
    let at = offset(at)?;
    loop {
        match nix::sys::uio::pwrite(file.as_fd(), data, at) {
            Err(nix::errno::Errno::EINTR) => continue,
            result => return result.map_err(from_nix),
        }
    }
}

/// `ftruncate(2)`.
pub fn set_length(file: impl AsFd, length: u64) -> Result<(), Errno> {
    nix::unistd::ftruncate(file, offset(length)?).map_err(from_nix)
}

/// `fallocate(2)`; `mode` is `FALLOC_FL_*`.
pub fn allocate(file: impl AsFd, mode: u32, at: u64, length: u64) -> Result<(), Errno> {
    let mode = FallocateFlags::from_bits(mode as i32).ok_or(Errno::EOPNOTSUPP)?;
    nix::fcntl::fallocate(file, mode, offset(at)?, offset(length)?).map_err(from_nix)
}

/// `lseek(2)` with `SEEK_DATA`: the first byte at or after `at` that is data. `ENXIO` if there is none.
pub fn seek_data(file: impl AsFd, at: u64) -> Result<u64, Errno> {
    nix::unistd::lseek(file, offset(at)?, Whence::SeekData).map(|at| at as u64).map_err(from_nix)
}

/// `lseek(2)` with `SEEK_HOLE`: the first byte at or after `at` that is in a hole or the end of the file.
pub fn seek_hole(file: impl AsFd, at: u64) -> Result<u64, Errno> {
    nix::unistd::lseek(file, offset(at)?, Whence::SeekHole).map(|at| at as u64).map_err(from_nix)
}

/// What `fstat(2)` says about the extent of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Length in bytes.
    pub size: u64,
    /// Blocks of 512 bytes in use.
    pub blocks: u64,
}

/// Length and space in use of a file.
pub fn extent(file: impl AsFd) -> Result<Extent, Errno> {
    let stat = nix::sys::stat::fstat(file).map_err(from_nix)?;
    Ok(Extent { size: stat.st_size as u64, blocks: stat.st_blocks as u64 })
}

/// `fsync(2)` or `fdatasync(2)`.
pub fn sync(file: impl AsFd, data_only: bool) -> Result<(), Errno> {
    let raw = file.as_fd().as_raw_fd();
    // SAFETY: the descriptor is valid for as long as `file` lives; the calls take no pointer.
    let result = unsafe { if data_only { libc::fdatasync(raw) } else { libc::fsync(raw) } };
    check(result.into()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_file_keeps_data_and_holes() {
        let file = crate::host::create_memfd(c"test", 0).unwrap();
        assert_eq!(write_at(&file, b"data", 8192).unwrap(), 4);
        assert_eq!(extent(&file).unwrap().size, 8196);
        assert_eq!(seek_data(&file, 0).unwrap(), 8192);
        assert_eq!(seek_hole(&file, 0).unwrap(), 0);
        let mut buffer = [1u8; 8];
        assert_eq!(read_at(&file, &mut buffer, 8190).unwrap(), 6);
        assert_eq!(&buffer[..6], b"\0\0data");
        set_length(&file, 3).unwrap();
        assert_eq!(read_at(&file, &mut buffer, 3).unwrap(), 0);
        assert_eq!(read_at(&file, &mut buffer, u64::MAX), Err(Errno::EFBIG));
    }
}
