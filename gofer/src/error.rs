//! Why the gofer cannot serve.

use thiserror::Error;
use usk_abi::Errno;
use usk_gofer_protocol::limits::MAX_EXPORTS;

/// Why the gofer cannot begin. Errors of single requests go to the client and are not here.
#[derive(Debug, Error)]
pub enum GoferError {
    /// There is nobody to serve.
    #[error("no lane was given")]
    NoLanes,
    /// More than the protocol can number.
    #[error("{0} exports are too many: at most {MAX_EXPORTS} are possible")]
    TooManyExports(usize),
    /// A root descriptor does not work.
    #[error("cannot look at the root of export {number}: {errno}")]
    Root {
        /// Which export.
        number: usize,
        /// Why.
        errno: Errno,
    },
    /// Kernel interfaces are not exported: a sandbox must not see the host's.
    #[error(
        "export {number} lies in a file system that shows the host's kernel (proc, sysfs, …): \
         export a part of a real file system"
    )]
    KernelInterface {
        /// Which export.
        number: usize,
    },
    /// `/proc/self/fd` cannot be opened, or is another process's.
    #[error(
        "/proc/self/fd of the gofer is not available ({0}): \
         open it in the gofer's own process while /proc is mounted"
    )]
    NoSelfDescriptors(Errno),
    /// A privilege could not be given up.
    #[error("cannot {action}: {errno}")]
    Lockdown {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        errno: Errno,
    },
    /// The filter could not be built or installed.
    #[error("cannot install the gofer's seccomp filter: {0}; the host needs CONFIG_SECCOMP_FILTER")]
    Filter(String),
    /// A worker could not be started.
    #[error("cannot start a thread for a lane: {0}")]
    Thread(std::io::Error),
}
