//! What a system call that did not succeed says: an error for the guest, or a wish to be restarted.

use usk_abi::Errno;

use crate::time::Deadline;

/// Result of a system call: the value for `rax`, an error, or a restart.
pub type SysResult<T = u64> = Result<T, SysError>;

/// Why a system call did not return a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SysError {
    /// An error number for the guest.
    Errno(Errno),
    /// The call was interrupted by a signal. Never reaches a guest: signal delivery turns it into `EINTR` or a restart.
    Restart(Restart),
}

/// How an interrupted call continues, as the kernel's internal codes say (`include/linux/errno.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// `ERESTARTSYS`: restarted if no handler runs, or if the handler was installed with `SA_RESTART`; else `EINTR`.
    IfHandlerAllows,
    /// `ERESTARTNOINTR`: always restarted.
    Always,
    /// `ERESTARTNOHAND`: restarted if no handler runs; else `EINTR`.
    IfNoHandler,
    /// `ERESTART_RESTARTBLOCK`: continued by `restart_syscall(2)` if no handler runs; else `EINTR`.
    Block(RestartBlock),
}

/// What `restart_syscall(2)` needs to continue a call whose arguments would be wrong the second time (relative
/// timeouts).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartBlock {
    /// `nanosleep(2)` or `clock_nanosleep(2)` with a relative time.
    Sleep {
        /// When to wake up.
        deadline: Deadline,
        /// Guest address for the remaining time, or 0.
        remaining: u64,
    },
    /// `poll(2)`.
    Poll {
        /// Guest address of the `pollfd` array.
        fds: u64,
        /// Its length.
        count: u32,
        /// When to give up; `None` is never.
        deadline: Option<Deadline>,
    },
    /// `futex(2)` with a relative `FUTEX_WAIT`.
    Futex {
        /// Guest address of the word.
        address: u64,
        /// The expected value.
        value: u32,
        /// The bit set waited for.
        bitset: u32,
        /// Whether the futex is private to the address space.
        private: bool,
        /// When to give up.
        deadline: Deadline,
    },
}

impl SysError {
    /// True for the "try again" that a blocking operation waits upon.
    pub fn would_block(self) -> bool {
        self == SysError::Errno(Errno::EAGAIN)
    }
}

impl From<Errno> for SysError {
    fn from(errno: Errno) -> Self {
        SysError::Errno(errno)
    }
}

impl From<Restart> for SysError {
    fn from(restart: Restart) -> Self {
        SysError::Restart(restart)
    }
}
