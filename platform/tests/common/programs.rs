//! A new program in an address space that is used again: it finds nothing where the last one, or the platform for the last one, has left
//! something.

use usk_platform::region::{LEDGER_SIZE, LENT, NOTED, ORDERS, SLOT_SIZE, SLOTS};
use usk_platform::{MemoryOp, Platform, Trap};

use super::guest::{CODE, Guest, guest_code, start};
use super::lent;

guest_code!(write: "mov [rdi], rsi", "ud2");
guest_code!(read: "mov rsi, [rdi]", "ud2");

/// In the orders of a thread, which are as far apart as ledgers: what the first record's file is known by.
const RECORD_FILE: u64 = 0x1030;
/// In a slot: what a call hands over, what it gives back, the signal stack.
const PLACES: [u64; 5] = [0, 0x1000, 0x2000, NOTED, LENT];

/// Runs one instruction about the word at this address. What `rsi` is then.
fn run(guest: &mut Guest, code: &[u8], address: u64, value: u64) -> u64 {
    guest.load(code);
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rdi, registers.rsi) = (CODE, address, value);
    let trap = guest.thread.run();
    assert!(matches!(trap, Trap::Fault { signal: libc::SIGILL, .. }), "{trap:x?}");
    guest.thread.registers().rsi
}

pub(crate) fn a_new_program_finds_nothing_of_the_last_one(platform: &dyn Platform) {
    let mut guest = lent::guest(platform, lent::one_call());
    if !guest.thread.can_lend() {
        return;
    }
    let sibling = guest.sibling(&start());
    let (own, other) = (SLOTS + SLOT_SIZE, SLOTS + 2 * SLOT_SIZE);
    let places: Vec<u64> = PLACES.iter().flat_map(|place| [own + place, other + place]).collect();
    for &place in &places {
        run(&mut guest, write(), place, !0);
        assert_eq!(run(&mut guest, read(), place, 1), !0);
    }
    let record = ORDERS + LEDGER_SIZE + RECORD_FILE;
    assert_eq!(run(&mut guest, read(), record, 1), lent::FILE);
    drop(sibling);
    guest.apply(&[MemoryOp::UnmapAll]);
    for place in places {
        assert_eq!(run(&mut guest, read(), place, 1), 0, "{place:#x}");
    }
    assert_eq!(run(&mut guest, read(), record, 1), 0);
    // What is lent anew is there.
    lent::lend(&mut guest);
    assert_eq!(run(&mut guest, read(), record, 1), lent::FILE);
}
