//! An address space of the trap platform.

use std::os::fd::AsFd;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use usk_abi::Errno;

use crate::arch::extended_state::FORMAT;
use crate::deaths::DeathWatch;
use crate::host::pidfd::{ProcessDescriptor, wait_readable};
use crate::host::{Cpus, Pid, Stay, read_pieces, read_process, write_pieces, write_process};
use crate::interface::{AddressSpace, Exchanger, GuestThread, Layout, ThreadState, pages_below};
use crate::stub::geometry::BIRTH;

use super::frame::Frame;
use super::graveyard::Graveyard;
use super::parked::{Parked, Parking};
use super::patch::Patches;
use super::spare::{Spare, Spares, bury};
use super::spawner::{NotForked, Order, Spawner};
use super::spin::Company;
use super::thread::Thread;
use super::windows::{Slot, Window, Windows};

/// What all address spaces of a sandbox share.
pub(super) struct Sandbox {
    pub(super) windows: Arc<Windows>,
    pub(super) graveyard: Graveyard,
    pub(super) spares: Spares,
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
    /// Calls about descriptors may be served by the stub.
    pub(super) lends: bool,
    /// Guest threads change their masks of blocked signals by themselves.
    pub(super) changes_masks: bool,
    /// Numbers of the calls that bring the extended state along.
    pub(super) state_calls: Vec<u64>,
    /// For threads that look for each other.
    pub(super) company: Company,
    /// The host carries out calls for guests: see [`Shortcut::HostCall`](crate::Shortcut::HostCall).
    pub(super) has_host_calls: bool,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.spares.clear(self);
        // The last address space is gone: nothing is left that could reap later.
        self.graveyard.sweep(true);
    }
}

/// A spawner, and the memory that it holds.
pub(super) struct Space {
    sandbox: Arc<Sandbox>,
    window: Arc<Window>,
    process: Option<ProcessDescriptor>,
    /// Its number.
    pid: Pid,
    spawner: Mutex<Spawner>,
    patches: Patches,
    parking: Parking,
    /// The first guest thread of a copy, which its spawner makes without being asked again.
    unborn: Mutex<Option<Unborn>>,
}

/// A guest thread that has been ordered.
struct Unborn {
    slot: Slot,
    frame: Frame,
    token: u64,
}

impl Unborn {
    fn new(window: &Arc<Window>) -> Result<Unborn, Errno> {
        let slot = window.take_slot()?;
        let frame = Frame::build(&slot);
        let token = slot.address() ^ window.identity();
        Ok(Unborn { slot, frame, token })
    }

    fn order(&self) -> Order {
        let Unborn { slot, frame, token } = self;
        Order::Thread { birth: slot.address() + BIRTH, frame: frame.address(slot), token: *token }
    }
}

/// A copy of an address space that has been ordered, with its first guest thread.
pub(super) struct Ordered {
    window: Arc<Window>,
    unborn: Unborn,
    spawner: Spawner,
}

impl Space {
    pub(super) fn new(
        sandbox: Arc<Sandbox>,
        window: Arc<Window>,
        process: ProcessDescriptor,
        pid: Pid,
        spawner: Spawner,
    ) -> Result<Arc<Space>, Errno> {
        let watched = sandbox.deaths.begin(&process);
        let spawner = Mutex::new(spawner);
        let space = Space {
            sandbox,
            window,
            process: Some(process),
            pid,
            spawner,
            patches: Patches::default(),
            parking: Parking::default(),
            unborn: Mutex::default(),
        };
        // Dropping the space ends the process.
        watched.map(|()| Arc::new(space))
    }

    /// One that has been used before, with a guest thread parked in it.
    fn revive(sandbox: Arc<Sandbox>, spare: Spare) -> Arc<Space> {
        let Spare { process, pid, window, spawner, parked } = spare;
        let parking = Parking::default();
        // There is room in an empty one.
        let _: Option<Parked> = parking.park(parked);
        Arc::new(Space {
            sandbox,
            window,
            process: Some(process),
            pid,
            spawner: Mutex::new(spawner),
            patches: Patches::default(),
            parking,
            unborn: Mutex::default(),
        })
    }

    /// An empty address space: a copy of this one, which is the template, or one that nobody needs any more.
    pub(super) fn empty(&self) -> Result<Arc<Space>, Errno> {
        match self.sandbox.spares.take(&self.sandbox) {
            Some(spare) => Ok(Space::revive(Arc::clone(&self.sandbox), spare)),
            None => self.duplicate(),
        }
    }

    pub(super) fn sandbox(&self) -> &Arc<Sandbox> {
        &self.sandbox
    }

    pub(super) fn window(&self) -> &Arc<Window> {
        &self.window
    }

    /// The patched call sites in its code.
    pub(super) fn patches(&self) -> &Patches {
        &self.patches
    }

    /// Keeps the host process of a guest thread that has ended for another, or ends it.
    pub(super) fn park(&self, parked: Parked) {
        if let Some(parked) = self.parking.park(parked) {
            parked.end(&self.sandbox, &self.window);
        }
    }

    /// Ends the host processes that wait for guest threads.
    pub(super) fn end_parked(&self) {
        while let Some(parked) = self.parking.take() {
            parked.end(&self.sandbox, &self.window);
        }
    }

    fn process(&self) -> &ProcessDescriptor {
        // Taken only by drop.
        self.process.as_ref().expect("the space is alive")
    }

    /// For the error message about a template that did not come through.
    pub(super) fn how_it_ended(&self) -> String {
        match self.process().reap(false) {
            Ok(Some((end, _))) => super::template::describe(end),
            _ => "it does not answer".to_owned(),
        }
    }

    /// The spawner, brought to the caller's CPU.
    fn spawner(&self, stay: &Stay) -> MutexGuard<'_, Spawner> {
        self.end_unborn();
        let mut spawner = self.spawner.lock();
        spawner.move_to(self.pid, stay);
        spawner
    }

    /// Ends the first guest thread of a copy, if nobody has asked for it: its spawner is to do something else.
    fn end_unborn(&self) {
        // A statement of its own, so that the lock is not held during the wait.
        let unborn = self.unborn.lock().take();
        let Some(Unborn { slot, .. }) = unborn else { return };
        let born = self.spawner.lock().await_thread(self.process(), &slot);
        if let Ok((thread, _listener)) = born {
            thread.end();
        }
    }

    /// The copy of this address space.
    pub(super) fn duplicate(&self) -> Result<Arc<Space>, Errno> {
        self.sandbox.graveyard.make_room();
        let window = self.sandbox.windows.take()?;
        let unborn = Unborn::new(&window)?;
        let stay = Stay::here();
        let mut spawner = self.spawner(&stay);
        let copy = self.order(window, unborn, &mut spawner)?;
        self.adopt(copy, spawner)
    }

    /// Orders a copy of this address space, whose spawner need not be there yet. It is asked for nothing else before
    /// [`Space::take_first`].
    pub(super) fn order_first(&self) -> Result<Ordered, Errno> {
        let window = self.sandbox.windows.take()?;
        let unborn = Unborn::new(&window)?;
        self.order(window, unborn, &mut self.spawner.lock())
    }

    /// Waits for that copy, and so for the spawner.
    pub(super) fn take_first(&self, copy: Ordered) -> Result<Arc<Space>, Errno> {
        self.adopt(copy, self.spawner.lock())
    }

    fn order(&self, window: Arc<Window>, unborn: Unborn, spawner: &mut Spawner) -> Result<Ordered, Errno> {
        let copied = spawner.copy_with_thread(window.spawner_slot(), unborn.order());
        spawner.order_fork(self.process(), window.slots_offset(), window.orders_offset())?;
        Ok(Ordered { window, unborn, spawner: copied })
    }

    /// Waits for a copy of this address space that its spawner was ordered to make.
    fn adopt(&self, copy: Ordered, mut spawner: MutexGuard<'_, Spawner>) -> Result<Arc<Space>, Errno> {
        let Ordered { window, unborn, spawner: copied } = copy;
        let (process, pid) = spawner.await_fork(self.process()).map_err(|error| match error {
            NotForked::Refused(error) => error,
            NotForked::Lost(error) => {
                // It would carry out the orders of whoever has the window next.
                window.abandon();
                error
            }
        })?;
        drop(spawner);
        let copy = Space::new(Arc::clone(&self.sandbox), window, process, pid, copied)?;
        *copy.unborn.lock() = Some(unborn);
        copy.patches.change(|table| table.clone_from(&self.patches.read()));
        Ok(copy)
    }

    /// Reads several pieces of the guest's memory at once: addresses and lengths, at most [`crate::host::MAX_PIECES`]. `EFAULT` unless all
    /// can be read.
    pub(super) fn read_pieces(&self, places: &[(u64, usize)]) -> Result<Vec<Vec<u8>>, Errno> {
        let are_inside = places.iter().all(|&(address, length)| self.is_in_guest(address, length));
        if are_inside { read_pieces(self.pid, places) } else { Err(Errno::EFAULT) }
    }

    /// Writes several pieces of the guest's memory at once, at most [`crate::host::MAX_PIECES`]. False unless all could be written.
    pub(super) fn write_pieces(&self, pieces: &[(u64, &[u8])]) -> bool {
        let are_inside = pieces.iter().all(|&(address, data)| self.is_in_guest(address, data.len()));
        are_inside && write_pieces(self.pid, pieces) == Ok(())
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
        // A statement of its own, so that the lock is not held during the wait.
        let unborn = self.unborn.lock().take();
        if let Some(Unborn { slot, frame, token }) = unborn {
            // The thread reads it when it first goes on, which it is told to do.
            frame.write_extended(&slot, image.as_deref());
            let (process, listener) = self.spawner.lock().await_thread(self.process(), &slot)?;
            return Thread::adopt(Arc::clone(&self), slot, frame, process, listener, token, state);
        }
        self.sandbox.graveyard.make_room();
        let Unborn { slot, frame, token } = Unborn::new(&self.window)?;
        frame.write_extended(&slot, image.as_deref());
        let stay = Stay::here();
        let (process, listener) =
            self.spawner(&stay).thread(self.process(), &slot, frame.address(&slot), token)?;
        Thread::adopt(Arc::clone(&self), slot, frame, process, listener, token, state)
    }

    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let length = self.reachable(address, buffer.len());
        read_process(self.pid, address, &mut buffer[..length]).unwrap_or(0)
    }

    fn write(&self, address: u64, data: &[u8]) -> usize {
        let length = self.reachable(address, data.len());
        write_process(self.pid, address, &data[..length]).unwrap_or(0)
    }

    fn populate(&self, address: u64, length: usize) -> Result<(), Errno> {
        let Some(pages) = pages_below(self.sandbox.layout.guest_end, address, length) else { return Ok(()) };
        let stay = Stay::here();
        let order = Order::Populate { address: pages.start, length: pages.end - pages.start };
        self.spawner(&stay).carry_out(self.process(), order)
    }

    fn compare_exchange(&self, address: u64, current: u32, new: u32) -> Result<u32, Errno> {
        (self.exchanger()?)(address, current, new)
    }

    fn exchanger(&self) -> Result<Exchanger<'_>, Errno> {
        let stay = Stay::here();
        let mut spawner = self.spawner(&stay);
        spawner.settle(self.process())?;
        Ok(Box::new(move |address, current, new| {
            // Until the last exchange.
            let _ = &stay;
            if !address.is_multiple_of(4) {
                return Err(Errno::EINVAL);
            }
            if self.reachable(address, 4) < 4 {
                return Err(Errno::EFAULT);
            }
            spawner.compare_exchange(self.process(), address, current, new)
        }))
    }

    fn end(&self) {
        self.end_unborn();
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
        self.end_unborn();
        let Some(process) = self.process.take() else { return };
        if let Some(parked) = self.parking.take() {
            let spawner = self.spawner.get_mut();
            let is_welcome = self.sandbox.spares.have_room();
            if is_welcome && Spare::is_fit(&self.window, spawner, &parked) && !process.has_ended() {
                let spawner = spawner.hand_over(self.window.spawner_slot());
                let window = Arc::clone(&self.window);
                let spare = Spare { process, pid: self.pid, window, spawner, parked };
                return self.sandbox.spares.keep(spare, &self.sandbox);
            }
            parked.end(&self.sandbox, &self.window);
        }
        self.end_parked();
        bury(process, &self.window, &self.sandbox);
    }
}
