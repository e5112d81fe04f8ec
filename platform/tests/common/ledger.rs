//! Ledgers: calls about files that are lent for it are noted, and the notes are told truly, whenever the guest is interrupted. What the
//! guest forges is told as notes, or not at all.

use usk_platform::region::{LEDGER_SIZE, LEDGER_USED, LEDGERS, SLOT_SIZE, SLOTS};
use usk_platform::{Deed, LentFile, Note, NotedCall, Platform, Shortcut, TakenBack, Trap};

use super::guest::{CODE, DATA, Guest, Rounds, STACK, guest_code, rounds, under_kicks};
use super::lent::{self, FCNTL, call, while_forged};

pub(crate) const WRITE: u64 = 0x11c;
pub(crate) const PWRITE: u64 = 0x11d;
const SETLK: u64 = libc::F_SETLK as u64;

/// What the tests' platforms note.
pub(crate) fn notes(number: u64) -> Option<Shortcut> {
    match number {
        WRITE => Some(Shortcut::Notes(NotedCall::Write)),
        PWRITE => Some(Shortcut::Notes(NotedCall::Pwrite)),
        _ => None,
    }
}

// Writes a byte at a time, counted by r12, each time with another value.
guest_code!(writes_on:
    "2:", "mov edi, 3", "mov edx, 1", "mov eax, 0x11c", "syscall", "cmp rax, -4096", "cmp rax, 1", "jne 3f",
    "cmp edi, 3", "jne 3f", "cmp edx, 1", "jne 3f", "cmp r8, 99", "jne 3f", "add r12, 1", "mov [rsi], r12b", "jmp 2b",
    "3:", "ud2",
);

fn file() -> LentFile {
    LentFile {
        flags: Some(0),
        is_volatile: true,
        writes_end: Some(1 << 40),
        locks: true,
        ..LentFile::default()
    }
}

/// A guest with a ledger, if its platform has any.
fn guest(platform: &dyn Platform, code: &[u8]) -> Option<Guest> {
    let mut guest = lent::guest(platform, code);
    assert_eq!(guest.thread.open_ledger(), guest.thread.can_lend());
    guest.thread.lend_file(0, &file());
    guest.thread.can_lend().then_some(guest)
}

fn told(taken: &TakenBack) -> Vec<Deed<'_>> {
    let notes: Vec<Note<'_>> = taken.notes.iter().collect();
    assert!(notes.iter().all(|note| note.record == 0));
    notes.into_iter().map(|note| note.deed).collect()
}

fn write<'a>(deed: &Deed<'a>) -> Option<(u64, &'a [u8])> {
    match *deed {
        Deed::Write { position, data, .. } => Some((position, data)),
        Deed::Lock { .. } => None,
    }
}

pub(crate) fn what_is_noted_is_told(platform: &dyn Platform) {
    let Some(mut guest) = guest(platform, lent::one_call()) else { return };
    guest.space.write(DATA, b"hello, world");
    guest.space.write(DATA + 0x100, &[[1u64, 5, 6, 0], [2, 0, 0, 0]].concat().bytes());
    assert_eq!(call(&mut guest, WRITE, [3, DATA, 5, 0]), Some(5));
    assert_eq!(call(&mut guest, FCNTL, [3, SETLK, DATA + 0x100, 0]), Some(0));
    assert_eq!(call(&mut guest, PWRITE, [3, DATA + 7, 5, 1000]), Some(5));
    assert_eq!(call(&mut guest, WRITE, [3, DATA, 1, 0]), Some(1));
    assert_eq!(call(&mut guest, FCNTL, [3, SETLK, DATA + 0x120, 0]), Some(0));
    let taken = guest.thread.take_back().expect("something has been noted");
    let deeds = told(&taken);
    let writes: Vec<_> = deeds.iter().filter_map(write).collect();
    assert_eq!(writes, [(0, b"hello".as_slice()), (1000, b"world"), (5, b"h")]);
    assert_eq!(deeds[1], Deed::Lock { exclusive: Some(true), start: 5, length: 6 });
    assert_eq!(deeds[4], Deed::Lock { exclusive: None, start: 0, length: 0 });
    assert_eq!(taken.positions[0], Some(6));
    assert!(guest.thread.take_back().is_none());
}

pub(crate) fn what_is_not_to_be_noted_is_called(platform: &dyn Platform) {
    let Some(mut guest) = guest(platform, lent::one_call()) else { return };
    // Beyond what may be written, too long, of no length, and from memory that is not the guest's or not there.
    for [address, length, position] in [
        [DATA, 1, 1 << 40],
        [DATA, 2, (1 << 40) - 1],
        [DATA, 1, u64::MAX],
        [DATA, 0x2001, 0],
        [DATA, u64::MAX, 1],
        [DATA, 0, 0],
        [1, 10, 0],
        [STACK, 10, 0],
        [SLOTS, 10, 0],
        [u64::MAX - 3, 10, 0],
    ] {
        assert_eq!(
            call(&mut guest, PWRITE, [3, address, length, position]),
            None,
            "{address:#x} {length:#x}"
        );
    }
    // No lock, counted from elsewhere, negative, and too long.
    for flock in [[3, 0, 1], [0x1_0000, 0, 1], [0, u64::MAX, 1], [0, 0, u64::MAX], [0, i64::MAX as u64, 2]] {
        guest.space.write(DATA, &flock.bytes());
        assert_eq!(call(&mut guest, FCNTL, [3, SETLK, DATA, 0]), None, "{flock:x?}");
    }
    for address in [1, STACK, SLOTS, u64::MAX - 3] {
        assert_eq!(call(&mut guest, FCNTL, [3, SETLK, address, 0]), None);
    }
    // Another descriptor, and a file that is not lent for that.
    assert_eq!(call(&mut guest, PWRITE, [0, DATA, 1, 0]), None);
    guest.space.write(DATA, &[1u64, 0, 0].bytes());
    guest.thread.lend_file(0, &LentFile { writes_end: None, locks: false, ..file() });
    assert_eq!(call(&mut guest, PWRITE, [3, DATA, 1, 0]), None);
    assert_eq!(call(&mut guest, FCNTL, [3, SETLK, DATA, 0]), None);
    assert!(guest.thread.take_back().is_none());
    // A ledger that is full.
    guest.thread.lend_file(0, &file());
    let room = (0..).find(|_| call(&mut guest, PWRITE, [3, DATA, 0x1000, 0]).is_none());
    let most = (LEDGER_SIZE / (0x1000 + 32)) as usize;
    assert_eq!(room, Some(most));
    assert_eq!(told(&guest.thread.take_back().expect("notes")).len(), most);
}

pub(crate) fn what_is_swallowed_is_over_and_leaves_nothing(platform: &dyn Platform) {
    let Some(mut guest) = guest(platform, lent::one_call()) else { return };
    guest.thread.lend_file(0, &LentFile { swallows: true, ..LentFile::default() });
    let most = 0x7fff_f000;
    for [address, length, position] in [[DATA, 5, 0], [DATA, 0, 1], [1, 10, 0], [0, most, u64::MAX >> 1]] {
        assert_eq!(call(&mut guest, WRITE, [3, address, length, u64::MAX]), Some(length as i64));
        assert_eq!(call(&mut guest, PWRITE, [3, address, length, position]), Some(length as i64));
    }
    // Too much, from where the guest has nothing, and at a position that is none.
    for [address, length] in [[DATA, most + 1], [DATA, u64::MAX], [SLOTS, 10], [SLOTS, 0], [u64::MAX - 3, 10]]
    {
        assert_eq!(call(&mut guest, WRITE, [3, address, length, 0]), None, "{address:#x} {length:#x}");
    }
    assert_eq!(call(&mut guest, PWRITE, [3, DATA, 5, u64::MAX]), None);
    assert!(guest.thread.take_back().is_none());
}

pub(crate) fn kicks_do_not_disturb_what_is_swallowed(platform: &dyn Platform) {
    let Some(mut guest) = guest(platform, writes_on()) else { return };
    guest.thread.lend_file(0, &LentFile { swallows: true, ..LentFile::default() });
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rsp, registers.rsi, registers.r8, registers.r12) = (CODE, STACK, DATA, 99, 0);
    under_kicks(guest.thread.kicker(), || {
        for _ in rounds(500) {
            match guest.thread.run() {
                Trap::Interrupted => {}
                // A kick in the midst of it makes it an ordinary call.
                Trap::Syscall { .. } => guest.thread.registers_mut().set_return_value(1),
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
        }
    });
    assert!(guest.thread.registers().r12 > 0 && guest.thread.take_back().is_none());
}

pub(crate) fn kicks_do_not_tear_writes(platform: &dyn Platform) {
    let Some(mut guest) = guest(platform, writes_on()) else { return };
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rsp, registers.rsi, registers.r8, registers.r12) = (CODE, STACK, DATA, 99, 0);
    let mut written = 0u64;
    under_kicks(guest.thread.kicker(), || {
        let mut rounds = Rounds::up_to(500);
        while rounds.go_on(written > 100) {
            let trap = guest.thread.run();
            if let Some(taken) = guest.thread.take_back() {
                for deed in told(&taken) {
                    assert_eq!(write(&deed), Some((written, [written as u8].as_slice())));
                    written += 1;
                }
                assert!(taken.positions[0].is_none_or(|position| position == written));
            }
            match trap {
                Trap::Interrupted => {
                    // The guest counts a little later.
                    let counted = guest.thread.registers().r12;
                    assert!(written == counted || written == counted + 1, "{written} {counted}");
                }
                Trap::Syscall { .. } => {
                    written += 1;
                    guest.thread.lend_position(0, written);
                    guest.thread.registers_mut().set_return_value(1);
                }
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
        }
    });
}

pub(crate) fn forged_ledgers_are_told_as_notes_or_not_at_all(platform: &dyn Platform) {
    let Some(mut guest) = guest(platform, lent::any_calls()) else { return };
    let used = SLOTS + SLOT_SIZE + LEDGER_USED;
    let ledger = LEDGERS + LEDGER_SIZE;
    let places = [used..used + 8, ledger..ledger + 0x1000];
    while_forged(&mut guest, places, |guest| {
        let mut count = 0;
        under_kicks(guest.thread.kicker(), || {
            for round in rounds(600).map(u64::from) {
                let registers = guest.thread.registers_mut();
                registers.rbx = [WRITE, PWRITE, FCNTL][round as usize % 3];
                (registers.rdi, registers.rsi, registers.rdx) = (3, DATA, round % 0x100);
                if matches!(guest.thread.run(), Trap::Exited(_)) {
                    break;
                }
                if let Some(taken) = guest.thread.take_back() {
                    count += taken.notes.iter().count();
                }
                lent::lend(guest);
                guest.thread.lend_file(0, &file());
            }
        });
        assert!(count > 0, "there is something to forge");
    });
    assert_eq!(Guest::new(platform, lent::any_calls()).syscall(), 0);
}

/// Words as the guest has them.
trait Words {
    fn bytes(&self) -> Vec<u8>;
}

impl Words for [u64] {
    fn bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}
