//! What the process gives up before it reads its first request.

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use usk_abi::Errno;

use crate::error::GoferError;
use crate::host::errno;

/// Gives up what no request needs. Acts on this thread and those that it starts, so the process must have no
/// other yet.
pub(crate) fn drop_privileges(any_writable: bool) -> Result<(), GoferError> {
    let fail = |action| move |error| GoferError::Lockdown { action, errno: errno(error) };
    rustix::thread::set_no_new_privs(true).map_err(fail("set no_new_privs"))?;
    // Exact permission bits come with each request.
    rustix::process::umask(Mode::empty());
    let held = rustix::thread::capabilities(None).map_err(fail("read the capabilities"))?;
    let kept = held.permitted & needed_capabilities(any_writable);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(fail("drop capabilities"))?;
    // No other process of the same user may look into this one, or trace it.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(fail("forbid tracing"))
}

/// What brokering files as root takes; an ordinary user has none of these, and the host's permission checks
/// hold.
fn needed_capabilities(any_writable: bool) -> CapabilitySet {
    // Reading whatever the guest's root may read: the sentry checks permissions for its guests.
    let reading = CapabilitySet::DAC_READ_SEARCH | CapabilitySet::DAC_OVERRIDE;
    if !any_writable {
        return reading;
    }
    // Changing files of any owner, giving new ones to theirs, and keeping set-id bits as asked.
    reading | CapabilitySet::FOWNER | CapabilitySet::CHOWN | CapabilitySet::FSETID
}

/// Raises the limit of open descriptors as far as it goes; returns what it is then.
pub(crate) fn raise_descriptor_limit() -> Result<usize, GoferError> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).map_err(|error| GoferError::Lockdown {
        action: "raise the descriptor limit",
        errno: errno(error),
    })?;
    let count = limit.maximum.or(limit.current).unwrap_or(u64::MAX);
    usize::try_from(count)
        .map_err(|_| GoferError::Lockdown { action: "use the descriptor limit", errno: Errno::EOVERFLOW })
}
