//! The descriptor table of a process that is being set up.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open, openat};
use nix::sys::stat::Mode;
use usk_abi::Errno;

use super::inheritance;
use super::result::{check, from_nix};

/// A duplicate, closed on exec, of the descriptor that this process was started with under this number. `EBADF` if
/// there was none.
pub fn inherited(number: i32) -> Result<OwnedFd, Errno> {
    let closed = inheritance::closed_streams();
    if usize::try_from(number).ok().and_then(|number| closed.get(number)) == Some(&true) {
        return Err(Errno::EBADF);
    }
    // SAFETY: takes numbers only; a number that is no descriptor is EBADF.
    let flags = check(libc::c_long::from(unsafe { libc::fcntl(number, libc::F_GETFD) }))?;
    // What this process has opened since is closed on exec, which what it was started with cannot be.
    if flags & libc::c_long::from(libc::FD_CLOEXEC) != 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: the same.
    let returned = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    let copy = check(libc::c_long::from(returned))?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy as i32) })
}

/// Closes every descriptor but these. Only for a process that has just been forked and never drops what it had
/// opened before: it ends by [`exit`](super::child::exit). close_range(2).
pub fn close_all_except(kept: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut numbers: Vec<u32> = kept.iter().map(|descriptor| descriptor.as_raw_fd() as u32).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut first = 0;
    for number in numbers {
        if number > first {
            close_range(first, number - 1)?;
        }
        first = number + 1;
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: takes numbers only. That no owner of these descriptors is used again is the caller's promise.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Has the host make room in the descriptor table for this many, as far as the limit allows, by duplicating one of them to the last and
/// closing that. While a process has one thread that takes microseconds; with several, each time that the table has to double, the one that
/// opens a file waits some 10 ms for all CPUs (`expand_fdtable` in the kernel's fs/file.c). fcntl(2).
pub fn make_room(count: u64, limit: u64, one: BorrowedFd<'_>) -> Result<(), Errno> {
    let last = count.min(limit).saturating_sub(1);
    let last = i32::try_from(last).map_err(|_| Errno::EINVAL)?;
    match fcntl(one, FcntlArg::F_DUPFD_CLOEXEC(last)) {
        Ok(copy) => {
            // SAFETY: the kernel has just made this descriptor for us.
            drop(unsafe { OwnedFd::from_raw_fd(copy) });
            Ok(())
        }
        // The last is in use: there is that much room.
        Err(nix::errno::Errno::EMFILE) => Ok(()),
        Err(error) => Err(from_nix(error)),
    }
}

/// Has descriptors from this number on closed when another program is executed. close_range(2), since Linux 5.11.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: takes numbers only, and closes nothing now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

/// Refers to a directory (`O_PATH`). open(2).
pub fn open_directory(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(from_nix)
}

/// The contents of a file below a directory, such as one of `proc(5)`. openat(2).
pub fn read_text_at(directory: BorrowedFd<'_>, path: &CStr) -> Result<String, Errno> {
    let file =
        openat(directory, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(from_nix)?;
    let mut text = String::new();
    match File::from(file).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))),
    }
}

/// Writes text to a file below a directory, such as one of `proc(5)`. openat(2).
pub fn write_text_at(directory: BorrowedFd<'_>, path: &CStr, text: &str) -> Result<(), Errno> {
    let file =
        openat(directory, path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(from_nix)?;
    match std::io::Write::write_all(&mut File::from(file), text.as_bytes()) {
        Ok(()) => Ok(()),
        Err(error) => Err(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))),
    }
}
