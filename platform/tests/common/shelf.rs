//! Shelves: what is left there of files is read as what is left in the orders is, and cannot be written.

use usk_platform::{LENT_CONTENTS, LENT_SHELF, LentFile, LentWindow, MemoryOp, Platform, Trap};

use super::guest::{CODE, DATA, Guest, guest_code};
use super::lent::{self, PREAD, READ, call};

guest_code!(write_one: "mov byte ptr [rdi], 1", "ud2");

/// A guest with a shelf, if its platform has any.
fn guest(platform: &dyn Platform) -> Option<Guest> {
    let mut guest = lent::guest(platform, lent::one_call());
    assert_eq!(guest.thread.leave_contents(LENT_CONTENTS, b"too early"), None);
    let is_there = guest.thread.open_shelf();
    assert_eq!(is_there, guest.thread.can_lend());
    is_there.then_some(guest)
}

pub(crate) fn what_is_on_a_shelf_is_read_as_it_was_left_last(platform: &dyn Platform) {
    let Some(mut guest) = guest(platform) else { return };
    assert!(guest.thread.open_shelf(), "the same again");
    for (at, length) in [(0, LENT_SHELF + 1), (8, LENT_SHELF), (LENT_SHELF + 8, 0)] {
        assert_eq!(guest.thread.leave_contents(LENT_CONTENTS + at, &vec![0; length]), None);
    }
    for length in [1, 4099, LENT_CONTENTS, LENT_SHELF, 7] {
        let contents: Vec<u8> = (0..length).map(|at| at as u8 ^ length as u8).collect();
        let at = LENT_CONTENTS + (LENT_SHELF - length) / 8 * 8;
        let address = guest.thread.leave_contents(at, &contents).expect("there is room");
        let window = Some(LentWindow { start: 0, length: length as u64, address });
        guest.thread.lend_file(0, &LentFile { length: Some(length as u64), window, ..LentFile::default() });
        assert_eq!(call(&mut guest, PREAD, [3, DATA, 16, length as u64 - 1]), Some(1));
        assert_eq!(guest.read::<1>(DATA), [contents[length - 1]]);
        // Positions are not lent.
        assert_eq!(call(&mut guest, READ, [3, DATA, 16, 0]), None);
    }
}

pub(crate) fn a_guest_cannot_write_on_its_shelf(platform: &dyn Platform) {
    let Some(mut guest) = guest(platform) else { return };
    let address = guest.thread.leave_contents(LENT_CONTENTS, b"contents").expect("there is room");
    let window = Some(LentWindow { start: 0, length: 8, address });
    guest.thread.lend_file(0, &LentFile { length: Some(8), window, ..LentFile::default() });
    assert_eq!(call(&mut guest, PREAD, [3, address, 8, 0]), None);
    assert_eq!(guest.space.write(address, b"x"), 0);
    guest.load(write_one());
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rdi) = (CODE, address);
    let trap = guest.thread.run();
    assert!(matches!(trap, Trap::Fault { signal: libc::SIGSEGV, trap_number: 14, .. }), "{trap:x?}");
}

pub(crate) fn a_new_program_has_no_shelf(platform: &dyn Platform) {
    let Some(mut guest) = guest(platform) else { return };
    let address = guest.thread.leave_contents(LENT_CONTENTS, b"contents").expect("there is room");
    guest.apply(&[MemoryOp::UnmapAll]);
    assert_eq!(guest.thread.leave_contents(LENT_CONTENTS, b"contents"), None);
    guest.load(write_one());
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rdi) = (CODE, address);
    // Not even something that cannot be written.
    let trap = guest.thread.run();
    let Trap::Fault { signal: libc::SIGSEGV, error_code, .. } = trap else { panic!("{trap:x?}") };
    assert_eq!(error_code & 1, 0);
}
