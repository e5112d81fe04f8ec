//! The memory of a task that has ended: none (`exit_mm` in `kernel/exit.c`).
//!
//! Somebody may keep the task for long, a name in `/proc` for one. The address space must not wait for that: it is two host
//! processes and all the memory of the program.

use std::sync::Arc;

use usk_abi::Errno;
use usk_platform::{AddressSpace, GuestThread, Layout, ThreadState};

use crate::mm::{Mm, VmaTree};

/// An address space in which there is nothing, and in which nothing can be.
struct Nothing;

impl AddressSpace for Nothing {
    fn fork(&self) -> Result<Arc<dyn AddressSpace>, Errno> {
        Err(Errno::ESRCH)
    }

    fn create_thread(self: Arc<Self>, _state: &ThreadState) -> Result<Box<dyn GuestThread>, Errno> {
        Err(Errno::ESRCH)
    }

    fn read(&self, _address: u64, _buffer: &mut [u8]) -> usize {
        0
    }

    fn write(&self, _address: u64, _data: &[u8]) -> usize {
        0
    }

    fn populate(&self, _address: u64, _length: usize) -> Result<(), Errno> {
        Err(Errno::ESRCH)
    }

    fn compare_exchange(&self, _address: u64, _current: u32, _new: u32) -> Result<u32, Errno> {
        Err(Errno::EFAULT)
    }

    fn end(&self) {}

    fn is_alive(&self) -> bool {
        true
    }
}

impl Mm {
    /// The memory map of all tasks that have ended.
    pub(crate) fn nothing(layout: &Layout) -> Result<Arc<Mm>, Errno> {
        let mm = Mm::new(Arc::new(Nothing), layout, 0, false)?;
        mm.change().tree = VmaTree::new();
        Ok(mm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::fake::layout;

    #[test]
    fn there_is_nothing() {
        let mm = Mm::nothing(&layout()).expect("it needs nothing");
        assert!(mm.snapshot().is_empty());
        assert_eq!(mm.memory_use().totals.total, 0);
        assert_eq!(mm.space.read(0x1_0000, &mut [0; 8]), 0);
        assert!(mm.fork().is_err());
    }
}
