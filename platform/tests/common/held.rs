//! What `stat(2)` shows of a file that its thread may write without calling: it is answered, by descriptor and by name, until a write has
//! been noted. What the guest forges makes it an answer that was one, or an ordinary call.

use usk_platform::region::{LEDGER_WRITTEN, SLOT_SIZE, SLOTS};
use usk_platform::{KnownName, LentFile, NameMeaning, Platform, STAT_SIZE, Trap};

use super::guest::{CODE, DATA, Guest, STACK, rounds, under_kicks};
use super::ledger::PWRITE;
use super::lent::{self, FCNTL, FILE, FSTAT, call, stat, status, while_forged};
use super::names::{BUFFER, OPEN, STAT, TEXT, ask};

/// A file that may be written, and what it shows.
pub(crate) fn held(byte: u8) -> LentFile {
    LentFile {
        identity: FILE,
        flags: Some(0),
        attributes: Some(status(byte)),
        until_written: true,
        writes_end: Some(1 << 40),
        locks: true,
        ..LentFile::default()
    }
}

pub(crate) fn hold(guest: &mut Guest, byte: u8) {
    lent::lend(guest);
    guest.thread.lend_file(0, &held(byte));
    let meaning = NameMeaning::Held { record: 0, identity: FILE };
    guest.thread.leave_name(&KnownName { start: 0, follows: true, name: b"file", meaning });
}

/// A guest that holds a file, if its platform lends any.
pub(crate) fn holder(platform: &dyn Platform, code: &[u8]) -> Option<Guest> {
    let mut guest = lent::guest(platform, code);
    if !guest.thread.can_lend() || !guest.thread.open_ledger() {
        return None;
    }
    hold(&mut guest, 7);
    Some(guest)
}

/// What is shown of the file, by its descriptor and by its name.
fn shown(guest: &mut Guest) -> [Option<u8>; 2] {
    let read = |is_answered: bool, guest: &mut Guest| {
        let attributes = is_answered.then(|| guest.read::<STAT_SIZE>(BUFFER))?;
        assert_eq!(attributes, stat(attributes[0]));
        Some(attributes[0])
    };
    let by_descriptor = call(guest, FSTAT, [3, BUFFER, 0, 0]) == Some(0);
    let by_descriptor = read(by_descriptor, guest);
    let by_name = ask(guest, STAT, "file", BUFFER) == Some(0);
    [by_descriptor, read(by_name, guest)]
}

pub(crate) fn a_held_file_shows_its_attributes_until_a_write_is_noted(platform: &dyn Platform) {
    let Some(mut guest) = holder(platform, lent::one_call()) else { return };
    assert_eq!(shown(&mut guest), [Some(7); 2]);
    // A lock changes nothing of them.
    assert_eq!(guest.space.write(DATA, &[0; 32]), 32);
    assert_eq!(call(&mut guest, FCNTL, [3, libc::F_SETLK as u64, DATA, 0]), Some(0));
    assert_eq!(shown(&mut guest), [Some(7); 2]);
    assert_eq!(call(&mut guest, PWRITE, [3, DATA, 1, 0]), Some(1));
    assert_eq!(shown(&mut guest), [None; 2]);
    guest.thread.take_back().expect("a write has been noted");
    hold(&mut guest, 8);
    assert_eq!(shown(&mut guest), [Some(8); 2]);
    // It is there, but nobody has opened it ahead.
    assert_eq!(ask(&mut guest, OPEN, "file", 0), None);
}

pub(crate) fn a_file_that_is_not_held_any_more_is_not_shown(platform: &dyn Platform) {
    let Some(mut guest) = holder(platform, lent::one_call()) else { return };
    let ends: [(fn(&mut Guest), [Option<u8>; 2]); 6] = [
        (|guest| guest.thread.kicker().withdraw_lending(), [None; 2]),
        (|guest| guest.thread.kicker().withdraw_names(), [Some(7), None]),
        (|guest| guest.thread.kicker().withdraw_answers(), [None; 2]),
        (|guest| guest.thread.lend_file(0, &LentFile::default()), [None; 2]),
        (|guest| guest.thread.lend_file(0, &LentFile { until_written: false, ..held(9) }), [Some(9), None]),
        (|guest| guest.thread.lend_file(0, &LentFile { identity: FILE + 1, ..held(9) }), [Some(9), None]),
    ];
    for (end, left) in ends {
        hold(&mut guest, 7);
        assert_eq!(shown(&mut guest), [Some(7); 2]);
        end(&mut guest);
        assert_eq!(shown(&mut guest), left);
    }
}

pub(crate) fn what_is_known_of_other_names_outlives_what_is_lent(platform: &dyn Platform) {
    let Some(mut guest) = holder(platform, lent::one_call()) else { return };
    let meaning = NameMeaning::File { attributes: status(5), access: 0 };
    guest.thread.leave_name(&KnownName { start: 0, follows: true, name: b"other", meaning });
    guest.thread.kicker().withdraw_lending();
    assert_eq!(ask(&mut guest, STAT, "other", BUFFER), Some(0));
    guest.thread.kicker().withdraw_answers();
    assert_eq!(ask(&mut guest, STAT, "other", BUFFER), None);
}

pub(crate) fn forged_words_show_nothing_of_a_held_file_that_was_not_lent(platform: &dyn Platform) {
    let Some(mut guest) = holder(platform, lent::any_calls()) else { return };
    assert_eq!(guest.space.write(TEXT, b"file\0"), 5);
    let word = SLOTS + SLOT_SIZE + LEDGER_WRITTEN;
    let written = word..word + 8;
    while_forged(&mut guest, [written], |guest| {
        under_kicks(guest.thread.kicker(), || {
            for round in rounds(600) {
                hold(guest, 7);
                let registers = guest.thread.registers_mut();
                (registers.rip, registers.rsp) = (CODE, STACK);
                registers.rbx = [STAT, PWRITE][round as usize % 2];
                (registers.rdi, registers.rsi) = (if round % 2 == 0 { TEXT } else { 3 }, BUFFER);
                (registers.rdx, registers.r10) = (1, 0);
                if matches!(guest.thread.run(), Trap::Exited(_)) {
                    break;
                }
                guest.thread.take_back();
                let shown = guest.read::<STAT_SIZE>(BUFFER);
                assert!(shown.iter().all(|byte| [0, 7].contains(byte)), "{shown:?}");
            }
        });
    });
    assert_eq!(Guest::new(platform, lent::any_calls()).syscall(), 0);
}
