//! `statx(2)` where it is answered without the sentry: it shows the same of a descriptor as of a name, and all of what was said.

use usk_platform::region::{ORDERS, SLOTS};
use usk_platform::{FileStatus, LentFile, NameMeaning, Platform, STAT_SIZE, StatxRest};

use super::guest::{CODE, DATA, Guest, STACK, guest_code, run_under_kicks_and};
use super::held::{hold, holder};
use super::ledger::PWRITE;
use super::lent::{self, CLOSE, DUP, FSTAT, FSTATAT, STATX, call, guest, lend, one_call};
use super::names::{BUFFER, HERE, MISSING, STAT, TEXT, ask, known, left};
use super::patching::patched;
use super::prepared;

const MOUNT_ROOT: u64 = 0x2000;
/// `struct statx`, and eight bytes that follow it.
const SHOWN: usize = 264;
/// A descriptor itself.
const ITSELF: i32 = libc::AT_EMPTY_PATH;

// Asks for what the descriptor 3 is, for ever: r12 is how often it was told. The size and the blocks must be the same number, and all
// registers what they were.
guest_code!(asks_what_it_has:
    "2:", "mov eax, 0x125", "syscall", "cmp rax, 0", "jne 2b",
    "cmp rdi, 3", "jne 3f", "cmp rsi, r13", "jne 3f", "cmp r8, r14", "jne 3f", "cmp r9, 98", "jne 3f",
    "mov rax, [r8 + 40]", "cmp rax, [r8 + 48]", "jne 3f", "add r12, 1", "jmp 2b",
    "3:", "ud2",
);

/// Calls `statx(2)`, with another word behind the result.
fn statx(guest: &mut Guest, directory: u64, path: u64, flags: i32, mask: u32, buffer: u64) -> Option<i64> {
    assert_eq!(guest.space.write(BUFFER, &[0xff; SHOWN]), SHOWN);
    (guest.thread.registers_mut().r8, guest.thread.registers_mut().r9) = (buffer, 98);
    let answer = call(guest, STATX, [directory, path, flags as u64, u64::from(mask)]);
    assert_eq!([guest.thread.registers().r8, guest.thread.registers().r9], [buffer, 98]);
    answer
}

/// The same of a name in the working directory.
fn statx_of_name(guest: &mut Guest, name: &str, flags: i32, mask: u32, buffer: u64) -> Option<i64> {
    let text = [name.as_bytes(), b"\0"].concat();
    assert_eq!(guest.space.write(TEXT, &text), text.len());
    statx(guest, HERE, TEXT, flags, mask, buffer)
}

/// The same of a descriptor.
fn statx_of(guest: &mut Guest, descriptor: u64) -> Option<i64> {
    assert_eq!(guest.space.write(TEXT, b"\0"), 1);
    statx(guest, descriptor, TEXT, ITSELF, 0x7ff, BUFFER)
}

/// `struct stat` with a number of its own in each field that is used, and a device with parts of all sizes.
fn distinct(born: Option<(i64, u32)>, is_mount_root: bool) -> FileStatus {
    let mut words: [u64; 18] = std::array::from_fn(|word| 0x1_0000_0001 * (word as u64 + 1));
    (words[0], words[5]) = (0x1234_5678_9abc, u64::MAX);
    words[15..].fill(0);
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let rest = StatxRest { born, mount: 0x77_0000_0066, is_mount_root };
    FileStatus { stat: bytes.try_into().expect("eighteen words"), rest }
}

/// Compares what a call has shown with what was said.
fn expect_shown(guest: &Guest, status: &FileStatus) {
    let shown = guest.read::<SHOWN>(BUFFER);
    let four = |at: usize| u32::from_ne_bytes(shown[at..at + 4].try_into().unwrap());
    let eight = |at: usize| u64::from_ne_bytes(shown[at..at + 8].try_into().unwrap());
    let stat = |word: usize| u64::from_ne_bytes(status.stat[8 * word..8 * word + 8].try_into().unwrap());
    let upper = |word: usize| (stat(word) >> 32) as u32;
    let (seconds, nanoseconds) = status.rest.born.unwrap_or_default();
    assert_eq!(four(0), 0x17ff | if status.rest.born.is_some() { 0x800 } else { 0 });
    assert_eq!((four(4), four(16)), (stat(7) as u32, stat(2) as u32));
    assert_eq!((four(20), four(24), four(28)), (upper(3), stat(4) as u32, stat(3) as u16 as u32));
    assert_eq!([8, 56].map(eight), [if status.rest.is_mount_root { MOUNT_ROOT } else { 0 }, MOUNT_ROOT]);
    assert_eq!([32, 40, 48].map(eight), [1, 6, 8].map(stat));
    assert_eq!([64, 96, 112].map(eight), [9, 13, 11].map(stat));
    assert_eq!([72, 104, 120].map(eight), [10, 14, 12].map(|word| stat(word) & 0xffff_ffff));
    assert_eq!((eight(80), eight(88)), (seconds as u64, u64::from(nanoseconds)));
    let parts = |device: u64| [libc::major(device), libc::minor(device)];
    assert_eq!([128, 132].map(four), parts(stat(5)));
    assert_eq!([136, 140].map(four), parts(stat(0)));
    assert_eq!(eight(144), status.rest.mount);
    assert!(shown[152..256].iter().all(|byte| *byte == 0) && shown[256..] == [0xff; 8]);
}

pub(crate) fn statx_shows_of_names_what_was_left(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    if !guest.thread.can_lend() {
        return;
    }
    for status in [distinct(None, false), distinct(Some((-5, 999_999_999)), true)] {
        left(&mut guest, &known(0, b"name", NameMeaning::File { attributes: status, access: 0 }));
        assert_eq!(ask(&mut guest, STAT, "name", BUFFER), Some(0));
        assert_eq!(guest.read::<STAT_SIZE>(BUFFER), status.stat);
        let flags = libc::AT_NO_AUTOMOUNT;
        assert_eq!(statx_of_name(&mut guest, "name", flags, 0x7ff, BUFFER), Some(0));
        expect_shown(&guest, &status);
        // A name that is there counts, whatever is allowed.
        assert_eq!(statx_of_name(&mut guest, "name", ITSELF, 0, BUFFER), Some(0));
        expect_shown(&guest, &status);
    }
    left(&mut guest, &known(0, b"none", NameMeaning::Missing));
    assert_eq!(statx_of_name(&mut guest, "none", 0, 0x7ff, BUFFER), MISSING);
    // What the sentry did not say, or has to refuse.
    assert_eq!(statx_of_name(&mut guest, "", 0, 0x7ff, BUFFER), None);
    assert_eq!(statx_of_name(&mut guest, "", ITSELF, 0x7ff, BUFFER), None);
    assert_eq!(statx_of_name(&mut guest, "name", libc::AT_SYMLINK_NOFOLLOW, 0x7ff, BUFFER), None);
    assert_eq!(statx_of_name(&mut guest, "name", 0, 1 << 31, BUFFER), None);
    for flags in [libc::AT_STATX_FORCE_SYNC, libc::AT_SYMLINK_FOLLOW, 1] {
        assert_eq!(statx_of_name(&mut guest, "name", flags, 0x7ff, BUFFER), None);
    }
    for buffer in [0, STACK, 0x7ffe_0000_0000, SLOTS, ORDERS, u64::MAX - 3] {
        assert_eq!(statx_of_name(&mut guest, "name", 0, 0x7ff, buffer), None);
    }
}

pub(crate) fn statx_shows_of_descriptors_what_was_lent(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    if !guest.thread.can_lend() {
        assert_eq!(statx_of(&mut guest, 3), None);
        return;
    }
    for status in [distinct(None, false), distinct(Some((-5, 999_999_999)), true)] {
        lend(&mut guest);
        guest.thread.lend_file(0, &LentFile { attributes: Some(status), ..LentFile::default() });
        assert_eq!(call(&mut guest, DUP, [3, 0, 0, 0]), Some(5));
        for descriptor in [3, 5] {
            assert_eq!(statx_of(&mut guest, descriptor), Some(0));
            expect_shown(&guest, &status);
        }
        let harmless = ITSELF | libc::AT_NO_AUTOMOUNT | libc::AT_SYMLINK_NOFOLLOW;
        for (path, flags, mask) in [(TEXT, harmless, 0), (0, ITSELF, 0x7fff_ffff)] {
            assert_eq!(statx(&mut guest, 3, path, flags, mask, BUFFER), Some(0));
            expect_shown(&guest, &status);
        }
        // The others show what they always have.
        let calls = [(FSTAT, [3, BUFFER, 0, 0]), (FSTATAT, [3, TEXT, BUFFER, ITSELF as u64])];
        for (number, arguments) in calls.into_iter().chain([(FSTATAT, [3, 0, BUFFER, ITSELF as u64])]) {
            assert_eq!(guest.space.write(BUFFER, &[0xff; SHOWN]), SHOWN);
            assert_eq!(call(&mut guest, number, arguments), Some(0));
            assert_eq!(guest.read::<STAT_SIZE>(BUFFER), status.stat);
        }
        assert_eq!(call(&mut guest, CLOSE, [5, 0, 0, 0]), Some(0));
        assert_eq!(statx_of(&mut guest, 5), Some(-i64::from(libc::EBADF)));
        guest.thread.take_back();
    }
}

pub(crate) fn statx_of_what_was_not_lent_makes_a_call(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    if !guest.thread.can_lend() {
        return;
    }
    // No record, no descriptor, and none that is lent.
    for descriptor in [0, 4, 63, 64, u64::from(u32::MAX), HERE] {
        assert_eq!(statx_of(&mut guest, descriptor), None);
    }
    // Refused by the sentry, or unknown to the stub.
    assert_eq!(statx(&mut guest, 3, TEXT, ITSELF, 1 << 31, BUFFER), None);
    assert_eq!(statx(&mut guest, 40, TEXT, ITSELF, 1 << 31, BUFFER), None);
    for flags in [libc::AT_STATX_FORCE_SYNC, libc::AT_STATX_DONT_SYNC, libc::AT_SYMLINK_FOLLOW, 1] {
        assert_eq!(statx(&mut guest, 3, TEXT, ITSELF | flags, 0x7ff, BUFFER), None);
    }
    for flags in [0, libc::AT_NO_AUTOMOUNT] {
        assert_eq!(statx(&mut guest, 3, TEXT, flags, 0x7ff, BUFFER), None);
        assert_eq!(statx(&mut guest, 3, 0, flags, 0x7ff, BUFFER), None);
    }
    // Memory that is not there, or not the guest's.
    let page_end = DATA + super::guest::DATA_SIZE;
    for address in [1, STACK, 0x7ffe_0000_0000, SLOTS, ORDERS, 0x8000_0000_0000, u64::MAX - 3] {
        assert_eq!(statx(&mut guest, 3, address, ITSELF, 0x7ff, BUFFER), None);
        assert_eq!(statx(&mut guest, 3, TEXT, ITSELF, 0x7ff, address), None);
        assert_eq!(call(&mut guest, FSTATAT, [3, address, BUFFER, ITSELF as u64]), None);
    }
    assert_eq!(statx(&mut guest, 3, TEXT, ITSELF, 0x7ff, page_end - 255), None);
    assert_eq!(statx(&mut guest, 3, TEXT, ITSELF, 0x7ff, 0), None);
    // What is asked then brings the empty name along.
    let mut name = [0xff; 16];
    guest.thread.registers_mut().r8 = BUFFER;
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rbx, registers.rdi, registers.rsi) = (CODE, STATX, 0, TEXT);
    (registers.rdx, registers.r10) = (ITSELF as u64, 0);
    assert_eq!(guest.syscall(), STATX);
    assert_eq!((guest.thread.handed_over(TEXT, &mut name), name[0]), (1, 0));
    guest.thread.registers_mut().set_return_value(0);
    assert_eq!(guest.syscall(), 39);
    // What stands no more.
    let ends: [fn(&mut Guest); 4] = [
        |guest| guest.thread.kicker().withdraw_answers(),
        |guest| guest.thread.kicker().withdraw_lending(),
        |guest| guest.thread.set_lending(false),
        |guest| guest.thread.lend_file(0, &LentFile::default()),
    ];
    for end in ends {
        lend(&mut guest);
        assert_eq!(statx_of(&mut guest, 3), Some(0));
        end(&mut guest);
        assert_eq!(statx_of(&mut guest, 3), None);
    }
}

pub(crate) fn statx_of_a_held_file_is_answered_until_a_write_is_noted(platform: &dyn Platform) {
    let Some(mut guest) = holder(platform, one_call()) else { return };
    for byte in [7, 8] {
        hold(&mut guest, byte);
        assert_eq!(statx_of(&mut guest, 3), Some(0));
        expect_shown(&guest, &lent::status(byte));
        assert_eq!(statx_of_name(&mut guest, "file", 0, 0x7ff, BUFFER), Some(0));
        expect_shown(&guest, &lent::status(byte));
        assert_eq!(call(&mut guest, PWRITE, [3, DATA, 1, 0]), Some(1));
        assert_eq!(statx_of(&mut guest, 3), None);
        assert_eq!(statx_of_name(&mut guest, "file", 0, 0x7ff, BUFFER), None);
        guest.thread.take_back().expect("a write has been noted");
    }
    hold(&mut guest, 9);
    guest.thread.kicker().withdraw_lending();
    assert_eq!(statx_of_name(&mut guest, "file", 0, 0x7ff, BUFFER), None);
}

pub(crate) fn statx_of_a_prepared_file_is_answered_by_name_and_descriptor(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    if !guest.thread.can_lend() {
        return;
    }
    prepared::prepare(&mut guest);
    assert_eq!(statx_of_name(&mut guest, "file", 0, 0x7ff, BUFFER), Some(0));
    expect_shown(&guest, &lent::status(9));
    assert_eq!(prepared::open(&mut guest, prepared::FLAGS), Some(5));
    assert_eq!(statx_of(&mut guest, 5), Some(0));
    expect_shown(&guest, &lent::status(9));
}

pub(crate) fn kicks_and_withdrawals_do_not_tear_statx(platform: &dyn Platform) {
    let mut guest = patched(platform, asks_what_it_has());
    if !guest.thread.can_lend() {
        return;
    }
    lend(&mut guest);
    assert_eq!(guest.space.write(TEXT, b"\0"), 1);
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rsp, registers.r12) = (CODE, STACK, 0);
    (registers.rdi, registers.rsi, registers.r13) = (3, TEXT, TEXT);
    (registers.rdx, registers.r10) = (ITSELF as u64, 0x7ff);
    (registers.r8, registers.r14, registers.r9) = (BUFFER, BUFFER, 98);
    let mut version = 0u8;
    run_under_kicks_and(
        &mut guest,
        |thread| thread.withdraw_lending(),
        |guest| {
            version = version.wrapping_add(1);
            lend(guest);
            let attributes = Some(lent::status(version));
            guest.thread.lend_file(0, &LentFile { attributes, ..LentFile::default() });
        },
    );
}
