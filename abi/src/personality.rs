//! Execution domains (`personality(2)`, `linux/personality.h`).

#![allow(missing_docs)]

/// The bits that name a domain.
pub const PER_MASK: u32 = 0xff;
pub const PER_LINUX: u32 = 0;
/// `uname(2)` names a 32-bit machine.
pub const PER_LINUX32: u32 = 8;
