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

/// Most pieces that are copied at once (`UIO_MAXIOV` is far more).
pub const MAX_PIECES: usize = 256;

/// Copies several pieces, given by address and length, from the process. `EFAULT` unless all of them can be read; `EINVAL`
/// for more than [`MAX_PIECES`].
pub fn read_pieces(pid: Pid, places: &[(u64, usize)]) -> Result<Vec<Vec<u8>>, Errno> {
    let mut pieces: Vec<Vec<u8>> = places.iter().map(|&(_, length)| vec![0; length]).collect();
    let local: Vec<libc::iovec> = pieces
        .iter_mut()
        .map(|piece| libc::iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: piece.len() })
        .collect();
    let remote = remote_pieces(places)?;
    let count = local.len() as libc::c_ulong;
    // SAFETY: `local` names the live buffers of `pieces`, which nothing else uses meanwhile; `remote` is only addresses in
    // another process. Both have `count` entries.
    let done =
        unsafe { libc::process_vm_readv(pid.as_raw(), local.as_ptr(), count, remote.as_ptr(), count, 0) };
    let wanted: usize = places.iter().map(|&(_, length)| length).sum();
    if progress(done)? == wanted { Ok(pieces) } else { Err(Errno::EFAULT) }
}

/// Copies several pieces to the process. After `EFAULT` some of them, and parts of one, may have been written.
pub fn write_pieces(pid: Pid, pieces: &[(u64, &[u8])]) -> Result<(), Errno> {
    let local: Vec<libc::iovec> = pieces
        .iter()
        .map(|(_, data)| libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() })
        .collect();
    let places: Vec<(u64, usize)> = pieces.iter().map(|&(address, data)| (address, data.len())).collect();
    let remote = remote_pieces(&places)?;
    let count = local.len() as libc::c_ulong;
    // SAFETY: `local` names live data that the host only reads; `remote` is only addresses in another process. Both have
    // `count` entries.
    let done =
        unsafe { libc::process_vm_writev(pid.as_raw(), local.as_ptr(), count, remote.as_ptr(), count, 0) };
    let wanted: usize = places.iter().map(|&(_, length)| length).sum();
    if progress(done)? == wanted { Ok(()) } else { Err(Errno::EFAULT) }
}

fn remote_pieces(places: &[(u64, usize)]) -> Result<Vec<libc::iovec>, Errno> {
    if places.len() > MAX_PIECES {
        return Err(Errno::EINVAL);
    }
    let vector =
        |&(address, length): &(u64, usize)| libc::iovec { iov_base: address as *mut _, iov_len: length };
    Ok(places.iter().map(vector).collect())
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
