//! The memory map of an address space: which ranges are mapped, to what, with which access.
//!
//! Guest memory is the host's: private anonymous memory of the guest's host processes, files and memfds mapped by the host.
//! The sentry keeps the [`tree`] of mappings, which decides placement, permissions and limits and is what
//! `/proc/PID/maps` shows, and has the calling guest thread carry out the same change on the host.
//!
//! An [`Mm`] has one lock. A change takes it, checks, has the host do it, and then updates the tree, which cannot fail; so
//! the tree never says more than the host did (or, see [`deferred`], will have done before anybody can look). Where a change takes several host operations and a later one fails, the tree
//! records exactly those that were done, or the earlier ones are undone. Part of it the guest thread may change by itself, so the lock is
//! taken by way of `Mm::look` and `Mm::change` ([`lent`]).
//!
//! One file holds what belongs to one manual page: [`map`](Mm::map) and `unmap`, `protect`, `remap`, `brk`, `advise`,
//! `lock`, `sync`.

mod advise;
mod advisers;
mod attach;
mod barrier;
mod brk;
mod deferred;
mod fault;
mod futex_key;
mod known_code;
mod lent;
mod lock;
mod map;
mod maps;
mod memory;
#[allow(clippy::module_inception)]
mod mm;
mod nothing;
mod patching;
mod placement;
mod program;
mod protect;
mod remap;
mod slow_sites;
mod sync;
mod traced;
mod tree;
mod vma;

#[cfg(test)]
pub(crate) mod fake;

pub use attach::AttachRequest;
pub use barrier::BarrierKinds;
pub(crate) use deferred::fail_last_call;
pub use fault::HostFault;
pub use futex_key::FutexKey;
pub(crate) use known_code::KnownCode;
pub use map::MapRequest;
pub use maps::{FileLabel, MapsFormat};
pub use memory::SharedMemory;
pub(crate) use mm::{Executable, NewImage, page_align};
pub use mm::{ImageRanges, MemoryLimits, MemoryUse, Mm};
pub(crate) use mm::{SUID_DUMP_DISABLE, SUID_DUMP_USER};
pub use placement::Placement;
pub use program::ProgramMemory;
pub(crate) use slow_sites::{patch_for_copies, patch_if_slow};
pub use tree::{Totals, VmaTree};
pub use vma::{ALL_ACCESS, Backing, FileBacking, Vma, VmaFlags, protection_within};
