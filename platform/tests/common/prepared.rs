//! Files that are prepared: who opens one by its name, and in the same way, gets a descriptor for it, and the sentry is told, whenever the
//! guest is interrupted.

use usk_platform::region::{LENT, SLOT_SIZE, SLOTS};
use usk_platform::{
    KnownName, LENT_RECORDS, LentDescriptor, LentFile, LentWindow, NameMeaning, Platform, STAT_SIZE, Trap,
};

use super::guest::{CODE, DATA, Guest, STACK, guest_code};
use super::lent::{
    CLOSE, DUP, FCNTL, FILE, FSTATAT, READ, any_calls, call, guest, lend, one_call, run_under_kicks, stat,
    status, while_forged,
};
use super::names::{BUFFER, OPEN, OPEN_AT, TEXT, ask, ask_at};
use super::patching::patched;

/// What the prepared file is known by, and its record, the last there is.
const PREPARED: u64 = 0x77_0000_0001;
pub(crate) const RECORD: u8 = LENT_RECORDS as u8 - 1;
/// How it is opened, but for flags that do not matter.
pub(crate) const FLAGS: i32 = libc::O_NONBLOCK;
const LARGE_FILE: i32 = 0o100000;

// Opens the file at rsi in the directory 3 and closes it, for ever: r12 is how often. Descriptors and registers must be right.
guest_code!(opens_and_closes:
    "2:", "mov edi, 3", "mov ebx, 0x127", "call 4f", "cmp rax, 5", "jne 3f", "cmp rsi, r14", "jne 3f",
    "mov edi, eax", "mov ebx, 0x110", "call 4f", "cmp rax, 0", "jne 3f", "cmp r9, 98", "jne 3f",
    "cmp r8, 99", "jne 3f", "add r12, 1", "jmp 2b",
    "3:", "ud2",
    "4:", "mov eax, ebx", "syscall", "cmp rax, -4096", "ret",
);

/// A file of 64 bytes, as that which is lent.
fn prepared() -> LentFile {
    LentFile {
        identity: PREPARED,
        flags: Some((FLAGS | LARGE_FILE) as u32),
        attributes: Some(status(9)),
        length: Some(64),
        seeks: true,
        reads_on: true,
        window: Some(LentWindow { start: 0, length: 64, address: DATA + 0x1000 }),
        is_prepared: true,
        ..LentFile::default()
    }
}

/// Lends what the other tests do, and prepares a file, which has two names.
pub(crate) fn prepare(guest: &mut Guest) {
    lend(guest);
    guest.thread.lend_file(RECORD.into(), &prepared());
    for start in [FILE, 0] {
        let meaning = NameMeaning::Prepared { attributes: status(9), record: RECORD, identity: PREPARED };
        guest.thread.leave_name(&KnownName { start, follows: true, name: b"file", meaning });
    }
}

pub(crate) fn open(guest: &mut Guest, flags: i32) -> Option<i64> {
    ask_at(guest, OPEN_AT, Some(3), "file", [flags as u64, 0])
}

/// What has become of a descriptor since this was asked last.
fn told(guest: &mut Guest, descriptor: usize) -> Option<LentDescriptor> {
    let taken = guest.thread.take_back()?;
    (taken.changed >> descriptor & 1 == 1).then_some(taken.descriptors[descriptor])
}

pub(crate) fn a_prepared_file_is_opened_and_told(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    prepare(&mut guest);
    if !guest.thread.can_lend() {
        assert_eq!(open(&mut guest, FLAGS), None);
        return;
    }
    for (flags, close_on_exec) in
        [(FLAGS, false), (FLAGS | libc::O_CLOEXEC | libc::O_NOCTTY | LARGE_FILE, true)]
    {
        assert_eq!(open(&mut guest, flags), Some(5));
        assert_eq!(told(&mut guest, 5), Some(LentDescriptor::Prepared { record: RECORD, close_on_exec }));
        assert_eq!(call(&mut guest, FCNTL, [5, libc::F_GETFD as u64, 0, 0]), Some(close_on_exec.into()));
        assert_eq!(call(&mut guest, READ, [5, DATA, 10, 0]), Some(10));
        assert_eq!(call(&mut guest, READ, [5, DATA, 10, 0]), Some(10));
        assert_eq!(guest.read::<1>(DATA), [10]);
        // It is open: another is another file.
        assert_eq!(open(&mut guest, FLAGS), None);
        assert_eq!(call(&mut guest, DUP, [5, 0, 0, 0]), Some(6));
        let duplicate = LentDescriptor::Prepared { record: RECORD, close_on_exec: false };
        assert_eq!(told(&mut guest, 6), Some(duplicate));
        assert_eq!(call(&mut guest, CLOSE, [5, 0, 0, 0]), Some(0));
        assert_eq!(open(&mut guest, FLAGS), None);
        assert_eq!(call(&mut guest, CLOSE, [6, 0, 0, 0]), Some(0));
        // From its beginning, when it is opened anew.
        assert_eq!(ask(&mut guest, OPEN, "file", flags as u64), Some(5));
        assert_eq!(call(&mut guest, READ, [5, DATA, 10, 0]), Some(10));
        assert_eq!(guest.read::<1>(DATA), [0]);
        assert_eq!(guest.thread.take_back().and_then(|taken| taken.positions[usize::from(RECORD)]), Some(10));
        assert_eq!(call(&mut guest, CLOSE, [5, 0, 0, 0]), Some(0));
        assert_eq!(told(&mut guest, 5), Some(LentDescriptor::Free));
    }
    assert_eq!(ask_at(&mut guest, FSTATAT, Some(3), "file", [BUFFER, 0]), Some(0));
    assert_eq!(guest.read::<STAT_SIZE>(BUFFER), stat(9));
}

pub(crate) fn what_is_not_prepared_any_more_is_not_opened(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    if !guest.thread.can_lend() {
        return;
    }
    prepare(&mut guest);
    for flags in [
        0,
        FLAGS | libc::O_RDWR,
        FLAGS | libc::O_APPEND,
        FLAGS | libc::O_NOFOLLOW,
        FLAGS | libc::O_DIRECTORY,
        FLAGS | libc::O_PATH,
        FLAGS | libc::O_CREAT,
        FLAGS | 1 << 30,
    ] {
        assert_eq!(open(&mut guest, flags), None, "{flags:o}");
    }
    let ends: [fn(&mut Guest); 7] = [
        |guest| guest.thread.kicker().withdraw_names(),
        |guest| guest.thread.kicker().withdraw_answers(),
        |guest| guest.thread.set_lending(false),
        |guest| guest.thread.lend_file(RECORD.into(), &LentFile::default()),
        |guest| guest.thread.lend_file(RECORD.into(), &LentFile { is_prepared: false, ..prepared() }),
        |guest| guest.thread.lend_file(RECORD.into(), &LentFile { identity: PREPARED + 1, ..prepared() }),
        // No number is free, as far as is known.
        |guest| {
            guest
                .thread
                .lend_descriptors(&[LentDescriptor::Withheld; usk_platform::LENT_DESCRIPTORS], u64::MAX)
        },
    ];
    for end in ends {
        prepare(&mut guest);
        assert_eq!(open(&mut guest, FLAGS), Some(5));
        assert_eq!(call(&mut guest, CLOSE, [5, 0, 0, 0]), Some(0));
        end(&mut guest);
        assert_eq!(open(&mut guest, FLAGS), None);
        assert!(!matches!(told(&mut guest, 5), Some(LentDescriptor::Prepared { .. })));
    }
}

pub(crate) fn kicks_do_not_tear_opens(platform: &dyn Platform) {
    let mut guest = patched(platform, opens_and_closes());
    if !guest.thread.can_lend() {
        return;
    }
    prepare(&mut guest);
    assert_eq!(guest.space.write(TEXT, b"file\0"), 5);
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rsp, registers.r12) = (CODE, STACK, 0);
    (registers.rsi, registers.r14, registers.rdx) = (TEXT, TEXT, FLAGS as u64);
    (registers.r8, registers.r9) = (99, 98);
    run_under_kicks(&mut guest, |_, taken| {
        let Some(taken) = taken.filter(|taken| taken.changed != 0) else { return };
        assert_eq!(taken.changed, 1 << 5);
        let opened = LentDescriptor::Prepared { record: RECORD, close_on_exec: false };
        assert!([opened, LentDescriptor::Free].contains(&taken.descriptors[5]), "{taken:?}");
    });
}

pub(crate) fn forged_memory_opens_nothing_that_could_not_be(platform: &dyn Platform) {
    let mut guest = guest(platform, any_calls());
    if !guest.thread.can_lend() {
        return;
    }
    let ranges = [SLOTS + SLOT_SIZE + LENT..SLOTS + 2 * SLOT_SIZE, TEXT..TEXT + 64];
    while_forged(&mut guest, ranges, |guest| {
        for round in 0..600 {
            prepare(guest);
            let registers = guest.thread.registers_mut();
            registers.rbx = if round % 4 == 3 { CLOSE } else { OPEN_AT };
            (registers.rdi, registers.rsi, registers.rdx) = (3 + round % 4, TEXT, FLAGS as u64);
            if matches!(guest.thread.run(), Trap::Exited(_)) {
                break;
            }
            let Some(taken) = guest.thread.take_back() else { continue };
            for descriptor in taken.descriptors {
                if let LentDescriptor::Prepared { record, .. } = descriptor {
                    assert!(usize::from(record) < LENT_RECORDS);
                }
            }
        }
    });
    assert_eq!(Guest::new(platform, any_calls()).syscall(), 0);
}
