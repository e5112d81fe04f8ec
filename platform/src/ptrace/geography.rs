//! Where things lie in a stub's address space.
//!
//! ```text
//! guest_start        the guest's own, up to
//! GUEST_END          everything above is the platform's; the filter keeps injected calls below
//! CODE               one page, read and execute: `code`
//! SCRATCH            read and write: buffers of injected calls and of signal frames
//! vDSO block         the host's vvar pages and vDSO, at one of two places
//! ```

/// Size of a page of x86-64, in bytes.
pub(super) const PAGE: u64 = 4096;

/// First address above the guest's range.
pub(crate) const GUEST_END: u64 = 0x7ffd_7fff_f000;

/// The page with the code for injected calls.
pub(crate) const CODE: u64 = 0x7fff_0000_0000;

/// Buffers for injected calls: [`SCRATCH_SLOTS`] slots, each large enough for a signal frame.
pub(crate) const SCRATCH: u64 = 0x7fff_0010_0000;

/// How many guest threads of one address space can use scratch memory at the same time.
pub(super) const SCRATCH_SLOTS: u64 = 64;

/// Where the block of vvar pages and vDSO goes: the first of these that does not overlap its place in the sentry.
pub(super) const VDSO_PLACES: [u64; 2] = [0x7fff_1000_0000, 0x7fff_2000_0000];

/// End of the addresses that a process can have.
pub(crate) const TASK_SIZE: u64 = 0x7fff_ffff_f000;
