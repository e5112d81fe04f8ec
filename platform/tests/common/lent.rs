//! Descriptors that are lent: calls about them are served while they are, and what has become of them is told truly, whenever the
//! guest is interrupted. What the guest forges is told as something that could be.

use std::ops::Range;
use std::sync::Arc;
use std::thread;

use usk_platform::region::{LENT, SLOT_SIZE, SLOTS};
use usk_platform::{
    FileStatus, Kick, LENT_CONTENTS, LENT_DESCRIPTORS, LENT_RECORDS, LentCall, LentDescriptor, LentFile,
    LentWindow, Platform, STAT_SIZE, Shortcut, StatxRest, TakenBack, Trap,
};

use super::guest::{CODE, DATA, Guest, Rounds, STACK, guest_code, rounds, under_kicks};
use super::patching::patched;

/// Where threads that write over memory have their code.
const SCRIBBLER: u64 = CODE + 0x10_0000;
pub(crate) const CLOSE: u64 = 0x110;
pub(crate) const DUP: u64 = 0x111;
pub(crate) const FCNTL: u64 = 0x112;
pub(crate) const FSTAT: u64 = 0x113;
pub(crate) const FSTATAT: u64 = 0x114;
pub(crate) const LSEEK: u64 = 0x115;
pub(crate) const READ: u64 = 0x116;
pub(crate) const PREAD: u64 = 0x117;
pub(crate) const STATX: u64 = 0x125;
const GETDENTS: u64 = 0x118;
const FSYNC: u64 = 0x119;
const FDATASYNC: u64 = 0x11a;

/// What the tests' platforms lend.
pub(crate) fn lends(number: u64) -> Option<Shortcut> {
    let call = match number {
        CLOSE => LentCall::Close,
        DUP => LentCall::Dup,
        FCNTL => LentCall::Fcntl,
        FSTAT => LentCall::Fstat,
        FSTATAT => LentCall::Fstatat,
        STATX => LentCall::Statx,
        LSEEK => LentCall::Lseek,
        READ => LentCall::Read,
        PREAD => LentCall::Pread,
        FSYNC => LentCall::Fsync,
        FDATASYNC => LentCall::Fdatasync,
        GETDENTS => LentCall::Getdents,
        _ => return None,
    };
    Some(Shortcut::Lends(call))
}

// The call in ebx; its result stays in r12 while a call that is always the sentry's tells it.
guest_code!(one_call:
    "2:", "mov eax, ebx", "syscall", "cmp rax, -4096", "mov r12, rax", "mov eax, 39", "syscall", "jmp 2b",
);
// Duplicates descriptor 3 and closes the duplicate, for ever: r12 is how often. Descriptors and registers must be right.
guest_code!(duplicates:
    "mov ebx, 0x111", "2:", "mov edi, 3", "mov esi, 77", "mov edx, 88", "call 4f", "cmp rax, 5", "jne 3f",
    "mov edi, eax", "mov ebx, 0x110", "call 4f", "cmp rax, 0", "jne 3f", "mov ebx, 0x111",
    "cmp esi, 77", "jne 3f", "cmp edx, 88", "jne 3f", "cmp r8, 99", "jne 3f", "add r12, 1", "jmp 2b",
    "3:", "ud2",
    "4:", "mov eax, ebx", "syscall", "cmp rax, -4096", "ret",
);
// Reads a byte at a time from the window to the data, and goes back every 64 bytes: r12 counts, r13 is where it is.
guest_code!(reads_on:
    "2:", "mov edi, 3", "mov edx, 1", "mov ebx, 0x116", "call 4f", "cmp rax, 1", "jne 3f",
    "movzx eax, byte ptr [rsi]", "cmp eax, r13d", "jne 3f", "add r13, 1", "add r12, 1", "cmp r13, 64", "jne 2b",
    "mov r14, rsi", "xor esi, esi", "xor edx, edx", "mov ebx, 0x115", "call 4f", "cmp rax, 0", "jne 3f",
    "xor r13d, r13d", "mov rsi, r14", "jmp 2b",
    "3:", "ud2",
    "4:", "mov eax, ebx", "syscall", "cmp rax, -4096", "ret",
);
guest_code!(any_calls: "2:", "mov eax, ebx", "syscall", "cmp rax, -4096", "jmp 2b");
guest_code!(scribbler:
    "mov r8, 1",
    "2:", "mov rax, rdi",
    "3:", "mov [rax], r8", "add rax, 8", "cmp rax, rsi", "jb 3b",
    "imul r8, r8, 0x10dcd", "add r8, 1", "jmp 2b",
);

const OPEN: LentDescriptor =
    LentDescriptor::Open { file: 3, record: Some(0), close_on_exec: true, closes_silently: true };

/// Descriptors 0 to 4 are open, of which the platform may close 3, the last is not lent, and the others are free.
fn descriptors() -> [LentDescriptor; LENT_DESCRIPTORS] {
    std::array::from_fn(|number| match number {
        3 => OPEN,
        file @ 0..=4 => LentDescriptor::Open {
            file: file as u8,
            record: None,
            close_on_exec: false,
            closes_silently: false,
        },
        63 => LentDescriptor::Withheld,
        _ => LentDescriptor::Free,
    })
}

/// What the file is known by.
pub(crate) const FILE: u64 = 0x1_2345_6789;

/// What is shown of a file, of which all bytes are the same.
pub(crate) fn status(byte: u8) -> FileStatus {
    let rest = StatxRest { born: Some((i64::from(byte), 1)), mount: 99, is_mount_root: true };
    FileStatus { stat: [byte; STAT_SIZE], rest }
}

/// The same as `stat(2)` shows it.
pub(crate) fn stat(byte: u8) -> [u8; STAT_SIZE] {
    let mut shown = [byte; STAT_SIZE];
    shown[120..].fill(0);
    shown
}

/// A file of 64 bytes, each its own position, that lie in the guest's data.
fn file() -> LentFile {
    LentFile {
        identity: FILE,
        flags: Some(0o100000),
        attributes: Some(status(0x5a)),
        length: Some(64),
        seeks: true,
        reads_on: true,
        is_volatile: true,
        is_listed: false,
        entries_end: None,
        window: Some(LentWindow { start: 0, length: 64, address: DATA + 0x1000 }),
        ..LentFile::default()
    }
}

pub(crate) fn guest(platform: &dyn Platform, code: &[u8]) -> Guest {
    let mut guest = patched(platform, code);
    let content: Vec<u8> = (0..64).collect();
    assert_eq!(guest.space.write(DATA + 0x1000, &content), content.len());
    lend(&mut guest);
    guest
}

pub(crate) fn lend(guest: &mut Guest) {
    guest.thread.set_answers(&[]);
    guest.thread.lend_descriptors(&descriptors(), u64::MAX);
    guest.thread.lend_file(0, &file());
    guest.thread.lend_position(0, 0);
    guest.thread.set_lending(true);
}

/// Makes a call. Its result, if the platform has served it.
pub(crate) fn call(guest: &mut Guest, number: u64, arguments: [u64; 4]) -> Option<i64> {
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rbx) = (CODE, number);
    [registers.rdi, registers.rsi, registers.rdx, registers.r10] = arguments;
    let asked = guest.syscall();
    let registers = guest.thread.registers();
    assert_eq!([registers.rdi, registers.rsi, registers.rdx, registers.r10], arguments);
    if asked == 39 {
        return Some(registers.r12 as i64);
    }
    assert_eq!(asked, number);
    guest.thread.registers_mut().set_return_value(0);
    assert_eq!(guest.syscall(), 39);
    None
}

pub(crate) fn what_is_lent_is_served_and_told(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    if !guest.thread.can_lend() {
        assert_eq!(call(&mut guest, DUP, [3, 0, 0, 0]), None);
        return;
    }
    let bad = -i64::from(libc::EBADF);
    assert_eq!(call(&mut guest, DUP, [3, 0, 0, 0]), Some(5));
    assert_eq!(call(&mut guest, DUP, [5, 0, 0, 0]), Some(6));
    assert_eq!(call(&mut guest, CLOSE, [5, 0, 0, 0]), Some(0));
    assert_eq!(call(&mut guest, CLOSE, [5, 0, 0, 0]), Some(bad));
    assert_eq!(call(&mut guest, DUP, [40, 0, 0, 0]), Some(bad));
    // Not to be closed silently, not lent, and no descriptors at all.
    for fd in [0, 4, 63, 64, u64::from(u32::MAX)] {
        assert_eq!(call(&mut guest, CLOSE, [fd, 0, 0, 0]), None);
    }
    for number in [FSYNC, FDATASYNC] {
        assert_eq!(call(&mut guest, number, [3, 0, 0, 0]), Some(0));
        assert_eq!(call(&mut guest, number, [5, 0, 0, 0]), Some(bad));
        assert_eq!(call(&mut guest, number, [0, 0, 0, 0]), None);
    }
    assert_eq!(call(&mut guest, FSTAT, [3, DATA, 0, 0]), Some(0));
    assert_eq!(guest.read::<STAT_SIZE>(DATA), stat(0x5a));
    assert_eq!(call(&mut guest, READ, [3, DATA, 10, 0]), Some(10));
    assert_eq!(call(&mut guest, PREAD, [3, DATA + 16, 10, 60]), Some(4));
    assert_eq!(guest.read::<4>(DATA + 6), [6, 7, 8, 9]);
    assert_eq!(guest.read::<4>(DATA + 16), [60, 61, 62, 63]);
    assert_eq!(call(&mut guest, LSEEK, [3, 5, 1, 0]), Some(15));
    assert_eq!(call(&mut guest, LSEEK, [3, -16i64 as u64, 1, 0]), None);
    assert_eq!(call(&mut guest, LSEEK, [3, i64::MAX as u64, 1, 0]), None);
    assert_eq!(call(&mut guest, LSEEK, [3, 2, 2, 0]), Some(66));
    assert_eq!(call(&mut guest, READ, [6, DATA, 10, 0]), Some(0));
    // A directory's end is known when it has been reached.
    assert_eq!(call(&mut guest, GETDENTS, [3, DATA, 100, 0]), None);
    assert_eq!(call(&mut guest, GETDENTS, [40, DATA, 100, 0]), Some(bad));
    guest.thread.lend_file(0, &LentFile { is_listed: true, ..file() });
    assert_eq!(call(&mut guest, GETDENTS, [3, DATA, 100, 0]), Some(0));
    // Memory that is not there is the sentry's matter.
    for address in [1, STACK, 0x7ffe_0000_0000, SLOTS, 0x8000_0000_0000, u64::MAX - 3] {
        assert_eq!(call(&mut guest, PREAD, [3, address, 10, 0]), None);
        assert_eq!(call(&mut guest, FSTAT, [3, address, 0, 0]), None);
    }
    let taken = guest.thread.take_back().expect("something has changed");
    assert_eq!(taken.changed, 1 << 5 | 1 << 6);
    assert_eq!(taken.descriptors[5], LentDescriptor::Free);
    let LentDescriptor::Open { file: 3, close_on_exec: false, .. } = taken.descriptors[6] else {
        panic!("{:?}", taken.descriptors[6]);
    };
    assert_eq!(taken.positions[0], Some(66));
    assert!(guest.thread.take_back().is_none());
    // None of it stands any more.
    guest.thread.kicker().withdraw_answers();
    for number in [CLOSE, DUP, FSTAT, LSEEK, READ, PREAD, GETDENTS, FSYNC, FDATASYNC] {
        assert_eq!(call(&mut guest, number, [3, DATA, 0, 0]), None);
    }
}

pub(crate) fn entries_are_returned_all_at_once(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    if !guest.thread.can_lend() {
        return;
    }
    guest.thread.lend_file(0, &LentFile { length: None, entries_end: Some(5), ..file() });
    // Less room than they need, and memory that is not there.
    for size in [0, 63, 1 << 32, 63 | 1 << 33] {
        assert_eq!(call(&mut guest, GETDENTS, [3, DATA, size, 0]), None);
    }
    for address in [1, STACK, 0x7ffe_0000_0000, SLOTS, 0x8000_0000_0000, u64::MAX - 3] {
        assert_eq!(call(&mut guest, GETDENTS, [3, address, 64, 0]), None);
    }
    assert!(guest.thread.take_back().is_none());
    assert_eq!(call(&mut guest, GETDENTS, [3, DATA, 64 | 1 << 32, 0]), Some(64));
    assert_eq!(guest.read::<64>(DATA), std::array::from_fn(|at| at as u8));
    assert_eq!(call(&mut guest, GETDENTS, [3, DATA, 64, 0]), Some(0));
    assert_eq!(guest.thread.take_back().and_then(|taken| taken.positions[0]), Some(5));
    // From elsewhere, by other calls, and when it does not stand any more.
    for position in [1, 6, u64::MAX] {
        guest.thread.lend_position(0, position);
        assert_eq!(call(&mut guest, GETDENTS, [3, DATA, 64, 0]), None);
    }
    guest.thread.lend_position(0, 0);
    for number in [READ, PREAD, LSEEK] {
        assert_eq!(call(&mut guest, number, [3, DATA, 64, 0]), None);
    }
    guest.thread.kicker().withdraw_answers();
    assert_eq!(call(&mut guest, GETDENTS, [3, DATA, 64, 0]), None);
    assert!(guest.thread.take_back().is_none());
}

pub(crate) fn contents_that_are_left_are_read_and_cannot_be_written(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    if !guest.thread.can_lend() {
        assert_eq!(guest.thread.leave_contents(0, b"contents"), None);
        return;
    }
    for (at, length) in [(0, LENT_CONTENTS + 1), (8, LENT_CONTENTS), (LENT_CONTENTS + 8, 0), (4, 4)] {
        assert_eq!(guest.thread.leave_contents(at, &vec![0; length]), None);
    }
    for length in [1, 7, 8, 4099, LENT_CONTENTS] {
        let contents: Vec<u8> = (0..length).map(|at| at as u8 ^ length as u8).collect();
        let address =
            guest.thread.leave_contents((LENT_CONTENTS - length) & !7, &contents).expect("there is room");
        let window = Some(LentWindow { start: 0, length: length as u64, address });
        guest.thread.lend_file(0, &LentFile { length: Some(length as u64), window, ..file() });
        guest.thread.lend_position(0, 0);
        assert_eq!(call(&mut guest, READ, [3, DATA, 16, 0]), Some(length.min(16) as i64));
        assert_eq!(guest.read::<16>(DATA)[..length.min(16)], contents[..length.min(16)]);
        assert_eq!(call(&mut guest, PREAD, [3, DATA, 16, length as u64 - 1]), Some(1));
        assert_eq!(guest.read::<1>(DATA), [contents[length - 1]]);
        // As a buffer they are no guest's memory.
        assert_eq!(call(&mut guest, PREAD, [3, address, 1, 0]), None);
        assert_eq!(guest.space.write(address, b"x"), 0);
    }
    guest.thread.forget_names();
    assert_eq!(call(&mut guest, PREAD, [3, DATA, 16, 0]), Some(16));
    assert_eq!(guest.read::<16>(DATA), [0; 16]);
}

/// Runs the guest while it is kicked all the time; `look` is told what has been taken back each time.
pub(crate) fn run_under_kicks(guest: &mut Guest, mut look: impl FnMut(&mut Guest, Option<TakenBack>)) {
    under_kicks(guest.thread.kicker(), || {
        let mut rounds = Rounds::up_to(500);
        while rounds.go_on(guest.thread.registers().r12 > 100) {
            match guest.thread.run() {
                Trap::Interrupted => {
                    let registers = *guest.thread.registers();
                    assert!((CODE..CODE + 4096).contains(&registers.rip), "{registers:x?}");
                    assert!(registers.rsp == STACK || registers.rsp == STACK - 8, "{registers:x?}");
                    assert_eq!(registers.gs_base, 0);
                    let taken = guest.thread.take_back();
                    look(guest, taken);
                }
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
        }
    });
}

pub(crate) fn kicks_do_not_tear_calls_that_change_descriptors(platform: &dyn Platform) {
    let mut guest = guest(platform, duplicates());
    if !guest.thread.can_lend() {
        return;
    }
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rsp, registers.r8, registers.r12) = (CODE, STACK, 99, 0);
    let mut is_open = false;
    run_under_kicks(&mut guest, |_, taken| {
        let Some(taken) = taken else { return };
        assert_eq!(taken.changed & !(1 << 5), 0);
        let before = is_open;
        is_open = matches!(taken.descriptors[5], LentDescriptor::Open { file: 3, .. });
        assert!(is_open || taken.descriptors[5] == LentDescriptor::Free, "{before} {taken:?}");
    });
}

pub(crate) fn kicks_do_not_tear_reads_that_move_the_position(platform: &dyn Platform) {
    let mut guest = guest(platform, reads_on());
    if !guest.thread.can_lend() {
        return;
    }
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rsp, registers.rsi) = (CODE, STACK, DATA);
    (registers.r12, registers.r13) = (0, 0);
    run_under_kicks(&mut guest, |guest, taken| {
        let Some(position) = taken.and_then(|taken| taken.positions[0]) else { return };
        // The guest counts a little later.
        let counted = guest.thread.registers().r13;
        assert!(position == counted || position == counted + 1 || position == 0, "{position} {counted}");
    });
}

/// A thread that writes over a range for ever.
fn scribbling_sibling(guest: &mut Guest, range: Range<u64>) -> Guest {
    guest.apply(&[super::guest::map(SCRIBBLER, 4096, super::guest::READ_WRITE)]);
    assert_eq!(guest.space.write(SCRIBBLER, scribbler()), scribbler().len());
    let protection = super::guest::READ_EXECUTE;
    guest.apply(&[usk_platform::MemoryOp::Protect { address: SCRIBBLER, length: 4096, protection }]);
    let mut state = super::guest::start();
    (state.registers.rip, state.registers.rdi, state.registers.rsi) = (SCRIBBLER, range.start, range.end);
    guest.sibling(&state)
}

/// Does `work` while other threads write over these ranges, until that is done or has failed.
pub(crate) fn while_forged<const N: usize>(
    guest: &mut Guest,
    ranges: [Range<u64>; N],
    work: impl FnOnce(&mut Guest),
) {
    struct Stop<const N: usize>([Arc<dyn Kick>; N]);
    impl<const N: usize> Drop for Stop<N> {
        fn drop(&mut self) {
            self.0.iter().for_each(|kicker| kicker.kick());
        }
    }
    let mut forgers = ranges.map(|range| scribbling_sibling(guest, range));
    let stop = Stop(forgers.each_ref().map(|forger| forger.thread.kicker()));
    thread::scope(|scope| {
        for forger in &mut forgers {
            scope.spawn(|| while !matches!(forger.thread.run(), Trap::Interrupted | Trap::Exited(_)) {});
        }
        let _stop = stop;
        work(guest);
    });
}

pub(crate) fn forged_loans_are_told_as_something_that_could_be(platform: &dyn Platform) {
    let mut guest = guest(platform, any_calls());
    if !guest.thread.can_lend() {
        return;
    }
    // All that the stub goes by.
    let slot_end = SLOTS + 2 * SLOT_SIZE;
    let words = SLOTS + SLOT_SIZE + LENT..slot_end;
    while_forged(&mut guest, [words], |guest| {
        let numbers = [CLOSE, DUP, FSTAT, LSEEK, READ, PREAD, STATX];
        under_kicks(guest.thread.kicker(), || {
            for round in rounds(600).map(u64::from) {
                let registers = guest.thread.registers_mut();
                registers.rbx = numbers[round as usize % numbers.len()];
                (registers.rdi, registers.rsi, registers.rdx) = (round % 66, DATA, round % 3);
                if registers.rbx == STATX {
                    registers.rsi = 0;
                    (registers.rdx, registers.r10) = (libc::AT_EMPTY_PATH as u64, 0);
                    registers.r8 = DATA;
                }
                if matches!(guest.thread.run(), Trap::Exited(_)) {
                    break;
                }
                if let Some(taken) = guest.thread.take_back() {
                    assert!(taken.positions.len() == LENT_RECORDS);
                    for descriptor in taken.descriptors {
                        if let LentDescriptor::Open { file, .. } = descriptor {
                            assert!(usize::from(file) < LENT_DESCRIPTORS);
                        }
                    }
                }
                lend(guest);
            }
        });
    });
    assert_eq!(Guest::new(platform, super::lent::any_calls()).syscall(), 0);
}
