//! An address space without a host process, for tests: an array of pages that does what the host would do.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use usk_abi::Errno;
use usk_platform::arch::Registers;
use usk_platform::{
    AddressSpace, GuestThread, Kick, Layout, LentMemory, MemoryOp, MemoryWord, Protection, ThreadState, Trap,
    host,
};

pub(crate) const PAGE: u64 = 4096;

/// One page of the fake host.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) protection: Protection,
    bytes: Option<Box<[u8; PAGE as usize]>>,
    file: Option<(Arc<OwnedFd>, u64)>,
}

impl Page {
    fn bytes(&mut self) -> &mut [u8; PAGE as usize] {
        let file = &self.file;
        self.bytes.get_or_insert_with(|| {
            let mut bytes = Box::new([0; PAGE as usize]);
            if let Some((file, offset)) = file {
                let mut done = 0;
                while let Ok(got) = host::read_at(&**file, &mut bytes[done..], offset + done as u64)
                    && got > 0
                {
                    done += got;
                }
            }
            bytes
        })
    }
}

/// The pages.
#[derive(Default)]
pub(crate) struct FakeSpace {
    pub(crate) pages: Mutex<BTreeMap<u64, Page>>,
}

/// A thread that can only [`GuestThread::apply`].
pub(crate) struct FakeThread {
    registers: Registers,
    space: Arc<dyn AddressSpace>,
    pub(crate) fake: Arc<FakeSpace>,
    layout: Layout,
    /// Counts down with each operation; the one that reaches zero fails with `ENOMEM`.
    pub(crate) fail_after: Option<usize>,
    pub(crate) operations: usize,
    /// How many of them have mapped a file.
    pub(crate) files_mapped: usize,
    /// What it does when memory is lent to it.
    pub(crate) lends: Option<Lends>,
}

/// See [`GuestThread::lend_memory`].
type Lends = Box<dyn Fn(&LentMemory) -> Arc<dyn MemoryWord> + Send>;

/// A small layout with a vDSO above the guest's range.
pub(crate) fn layout() -> Layout {
    Layout {
        guest_start: 0x1_0000,
        guest_end: 0x7fff_0000_0000,
        vdso: (0x7fff_f000_4000, 0x1a2c),
        vvar: (0x7fff_f000_0000, 0x4000),
        extended_state_size: 2696,
    }
}

impl FakeThread {
    pub(crate) fn new() -> Self {
        let fake = Arc::new(FakeSpace::default());
        FakeThread {
            registers: Registers::default(),
            space: fake.clone(),
            fake,
            layout: layout(),
            fail_after: None,
            operations: 0,
            files_mapped: 0,
            lends: None,
        }
    }

    fn apply_one(&mut self, operation: &MemoryOp<'_>) -> Result<(), Errno> {
        self.operations += 1;
        if let Some(left) = &mut self.fail_after {
            if *left == 0 {
                self.fail_after = None;
                return Err(Errno::ENOMEM);
            }
            *left -= 1;
        }
        let mut pages = self.fake.pages.lock();
        let pages = &mut *pages;
        match *operation {
            MemoryOp::MapAnonymous { address, length, protection, .. } => {
                self.check(address, length)?;
                for at in (address..address + length).step_by(PAGE as usize) {
                    pages.insert(at, Page { protection, bytes: None, file: None });
                }
            }
            MemoryOp::MapFile { address, length, protection, file, offset, .. } => {
                self.files_mapped += 1;
                self.check(address, length)?;
                let file = Arc::clone(file);
                for at in (address..address + length).step_by(PAGE as usize) {
                    let file = Some((file.clone(), offset + (at - address)));
                    pages.insert(at, Page { protection, bytes: None, file });
                }
            }
            MemoryOp::Unmap { address, length } => {
                self.check(address, length)?;
                take(pages, address, length);
            }
            MemoryOp::Protect { address, length, protection } => {
                self.check(address, length)?;
                for at in (address..address + length).step_by(PAGE as usize) {
                    pages.get_mut(&at).ok_or(Errno::ENOMEM)?.protection = protection;
                }
            }
            MemoryOp::Remap { address, length, new_address, new_length, keep_old } => {
                self.check(address, length)?;
                self.check(new_address, new_length)?;
                let first = pages.get(&address).ok_or(Errno::EFAULT)?.clone();
                let moved = take(pages, address, length);
                if moved.len() as u64 != length / PAGE {
                    return Err(Errno::EFAULT);
                }
                if keep_old {
                    for at in moved.keys() {
                        pages.insert(*at, Page { bytes: None, ..moved[at].clone() });
                    }
                }
                take(pages, new_address, new_length);
                for offset in (0..new_length).step_by(PAGE as usize) {
                    let page = match moved.get(&(address + offset)) {
                        Some(page) => page.clone(),
                        None => {
                            let file = first.file.clone().map(|(file, start)| (file, start + offset));
                            Page { protection: first.protection, bytes: None, file }
                        }
                    };
                    pages.insert(new_address + offset, page);
                }
            }
            MemoryOp::Advise { address, length, advice } => {
                self.check(address, length)?;
                for at in (address..address + length).step_by(PAGE as usize) {
                    let page = pages.get_mut(&at).ok_or(Errno::ENOMEM)?;
                    if advice == usk_abi::mm::madvise::DONTNEED {
                        page.bytes = None;
                    }
                }
            }
            MemoryOp::UnmapAll => pages.clear(),
        }
        Ok(())
    }

    fn check(&self, address: u64, length: u64) -> Result<(), Errno> {
        let end = address.checked_add(length).ok_or(Errno::EINVAL)?;
        let inside = address >= self.layout.guest_start && end <= self.layout.guest_end;
        assert!(
            address.is_multiple_of(PAGE) && length.is_multiple_of(PAGE) && length > 0,
            "{address:#x} {length:#x}"
        );
        if inside { Ok(()) } else { Err(Errno::EINVAL) }
    }
}

fn take(pages: &mut BTreeMap<u64, Page>, address: u64, length: u64) -> BTreeMap<u64, Page> {
    let mut middle = pages.split_off(&address);
    let mut upper = middle.split_off(&(address + length));
    pages.append(&mut upper);
    middle
}

impl GuestThread for FakeThread {
    fn run(&mut self) -> Trap {
        Trap::Interrupted
    }

    fn registers(&self) -> &Registers {
        &self.registers
    }

    fn registers_mut(&mut self) -> &mut Registers {
        &mut self.registers
    }

    fn extended_state(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn set_extended_state(&mut self, _image: Option<&[u8]>) -> Result<(), Errno> {
        Ok(())
    }

    fn apply(&mut self, operations: &[MemoryOp<'_>]) -> Result<(), (usize, Errno)> {
        for (index, operation) in operations.iter().enumerate() {
            self.apply_one(operation).map_err(|error| (index, error))?;
        }
        Ok(())
    }

    fn lend_memory(&mut self, memory: &LentMemory) -> Option<Arc<dyn MemoryWord>> {
        self.lends.as_ref().map(|lends| lends(memory))
    }

    fn space(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        struct NoKick;
        impl Kick for NoKick {
            fn kick(&self) {}
            fn kill(&self) {}
            fn is_alive(&self) -> bool {
                true
            }
            fn cpu_time(&self) -> std::time::Duration {
                std::time::Duration::ZERO
            }
        }
        Arc::new(NoKick)
    }
}

impl AddressSpace for FakeSpace {
    fn fork(&self) -> Result<Arc<dyn AddressSpace>, Errno> {
        Ok(Arc::new(FakeSpace { pages: Mutex::new(self.pages.lock().clone()) }))
    }

    fn create_thread(self: Arc<Self>, _state: &ThreadState) -> Result<Box<dyn GuestThread>, Errno> {
        Err(Errno::ENOSYS)
    }

    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        self.copy(address, buffer.len(), |page, within, range| {
            if !page.protection.read {
                return false;
            }
            let length = range.len();
            buffer[range].copy_from_slice(&page.bytes()[within..within + length]);
            true
        })
    }

    fn write(&self, address: u64, data: &[u8]) -> usize {
        self.copy(address, data.len(), |page, within, range| {
            if !page.protection.write {
                return false;
            }
            let length = range.len();
            page.bytes()[within..within + length].copy_from_slice(&data[range]);
            true
        })
    }

    fn populate(&self, _address: u64, _length: usize) -> Result<(), Errno> {
        Ok(())
    }

    fn compare_exchange(&self, _address: u64, _current: u32, _new: u32) -> Result<u32, Errno> {
        Err(Errno::EFAULT)
    }

    fn end(&self) {}

    fn is_alive(&self) -> bool {
        true
    }
}

impl FakeSpace {
    fn copy(
        &self,
        address: u64,
        length: usize,
        mut one: impl FnMut(&mut Page, usize, std::ops::Range<usize>) -> bool,
    ) -> usize {
        let mut pages = self.pages.lock();
        let mut done = 0;
        while done < length {
            let at = address + done as u64;
            let within = (at % PAGE) as usize;
            let count = (length - done).min(PAGE as usize - within);
            let Some(page) = pages.get_mut(&(at - at % PAGE)) else { break };
            if !one(page, within, done..done + count) {
                break;
            }
            done += count;
        }
        done
    }
}
