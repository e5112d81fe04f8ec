//! Guest memory that travels with a call from a patched site: what it hands over on its way in, and what the stub copies
//! out on its way back. A copy between processes costs as much again as half of the call; the stub's own costs next to
//! nothing.
//!
//! Both travel in the thread's slot, where the guest can change them at any time. It gains nothing: what is handed over is
//! its own memory, which it could change as well, and what is given back goes to its own memory. Where that goes is in the
//! orders, which it cannot write.

use usk_abi::Errno;

use crate::interface::{AddressSpace, Trap};
use crate::stub::addresses::patched;
use crate::stub::geometry::*;

use super::thread::Thread;

/// A copy to guest memory that is left for the way back.
#[derive(Clone, Copy)]
struct Copy {
    address: u64,
    /// From the start of the slot.
    offset: u64,
    length: u64,
}

/// What is to be copied on the way back. Kept until the guest has surely gone on.
#[derive(Default)]
pub(super) struct Copies {
    list: [Option<Copy>; MAX_COPIES],
    count: usize,
    /// One of them could not be made, which the next run tells.
    has_failed: bool,
}

impl Copies {
    /// The guest has gone on, so they have been made.
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn iter(&self) -> impl Iterator<Item = Copy> {
        self.list[..self.count].iter().flatten().copied()
    }

    /// The trap for what could not be copied, once.
    pub(super) fn refusal(&mut self) -> Option<Trap> {
        std::mem::take(&mut self.has_failed).then_some(Trap::Unwritable)
    }

    /// Finds room in the slot for a copy. `None` if there is none.
    fn add(&mut self, address: u64, length: u64) -> Option<Copy> {
        let used =
            self.iter().last().map_or(0, |last| (last.offset - GIVEN_BACK + last.length).next_multiple_of(8));
        let place = self.list.get_mut(self.count)?;
        if length.next_multiple_of(8) > GIVE_BACK_SIZE.checked_sub(used)? {
            return None;
        }
        let copy = Copy { address, offset: GIVEN_BACK + used, length };
        *place = Some(copy);
        self.count += 1;
        Some(copy)
    }
}

/// Where the stub reads guest memory to hand it over.
pub(super) fn is_handing_over(rip: u64) -> bool {
    (patched::hands_over()..patched::handed_over()).contains(&rip)
}

/// Where the stub writes guest memory.
pub(super) fn is_copying(rip: u64) -> bool {
    (patched::copies()..patched::copied()).contains(&rip)
}

impl Thread {
    /// See [`GuestThread::handed_over`](crate::GuestThread::handed_over).
    pub(super) fn read_handed_over(&self, address: u64, buffer: &mut [u8]) -> usize {
        // The stub can read more than the guest's calls may name: its own slot.
        if self.patched.is_none() || !self.is_guests(address, buffer.len()) {
            return 0;
        }
        let slot = self.slot();
        let length = u64::from(slot.load(ENTRY_HANDED_LENGTH)).min(HAND_OVER_SIZE);
        let Some(skipped) = address.checked_sub(slot.read_u64(ENTRY_HANDED_FROM)) else { return 0 };
        let Some(left) = length.checked_sub(skipped) else { return 0 };
        let count = buffer.len().min(left as usize);
        // The slot is read in whole words.
        let first = skipped & !7;
        let within = (skipped - first) as usize;
        let mut words = [0; HAND_OVER_SIZE as usize];
        let whole = (within + count).next_multiple_of(8);
        slot.read(HANDED_OVER + first, &mut words[..whole]);
        buffer[..count].copy_from_slice(&words[within..within + count]);
        count
    }

    /// See [`GuestThread::copy_on_return`](crate::GuestThread::copy_on_return).
    pub(super) fn leave_copy(&mut self, address: u64, data: &[u8]) -> bool {
        if self.patched.is_none() || !self.is_guests(address, data.len()) || data.is_empty() {
            return false;
        }
        let Some(copy) = self.copies.add(address, data.len() as u64) else { return false };
        let (words, rest) = data.split_at(data.len() & !7);
        self.slot().write(copy.offset, words);
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.slot().write(copy.offset + words.len() as u64, &word);
        }
        true
    }

    fn is_guests(&self, address: u64, length: usize) -> bool {
        let end = address.checked_add(length as u64);
        end.is_some_and(|end| end <= self.space.sandbox().layout.guest_end)
    }

    /// Writes the list of copies into the orders. Returns what to add to the answer.
    pub(super) fn write_copies(&self) -> u32 {
        if self.copies.is_empty() {
            return 0;
        }
        let slot = self.slot();
        for (index, copy) in (0..).zip(self.copies.iter()) {
            let entry = COPIES + COPY_SIZE * index;
            slot.write_order(entry, copy.address);
            slot.write_order(entry + 8, copy.offset);
            slot.write_order(entry + 16, copy.length);
        }
        slot.write_order(COPY_COUNT, self.copies.count as u64);
        ANSWER_COPY
    }

    /// The thread does not go back the way it came: makes the copies now. A failure is kept for the next run.
    pub(super) fn make_copies_early(&mut self) {
        self.copies.has_failed |= self.make_copies().is_err();
    }

    /// See [`GuestThread::settle_copies`](crate::GuestThread::settle_copies).
    pub(super) fn make_copies(&mut self) -> Result<(), Errno> {
        let mut result = Ok(());
        for copy in std::mem::take(&mut self.copies).iter() {
            let mut data = [0; GIVE_BACK_SIZE as usize];
            let whole = copy.length.next_multiple_of(8) as usize;
            self.slot().read(copy.offset, &mut data[..whole]);
            let length = copy.length as usize;
            if self.space.write(copy.address, &data[..length]) < length {
                result = Err(Errno::EFAULT);
            }
        }
        result
    }

    /// The trap for a copy that has met memory that is not there.
    pub(super) fn refuse_copy(&mut self) -> Trap {
        self.copies.clear();
        Trap::Unwritable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_laid_out_in_whole_words_until_the_room_is_used_up() {
        let mut copies = Copies::default();
        let places: Vec<u64> = [1, 8, 9, 4064]
            .iter()
            .map(|&length| copies.add(0, length).unwrap().offset - GIVEN_BACK)
            .collect();
        assert_eq!(places, [0, 8, 16, 32]);
        assert!(copies.add(0, 1).is_none());
        copies.clear();
        assert!(copies.add(0, GIVE_BACK_SIZE + 1).is_none());
        assert!((0..MAX_COPIES).all(|_| copies.add(0, 1).is_some()));
        assert!(copies.add(0, 1).is_none());
    }
}
