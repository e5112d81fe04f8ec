//! `membarrier(2)`: barriers on the processors that run the guest.
//!
//! Guest threads run on the host's processors, and only the host can make those pass a barrier. The sentry is not part of
//! the guest's address spaces, so it uses the one command that reaches all processors; it does more than was asked for,
//! and takes longer than the expedited commands do natively.

use bitflags::bitflags;
use usk_abi::Errno;
use usk_platform::host;

use crate::mm::mm::Mm;

bitflags! {
    /// Kinds of barrier that must be registered for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BarrierKinds: u32 {
        /// `MEMBARRIER_CMD_PRIVATE_EXPEDITED`
        const PRIVATE = 1;
        /// `MEMBARRIER_CMD_GLOBAL_EXPEDITED`
        const GLOBAL = 2;
    }
}

impl Mm {
    /// Registers the process for a kind of barrier.
    pub fn register_barrier(&self, kind: BarrierKinds) {
        self.look().barriers |= kind;
    }

    /// What the process has registered for.
    pub fn registered_barriers(&self) -> BarrierKinds {
        self.look().barriers
    }

    /// Has all running threads of this address space (and others) pass a barrier. `EPERM` if the process has not registered
    /// for it.
    pub fn private_barrier(&self) -> Result<(), Errno> {
        if !self.registered_barriers().contains(BarrierKinds::PRIVATE) {
            return Err(Errno::EPERM);
        }
        host::memory_barrier_everywhere()
    }
}
