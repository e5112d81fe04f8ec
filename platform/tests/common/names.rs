//! Names that are left: calls about them are answered as was said, as long as nobody says that it does not hold any more; and
//! whatever else a guest asks, or forges, is an ordinary call.

use usk_platform::region::{LENT, ORDERS, SLOT_SIZE, SLOTS};
use usk_platform::{
    KnownName, LeftName, MAX_KNOWN_NAME, NAME_PLACES, NameCall, NameMeaning, Platform, STAT_SIZE, Shortcut,
    Trap,
};

use super::guest::{CODE, DATA, Guest, STACK, guest_code, run_under_kicks_and};
use super::lent::{FILE, FSTATAT, call, guest, lend, one_call, stat, status, while_forged};
use super::patching::patched;

pub(crate) const STAT: u64 = 0x120;
const LSTAT: u64 = 0x121;
const ACCESS: u64 = 0x122;
pub(crate) const OPEN: u64 = 0x123;
const ACCESS_AT: u64 = 0x126;
pub(crate) const OPEN_AT: u64 = 0x127;
const READ_LINK: u64 = 0x129;
const READ_LINK_AT: u64 = 0x12d;

/// What the tests' platforms know.
pub(crate) fn knows(number: u64) -> Option<Shortcut> {
    let call = match number {
        STAT => NameCall::Stat,
        LSTAT => NameCall::Lstat,
        ACCESS => NameCall::Access,
        OPEN => NameCall::Open,
        ACCESS_AT => NameCall::AccessAt,
        OPEN_AT => NameCall::OpenAt,
        READ_LINK => NameCall::ReadLink,
        READ_LINK_AT => NameCall::ReadLinkAt,
        _ => return None,
    };
    Some(Shortcut::Knows(call))
}

pub(crate) const HERE: u64 = libc::AT_FDCWD as u64;
pub(crate) const MISSING: Option<i64> = Some(-(libc::ENOENT as i64));
/// Where the guest writes names, and where it wants attributes.
pub(crate) const TEXT: u64 = DATA + 0x2000;
pub(crate) const BUFFER: u64 = DATA + 0x3000;

// Asks for the attributes at rsi of the name at rdi, for ever: r12 is how often it got some. All their words, and all registers,
// must be right.
guest_code!(asks_for_attributes:
    "2:", "mov eax, 0x120", "syscall", "cmp rax, 0", "jne 2b",
    "cmp rdi, r13", "jne 3f", "cmp rsi, r14", "jne 3f", "cmp r8, 99", "jne 3f", "cmp r9, 98", "jne 3f",
    "mov rax, [rsi]", "cmp rax, [rsi + 112]", "jne 3f", "add r12, 1", "jmp 2b",
    "3:", "ud2",
);

fn file(byte: u8, access: u8) -> NameMeaning {
    NameMeaning::File { attributes: status(byte), access }
}

pub(crate) fn known(start: u64, name: &[u8], meaning: NameMeaning) -> KnownName<'_> {
    KnownName { start, follows: true, name, meaning }
}

pub(crate) fn left(guest: &mut Guest, known: &KnownName<'_>) -> LeftName {
    guest.thread.leave_name(known).expect("a name that can be left")
}

/// Makes a call about a name: its arguments follow, for calls that have the name first.
pub(crate) fn ask(guest: &mut Guest, number: u64, name: &str, argument: u64) -> Option<i64> {
    ask_at(guest, number, None, name, [argument, 0])
}

/// The same at a descriptor.
pub(crate) fn ask_at(
    guest: &mut Guest,
    number: u64,
    directory: Option<u64>,
    name: &str,
    [first, second]: [u64; 2],
) -> Option<i64> {
    let text = [name.as_bytes(), b"\0"].concat();
    assert_eq!(guest.space.write(TEXT, &text), text.len());
    assert_eq!(guest.space.write(BUFFER, &[0; STAT_SIZE]), STAT_SIZE);
    match directory {
        None => call(guest, number, [TEXT, first, second, 0]),
        Some(directory) => call(guest, number, [directory, TEXT, first, second]),
    }
}

fn attributes(guest: &Guest) -> [u8; STAT_SIZE] {
    guest.read::<STAT_SIZE>(BUFFER)
}

pub(crate) fn names_that_are_left_are_answered(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    if !guest.thread.can_lend() {
        assert_eq!(guest.thread.leave_name(&known(0, b"there", file(7, 0))), None);
        assert_eq!(ask(&mut guest, STAT, "there", BUFFER), None);
        return;
    }
    assert_eq!(ask(&mut guest, STAT, "there", BUFFER), None);
    assert!(left(&mut guest, &known(0, b"there", file(7, 5))).is_first);
    assert!(!left(&mut guest, &known(0, b"/a/b", NameMeaning::Missing)).is_first);
    assert!(!left(&mut guest, &known(FILE, b"below", file(9, 0))).is_first);
    assert!(!left(&mut guest, &KnownName { follows: false, ..known(0, b"link", file(8, 0)) }).is_first);
    let longest = "x".repeat(MAX_KNOWN_NAME);
    guest.thread.leave_name(&known(0, longest.as_bytes(), NameMeaning::Missing));

    assert_eq!(ask(&mut guest, STAT, "there", BUFFER), Some(0));
    assert_eq!(attributes(&guest), stat(7));
    for (name, byte) in [("there", 7), ("below", 9)] {
        let directory = if byte == 7 { HERE } else { 3 };
        assert_eq!(ask_at(&mut guest, FSTATAT, Some(directory), name, [BUFFER, 0]), Some(0));
        assert_eq!(attributes(&guest), stat(byte));
    }
    assert_eq!(ask(&mut guest, LSTAT, "link", BUFFER), Some(0));
    let no_follow = libc::AT_SYMLINK_NOFOLLOW as u64;
    assert_eq!(ask_at(&mut guest, FSTATAT, Some(HERE), "link", [BUFFER, no_follow]), Some(0));
    assert_eq!(ask(&mut guest, STAT, &longest, BUFFER), MISSING);
    assert_eq!(ask(&mut guest, STAT, "/a/b", BUFFER), MISSING);
    assert_eq!(ask(&mut guest, STAT, "/a/b", 0), MISSING);
    assert_eq!(ask(&mut guest, ACCESS, "/a/b", 4), MISSING);
    assert_eq!(ask(&mut guest, OPEN, "/a/b", libc::O_RDWR as u64), MISSING);
    // An absolute name starts at the root, whatever the descriptor.
    assert_eq!(ask_at(&mut guest, OPEN_AT, Some(77), "/a/b", [0, 0]), MISSING);
    assert_eq!(ask_at(&mut guest, ACCESS_AT, Some(77), "/a/b", [0, 0]), MISSING);
    for mode in [0, 1, 4, 5] {
        assert_eq!(ask(&mut guest, ACCESS, "there", mode), Some(0));
        assert_eq!(ask_at(&mut guest, ACCESS_AT, Some(HERE), "there", [mode, 0]), Some(0));
    }

    // What was not said, or is said in another way, is not answered.
    for name in [
        "",
        "ther",
        "theree",
        "There",
        "/a/",
        "/a/b/",
        "/a",
        "link",
        "below",
        &"x".repeat(MAX_KNOWN_NAME + 1),
    ] {
        assert_eq!(ask(&mut guest, STAT, name, BUFFER), None, "{name}");
    }
    assert_eq!(ask(&mut guest, LSTAT, "there", BUFFER), None);
    for mode in [2, 7, 8, 1 << 31, 1 << 32 | 8] {
        assert_eq!(ask(&mut guest, ACCESS, "there", mode), None);
    }
    assert_eq!(ask(&mut guest, OPEN, "there", 0), None);
    for flags in [libc::O_CREAT, libc::O_TMPFILE, libc::O_NOFOLLOW] {
        assert_eq!(ask(&mut guest, OPEN, "/a/b", flags as u64), None);
    }
    for flags in [libc::AT_SYMLINK_NOFOLLOW, 1, libc::AT_SYMLINK_FOLLOW] {
        assert_eq!(ask_at(&mut guest, FSTATAT, Some(HERE), "there", [BUFFER, flags as u64]), None);
    }
    for directory in [0, 2, 4, 5, 63, 64, u64::from(u32::MAX)] {
        assert_eq!(ask_at(&mut guest, FSTATAT, Some(directory), "below", [BUFFER, 0]), None);
    }
    // Memory that is not there, or not the guest's, is the sentry's matter.
    for address in [0, 1, STACK, 0x7ffe_0000_0000, SLOTS, ORDERS, 0x8000_0000_0000, u64::MAX - 3] {
        assert_eq!(call(&mut guest, STAT, [address, BUFFER, 0, 0]), None);
        assert_eq!(ask(&mut guest, STAT, "there", address), None);
    }
}

pub(crate) fn names_of_what_is_no_link_are_not_read(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    if !guest.thread.can_lend() {
        return;
    }
    let no_link = Some(-i64::from(libc::EINVAL));
    let of_type = |file_type: u32| {
        let mut attributes = status(3);
        let mode = std::mem::offset_of!(libc::stat, st_mode);
        attributes.stat[mode..mode + size_of::<u32>()].copy_from_slice(&(file_type | 0o777).to_le_bytes());
        NameMeaning::File { attributes, access: 7 }
    };
    let not_followed = |start, name: &'static str, meaning| KnownName {
        follows: false,
        ..known(start, name.as_bytes(), meaning)
    };
    left(&mut guest, &not_followed(0, "link", of_type(libc::S_IFLNK)));
    left(&mut guest, &not_followed(0, "missing", NameMeaning::Missing));
    for (name, file_type) in [
        ("file", libc::S_IFREG),
        ("directory", libc::S_IFDIR),
        ("fifo", libc::S_IFIFO),
        ("socket", libc::S_IFSOCK),
        ("device", libc::S_IFCHR),
    ] {
        left(&mut guest, &not_followed(0, name, of_type(file_type)));
        left(&mut guest, &not_followed(FILE, name, of_type(file_type)));
        assert_eq!(ask_at(&mut guest, READ_LINK, None, name, [BUFFER, 1]), no_link);
        assert_eq!(ask_at(&mut guest, READ_LINK_AT, Some(HERE), name, [BUFFER, 1]), no_link);
        assert_eq!(ask_at(&mut guest, READ_LINK_AT, Some(3), name, [0, 64]), no_link);
        // How much room there is comes first.
        for room in [0, u64::from(u32::MAX), 1 << 31, 1 << 32] {
            assert_eq!(ask_at(&mut guest, READ_LINK, None, name, [BUFFER, room]), None);
            assert_eq!(ask_at(&mut guest, READ_LINK_AT, Some(HERE), name, [BUFFER, room]), None);
        }
        assert_eq!(guest.read::<STAT_SIZE>(BUFFER), [0; STAT_SIZE]);
    }
    assert_eq!(ask_at(&mut guest, READ_LINK, None, "missing", [BUFFER, 1]), MISSING);
    assert_eq!(ask_at(&mut guest, READ_LINK_AT, Some(HERE), "missing", [BUFFER, 1]), MISSING);
    assert_eq!(ask_at(&mut guest, READ_LINK, None, "missing", [BUFFER, 0]), None);
    assert_eq!(ask_at(&mut guest, READ_LINK, None, "link", [BUFFER, 64]), None);
    assert_eq!(ask_at(&mut guest, READ_LINK_AT, Some(HERE), "link", [BUFFER, 64]), None);
    // What a name means whose links are followed says nothing of the name itself.
    left(&mut guest, &known(0, b"followed", of_type(libc::S_IFREG)));
    assert_eq!(ask_at(&mut guest, READ_LINK, None, "followed", [BUFFER, 64]), None);
}

pub(crate) fn names_of_before_stand_no_more(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    if !guest.thread.can_lend() {
        return;
    }
    for end in 0..4 {
        assert!(left(&mut guest, &known(0, b"name", file(1, 0))).is_first);
        assert!(!left(&mut guest, &known(FILE, b"name", NameMeaning::Missing)).is_first);
        assert_eq!(ask(&mut guest, STAT, "name", BUFFER), Some(0));
        match end {
            0 => guest.thread.kicker().withdraw_names(),
            1 => guest.thread.kicker().withdraw_answers(),
            2 => guest.thread.set_answers(&[]),
            _ => guest.thread.forget_names(),
        }
        assert_eq!(ask(&mut guest, STAT, "name", BUFFER), None);
        // Nor do they when another stands.
        assert!(left(&mut guest, &known(0, b"other", NameMeaning::Missing)).is_first);
        lend(&mut guest);
        guest.thread.leave_name(&known(0, b"other", NameMeaning::Missing));
        assert_eq!(ask(&mut guest, STAT, "other", BUFFER), MISSING);
        assert_eq!(ask(&mut guest, STAT, "name", BUFFER), None);
        assert_eq!(ask_at(&mut guest, FSTATAT, Some(3), "name", [BUFFER, 0]), None);
        guest.thread.kicker().withdraw_names();
    }
    // One alone.
    let places = [b"one", b"two"].map(|name| left(&mut guest, &known(0, name, file(1, 0))).place);
    assert!(places.iter().all(|place| *place < NAME_PLACES) && places[0] != places[1]);
    guest.thread.kicker().withdraw_name(places[0]);
    guest.thread.kicker().withdraw_name(NAME_PLACES);
    assert_eq!(ask(&mut guest, STAT, "one", BUFFER), None);
    assert_eq!(ask(&mut guest, STAT, "two", BUFFER), Some(0));
    assert_eq!(left(&mut guest, &known(0, b"one", file(2, 0))).place, places[0]);
    assert_eq!(ask(&mut guest, STAT, "one", BUFFER), Some(0));
    // More names than there is room for: each is answered rightly, or not at all.
    let names: Vec<String> = (0..1000).map(|number| format!("/usr/lib/{number}")).collect();
    for (name, byte) in names.iter().zip((0..=255).cycle()) {
        guest.thread.leave_name(&known(0, name.as_bytes(), file(byte, 0)));
        assert_eq!(ask(&mut guest, STAT, name, BUFFER), Some(0));
    }
    let answered = names.iter().zip((0..=255).cycle()).filter(|(name, byte)| {
        let answer = ask(&mut guest, STAT, name, BUFFER);
        assert!(answer.is_none() || attributes(&guest) == stat(*byte));
        answer.is_some()
    });
    assert!((64..=128).contains(&answered.count()));
    // The older one of two gives way to the new one: nearly all of the last stand.
    let last = names.iter().rev().take(32);
    assert!(last.filter(|name| ask(&mut guest, STAT, name, BUFFER).is_some()).count() >= 28);
}

pub(crate) fn kicks_and_withdrawals_do_not_tear_answers(platform: &dyn Platform) {
    let mut guest = patched(platform, asks_for_attributes());
    if !guest.thread.can_lend() {
        return;
    }
    assert_eq!(guest.space.write(TEXT, b"name\0"), 5);
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rsp, registers.r12) = (CODE, STACK, 0);
    (registers.rdi, registers.r13) = (TEXT, TEXT);
    (registers.rsi, registers.r14) = (BUFFER, BUFFER);
    (registers.r8, registers.r9) = (99, 98);
    let mut versions = 0u8;
    run_under_kicks_and(
        &mut guest,
        |thread| thread.withdraw_names(),
        |guest| {
            // It got nothing newer than what was said last.
            assert!(attributes(guest) == stat(versions) || guest.read::<1>(BUFFER) != [versions]);
            versions = versions.wrapping_add(1);
            guest.thread.leave_name(&known(0, b"name", file(versions, 0)));
        },
    );
}

pub(crate) fn forged_memory_gets_no_answer_that_was_not_left(platform: &dyn Platform) {
    let mut guest = guest(platform, super::lent::any_calls());
    if !guest.thread.can_lend() {
        return;
    }
    // All that the stub goes by: what it keeps in the slot, and the names.
    let ranges = [SLOTS + SLOT_SIZE + LENT..SLOTS + 2 * SLOT_SIZE, TEXT..TEXT + 64];
    while_forged(&mut guest, ranges, |guest| {
        let numbers = [STAT, LSTAT, ACCESS, OPEN, FSTATAT, ACCESS_AT, OPEN_AT, READ_LINK, READ_LINK_AT];
        for round in 0..600 {
            lend(guest);
            guest.thread.leave_name(&known(0, b"name", file(1, 7)));
            guest.thread.leave_name(&known(FILE, b"name", NameMeaning::Missing));
            let registers = guest.thread.registers_mut();
            let number = numbers[round % numbers.len()];
            registers.rbx = number;
            let is_at = matches!(number, FSTATAT | ACCESS_AT | OPEN_AT | READ_LINK_AT);
            (registers.rdi, registers.rsi) = if is_at { (3, TEXT) } else { (TEXT, BUFFER) };
            (registers.rdx, registers.r10) = (BUFFER, 0);
            if matches!(guest.thread.run(), Trap::Exited(_)) {
                break;
            }
            // Nothing but what was left for this very thread.
            let found = attributes(guest);
            assert!(found == [0; STAT_SIZE] || found == stat(1), "{found:?}");
        }
    });
    assert_eq!(Guest::new(platform, super::lent::any_calls()).syscall(), 0);
}
