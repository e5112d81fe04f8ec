//! What this process was started with and the language's runtime changes before `main`: it opens `/dev/null` in place
//! of standard streams that are closed, and ignores SIGPIPE. A program that is run on somebody's behalf inherits what
//! they had, so it is noted before. fcntl(2), sigaction(2).

use std::sync::atomic::{AtomicU8, Ordering};

/// Bit `n`: descriptor `n` was closed.
const CLOSED: [u8; 3] = [1 << 0, 1 << 1, 1 << 2];
/// SIGPIPE was ignored.
const PIPE_IGNORED: u8 = 1 << 3;

static NOTED: AtomicU8 = AtomicU8::new(0);

/// The C library calls this before the language's runtime begins.
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE: extern "C" fn() = note;

extern "C" fn note() {
    let mut noted = 0;
    for (number, bit) in (0..).zip(CLOSED) {
        // SAFETY: takes numbers only; a number that is no descriptor is EBADF.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
            noted |= bit;
        }
    }
    // SAFETY: an all-zero `sigaction` is valid, and a null new action leaves the disposition alone.
    let is_ignored = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    };
    if is_ignored {
        noted |= PIPE_IGNORED;
    }
    NOTED.store(noted, Ordering::Relaxed);
}

/// Which of standard input, output and error were closed.
pub fn closed_streams() -> [bool; 3] {
    let noted = NOTED.load(Ordering::Relaxed);
    CLOSED.map(|bit| noted & bit != 0)
}

/// Whether SIGPIPE was ignored.
pub(super) fn pipe_was_ignored() -> bool {
    NOTED.load(Ordering::Relaxed) & PIPE_IGNORED != 0
}
