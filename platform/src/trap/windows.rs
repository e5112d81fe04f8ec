//! The memory that stubs share with the sentry.
//!
//! Two sparse files serve the whole sandbox: slots, which stubs map read-write, and orders, which they map from a
//! read-only descriptor. Each address space has a [`Window`] on both, at the same place in every stub; each guest
//! thread a [`Slot`] in its window (and the page of orders that goes with it). The sentry maps both files once.
//!
//! Windows and slots are leases: dropping one makes it available again, so it must be held until every process that
//! maps it is dead.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use parking_lot::Mutex;
use usk_abi::Errno;

use crate::host::{SharedMapping, wait_for_two};
use crate::names::NAME_PLACES;
use crate::stub::geometry::*;

/// Address spaces that can exist at the same time.
pub(super) const WINDOW_COUNT: u64 = 8192;

/// Both files and their mappings.
pub(super) struct Windows {
    slots: SharedMapping,
    orders: SharedMapping,
    free: Mutex<FreeNumbers>,
    next_identity: AtomicU64,
    /// Of tables of names.
    next_generation: AtomicU64,
}

impl Windows {
    /// Size in bytes of the file of slots.
    pub(super) const SLOTS_FILE_SIZE: u64 = WINDOW_COUNT * SLOTS_SIZE;
    /// Size in bytes of the file of orders.
    pub(super) const ORDERS_FILE_SIZE: u64 = WINDOW_COUNT * ORDERS_SIZE;

    /// Maps both files, which are all zero.
    pub(super) fn new(slots: &OwnedFd, orders: &OwnedFd) -> Result<Arc<Windows>, Errno> {
        Ok(Arc::new(Windows {
            slots: SharedMapping::new(slots, Windows::SLOTS_FILE_SIZE as usize)?,
            orders: SharedMapping::new(orders, Windows::ORDERS_FILE_SIZE as usize)?,
            free: Mutex::new(FreeNumbers::new(0, WINDOW_COUNT)),
            next_identity: AtomicU64::new(1),
            next_generation: AtomicU64::new(1),
        }))
    }

    /// A window that nobody uses, all zero but for its identity. `EAGAIN` if there is none.
    pub(super) fn take(self: &Arc<Self>) -> Result<Arc<Window>, Errno> {
        let index = self.free.lock().take().ok_or(Errno::EAGAIN)?;
        let identity = self.next_identity.fetch_add(1, Ordering::Relaxed);
        let slots = Mutex::new(FreeNumbers::new(1, SLOT_COUNT));
        let (has_records, has_more) = (AtomicBool::new(false), AtomicBool::new(false));
        let window = Window {
            windows: Arc::clone(self),
            index,
            identity,
            slots,
            has_records,
            has_more,
            is_abandoned: AtomicBool::new(false),
        };
        Ok(Arc::new(window))
    }
}

/// One address space's part of the shared memory.
pub(super) struct Window {
    windows: Arc<Windows>,
    index: u64,
    identity: u64,
    slots: Mutex<FreeNumbers>,
    /// A thread has had records of lent files: the second page of its orders has been written.
    has_records: AtomicBool,
    /// A thread has had contents of files or a table of names: what comes after the records has been written.
    has_more: AtomicBool,
    /// Somebody may look at it for ever ([`Window::abandon`]).
    is_abandoned: AtomicBool,
}

impl Window {
    /// A number that no other window of this sandbox ever has.
    pub(super) fn identity(&self) -> u64 {
        self.identity
    }

    /// Where its slots start in their file.
    pub(super) fn slots_offset(&self) -> u64 {
        self.index * SLOTS_SIZE
    }

    /// Where its orders start in their file.
    pub(super) fn orders_offset(&self) -> u64 {
        self.index * ORDERS_SIZE
    }

    /// A slot for a guest thread. `EAGAIN` if there is none.
    pub(super) fn take_slot(self: &Arc<Self>) -> Result<Slot, Errno> {
        let number = self.slots.lock().take().ok_or(Errno::EAGAIN)?;
        Ok(Slot { window: Arc::clone(self), number })
    }

    /// Whether there were never two guest threads at the same time.
    pub(super) fn has_one_thread(&self) -> bool {
        const FIRST: u64 = 1;
        self.slots.lock().used_below() <= FIRST + 1
    }

    /// Has it not used again: there may be a process that looks at it, and of which nobody knows.
    pub(super) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
    }

    /// The spawner's slot.
    pub(super) fn spawner_slot(self: &Arc<Self>) -> Slot {
        Slot { window: Arc::clone(self), number: 0 }
    }
}

impl Window {
    /// Makes its orders zero. Only the sentry writes there, so few pages are written over: to give them back to the host and
    /// to get them again takes some six microseconds.
    fn empty_orders(&self, length: usize) -> Result<(), Errno> {
        const FEW: usize = 4 * ORDER_SIZE as usize;
        let (orders, offset) = (&self.windows.orders, self.orders_offset() as usize);
        if length > FEW || self.has_more.load(Ordering::Relaxed) {
            return orders.discard(offset, length);
        }
        for start in (0..length).step_by(ORDER_SIZE as usize) {
            orders.write(offset + start, &[0; RECORDS_END as usize][..self.written()]);
        }
        Ok(())
    }

    /// Bytes of a thread's orders that may have been written, but for what comes after the records.
    fn written(&self) -> usize {
        (if self.has_records.load(Ordering::Relaxed) { RECORDS_END } else { RECORDS }) as usize
    }
}

impl Window {
    /// Makes its slots zero. The few windows that are used again and again keep their memory: to give it back and to get it again
    /// takes some ten microseconds.
    fn empty_slots(&self, length: usize) -> Result<(), Errno> {
        const FEW_WINDOWS: u64 = 12;
        const FEW: usize = 2 * SLOT_SIZE as usize;
        let (slots, offset) = (&self.windows.slots, self.slots_offset() as usize);
        if self.index >= FEW_WINDOWS || length > FEW {
            return slots.discard(offset, length);
        }
        slots.write(offset, &[0; FEW][..length]);
        Ok(())
    }

    /// Makes the slots and orders zero that threads have had and nobody has now.
    fn empty_free_slots(&self) {
        let (slots, orders) = (&self.windows.slots, &self.windows.orders);
        let numbers = self.slots.lock();
        for Reverse(number) in &numbers.returned {
            let slot = (self.slots_offset() + number * SLOT_SIZE) as usize;
            let order = (self.orders_offset() + number * ORDER_SIZE) as usize;
            if slots.discard(slot, SLOT_SIZE as usize).is_err() {
                slots.write(slot, &[0; SLOT_SIZE as usize]);
            }
            if orders.discard(order, ORDER_SIZE as usize).is_err() {
                orders.write(order, &[0; ORDER_SIZE as usize]);
            }
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if *self.is_abandoned.get_mut() {
            return;
        }
        let used = self.slots.get_mut().used_below();
        let slots = self.empty_slots((used * SLOT_SIZE) as usize);
        let orders = self.empty_orders((used * ORDER_SIZE) as usize);
        // A window that could not be emptied is not used again: it would show old memory to another guest process.
        if slots.and(orders).is_ok() {
            self.windows.free.lock().give_back(self.index);
        }
    }
}

/// A guest thread's part of a window: its slot and its orders. Offsets are in bytes from the start of either.
pub(super) struct Slot {
    window: Arc<Window>,
    number: u64,
}

impl Slot {
    /// Where the guest sees the slot.
    pub(super) fn address(&self) -> u64 {
        SLOTS_BASE + self.number * SLOT_SIZE
    }

    /// Its number in its address space.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// An answer to its thread.
    pub(super) fn answer(&self, value: u32) -> i64 {
        (self.number << ANSWER_SLOT_SHIFT | u64::from(value)) as i64
    }

    /// Where the guest sees its orders.
    pub(super) fn orders_address(&self) -> u64 {
        ORDERS_BASE + self.number * ORDER_SIZE
    }

    /// Its orders.
    pub(super) fn orders(&self) -> Orders {
        Orders { window: Arc::clone(&self.window), number: self.number }
    }

    fn slot(&self, offset: u64) -> usize {
        assert!(offset < SLOT_SIZE, "offset outside the slot");
        (self.window.slots_offset() + self.number * SLOT_SIZE + offset) as usize
    }

    fn order(&self, offset: u64) -> usize {
        assert!(offset < ORDER_SIZE, "offset outside the orders");
        (self.window.orders_offset() + self.number * ORDER_SIZE + offset) as usize
    }

    pub(super) fn load(&self, offset: u64) -> u32 {
        self.window.windows.slots.load_u32(self.slot(offset))
    }

    pub(super) fn store(&self, offset: u64, value: u32) {
        self.window.windows.slots.store_u32(self.slot(offset), value);
    }

    /// A word of the slot that both sides exchange.
    pub(super) fn word(&self, offset: u64) -> &AtomicU32 {
        self.window.windows.slots.word(self.slot(offset))
    }

    /// Sleeps while the slot's word has this value, or until the time is over.
    pub(super) fn wait(&self, offset: u64, value: u32, timeout: Duration) {
        self.window.windows.slots.wait(self.slot(offset), value, timeout);
    }

    pub(super) fn read_u64(&self, offset: u64) -> u64 {
        self.window.windows.slots.read_u64(self.slot(offset))
    }

    pub(super) fn write_u64(&self, offset: u64, value: u64) {
        self.window.windows.slots.write_u64(self.slot(offset), value);
    }

    /// Copies a range of the slot; offset and length are multiples of eight, and the range lies inside.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) {
        assert!(buffer.len() as u64 <= SLOT_SIZE - offset, "range outside the slot");
        self.window.windows.slots.read(self.slot(offset), buffer);
    }

    /// The other direction of [`Slot::read`].
    pub(super) fn write(&self, offset: u64, data: &[u8]) {
        assert!(data.len() as u64 <= SLOT_SIZE - offset, "range outside the slot");
        self.window.windows.slots.write(self.slot(offset), data);
    }

    /// Makes the slot and its orders zero.
    pub(super) fn scrub(&self) {
        self.write(0, &[0; SLOT_SIZE as usize]);
        self.write_orders(0, &[0; RECORDS_END as usize][..self.window.written()]);
        self.erase_more();
    }

    /// Makes zero what the thread's program has left, its frame included, in this slot and in those that no thread has. The words that the
    /// sentry looks at when the next program begins stay: actions of signals, the mask, what is to be done at the thread's end, and what
    /// is mapped of lent memory.
    pub(super) fn leave_program(&self) {
        const ZEROS: [u8; SIGNAL_STACK_END as usize] = [0; SIGNAL_STACK_END as usize];
        for (start, end) in [(0, SIGNAL_STACK_END), (ENTRY, LEFT_TID_ADDRESS), (LENT, MEMORY_BOTTOM)] {
            self.write(start, &ZEROS[..(end - start) as usize]);
        }
        if self.window.has_records.load(Ordering::Relaxed) {
            self.write_orders(RECORDS, &ZEROS[..(RECORDS_END - RECORDS) as usize]);
        }
        self.window.empty_free_slots();
    }

    /// Makes what is left of streams and files, and its table of names, zero, if it may have any. The word that says which table stands is left.
    pub(super) fn erase_more(&self) {
        if !self.window.has_more.load(Ordering::Relaxed) {
            return;
        }
        const SIZE: usize = (ARRIVED_SIZE + CONTENTS_SIZE + NAMES_SIZE) as usize;
        if self.window.windows.orders.discard(self.order(ARRIVED), SIZE).is_err() {
            self.write_orders(ARRIVED, &[0; SIZE]);
        }
    }

    /// A table of names is about to be begun: its generation.
    pub(super) fn begin_names(&self) -> u64 {
        self.use_more();
        self.window.windows.next_generation.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn read_order(&self, offset: u64) -> u64 {
        self.window.windows.orders.read_u64(self.order(offset))
    }

    /// Writes a range of the orders; offset and length are multiples of eight, and the range lies inside.
    pub(super) fn write_orders(&self, offset: u64, data: &[u8]) {
        assert!(data.len() as u64 <= ORDER_SIZE - offset, "range outside the orders");
        self.window.windows.orders.write(self.order(offset), data);
    }

    pub(super) fn write_order(&self, offset: u64, value: u64) {
        self.window.windows.orders.write_u64(self.order(offset), value);
    }

    /// Records of lent files are about to be written.
    pub(super) fn use_records(&self) {
        self.window.has_records.store(true, Ordering::Relaxed);
    }

    /// What comes after the records is about to be written.
    pub(super) fn use_more(&self) {
        self.window.has_more.store(true, Ordering::Relaxed);
    }

    /// Writes a word of the orders after everything that was written before.
    pub(super) fn publish_order(&self, offset: u64, value: u32) {
        self.window.windows.orders.store_u32(self.order(offset), value);
    }

    /// Wakes who sleeps on a word of the orders.
    pub(super) fn wake_order(&self, offset: u64) {
        self.window.windows.orders.wake(self.order(offset));
    }
}

/// The orders of a slot, for whoever may write them while the slot is another's: no lease.
pub(super) struct Orders {
    window: Arc<Window>,
    number: u64,
}

impl Orders {
    /// Where a word of the orders is.
    fn order(&self, offset: u64) -> usize {
        (self.window.orders_offset() + self.number * ORDER_SIZE + offset) as usize
    }

    /// Where a word of the slot is.
    fn slot(&self, offset: u64) -> usize {
        (self.window.slots_offset() + self.number * SLOT_SIZE + offset) as usize
    }

    pub(super) fn write_order(&self, offset: u64, value: u64) {
        self.window.windows.orders.write_u64(self.order(offset), value);
    }

    /// Writes the answers that stand, each 0 or with [`ANSWER_STANDS`]. Names do not stand any more.
    pub(super) fn set_standing(&self, answers: [u64; MAX_STANDING]) {
        for (number, answer) in (0..).zip(answers) {
            self.write_order(STANDING + 8 * number, answer);
        }
        self.withdraw_names();
    }

    /// Writes whether one of the answers stands, one that says no more than that it does.
    pub(super) fn set_leave(&self, number: usize, stands: bool) {
        self.write_order(STANDING + 8 * number as u64, if stands { ANSWER_STANDS } else { 0 });
    }

    /// Says that no name stands.
    pub(super) fn withdraw_names(&self) {
        self.write_order(NAMES_STAND, 0);
    }

    /// Says that the name at one place of the table does not stand.
    pub(super) fn withdraw_name(&self, place: usize) {
        if place < NAME_PLACES {
            self.write_order(NAMES + place as u64 * NAME_SIZE + NAME_GENERATION, 0);
        }
    }

    /// Says which signals are not pending. What the thread has done to its mask without knowing can be seen after this.
    pub(super) fn set_quiet(&self, quiet: u64) {
        self.write_order(QUIET, quiet);
        fence(Ordering::SeqCst);
    }

    /// A word of the slot.
    pub(super) fn slot_word(&self, offset: u64) -> u32 {
        self.window.windows.slots.load_u32(self.slot(offset))
    }

    /// Eight bytes of the slot.
    pub(super) fn slot_u64(&self, offset: u64) -> u64 {
        self.window.windows.slots.read_u64(self.slot(offset))
    }

    /// A word of the slot that both sides change.
    pub(super) fn slot_atomic(&self, offset: u64) -> &AtomicU32 {
        self.window.windows.slots.word(self.slot(offset))
    }

    /// Sleeps while the slot's word and another one have these values, or until the time is over.
    pub(super) fn wait_for_two(
        &self,
        offset: u64,
        value: u32,
        other: &AtomicU32,
        others: u32,
        timeout: Option<Duration>,
    ) {
        wait_for_two((self.slot_atomic(offset), value), (other, others), timeout);
    }

    pub(super) fn set_slot_u64(&self, offset: u64, value: u64) {
        self.window.windows.slots.write_u64(self.slot(offset), value);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.number != 0 {
            self.window.slots.lock().give_back(self.number);
        }
    }
}

/// Numbers from a range, the smallest free one first, so that memory stays dense.
struct FreeNumbers {
    returned: BinaryHeap<Reverse<u64>>,
    fresh: u64,
    end: u64,
}

impl FreeNumbers {
    fn new(start: u64, end: u64) -> FreeNumbers {
        FreeNumbers { returned: BinaryHeap::new(), fresh: start, end }
    }

    fn take(&mut self) -> Option<u64> {
        if let Some(Reverse(number)) = self.returned.pop() {
            return Some(number);
        }
        (self.fresh < self.end).then(|| {
            self.fresh += 1;
            self.fresh - 1
        })
    }

    fn give_back(&mut self, number: u64) {
        self.returned.push(Reverse(number));
    }

    /// No number at or above this one was ever taken.
    fn used_below(&self) -> u64 {
        self.fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_free_number_is_taken_first() {
        let mut numbers = FreeNumbers::new(1, 4);
        assert_eq!([numbers.take(), numbers.take(), numbers.take()], [Some(1), Some(2), Some(3)]);
        assert_eq!(numbers.take(), None);
        numbers.give_back(3);
        numbers.give_back(1);
        assert_eq!([numbers.take(), numbers.take(), numbers.take()], [Some(1), Some(3), None]);
        assert_eq!(numbers.used_below(), 4);
    }
}
