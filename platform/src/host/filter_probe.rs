//! What a seccomp filter does to a call, found out by making it. For tests and for `usk doctor`.

use usk_abi::Errno;

use super::result::check;

/// What became of a process that made a call under a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The call returned, with success or an error.
    Returned,
    /// The filter ended the process (SIGSYS).
    Killed,
    /// The call ended or blocked the process in another way; the filter let it through.
    Other(i32),
}

/// Forks a process that makes the host call `number` with six arguments, after installing the filter that `install`
/// returns the bytes of (`struct sock_filter`, as the host wants them). The process has no descriptor and ends
/// within a second.
///
/// The arguments are too short for the address of anything, so that no call reaches memory of this process.
pub fn probe(filter: &[u64], number: i64, arguments: [u32; 6]) -> Result<Verdict, Errno> {
    let length = u16::try_from(filter.len()).map_err(|_| Errno::EINVAL)?;
    // The layouts agree: u16, u8, u8, u32 in eight bytes.
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut().cast() };
    // SAFETY: between fork and exit the child makes system calls only: it takes no lock and allocates nothing.
    let pid = unsafe { libc::fork() };
    check(libc::c_long::from(pid))?;
    if pid == 0 {
        // SAFETY: (1) `program` and `filter` live across the calls; (2) the probed call runs in a process of its own
        // that has no descriptor and nothing else to lose, and whose memory is a copy.
        unsafe {
            let default = libc::SIG_DFL;
            libc::signal(libc::SIGSYS, default);
            libc::signal(libc::SIGALRM, default);
            libc::alarm(1);
            libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) != 0
            {
                libc::_exit(99);
            }
            let [a, b, c, d, e, f] = arguments.map(u64::from);
            libc::syscall(number, a, b, c, d, e, f);
            // exit_group is always allowed by a filter worth probing.
            libc::_exit(0);
        }
    }
    let mut status = 0;
    // SAFETY: `status` is valid for writing.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } == -1 {
        match super::last_error() {
            Errno::EINTR => {}
            error => return Err(error),
        }
    }
    if libc::WIFEXITED(status) {
        return match libc::WEXITSTATUS(status) {
            99 => Err(Errno::EINVAL),
            _ => Ok(Verdict::Returned),
        };
    }
    match libc::WTERMSIG(status) {
        libc::SIGSYS => Ok(Verdict::Killed),
        signal => Ok(Verdict::Other(signal)),
    }
}
