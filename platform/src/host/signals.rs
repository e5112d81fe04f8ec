//! Signals of the monitor: received by descriptor, never by handler. signalfd(2), sigprocmask(2), sigaction(2).

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use usk_abi::Errno;

use super::inheritance::pipe_was_ignored;
use super::result::from_nix;

/// Number of the last signal.
const LAST_SIGNAL: i32 = 64;

/// A set of signals: bit `n - 1` is signal `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalSet(pub u64);

/// Receives signals, which stay blocked for this thread from then on.
pub struct SignalReceiver {
    descriptor: SignalFd,
}

impl SignalReceiver {
    /// Blocks these signals and receives them. Unknown numbers are `EINVAL`.
    pub fn new(signals: &[i32]) -> Result<SignalReceiver, Errno> {
        let mut set = SigSet::empty();
        for &signal in signals {
            set.add(Signal::try_from(signal).map_err(from_nix)?);
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).map_err(from_nix)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(SignalReceiver { descriptor: SignalFd::with_flags(&set, flags).map_err(from_nix)? })
    }

    /// The next pending signal's number, if there is one.
    pub fn next(&self) -> Result<Option<i32>, Errno> {
        match self.descriptor.read_signal() {
            Ok(signal) => Ok(signal.map(|signal| signal.ssi_signo as i32)),
            Err(nix::errno::Errno::EINTR) => Ok(None),
            Err(error) => Err(from_nix(error)),
        }
    }
}

impl AsFd for SignalReceiver {
    /// Readable while a signal is pending.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The signals that this process was started with as ignored (`nohup`, background jobs of plain shells): a program
/// inherits them.
pub fn ignored() -> SignalSet {
    SignalSet(
        (1..=LAST_SIGNAL).filter(|&signal| is_ignored(signal)).fold(0, |set, signal| set | 1 << (signal - 1)),
    )
}

/// Whether this process was started with this signal as ignored.
pub fn is_ignored(signal: i32) -> bool {
    // The language's runtime ignores this one by itself.
    if signal == libc::SIGPIPE {
        return pipe_was_ignored();
    }
    // SAFETY: an all-zero `sigaction` is valid, and a null new action leaves the disposition alone.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Lets every signal through again, for a child of a process that has a [`SignalReceiver`].
pub fn unblock_all() -> Result<(), Errno> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(from_nix)
}

/// Ignores `signal` in this process.
pub fn ignore(signal: i32) -> Result<(), Errno> {
    // SAFETY: SIG_IGN is not a function and runs nothing.
    if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
        return Err(super::last_error());
    }
    Ok(())
}
