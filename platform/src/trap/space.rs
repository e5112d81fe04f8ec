//! An address space of the trap platform.

use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use usk_abi::Errno;

use crate::arch::extended_state::FORMAT;
use crate::deaths::DeathWatch;
use crate::host::pidfd::{ProcessDescriptor, wait_readable};
use crate::host::{Cpus, Pid, Stay, read_process, write_process};
use crate::interface::{AddressSpace, GuestThread, Layout, ThreadState, pages_below};

use super::frame::Frame;
use super::graveyard::{Corpse, Graveyard, Remains};
use super::parked::{Parked, Parking};
use super::patch::PatchTable;
use super::spawner::{Order, Spawner, has_identity};
use super::thread::Thread;
use super::windows::{Window, Windows};

/// What all address spaces of a sandbox share.
pub(super) struct Sandbox {
    pub(super) windows: Arc<Windows>,
    pub(super) graveyard: Graveyard,
    pub(super) deaths: DeathWatch,
    pub(super) layout: Layout,
    /// Where guest threads may run.
    pub(super) cpus: Cpus,
    /// The host keeps hand-overs on one CPU by itself (Linux 6.6).
    pub(super) has_synchronous_wake_up: bool,
    /// Waiting for a call ends when the caller dies (Linux 6.11).
    pub(super) receive_sees_death: bool,
    /// Call sites are patched. Then the GS base of a guest thread that has none of its own is its slot.
    pub(super) patches: bool,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The last address space is gone: nothing is left that could reap later.
        self.graveyard.sweep(true);
    }
}

/// A spawner, and the memory that it holds.
pub(super) struct Space {
    sandbox: Arc<Sandbox>,
    window: Arc<Window>,
    process: Option<ProcessDescriptor>,
    /// What the maker's word said its number is.
    pid_hint: Pid,
    /// Its number, once the memory has confirmed it.
    pid: OnceLock<Pid>,
    spawner: Mutex<Spawner>,
    patches: RwLock<PatchTable>,
    parking: Parking,
}

impl Space {
    pub(super) fn new(
        sandbox: Arc<Sandbox>,
        window: Arc<Window>,
        process: ProcessDescriptor,
        pid_hint: Pid,
        cpu: Option<usize>,
    ) -> Result<Arc<Space>, Errno> {
        let watched = sandbox.deaths.begin(&process);
        let spawner = Mutex::new(Spawner::new(window.spawner_slot(), cpu));
        let space = Space {
            sandbox,
            window,
            process: Some(process),
            pid_hint,
            pid: OnceLock::new(),
            spawner,
            patches: RwLock::default(),
            parking: Parking::default(),
        };
        // Dropping the space ends the process.
        watched.map(|()| Arc::new(space))
    }

    pub(super) fn sandbox(&self) -> &Arc<Sandbox> {
        &self.sandbox
    }

    pub(super) fn window(&self) -> &Arc<Window> {
        &self.window
    }

    /// The patched call sites in its code.
    pub(super) fn patches(&self) -> &RwLock<PatchTable> {
        &self.patches
    }

    /// Keeps the host process of a guest thread that has ended for another, or ends it.
    pub(super) fn park(&self, parked: Parked) {
        if let Some(parked) = self.parking.park(parked) {
            parked.end(&self.sandbox, &self.window);
        }
    }

    fn end_parked(&self) {
        while let Some(parked) = self.parking.take() {
            parked.end(&self.sandbox, &self.window);
        }
    }

    fn process(&self) -> &ProcessDescriptor {
        // Taken only by drop.
        self.process.as_ref().expect("the space is alive")
    }

    /// Waits until the spawner answers: for the first one, made by hand.
    pub(super) fn greet(&self) -> Result<(), Errno> {
        self.spawner.lock().carry_out(self.process(), Order::Nothing)
    }

    /// For the error message about a template that did not come through.
    pub(super) fn how_it_ended(&self) -> String {
        match self.process().reap(false) {
            Ok(Some((end, _))) => super::template::describe(end),
            _ => "it does not answer".to_owned(),
        }
    }

    /// The spawner's number, confirmed.
    fn pid(&self) -> Option<Pid> {
        if let Some(pid) = self.pid.get() {
            return Some(*pid);
        }
        let is_confirmed = || has_identity(self.pid_hint, self.window.identity());
        // A new spawner may not have mapped its window yet: the look in between waits until it has.
        if is_confirmed() || (self.greet().is_ok() && is_confirmed()) {
            return Some(*self.pid.get_or_init(|| self.pid_hint));
        }
        None
    }

    /// The spawner, brought to the caller's CPU.
    fn spawner(&self, stay: &Stay) -> parking_lot::MutexGuard<'_, Spawner> {
        let pid = self.pid();
        let mut spawner = self.spawner.lock();
        if let Some(pid) = pid {
            spawner.move_to(pid, stay);
        }
        spawner
    }

    /// The copy of this address space.
    pub(super) fn duplicate(&self) -> Result<Arc<Space>, Errno> {
        self.sandbox.graveyard.sweep(false);
        let window = self.sandbox.windows.take()?;
        let stay = Stay::here();
        let mut spawner = self.spawner(&stay);
        let (process, hint) = spawner.fork(self.process(), window.slots_offset(), window.orders_offset())?;
        let cpu = spawner.cpu();
        drop(spawner);
        let copy = Space::new(Arc::clone(&self.sandbox), window, process, hint, cpu)?;
        copy.patches.write().clone_from(&self.patches.read());
        Ok(copy)
    }

    fn is_in_guest(&self, address: u64, length: usize) -> bool {
        let layout = &self.sandbox.layout;
        let ends_below = |end: u64| address.checked_add(length as u64).is_some_and(|last| last <= end);
        let holds = |(start, size): (u64, u64)| address >= start && ends_below(start + size);
        ends_below(layout.guest_end) || holds(layout.vdso) || holds(layout.vvar)
    }

    /// How many of `length` bytes at `address` may be touched at all.
    fn reachable(&self, address: u64, length: usize) -> usize {
        if self.is_in_guest(address, length) {
            return length;
        }
        let below = self.sandbox.layout.guest_end.saturating_sub(address);
        usize::try_from(below).map_or(length, |below| below.min(length))
    }
}

impl AddressSpace for Space {
    fn fork(&self) -> Result<Arc<dyn AddressSpace>, Errno> {
        Ok(self.duplicate()?)
    }

    fn create_thread(self: Arc<Self>, state: &ThreadState) -> Result<Box<dyn GuestThread>, Errno> {
        let image = match &state.extended {
            Some(image) => Some(FORMAT.normalize(image)?),
            None => None,
        };
        while let Some(parked) = self.parking.take() {
            if !parked.handle.process.has_ended() {
                return Ok(Thread::reuse(self, parked, state, image.as_deref()));
            }
            parked.end(&self.sandbox, &self.window);
        }
        self.sandbox.graveyard.sweep(false);
        let slot = self.window.take_slot()?;
        let frame = Frame::build(&slot);
        frame.write_extended(&slot, image.as_deref());
        let token = slot.address() ^ self.window.identity();
        let stay = Stay::here();
        let (process, listener) =
            self.spawner(&stay).thread(self.process(), &slot, frame.address(&slot), token)?;
        Thread::adopt(Arc::clone(&self), slot, frame, process, listener, token, state)
    }

    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let length = self.reachable(address, buffer.len());
        let Some(pid) = self.pid() else { return 0 };
        read_process(pid, address, &mut buffer[..length]).unwrap_or(0)
    }

    fn write(&self, address: u64, data: &[u8]) -> usize {
        let length = self.reachable(address, data.len());
        let Some(pid) = self.pid() else { return 0 };
        write_process(pid, address, &data[..length]).unwrap_or(0)
    }

    fn populate(&self, address: u64, length: usize) -> Result<(), Errno> {
        let Some(pages) = pages_below(self.sandbox.layout.guest_end, address, length) else { return Ok(()) };
        let stay = Stay::here();
        let order = Order::Populate { address: pages.start, length: pages.end - pages.start };
        self.spawner(&stay).carry_out(self.process(), order)
    }

    fn compare_exchange(&self, address: u64, current: u32, new: u32) -> Result<u32, Errno> {
        if !address.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if self.reachable(address, 4) < 4 {
            return Err(Errno::EFAULT);
        }
        let stay = Stay::here();
        let mut spawner = self.spawner(&stay);
        spawner.compare_exchange(self.process(), address, current, new)
    }

    fn end(&self) {
        self.end_parked();
        self.sandbox.graveyard.settle(&self.window);
        let process = self.process();
        self.sandbox.deaths.end(process);
        // It fails only if it has ended already. It is reaped when nobody can use its number any more.
        let _ = process.signal(libc::SIGKILL);
        while wait_readable([process.as_fd()], None) == Err(Errno::EINTR) {}
    }

    fn is_alive(&self) -> bool {
        !self.process().has_ended()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.end_parked();
        if let Some(process) = self.process.take() {
            self.sandbox.deaths.end(&process);
            // It fails only if it has ended already.
            let _ = process.signal(libc::SIGKILL);
            let window = Some(Arc::clone(&self.window));
            let process = Remains::Spawner(process);
            self.sandbox.graveyard.bury(Corpse { process, _slot: None, window });
        }
    }
}
