//! `process_vm_readv(2)` and `process_vm_writev(2)`: another process's memory, with that process's own access rights.

use nix::unistd::Pid;
use usk_abi::Errno;

use super::last_error;

/// Copies from `address` in the process into `buffer`. Returns the count of bytes before the first page that the
/// process cannot read. An error only where the process is gone (`ESRCH`) or not ours to look at (`EPERM`).
pub fn read_process(pid: Pid, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0;
    while done < buffer.len() {
        let rest = &mut buffer[done..];
        let local = libc::iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() };
        let Some(start) = address.checked_add(done as u64) else { break };
        let remote = libc::iovec { iov_base: start as *mut _, iov_len: rest.len() };
        // SAFETY: `local` is a live, exclusively borrowed buffer; `remote` is only an address in another process.
        let count = unsafe { libc::process_vm_readv(pid.as_raw(), &local, 1, &remote, 1, 0) };
        match progress(count)? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

/// Copies `data` to `address` in the process; otherwise like [`read_process`].
pub fn write_process(pid: Pid, address: u64, data: &[u8]) -> Result<usize, Errno> {
    let mut done = 0;
    while done < data.len() {
        let rest = &data[done..];
        let local = libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
        let Some(start) = address.checked_add(done as u64) else { break };
        let remote = libc::iovec { iov_base: start as *mut _, iov_len: rest.len() };
        // SAFETY: `local` is a live buffer that the host only reads; `remote` is an address in another process.
        let count = unsafe { libc::process_vm_writev(pid.as_raw(), &local, 1, &remote, 1, 0) };
        match progress(count)? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

fn progress(count: isize) -> Result<usize, Errno> {
    match usize::try_from(count) {
        Ok(count) => Ok(count),
        Err(_) => match last_error() {
            Errno::EFAULT => Ok(0),
            error => Err(error),
        },
    }
}
