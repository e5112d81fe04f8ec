//! The values that arguments are drawn from: few, so that calls meet each other, and some of them bad. The first of each list
//! is the plainest; it is where a failing sequence shrinks to.

use Meaning::{Bytes, Number, Words};

/// As in `message.h`.
pub(crate) const PAGE: u64 = 4096;
pub(crate) const CONSTANTS: u64 = 0x20_0000_0000;
const BUFFER: u64 = CONSTANTS + PAGE;
const HOLE: u64 = BUFFER + 2 * PAGE;
const SEALED: u64 = HOLE + PAGE;
const MAPS: u64 = 0x20_0010_0000;

/// What stands in the register.
pub(crate) enum Meaning {
    /// This.
    Number(u64),
    /// The address of these bytes, among the constants.
    Bytes(&'static [u8]),
    /// The address of these words.
    Words(&'static [u64]),
}

/// A value, as listings show it. No text holds a comma, and none is in a list twice.
pub(crate) type Value = (&'static str, Meaning);

/// What an argument can be.
pub(crate) type Values = &'static [Value];

const fn negative(value: i64) -> Meaning {
    Number(value as u64)
}

pub(crate) const NULL: Values = &[("NULL", Number(0))];
pub(crate) const ZERO: Values = &[("0", Number(0))];

pub(crate) const DESCRIPTOR: Values = &[
    ("3", Number(3)),
    ("4", Number(4)),
    ("5", Number(5)),
    ("6", Number(6)),
    ("7", Number(7)),
    ("0", Number(0)),
    ("10", Number(10)),
    ("40", Number(40)),
    ("63", Number(63)),
    ("64", Number(64)),
    ("-1", negative(-1)),
    ("1 << 32 | 3", Number(1 << 32 | 3)),
    ("INT_MAX", Number(i32::MAX as u64)),
];

pub(crate) const DIRECTORY: Values = &[
    ("AT_FDCWD", negative(-100)),
    ("3", Number(3)),
    ("4", Number(4)),
    ("5", Number(5)),
    ("-1", negative(-1)),
];

pub(crate) const PATH: Values = &[
    ("\"a\"", Bytes(b"a\0")),
    ("\"b\"", Bytes(b"b\0")),
    ("\"x\"", Bytes(b"x\0")),
    ("\"big\"", Bytes(b"big\0")),
    ("\"d\"", Bytes(b"d\0")),
    ("\"d/c\"", Bytes(b"d/c\0")),
    ("\"d/x\"", Bytes(b"d/x\0")),
    ("\"l\"", Bytes(b"l\0")),
    ("\"y\"", Bytes(b"y\0")),
    ("\"x/y\"", Bytes(b"x/y\0")),
    ("\"c\"", Bytes(b"c\0")),
    ("\".\"", Bytes(b".\0")),
    ("\"\"", Bytes(b"\0")),
    ("\"a/\"", Bytes(b"a/\0")),
    ("\"a/b\"", Bytes(b"a/b\0")),
    ("\"d/../b\"", Bytes(b"d/../b\0")),
    ("\"d/\"", Bytes(b"d/\0")),
    ("\"nowhere/x\"", Bytes(b"nowhere/x\0")),
    ("NULL", Number(0)),
    ("HOLE", Number(HOLE)),
    ("LONG_NAME", Bytes(&LONG_NAME)),
];

/// A name that is too long by one byte.
const LONG_NAME: [u8; 257] = {
    let mut name = [b'n'; 257];
    name[256] = 0;
    name
};

/// The second of two names. A name that is too long is none of these: which of two mistakes a call finds first is not always
/// what Linux finds.
pub(crate) const OTHER_PATH: Values = PATH.split_at(PATH.len() - 1).0;

/// Where a process goes: not above the sequence's directory.
pub(crate) const PLACE: Values = &[
    ("\".\"", Bytes(b".\0")),
    ("\"d\"", Bytes(b"d\0")),
    ("\"x\"", Bytes(b"x\0")),
    ("\"a\"", Bytes(b"a\0")),
    ("\"l\"", Bytes(b"l\0")),
    ("\"\"", Bytes(b"\0")),
    ("HOLE", Number(HOLE)),
];

pub(crate) const BUFFERS: Values = &[
    ("BUFFER", Number(BUFFER)),
    ("BUFFER + 8", Number(BUFFER + 8)),
    ("BUFFER + 4093", Number(BUFFER + 4093)),
    ("HOLE - 5", Number(HOLE - 5)),
    ("NULL", Number(0)),
    ("HOLE", Number(HOLE)),
    ("SEALED", Number(SEALED)),
    ("MAPS", Number(MAPS)),
    ("1 << 63", Number(1 << 63)),
    ("REGION", Number(0x7fff_1000_0000)),
];

/// For calls whose results are changed before they are compared, or not written as one: all of it is in the buffer, or nothing.
pub(crate) const RESULTS: Values =
    &[("BUFFER", Number(BUFFER)), ("HOLE", Number(HOLE)), ("SEALED", Number(SEALED)), ("NULL", Number(0))];

pub(crate) const SIZE: Values = &[
    ("10", Number(10)),
    ("1", Number(1)),
    ("0", Number(0)),
    ("8", Number(8)),
    ("100", Number(100)),
    ("4096", Number(4096)),
    ("5000", Number(5000)),
    ("8192", Number(8192)),
    ("1 << 20", Number(1 << 20)),
    ("-1", negative(-1)),
];

pub(crate) const ENTRIES_SIZE: Values = &[("4096", Number(4096)), ("20", Number(20)), ("0", Number(0))];

pub(crate) const NAME_SIZE: Values = &[("4096", Number(4096)), ("2", Number(2)), ("0", Number(0))];

pub(crate) const OFFSET: Values = &[
    ("0", Number(0)),
    ("5", Number(5)),
    ("10", Number(10)),
    ("-3", negative(-3)),
    ("499", Number(499)),
    ("4096", Number(4096)),
    ("5000", Number(5000)),
    ("39990", Number(39990)),
    ("100000", Number(100_000)),
    ("-1", negative(-1)),
    ("1 << 62", Number(1 << 62)),
    ("1 << 63", Number(1 << 63)),
];

/// Lengths of files; what is too long is refused, not filled.
pub(crate) const LENGTH: Values = &[
    ("10", Number(10)),
    ("0", Number(0)),
    ("3", Number(3)),
    ("5000", Number(5000)),
    ("4096", Number(4096)),
    ("100000", Number(100_000)),
    ("-1", negative(-1)),
];

/// Where a file has holes is its file system's own affair.
pub(crate) const WHENCE: Values =
    &[("SEEK_SET", Number(0)), ("SEEK_CUR", Number(1)), ("SEEK_END", Number(2)), ("5", Number(5))];

pub(crate) const OPEN_FLAGS: Values = &[
    ("O_RDONLY", Number(0)),
    ("O_RDWR", Number(2)),
    ("O_WRONLY", Number(1)),
    ("O_RDWR | O_CREAT", Number(2 | 0o100)),
    ("O_RDONLY | O_CLOEXEC", Number(0o2000000)),
    ("O_RDWR | O_CREAT | O_TRUNC", Number(2 | 0o100 | 0o1000)),
    ("O_RDWR | O_APPEND", Number(2 | 0o2000)),
    ("O_WRONLY | O_CREAT | O_EXCL", Number(1 | 0o100 | 0o200)),
    ("O_RDONLY | O_DIRECTORY", Number(0o200000)),
    ("O_PATH", Number(0o10000000)),
    ("O_RDONLY | O_NOFOLLOW", Number(0o400000)),
    ("O_PATH | O_NOFOLLOW", Number(0o10400000)),
    ("O_RDWR | O_TMPFILE", Number(2 | 0o20200000)),
    ("O_RDONLY | O_TRUNC", Number(0o1000)),
    ("3", Number(3)),
];

pub(crate) const MODE: Values = &[
    ("0644", Number(0o644)),
    ("0600", Number(0o600)),
    ("0755", Number(0o755)),
    ("0", Number(0)),
    ("0444", Number(0o444)),
    ("06777", Number(0o6777)),
    ("01777", Number(0o1777)),
];

pub(crate) const ACCESS_MODE: Values =
    &[("F_OK", Number(0)), ("R_OK", Number(4)), ("W_OK", Number(2)), ("X_OK", Number(1)), ("8", Number(8))];

/// Also what becomes of the results of `fcntl`.
pub(crate) const DESCRIPTOR_COMMAND: Values = &[
    ("F_GETFD", Number(1)),
    ("F_GETFL", Number(3)),
    ("F_DUPFD", Number(0)),
    ("F_DUPFD_CLOEXEC", Number(1030)),
    ("F_SETFD", Number(2)),
    ("F_SETFL", Number(4)),
    ("F_GETPIPE_SZ", Number(1032)),
    ("F_GET_SEALS", Number(1034)),
    ("999", Number(999)),
];

/// Always with O_NONBLOCK where status flags are set, so that nothing waits.
pub(crate) const COMMAND_ARGUMENT: Values = &[
    ("O_NONBLOCK", Number(0o4000)),
    ("O_NONBLOCK | O_APPEND", Number(0o6000)),
    ("O_NONBLOCK | 3", Number(0o4003)),
];

pub(crate) const MINIMUM: Values = &[
    ("0", Number(0)),
    ("1", Number(1)),
    ("5", Number(5)),
    ("40", Number(40)),
    ("63", Number(63)),
    ("64", Number(64)),
    ("-1", negative(-1)),
];

pub(crate) const NEW_FLAGS: Values =
    &[("0", Number(0)), ("O_CLOEXEC", Number(0o2000000)), ("1", Number(1)), ("O_NONBLOCK", Number(0o4000))];

/// For what is made with O_NONBLOCK.
pub(crate) const PIPE_FLAGS: Values = &[
    ("O_NONBLOCK", Number(0o4000)),
    ("O_NONBLOCK | O_CLOEXEC", Number(0o2004000)),
    ("O_NONBLOCK | 1 << 3", Number(0o4010)),
];

pub(crate) const INITIAL: Values =
    &[("0", Number(0)), ("1", Number(1)), ("7", Number(7)), ("UINT_MAX", Number(u32::MAX as u64))];

pub(crate) const EVENT_FLAGS: Values = &[
    ("EFD_NONBLOCK", Number(0o4000)),
    ("EFD_NONBLOCK | EFD_SEMAPHORE", Number(0o4001)),
    ("EFD_NONBLOCK | EFD_CLOEXEC", Number(0o2004000)),
    ("EFD_NONBLOCK | 2", Number(0o4002)),
];

/// Valid ones: of a pair that it does not make after all, Linux leaves the numbers in the caller's memory.
pub(crate) const SOCKET_FLAGS: Values = &[
    ("SOCK_STREAM | SOCK_NONBLOCK", Number(1 | 0o4000)),
    ("SOCK_DGRAM | SOCK_NONBLOCK", Number(2 | 0o4000)),
    ("SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC", Number(5 | 0o2004000)),
];

pub(crate) const FAMILY: Values = &[("AF_UNIX", Number(1))];

pub(crate) const VECTOR: Values = &[
    ("{BUFFER 4; BUFFER + 100 6}", Words(&[BUFFER, 4, BUFFER + 100, 6])),
    ("{BUFFER 0; BUFFER + 8 5000}", Words(&[BUFFER, 0, BUFFER + 8, 5000])),
    ("{BUFFER 4; HOLE 4}", Words(&[BUFFER, 4, HOLE, 4])),
    ("{NULL 0; BUFFER 1}", Words(&[0, 0, BUFFER, 1])),
    ("{HOLE 4; BUFFER 4}", Words(&[HOLE, 4, BUFFER, 4])),
    ("{BUFFER -1; BUFFER 4}", Words(&[BUFFER, u64::MAX, BUFFER, 4])),
    ("NULL", Number(0)),
    ("HOLE", Number(HOLE)),
];

pub(crate) const VECTOR_COUNT: Values =
    &[("2", Number(2)), ("1", Number(1)), ("0", Number(0)), ("-1", negative(-1)), ("1025", Number(1025))];

/// Descriptors and events of `poll`, two of them.
pub(crate) const POLLED: Values = &[
    ("{3 IN|OUT; 4 IN|OUT}", Words(&[3 | 5 << 32, 4 | 5 << 32])),
    ("{5 IN|HUP; 6 OUT}", Words(&[5 | 0x11 << 32, 6 | 4 << 32])),
    ("{-1 IN; 40 IN}", Words(&[0xffff_ffff | 1 << 32, 40 | 1 << 32])),
    ("{7 0; 3 RDNORM}", Words(&[7, 3 | 0x40 << 32])),
    ("HOLE", Number(HOLE)),
];

pub(crate) const POLLED_COUNT: Values =
    &[("2", Number(2)), ("1", Number(1)), ("0", Number(0)), ("-1", negative(-1))];

pub(crate) const INSTANCE_FLAGS: Values =
    &[("0", Number(0)), ("EPOLL_CLOEXEC", Number(0o2_000_000)), ("1", Number(1))];

pub(crate) const CHANGE: Values = &[
    ("EPOLL_CTL_ADD", Number(1)),
    ("EPOLL_CTL_MOD", Number(3)),
    ("EPOLL_CTL_DEL", Number(2)),
    ("0", Number(0)),
    ("257", Number(257)),
];

pub(crate) const EVENT: Values = &[
    ("{IN 'a'}", Bytes(b"\x01\0\0\0aaaaaaaa")),
    ("{OUT 'b'}", Bytes(b"\x04\0\0\0bbbbbbbb")),
    ("{IN|OUT|ET 'c'}", Bytes(b"\x05\0\0\x80cccccccc")),
    ("{OUT|ONESHOT 'd'}", Bytes(b"\x04\0\0\x40dddddddd")),
    ("{IN|EXCLUSIVE 'e'}", Bytes(b"\x01\0\0\x10eeeeeeee")),
    ("{0 'f'}", Bytes(b"\0\0\0\0ffffffff")),
    ("HOLE - 5", Number(HOLE - 5)),
    ("HOLE", Number(HOLE)),
    ("NULL", Number(0)),
];

pub(crate) const EVENT_COUNT: Values = &[("8", Number(8)), ("1", Number(1)), ("0", Number(0))];

pub(crate) const SET_HOW: Values = &[
    ("SIG_BLOCK", Number(0)),
    ("SIG_UNBLOCK", Number(1)),
    ("SIG_SETMASK", Number(2)),
    ("3", Number(3)),
    ("-1", negative(-1)),
];

const USER_1: u64 = 1 << 9;
const USER_2: u64 = 1 << 11;
const REAL_TIME: u64 = 1 << 33;

pub(crate) const SET: Values = &[
    ("{}", Words(&[0])),
    ("{SIGUSR1}", Words(&[USER_1])),
    ("{SIGUSR2}", Words(&[USER_2])),
    ("{SIGUSR1 SIGUSR2 SIGRTMIN}", Words(&[USER_1 | USER_2 | REAL_TIME])),
    ("{all}", Words(&[u64::MAX])),
    ("NULL", Number(0)),
    ("HOLE", Number(HOLE)),
    ("HOLE - 4", Number(HOLE - 4)),
];

pub(crate) const SET_SIZE: Values = &[
    ("8", Number(8)),
    ("0", Number(0)),
    ("4", Number(4)),
    ("16", Number(16)),
    ("1 << 32 | 8", Number(1 << 32 | 8)),
];

/// Numbers of libc's: 34 is `SIGRTMIN`.
pub(crate) const SIGNAL: Values = &[
    ("SIGUSR1", Number(10)),
    ("SIGUSR2", Number(12)),
    ("SIGRTMIN", Number(34)),
    ("SIGCHLD", Number(17)),
    ("SIGWINCH", Number(28)),
    ("SIGURG", Number(23)),
    ("0", Number(0)),
    ("65", Number(65)),
    ("SIGTERM", Number(15)),
    ("SIGKILL", Number(9)),
];

/// Signals whose action is changed.
pub(crate) const CAUGHT: Values = &[
    ("SIGUSR1", Number(10)),
    ("SIGUSR2", Number(12)),
    ("SIGRTMIN", Number(34)),
    ("SIGCHLD", Number(17)),
    ("SIGTERM", Number(15)),
];

pub(crate) const DISPOSITION: Values =
    &[("handler", Number(2)), ("SIG_IGN", Number(1)), ("SIG_DFL", Number(0))];

pub(crate) const ACTION_FLAGS: Values = &[
    ("0", Number(0)),
    ("SA_RESTART", Number(0x1000_0000)),
    ("SA_NODEFER", Number(0x4000_0000)),
    ("SA_RESETHAND", Number(0x8000_0000)),
];

pub(crate) const TO_THREAD: Values = &[("process", Number(0)), ("thread", Number(1))];

pub(crate) const SOON: Values = &[
    ("{0 0}", Words(&[0, 0])),
    ("{0 1000}", Words(&[0, 1000])),
    ("{0 -1}", Words(&[0, u64::MAX])),
    ("{-1 0}", Words(&[u64::MAX, 0])),
    ("HOLE", Number(HOLE)),
];

/// None in the platform's region, which is part of the address space to Linux.
pub(crate) const FUTEX_WORD: Values = &[
    ("BUFFER", Number(BUFFER)),
    ("BUFFER + 2", Number(BUFFER + 2)),
    ("HOLE", Number(HOLE)),
    ("SEALED", Number(SEALED)),
    ("MAPS", Number(MAPS)),
    ("NULL", Number(0)),
];

pub(crate) const FUTEX_OPERATION: Values = &[
    ("FUTEX_WAKE_PRIVATE", Number(129)),
    ("FUTEX_WAIT_PRIVATE", Number(128)),
    ("FUTEX_WAKE", Number(1)),
    ("FUTEX_WAIT", Number(0)),
    ("FUTEX_WAIT_BITSET_PRIVATE", Number(137)),
    ("FUTEX_WAKE_BITSET_PRIVATE", Number(138)),
    ("99", Number(99)),
];

/// The second is what the buffer begins with before the first call of a sequence.
pub(crate) const FUTEX_VALUE: Values =
    &[("1", Number(1)), ("0", Number(0)), ("-1", negative(-1)), ("INT_MAX", Number(i32::MAX as u64))];

pub(crate) const FUTEX_REQUEUE: Values = &[
    ("FUTEX_REQUEUE_PRIVATE", Number(131)),
    ("FUTEX_CMP_REQUEUE_PRIVATE", Number(132)),
    ("FUTEX_WAKE_OP_PRIVATE", Number(133)),
    ("FUTEX_WAKE_OP", Number(5)),
    ("FUTEX_REQUEUE", Number(3)),
];

/// The operation of `FUTEX_WAKE_OP`, or the value that `FUTEX_CMP_REQUEUE` expects.
pub(crate) const FUTEX_CHANGE: Values = &[
    ("0", Number(0)),
    ("ADD 3 EQ 0", Number(1 << 28 | 3 << 12)),
    ("SET 7 GT 1", Number(4 << 24 | 7 << 12 | 1)),
    ("XOR 1 << 5 LE 9", Number((4 | 8) << 28 | 3 << 24 | 5 << 12 | 9)),
    ("6 0 7 0", Number(6 << 28 | 7 << 24)),
];

pub(crate) const BITSET: Values =
    &[("-1", Number(u32::MAX as u64)), ("1", Number(1)), ("0", Number(0)), ("6", Number(6))];

pub(crate) const CLOCK: Values = &[
    ("CLOCK_MONOTONIC", Number(1)),
    ("CLOCK_REALTIME", Number(0)),
    ("CLOCK_PROCESS_CPUTIME_ID", Number(2)),
    ("CLOCK_MONOTONIC_COARSE", Number(6)),
    ("CLOCK_BOOTTIME", Number(7)),
    ("10", Number(10)),
    ("99", Number(99)),
    ("-1", negative(-1)),
];

pub(crate) const SLEEPING_CLOCK: Values = &[
    ("CLOCK_MONOTONIC", Number(1)),
    ("CLOCK_REALTIME", Number(0)),
    ("CLOCK_BOOTTIME", Number(7)),
    ("99", Number(99)),
];

pub(crate) const SLEEPING_FLAGS: Values = &[("0", Number(0)), ("TIMER_ABSTIME", Number(1)), ("2", Number(2))];

pub(crate) const IDENTITY: Values =
    &[("-1", negative(-1)), ("0", Number(0)), ("1000", Number(1000)), ("1001", Number(1001))];

pub(crate) const CHILD: Values =
    &[("-1", negative(-1)), ("0", Number(0)), ("INT_MIN", negative(i32::MIN as i64))];

/// Nothing waits.
pub(crate) const WAIT_OPTIONS: Values =
    &[("WNOHANG", Number(1)), ("WNOHANG | WUNTRACED", Number(3)), ("WNOHANG | 1 << 4", Number(1 | 1 << 4))];

pub(crate) const AT_FLAGS: Values = &[
    ("0", Number(0)),
    ("AT_SYMLINK_NOFOLLOW", Number(0x100)),
    ("AT_EMPTY_PATH", Number(0x1000)),
    ("AT_REMOVEDIR", Number(0x200)),
    ("1", Number(1)),
];

pub(crate) const LINK_FLAGS: Values =
    &[("0", Number(0)), ("AT_SYMLINK_FOLLOW", Number(0x400)), ("1", Number(1))];

pub(crate) const RENAME_FLAGS: Values = &[
    ("0", Number(0)),
    ("RENAME_NOREPLACE", Number(1)),
    ("RENAME_EXCHANGE", Number(2)),
    ("RENAME_NOREPLACE | RENAME_EXCHANGE", Number(3)),
    ("8", Number(8)),
];

pub(crate) const ALLOCATION: Values = &[
    ("0", Number(0)),
    ("FALLOC_FL_KEEP_SIZE", Number(1)),
    ("FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE", Number(3)),
    ("FALLOC_FL_PUNCH_HOLE", Number(2)),
];

pub(crate) const MAP_PLACE: Values = &[
    ("MAPS", Number(MAPS)),
    ("MAPS + 1 page", Number(MAPS + PAGE)),
    ("MAPS + 2 pages", Number(MAPS + 2 * PAGE)),
    ("MAPS + 3 pages", Number(MAPS + 3 * PAGE)),
    ("MAPS + 1", Number(MAPS + 1)),
];

pub(crate) const MAP_LENGTH: Values = &[
    ("1 page", Number(PAGE)),
    ("2 pages", Number(2 * PAGE)),
    ("4 pages", Number(4 * PAGE)),
    ("1", Number(1)),
    ("0", Number(0)),
    ("1 << 62", Number(1 << 62)),
];

/// Not so long that it would be about what the guest itself needs.
pub(crate) const ADVISED_LENGTH: Values = &[
    ("1 page", Number(PAGE)),
    ("2 pages", Number(2 * PAGE)),
    ("4 pages", Number(4 * PAGE)),
    ("1", Number(1)),
    ("0", Number(0)),
    ("-1", negative(-1)),
];

/// Without the huge one, which Linux before 6.17 refuses later than the host of the tests may do.
pub(crate) const MOVED_LENGTH: Values = MAP_LENGTH.split_at(MAP_LENGTH.len() - 1).0;

pub(crate) const PROTECTION: Values = &[
    ("PROT_READ | PROT_WRITE", Number(3)),
    ("PROT_READ", Number(1)),
    ("PROT_NONE", Number(0)),
    ("PROT_WRITE", Number(2)),
    ("PROT_READ | PROT_EXEC", Number(5)),
    ("1 << 10", Number(1 << 10)),
];

pub(crate) const MAP_FLAGS: Values = &[
    ("MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED", Number(0x32)),
    ("MAP_SHARED | MAP_FIXED", Number(0x11)),
    ("MAP_PRIVATE | MAP_FIXED", Number(0x12)),
    ("MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED", Number(0x31)),
    ("MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE", Number(0x10_0022)),
    ("MAP_FIXED", Number(0x10)),
];

pub(crate) const MAP_OFFSET: Values =
    &[("0", Number(0)), ("1 page", Number(PAGE)), ("8 pages", Number(8 * PAGE)), ("1", Number(1))];

/// Not MREMAP_DONTUNMAP: whether its lengths are rounded up before they are compared depends on the version.
pub(crate) const MOVE_FLAGS: Values =
    &[("MREMAP_MAYMOVE | MREMAP_FIXED", Number(3)), ("0", Number(0)), ("MREMAP_FIXED", Number(2))];

/// Never where it was, which Linux finds out before or after it looks for a mapping, depending on the version.
pub(crate) const MOVED_TO: Values = &[("MAPS + 8 pages", Number(MAPS + 8 * PAGE))];

pub(crate) const SYNC_FLAGS: Values =
    &[("MS_SYNC", Number(4)), ("MS_ASYNC", Number(1)), ("MS_SYNC | MS_ASYNC", Number(5)), ("8", Number(8))];

pub(crate) const ADVICE: Values = &[
    ("MADV_DONTNEED", Number(4)),
    ("MADV_WILLNEED", Number(3)),
    ("MADV_NORMAL", Number(0)),
    ("999", Number(999)),
];

/// Bytes in mapped memory.
pub(crate) const BYTE_PLACE: Values = &[
    ("MAPS", Number(MAPS)),
    ("MAPS + 10", Number(MAPS + 10)),
    ("MAPS + 1 page", Number(MAPS + PAGE)),
    ("MAPS + 2 pages", Number(MAPS + 2 * PAGE)),
    ("MAPS + 8 pages", Number(MAPS + 8 * PAGE)),
];

pub(crate) const BYTE: Values = &[("1", Number(1)), ("255", Number(255))];

pub(crate) const RANGE_FLAGS: Values = &[
    ("0", Number(0)),
    ("CLOSE_RANGE_CLOEXEC", Number(4)),
    ("CLOSE_RANGE_UNSHARE", Number(2)),
    ("1", Number(1)),
];

/// No further than the descriptor that the guest needs for itself.
pub(crate) const LAST: Values =
    &[("7", Number(7)), ("5", Number(5)), ("59", Number(59)), ("2", Number(2)), ("0", Number(0))];

pub(crate) const LOCKING: Values = &[
    ("LOCK_SH | LOCK_NB", Number(1 | 4)),
    ("LOCK_EX | LOCK_NB", Number(2 | 4)),
    ("LOCK_UN", Number(8)),
    ("LOCK_NB", Number(4)),
];

pub(crate) const NAME: Values = &[("\"m\"", Bytes(b"m\0")), ("HOLE", Number(HOLE))];

pub(crate) const MEMORY_FILE_FLAGS: Values = &[
    ("0", Number(0)),
    ("MFD_CLOEXEC", Number(1)),
    ("MFD_ALLOW_SEALING", Number(2)),
    ("1 << 20", Number(1 << 20)),
];

pub(crate) const ADVISED: Values = &[("0", Number(0)), ("3", Number(3)), ("99", Number(99))];
