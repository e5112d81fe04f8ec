//! Descriptors that are lent to a thread: calls about them the stub serves by itself (`stub/lent.S`).
//!
//! What the stub changes lies in the thread's slot, where the guest can forge all of it: the sentry reads each word once, while
//! the thread does not run, and believes no more of it than calls could have brought about. What files are lies in the orders,
//! which the guest can only read. While the thread runs nobody writes to either; that nothing of it stands any more, anybody
//! may say at any time, by the answer that stands for it all.

use std::ffi::CStr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::arch::Registers;
use crate::host::create_memfd;
use crate::lent::{LENT_CONTENTS, LENT_DESCRIPTORS, LENT_RECORDS, LentDescriptor, LentFile, TakenBack};
use crate::stub::addresses::{arrived, held, lent, memory, names, noted, prepared, statx};
use crate::stub::geometry::{self, *};

use super::arrived::mode_of_arrived;
use super::calls::Call;
use super::inlet;
use super::ledger::{self, has_done, has_noted, is_noting};
use super::lists::FIRST_FILE;
use super::status::status_words;
use super::thread::Thread;

const PAGE: u64 = 4096;

/// What of the lent descriptors is in the slot and in the orders, as far as the sentry has put it there.
pub(super) struct Lent {
    words: [Option<u32>; geometry::LENT_DESCRIPTORS],
    records: [Option<LentFile>; MAX_RECORDS],
}

impl Default for Lent {
    fn default() -> Lent {
        Lent { words: [None; geometry::LENT_DESCRIPTORS], records: [None; MAX_RECORDS] }
    }
}

/// In the code that serves calls about lent descriptors, or known names, or notes them.
pub(super) fn is_serving(rip: u64) -> bool {
    (lent::begin()..lent::end()).contains(&rip)
        || (arrived::begin()..arrived::end()).contains(&rip)
        || (names::begin()..names::end()).contains(&rip)
        || (noted::begin()..noted::end()).contains(&rip)
        || (prepared::begin()..prepared::end()).contains(&rip)
        || (held::begin()..held::end()).contains(&rip)
        || (statx::begin()..statx::end()).contains(&rip)
        || is_noting(rip)
        || inlet::is_leaving_data(rip)
}

/// The call is over, but for the way back.
fn has_served(rip: u64) -> bool {
    (lent::done()..lent::end()).contains(&rip)
        || (lent::moved()..lent::going()).contains(&rip)
        || (memory::set()..memory::gone()).contains(&rip)
        || (noted::done()..noted::asks()).contains(&rip)
        || has_done(rip)
        || inlet::has_left(rip)
}

/// Four registers are in the entry area.
pub(super) fn has_saved(rip: u64) -> bool {
    (lent::saved()..lent::restored()).contains(&rip)
        || (names::saved()..names::restored()).contains(&rip)
        || (prepared::begin()..prepared::end()).contains(&rip)
        || (held::begin()..held::end()).contains(&rip)
        || (statx::begin()..statx::end()).contains(&rip)
        || ledger::has_saved(rip)
        || inlet::has_saved(rip)
}

fn encode(descriptor: LentDescriptor) -> u32 {
    let bit = |is_set: bool, bit: u32| u32::from(is_set) << bit;
    match descriptor {
        LentDescriptor::Withheld => 0,
        LentDescriptor::Free => 1 << LENT_FREE_BIT,
        LentDescriptor::Open { file, record, close_on_exec, closes_silently } => {
            let record = record.map_or(0, |record| u32::from(record) + 1);
            u32::from(file) & LENT_FILE
                | record << LENT_RECORD.trailing_zeros() & LENT_RECORD
                | 1 << LENT_OPEN_BIT
                | bit(close_on_exec, LENT_CLOEXEC_BIT)
                | bit(closes_silently, LENT_SILENT_BIT)
        }
        LentDescriptor::Prepared { record, close_on_exec } => {
            1 << LENT_OPEN_BIT
                | 1 << LENT_PREPARED_BIT
                | 1 << LENT_SILENT_BIT
                | (u32::from(record) + 1) << LENT_RECORD.trailing_zeros() & LENT_RECORD
                | bit(close_on_exec, LENT_CLOEXEC_BIT)
        }
    }
}

fn decode(word: u32) -> LentDescriptor {
    let has = |bit: u32| word >> bit & 1 == 1;
    if has(LENT_OPEN_BIT) {
        let record = (word & LENT_RECORD) >> LENT_RECORD.trailing_zeros();
        let record = record.checked_sub(1).map(|record| record as u8);
        let (close_on_exec, closes_silently) = (has(LENT_CLOEXEC_BIT), has(LENT_SILENT_BIT));
        match record {
            Some(record) if has(LENT_PREPARED_BIT) => LentDescriptor::Prepared { record, close_on_exec },
            _ => LentDescriptor::Open {
                file: (word & LENT_FILE) as u8,
                record,
                close_on_exec,
                closes_silently,
            },
        }
    } else if has(LENT_FREE_BIT) {
        LentDescriptor::Free
    } else {
        LentDescriptor::Withheld
    }
}

/// Where a descriptor's word is in the slot.
fn place(descriptor: usize) -> u64 {
    LENT_WORDS + 4 * descriptor as u64
}

impl Thread {
    /// The guest's registers after a call that the stub has served, where a signal has met the thread on its way back from it.
    pub(super) fn after_serving(&self, raw: Registers) -> Option<Registers> {
        if !has_served(raw.rip) {
            return None;
        }
        let slot = self.slot();
        if inlet::has_left(raw.rip) {
            // It need not tell that any more.
            slot.store(ENTRY_HOST_CALL, 0);
        }
        let (rip, rflags) = (slot.read_u64(ENTRY_RIP), slot.read_u64(ENTRY_FLAGS));
        let rax = if has_noted(raw.rip) { self.finish_note(&raw) } else { raw.rax };
        let after =
            Registers { rip, rax, rcx: rip, rflags, r11: rflags, rsp: slot.read_u64(ENTRY_RSP), ..raw };
        Some(if inlet::is_ringing(raw.rip) { self.after_bell(after) } else { after })
    }

    /// Puts back what the stub has taken out of its way.
    pub(super) fn restore_saved(&self, registers: &mut Registers) {
        let argument = |index: u64| self.slot().read_u64(ENTRY_ARGUMENTS + 8 * index);
        (registers.rdi, registers.rsi) = (argument(0), argument(1));
        (registers.r8, registers.r9) = (argument(4), argument(5));
    }

    /// See [`GuestThread::lend_descriptors`](crate::GuestThread::lend_descriptors).
    pub(super) fn write_descriptors(&mut self, descriptors: &[LentDescriptor; LENT_DESCRIPTORS], which: u64) {
        let mut left = which;
        while left != 0 {
            let number = left.trailing_zeros() as usize;
            left &= left - 1;
            let word = encode(descriptors[number]);
            if self.lent.words[number] != Some(word) {
                self.slot().store(place(number), word);
                self.lent.words[number] = Some(word);
            }
        }
    }

    /// See [`GuestThread::lend_file`](crate::GuestThread::lend_file).
    pub(super) fn write_record(&mut self, number: usize, file: &LentFile) {
        if number >= LENT_RECORDS || self.lent.records[number].as_ref() == Some(file) {
            return;
        }
        let at = RECORDS + RECORD_SIZE * number as u64;
        let slot = self.slot();
        slot.use_records();
        let bit = |is_set: bool, bit: u64| if is_set { bit } else { 0 };
        let has_length = file.length.is_some();
        let mode = bit(file.flags.is_some(), RECORD_HAS_FLAGS)
            | bit(file.attributes.is_some(), RECORD_HAS_STAT)
            | bit(file.until_written, RECORD_UNTIL_WRITTEN)
            | bit(has_length, RECORD_READS)
            | bit(has_length && file.seeks, RECORD_SEEKS)
            | bit(has_length && file.reads_on, RECORD_READS_ON)
            | bit(file.is_listed, RECORD_IS_LISTED)
            | bit(file.entries_end.is_some(), RECORD_HAS_ENTRIES)
            | bit(file.is_volatile, RECORD_IS_VOLATILE)
            | bit(file.locks, RECORD_LOCKS)
            | bit(file.swallows, RECORD_SWALLOWS)
            | bit(file.has_inlet, RECORD_HAS_INLET)
            | bit(file.is_prepared, RECORD_IS_PREPARED)
            | mode_of_arrived(file.arrived.as_ref());
        let (arrived_end, arrived_window) = file.arrived.map(|arrived| (arrived.end, arrived.window)).unzip();
        let (start, length, address) = file
            .window
            .or(arrived_window)
            .map_or((0, 0, 0), |window| (window.start, window.length, window.address));
        for (offset, value) in [
            (RECORD_MODE, mode),
            (RECORD_FLAGS, file.flags.unwrap_or(0).into()),
            (RECORD_LENGTH, file.length.or(file.entries_end).or(arrived_end).unwrap_or(0)),
            (RECORD_WINDOW_START, start),
            (RECORD_WINDOW_LENGTH, length),
            (RECORD_WINDOW, address),
            (RECORD_FILE, file.identity),
            (RECORD_WATCHABLE, file.watchable),
            (RECORD_WRITES_END, file.writes_end.unwrap_or(0)),
        ] {
            slot.write_order(at + offset, value);
        }
        for (offset, word) in (0..).step_by(8).zip(file.attributes.iter().flat_map(status_words)) {
            slot.write_order(at + RECORD_STAT + offset, word);
        }
        self.lent.records[number] = Some(*file);
    }

    /// See [`GuestThread::lend_position`](crate::GuestThread::lend_position).
    pub(super) fn write_position(&self, number: usize, position: u64) {
        if number < LENT_RECORDS {
            self.slot().write_u64(LENT_POSITIONS + 8 * number as u64, position);
        }
    }

    /// Where a window of this thread's lies.
    fn window(&self, number: usize) -> Option<u64> {
        let thread = self.slot().number();
        let is_there = number < MAX_WINDOWS && thread < THREADS_WITH_WINDOWS;
        is_there.then(|| WINDOWS_BASE + (thread * MAX_WINDOWS as u64 + number as u64) * WINDOW_SIZE)
    }

    /// See [`GuestThread::open_window`](crate::GuestThread::open_window).
    pub(super) fn map_window(
        &mut self,
        number: usize,
        file: BorrowedFd<'_>,
        offset: u64,
        length: u64,
    ) -> Option<u64> {
        let address = self.window(number)?;
        let is_good = offset.is_multiple_of(PAGE)
            && (1..=WINDOW_SIZE).contains(&length)
            && offset.checked_add(length.next_multiple_of(PAGE)).is_some();
        if !is_good || self.ended.is_some() {
            return None;
        }
        let size = length.next_multiple_of(PAGE);
        let room = address..address + WINDOW_SIZE;
        self.map_file(room, size, libc::PROT_READ, libc::MAP_PRIVATE, file, offset)?;
        Some(address)
    }

    /// Maps a file at the beginning of `room`, above the guest's range, instead of what is there. Copies of the address space have
    /// nothing there.
    pub(super) fn map_file(
        &mut self,
        room: Range<u64>,
        size: u64,
        protection: i32,
        sharing: i32,
        file: BorrowedFd<'_>,
        offset: u64,
    ) -> Option<()> {
        let (address, room) = (room.start, room.end - room.start);
        let (protection, flags) = (protection as u64, (sharing | libc::MAP_FIXED) as u64);
        let advice = libc::MADV_DONTFORK as u64;
        let descriptor = u64::from(FIRST_FILE);
        let list = [
            Call { kind: CallKind::Unmap, arguments: [address, room, 0, 0, 0, 0] },
            Call {
                kind: CallKind::MapFile,
                arguments: [address, size, protection, flags, descriptor, offset],
            },
            Call { kind: CallKind::Advise, arguments: [address, size, advice, 0, 0, 0] },
            Call::close(FIRST_FILE),
        ];
        // If the thread has ended the next run says so.
        self.carry_out_deferred().ok()?;
        let (done, _) = self.carry_out(&list, &[file]).ok()?;
        (done == list.len()).then_some(())
    }

    /// Memory that this thread and the sentry share, one of a row from `base` on, for as many threads as have ledgers.
    pub(super) fn map_memory(&mut self, name: &CStr, base: u64, size: u64, access: i32) -> Option<OwnedFd> {
        let number = self.slot().number();
        if number >= THREADS_WITH_LEDGERS || self.ended.is_some() {
            return None;
        }
        let file = create_memfd(name, size).ok()?;
        let address = base + number * size;
        // A private mapping that nobody can write shows what is written to its file.
        let sharing = if access & libc::PROT_WRITE == 0 { libc::MAP_PRIVATE } else { libc::MAP_SHARED };
        self.map_file(address..address + size, size, access, sharing, file.as_fd(), 0)?;
        Some(file)
    }

    /// See [`GuestThread::close_window`](crate::GuestThread::close_window).
    pub(super) fn unmap_window(&mut self, number: usize) {
        if let Some(address) = self.window(number) {
            let arguments = [address, WINDOW_SIZE, 0, 0, 0, 0];
            self.defer_call(Call { kind: CallKind::Unmap, arguments });
        }
    }

    /// See [`GuestThread::leave_contents`](crate::GuestThread::leave_contents).
    pub(super) fn write_contents(&self, at: usize, contents: &[u8]) -> Option<u64> {
        if let Some(at) = at.checked_sub(LENT_CONTENTS) {
            return self.write_shelf(at, contents);
        }
        if !at.is_multiple_of(8) || contents.len() > LENT_CONTENTS - at {
            return None;
        }
        Some(self.write_bytes(CONTENTS + at as u64, contents))
    }

    /// Writes bytes into the orders, from a multiple of eight on, and returns their address.
    pub(super) fn write_bytes(&self, offset: u64, bytes: &[u8]) -> u64 {
        let slot = self.slot();
        slot.use_more();
        let (words, rest) = bytes.split_at(bytes.len() & !7);
        slot.write_orders(offset, words);
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            slot.write_orders(offset + words.len() as u64, &last);
        }
        slot.orders_address() + offset
    }

    /// See [`GuestThread::take_back`](crate::GuestThread::take_back).
    pub(super) fn read_lent(&mut self) -> Option<TakenBack> {
        let slot = self.slot();
        let (changed, moved) = (slot.read_u64(LENT_CHANGED), slot.read_u64(LENT_MOVED));
        if changed | moved == 0 && !self.has_notes() {
            return None;
        }
        slot.write_u64(LENT_CHANGED, 0);
        slot.write_u64(LENT_MOVED, 0);
        let has = |bits: u64, number: usize| bits >> number & 1 == 1;
        let mut taken = TakenBack {
            changed,
            descriptors: [LentDescriptor::Withheld; LENT_DESCRIPTORS],
            positions: [None; LENT_RECORDS],
            notes: self.read_notes(),
        };
        for number in (0..LENT_RECORDS).filter(|&number| has(moved, number)) {
            taken.positions[number] = Some(self.slot().read_u64(LENT_POSITIONS + 8 * number as u64));
        }
        for number in (0..LENT_DESCRIPTORS).filter(|&number| has(changed, number)) {
            let word = self.slot().load(place(number));
            taken.descriptors[number] = decode(word);
            // If it was forged it is written anew.
            self.lent.words[number] = Some(word);
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_guest_writes_is_some_descriptor() {
        for record in [None, Some(0), Some(30)] {
            for flags in 0..4 {
                let (close_on_exec, closes_silently) = (flags & 1 != 0, flags & 2 != 0);
                let open = LentDescriptor::Open { file: 63, record, close_on_exec, closes_silently };
                assert_eq!(decode(encode(open)), open);
            }
        }
        for close_on_exec in [false, true] {
            let prepared = LentDescriptor::Prepared { record: 30, close_on_exec };
            assert_eq!(decode(encode(prepared)), prepared);
        }
        assert_eq!(decode(encode(LentDescriptor::Free)), LentDescriptor::Free);
        assert_eq!(decode(0), LentDescriptor::Withheld);
        for word in (0..32).map(|bit| 1 << bit).chain([u32::MAX]) {
            if let LentDescriptor::Open { file, .. } = decode(word) {
                assert!(usize::from(file) < LENT_DESCRIPTORS);
            }
        }
    }
}
