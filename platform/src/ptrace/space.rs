//! Address spaces: each is kept by an anchor, a stub that shares the memory and never runs guest code.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use usk_abi::Errno;

use crate::deaths::DeathWatch;
use crate::host::{self, Pid};
use crate::interface::{AddressSpace, GuestThread, MemoryOp, ThreadState, pages_below};

use super::code::Entry;
use super::filter::{CLONE_SPACE, CLONE_THREAD};
use super::geography::GUEST_END;
use super::operation;
use super::parked::{Parked, traced_here};
use super::platform::Shared;
use super::process::HostProcess;
use super::scratch::ScratchPool;
use super::thread::PtraceThread;
use super::tracee::Tracee;

/// An address space.
pub(super) struct PtraceSpace {
    shared: Arc<Shared>,
    anchor: Parked,
    scratch: ScratchPool,
    /// Guest threads, to take along when the anchor dies.
    threads: Mutex<Vec<Weak<HostProcess>>>,
    /// The anchor was found dead.
    is_dead: AtomicBool,
}

impl PtraceSpace {
    /// A copy-on-write duplicate of a stub's memory.
    pub(super) fn copy_of(original: &mut Tracee, shared: Arc<Shared>) -> Result<Arc<PtraceSpace>, Errno> {
        let anchor = clone_stub(original, CLONE_SPACE, &shared.deaths)?;
        Ok(Arc::new(PtraceSpace {
            shared,
            anchor: Parked::new(anchor),
            scratch: ScratchPool::new(),
            threads: Mutex::default(),
            is_dead: AtomicBool::new(false),
        }))
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn scratch(&self) -> &ScratchPool {
        &self.scratch
    }

    /// The number of the anchor, which identifies the address space.
    pub(super) fn anchor(&self) -> Pid {
        self.anchor.process().pid()
    }

    /// Carries out operations in a stub that is stopped for it: for guest threads that nobody traces yet.
    pub(super) fn apply_in_stub(&self, operations: &[MemoryOp<'_>]) -> Result<(), (usize, Errno)> {
        let scratch = self.scratch.take();
        self.anchor
            .visit(|anchor| Ok(operation::carry_out(operations, anchor, &scratch, &self.shared)))
            .map_err(|error| (0, error))?
    }

    /// Does some work in a stub of this address space: in a guest thread that is stopped anyway, or in the anchor.
    fn in_stub<R>(&self, work: impl Fn(&mut Tracee) -> Result<R, Errno>) -> Result<R, Errno> {
        if !self.is_alive() {
            return Err(Errno::ESRCH);
        }
        if let Some(tracee) = traced_here(self.anchor()) {
            match work(&mut tracee.lock()) {
                // This thread has been killed, but the address space lives.
                Err(Errno::ESRCH) => {}
                result => return result,
            }
        }
        self.anchor.visit(work)
    }

    /// Called when the anchor turns out to be gone: the guest process as a whole goes with it.
    fn declare_dead(&self) {
        self.is_dead.store(true, Ordering::Release);
        for thread in self.threads.lock().iter().filter_map(Weak::upgrade) {
            thread.signal(libc::SIGKILL);
        }
    }

    fn copy_result(&self, result: Result<usize, Errno>) -> usize {
        result.unwrap_or_else(|error| {
            if error == Errno::ESRCH {
                self.declare_dead();
            }
            0
        })
    }

    /// How many of `length` bytes at `address` are the guest's own.
    fn in_guest_range(length: usize, address: u64) -> usize {
        let room = usize::try_from(GUEST_END.saturating_sub(address)).unwrap_or(usize::MAX);
        length.min(room)
    }

    /// How many of `length` bytes at `address` are the guest's own or the vDSO's.
    fn readable_length(&self, length: usize, address: u64) -> usize {
        let (start, size) = self.shared.layout.vdso;
        if (start..start + size).contains(&address) {
            length.min((start + size - address) as usize)
        } else {
            Self::in_guest_range(length, address)
        }
    }
}

impl AddressSpace for PtraceSpace {
    fn fork(&self) -> Result<Arc<dyn AddressSpace>, Errno> {
        let copy = self.in_stub(|stub| PtraceSpace::copy_of(stub, Arc::clone(&self.shared)))?;
        Ok(copy)
    }

    fn create_thread(self: Arc<Self>, state: &ThreadState) -> Result<Box<dyn GuestThread>, Errno> {
        let process = Arc::new(self.in_stub(|stub| clone_stub(stub, CLONE_THREAD, &self.shared.deaths))?);
        {
            let mut threads = self.threads.lock();
            threads.retain(|thread| thread.strong_count() > 0);
            threads.push(Arc::downgrade(&process));
        }
        if !self.is_alive() {
            return Err(Errno::ESRCH);
        }
        Ok(Box::new(PtraceThread::new(self, process, state)?))
    }

    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let length = self.readable_length(buffer.len(), address);
        self.copy_result(host::read_process(self.anchor(), address, &mut buffer[..length]))
    }

    fn write(&self, address: u64, data: &[u8]) -> usize {
        let length = Self::in_guest_range(data.len(), address);
        self.copy_result(host::write_process(self.anchor(), address, &data[..length]))
    }

    fn populate(&self, address: u64, length: usize) -> Result<(), Errno> {
        let Some(pages) = pages_below(GUEST_END, address, length) else { return Ok(()) };
        let arguments = [pages.start, pages.end - pages.start, libc::MADV_POPULATE_WRITE as u64];
        match self.in_stub(|stub| stub.call(libc::SYS_madvise, &arguments)) {
            Err(Errno::ESRCH) => Err(Errno::ESRCH),
            // What the host has to say of the range, the copy will find out.
            _ => Ok(()),
        }
    }

    fn compare_exchange(&self, address: u64, current: u32, new: u32) -> Result<u32, Errno> {
        if !address.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if Self::in_guest_range(size_of::<u32>(), address) < size_of::<u32>() {
            return Err(Errno::EFAULT);
        }
        self.in_stub(|stub| stub.exchange(address, current, new))
    }

    fn end(&self) {
        self.is_dead.store(true, Ordering::Release);
        self.anchor.process().kill();
    }

    fn is_alive(&self) -> bool {
        if !self.is_dead.load(Ordering::Acquire) && !self.anchor.process().is_alive() {
            self.declare_dead();
        }
        !self.is_dead.load(Ordering::Acquire)
    }
}

/// Injects a clone; the newborn parks itself.
fn clone_stub(original: &mut Tracee, flags: u64, deaths: &Arc<DeathWatch>) -> Result<HostProcess, Errno> {
    let pid = original.call_at(Entry::Clone, libc::SYS_clone, &[flags, 0, 0, 0, 0])?;
    HostProcess::watched(Pid::from_raw(pid as i32), deaths)
}

#[cfg(test)]
#[path = "confinement_tests.rs"]
mod confinement_tests;
