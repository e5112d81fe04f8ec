//! The spawner of an address space: a host process that shares the memory, never runs guest code, has no listener in
//! its filters, and makes guest threads and copies of the address space on the sentry's order.
//!
//! Its orders lie in memory that the guest can read only. Its replies cannot be in shared memory, where the guest
//! could forge them: what it has made is taken from its descriptor table, under one of [`CHILD_DESCRIPTORS`], and a failure
//! is a descriptor there that is no process. It keeps it until it has made the next, under the other number: to close it at once
//! would take another order. Words in slots say when to look; a word that lies costs the guest time,
//! and a word that no spawner can have written costs it the address space.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use usk_abi::Errno;

use crate::host::pidfd::ProcessDescriptor;
use crate::host::seccomp::Listener;
use crate::host::{Pid, Stay, pin};
use crate::stub::geometry::*;

use super::windows::Slot;

/// How long to sleep on a hint before looking for oneself: long, for an honest guest's hints are right.
const HINT_PATIENCE: Duration = Duration::from_millis(20);
/// How long a spawner may take. It only ever takes this long if its guest holds up the host.
const PATIENCE: Duration = Duration::from_secs(10);
/// As [`PATIENCE`], for an exchange, which takes some microseconds: who waits has locks that other guests need.
const EXCHANGE_PATIENCE: Duration = Duration::from_millis(500);
/// So many orders may lie between the last one and the one that a spawner has said it is done with: one is given while
/// the one before is only known to be done by its effect.
const MAX_LAG: u32 = 4;

/// What a spawner is asked to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// A guest thread: the guest's addresses of its birth word and of its first frame, and a token.
    Thread { birth: u64, frame: u64, token: u64 },
    /// A copy, with its windows at these offsets.
    Fork { slots: u64, orders: u64 },
    /// Compare and exchange a word.
    CompareExchange { address: u64, current: u32, new: u32 },
    /// Have the host give the pages of a range.
    Populate { address: u64, length: u64 },
}

/// The sentry's end. Whoever holds it exclusively may give an order.
pub(super) struct Spawner {
    slot: Slot,
    /// Number of the last order.
    number: u32,
    /// The CPU that it, and what it makes, is bound to.
    cpu: Option<usize>,
    /// Under which number it has what it made last.
    child: Option<u32>,
    /// What it made before that is surely closed.
    is_settled: bool,
}

/// Why there is no copy of an address space.
pub(super) enum NotForked {
    /// None was made, or it has been ended.
    Refused(Errno),
    /// The spawner has ended, or does not say: there may be one of which nobody knows, and which waits for orders until the sandbox
    /// ends.
    Lost(Errno),
}

/// Why nobody knows that an order is done.
enum Undone {
    /// The spawner has ended, or cannot be looked at.
    Failed(Errno),
    /// It takes too long.
    Late,
    /// The guest has written what no spawner can have written.
    LiedAbout,
}

impl Undone {
    /// Ends a spawner whose guest lies about it, and says what to tell.
    fn settle(self, process: &ProcessDescriptor) -> Errno {
        match self {
            Undone::Failed(error) => error,
            Undone::Late => Errno::EAGAIN,
            Undone::LiedAbout => {
                let _ = process.signal(libc::SIGKILL);
                Errno::ESRCH
            }
        }
    }
}

/// Ends a copy of an address space that nobody has got, and the first thread that it may have made already.
fn end_copy(spawner: OwnedFd) {
    let Some(spawner) = ProcessDescriptor::from_descriptor(spawner) else { return };
    // As in [`Spawner::fork`].
    spawner.stop(PATIENCE);
    for number in CHILD_DESCRIPTORS {
        if let Ok(Some(thread)) = spawner.take_descriptor(number).map(ProcessDescriptor::from_descriptor) {
            thread.end();
        }
    }
    spawner.end();
}

impl Spawner {
    /// The spawner that has this slot, and `cpu` from its maker.
    pub(super) fn new(slot: Slot, cpu: Option<usize>) -> Spawner {
        Spawner { slot, number: 0, cpu, child: None, is_settled: true }
    }

    /// The spawner that is about to be forked by this one, and makes a thread as soon as it is there.
    pub(super) fn copy_with_thread(&self, slot: Slot, thread: Order) -> Spawner {
        // It has what this one has made up to now.
        let mut spawner = Spawner { child: self.child, ..Spawner::new(slot, self.cpu) };
        spawner.make(thread);
        spawner
    }

    /// Whether it has said that all it was asked for is done.
    pub(super) fn is_idle(&self) -> bool {
        self.slot.load(DONE) == self.number
    }

    /// The same spawner in other hands.
    pub(super) fn hand_over(&self, slot: Slot) -> Spawner {
        Spawner { slot, ..*self }
    }

    /// Overwrites what it, or the guest, has left in its slot but the word that it is done, which is right.
    pub(super) fn scrub(&self) {
        self.slot.write(0, &[0; DONE as usize & !7]);
        self.slot.store(DONE - 4, 0);
        self.slot.write(DONE + 4, &[0; (SLOT_SIZE - DONE - 4) as usize]);
    }

    /// Brings it to the CPU of the caller.
    pub(super) fn move_to(&mut self, pid: Pid, stay: &Stay) {
        if self.cpu != Some(stay.cpu()) && pin(pid, stay.cpu()).is_ok() {
            self.cpu = Some(stay.cpu());
        }
    }

    /// Gives an order. Does not wait for it.
    fn give(&mut self, order: Order) {
        let (kind, arguments) = match order {
            Order::Thread { birth, frame, token } => (ORDER_THREAD, [birth, frame, token]),
            Order::Fork { slots, orders } => (ORDER_FORK, [slots, orders, 0]),
            Order::CompareExchange { address, current, new } => {
                (ORDER_COMPARE_EXCHANGE, [address, u64::from(current), u64::from(new)])
            }
            Order::Populate { address, length } => (ORDER_POPULATE, [address, length, 0]),
        };
        for (index, argument) in (0..).zip(arguments) {
            self.slot.write_order(ORDER_ARGUMENTS + 8 * index, argument);
        }
        self.slot.publish_order(ORDER_KIND, kind);
        self.number = self.number.wrapping_add(1);
        self.slot.publish_order(ORDER_NUMBER, self.number);
        self.slot.wake_order(ORDER_NUMBER);
    }

    /// Orders something to be made. What was made before has been taken.
    fn make(&mut self, order: Order) {
        let [first, second] = CHILD_DESCRIPTORS;
        let child = if self.child == Some(first) { second } else { first };
        self.slot.write_order(ORDER_CHILD, child.into());
        (self.child, self.is_settled) = (Some(child), false);
        self.give(order);
    }

    /// Gives an order and waits until the spawner says that it is done (a hint).
    pub(super) fn carry_out(&mut self, process: &ProcessDescriptor, order: Order) -> Result<(), Errno> {
        self.settle(process)?;
        self.give(order);
        self.wait_done(process, PATIENCE, |_| Ok(false)).map_err(|undone| undone.settle(process))
    }

    /// Orders a process that has these slots and orders. Does not wait for it.
    pub(super) fn order_fork(
        &mut self,
        process: &ProcessDescriptor,
        slots: u64,
        orders: u64,
    ) -> Result<(), Errno> {
        self.settle(process)?;
        self.make(Order::Fork { slots, orders });
        Ok(())
    }

    /// Waits for the process that has been ordered last, and returns it.
    pub(super) fn await_fork(
        &mut self,
        process: &ProcessDescriptor,
    ) -> Result<(ProcessDescriptor, Pid), NotForked> {
        // The child is there before its number is: on a busy host the spawner may be interrupted in between for longer
        // than a hint is waited for. Without the number nobody could read the child's memory.
        match self.wait_done(process, PATIENCE, |_| Ok(false)) {
            Ok(()) => {
                let child = self.await_child(process).map_err(NotForked::Lost)?;
                let child = ProcessDescriptor::from_descriptor(child)
                    .ok_or_else(|| NotForked::Refused(self.failure()))?;
                // The spawner's word for its number is the guest's to forge.
                let pid = child.number(PATIENCE);
                let pid = pid.inspect_err(|_| child.end()).map_err(|_| NotForked::Refused(Errno::EAGAIN))?;
                Ok((child, pid))
            }
            Err(undone) => {
                // Killed while it makes the child, it would take with it all that is known of the child.
                let is_stopped = matches!(undone, Undone::LiedAbout) && process.stop(PATIENCE);
                let child = self.child(process);
                let error = undone.settle(process);
                Err(match child {
                    Ok(Some(child)) => {
                        end_copy(child);
                        NotForked::Refused(error)
                    }
                    Ok(None) if is_stopped => NotForked::Refused(error),
                    _ => NotForked::Lost(error),
                })
            }
        }
    }

    /// Has a guest thread made in `slot`, whose first frame the guest sees at `frame`. Returns its process and its
    /// listener.
    pub(super) fn thread(
        &mut self,
        process: &ProcessDescriptor,
        slot: &Slot,
        frame: u64,
        token: u64,
    ) -> Result<(ProcessDescriptor, Listener), Errno> {
        self.settle(process)?;
        slot.store(BIRTH, 0);
        self.make(Order::Thread { birth: slot.address() + BIRTH, frame, token });
        self.await_thread(process, slot)
    }

    /// Waits for the guest thread that has been ordered last, in `slot`.
    pub(super) fn await_thread(
        &mut self,
        process: &ProcessDescriptor,
        slot: &Slot,
    ) -> Result<(ProcessDescriptor, Listener), Errno> {
        let deadline = Instant::now() + PATIENCE;
        let mut born = None;
        loop {
            let hint = slot.load(BIRTH);
            if hint == 0 {
                slot.wait(BIRTH, 0, HINT_PATIENCE);
            }
            if born.is_none() {
                born = match self.child(process)? {
                    None => None,
                    Some(child) => match ProcessDescriptor::from_descriptor(child) {
                        Some(child) => Some(child),
                        None => return Err(self.failure()),
                    },
                };
            }
            if let Some(child) = &born {
                match child.take_descriptor(LISTENER_DESCRIPTOR).map(Listener::from_descriptor) {
                    Ok(Some(listener)) => return Ok((born.take().ok_or(Errno::ESRCH)?, listener)),
                    // Not that far yet.
                    Ok(None) | Err(Errno::EBADF) => {}
                    Err(error) => {
                        child.end();
                        return Err(error);
                    }
                }
            }
            if process.has_ended() || Instant::now() > deadline {
                // Whatever it still makes, nobody would know of.
                if born.is_none() && process.stop(PATIENCE) {
                    let child = self.child(process).ok().flatten();
                    born = child.and_then(ProcessDescriptor::from_descriptor);
                }
                let _ = process.signal(libc::SIGKILL);
                if let Some(child) = born {
                    child.end();
                }
                return Err(Errno::EAGAIN);
            }
            if hint != 0 {
                // The word has lied; do not believe it again.
                slot.wait(BIRTH, hint, Duration::from_millis(1));
            }
        }
    }

    /// Has a word of guest memory compared and exchanged; returns what it was. What the guest forges here is only
    /// what it could have written into that word. One that makes it take long loses its address space. To be called soon
    /// after [`Spawner::settle`], which may take longer.
    pub(super) fn compare_exchange(
        &mut self,
        process: &ProcessDescriptor,
        address: u64,
        current: u32,
        new: u32,
    ) -> Result<u32, Errno> {
        self.settle(process)?;
        self.give(Order::CompareExchange { address, current, new });
        self.wait_done(process, EXCHANGE_PATIENCE, |_| Ok(false)).map_err(|undone| match undone {
            Undone::Late => Undone::LiedAbout.settle(process),
            other => other.settle(process),
        })?;
        if self.slot.load(FAULTED) == 0 { Ok(self.slot.load(FOUND)) } else { Err(Errno::EFAULT) }
    }

    /// Makes sure that what was made before the last is no longer in the spawner's table, where it would be mistaken for what
    /// is made next. It closes it when it has made the last.
    pub(super) fn settle(&mut self, process: &ProcessDescriptor) -> Result<(), Errno> {
        if self.is_settled {
            return Ok(());
        }
        let last = self.child;
        let earlier = CHILD_DESCRIPTORS.into_iter().find(|&number| Some(number) != last);
        let is_closed = |spawner: &Spawner| Ok(spawner.descriptor(process, earlier)?.is_none());
        self.wait_done(process, PATIENCE, is_closed).map_err(|undone| undone.settle(process))?;
        let deadline = Instant::now() + PATIENCE;
        while !is_closed(self)? {
            if Instant::now() > deadline {
                return Err(Errno::EAGAIN);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.is_settled = true;
        Ok(())
    }

    /// What the spawner has made, if it has yet.
    fn child(&self, process: &ProcessDescriptor) -> Result<Option<OwnedFd>, Errno> {
        self.descriptor(process, self.child)
    }

    /// What the spawner has under this number.
    fn descriptor(&self, process: &ProcessDescriptor, number: Option<u32>) -> Result<Option<OwnedFd>, Errno> {
        match process.take_descriptor(number.ok_or(Errno::ESRCH)?) {
            Ok(child) => Ok(Some(child)),
            Err(Errno::EBADF) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits for what the spawner makes although its word says that it is done.
    fn await_child(&self, process: &ProcessDescriptor) -> Result<OwnedFd, Errno> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(child) = self.child(process)? {
                return Ok(child);
            }
            if Instant::now() > deadline {
                return Err(Errno::EAGAIN);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Why it could not: a hint, and so held to what `clone(2)` says.
    fn failure(&self) -> Errno {
        match Errno::from_raw((self.slot.load(RESULT) as i32).wrapping_neg()) {
            Errno::ENOMEM => Errno::ENOMEM,
            _ => Errno::EAGAIN,
        }
    }

    /// Waits until the word says that the last order is done, or `look` says so. `patience` must have passed in waits for hints too: where
    /// the host lets neither run for a while, the spawner is not to blame.
    fn wait_done(
        &mut self,
        process: &ProcessDescriptor,
        patience: Duration,
        mut look: impl FnMut(&Spawner) -> Result<bool, Errno>,
    ) -> Result<(), Undone> {
        let deadline = Instant::now() + patience;
        let mut patience = patience;
        loop {
            let done = self.slot.load(DONE);
            if done == self.number {
                return Ok(());
            }
            if self.number.wrapping_sub(done) > MAX_LAG {
                // The guest writes here, and could go on to keep a sentry thread busy for as long as it likes.
                return Err(Undone::LiedAbout);
            }
            self.slot.wait(DONE, done, HINT_PATIENCE);
            patience = patience.saturating_sub(HINT_PATIENCE);
            if self.slot.load(DONE) != self.number {
                if look(self).map_err(Undone::Failed)? {
                    return Ok(());
                }
                if process.has_ended() {
                    return Err(Undone::Failed(Errno::ESRCH));
                }
                if patience.is_zero() && Instant::now() > deadline {
                    return Err(Undone::Late);
                }
            }
        }
    }
}
