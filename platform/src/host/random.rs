//! The host's random numbers.

use usk_abi::Errno;

/// Fills `buffer` with random bytes (`getrandom(2)`), as the host's own `/dev/urandom` gives them.
pub fn fill_random(buffer: &mut [u8]) -> Result<(), Errno> {
    let mut done = 0;
    while done < buffer.len() {
        let rest = &mut buffer[done..];
        // SAFETY: the kernel writes at most `rest.len()` bytes at `rest`, which is a valid, exclusive slice.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => done += got,
            Err(_) => match super::result::last_error() {
                Errno::EINTR => {}
                error => return Err(error),
            },
        }
    }
    Ok(())
}
