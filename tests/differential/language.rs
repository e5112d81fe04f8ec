//! The calls of the language, and what of their results can be compared.

use crate::values::*;

/// Who makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Actor {
    /// The process that a sequence begins with.
    Process = 0,
    /// A second thread of it; it is made when it is first needed.
    Thread = 1,
    /// A child of it; the same.
    Child = 2,
}

impl Actor {
    /// All of them, with the names that listings show.
    pub(crate) const ALL: [(Actor, &'static str); 3] =
        [(Actor::Process, "process"), (Actor::Thread, "thread"), (Actor::Child, "child")];
}

/// What the guest changes before it writes down what a call came to, as in `message.h`. Numbers are those of arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// Nothing.
    Not,
    /// A `struct stat`: no inode, no device, no times, no blocks.
    Stat(u32),
    /// The entries of a directory, sorted.
    Entries(u32),
    /// Memory that differs each time. A result that is a time is 0.
    Zero(u32),
    /// The result is a process.
    Process,
    /// The name of a directory.
    Directory(u32),
}

impl Treatment {
    /// Its number, and the argument that it is about.
    pub(crate) fn encode(self) -> [u32; 2] {
        match self {
            Treatment::Not => [0, 0],
            Treatment::Stat(argument) => [1, argument],
            Treatment::Entries(argument) => [2, argument],
            Treatment::Zero(argument) => [3, argument],
            Treatment::Process => [4, 0],
            Treatment::Directory(argument) => [5, argument],
        }
    }
}

/// A call of the language.
pub(crate) struct Call {
    /// As listings show it; no two are equal.
    pub(crate) name: &'static str,
    /// The number, of Linux or of `message.h`.
    pub(crate) number: u32,
    /// How often it is drawn.
    pub(crate) weight: u32,
    /// What its arguments can be.
    pub(crate) arguments: &'static [Values],
    /// What of it cannot be compared.
    pub(crate) treatment: Treatment,
}

const fn call(weight: u32, name: &'static str, number: u32, arguments: &'static [Values]) -> Call {
    Call { name, number, weight, arguments, treatment: Treatment::Not }
}

impl Call {
    const fn but(self, treatment: Treatment) -> Call {
        Call { treatment, ..self }
    }
}

/// All calls. A weight is 10 for the ordinary.
pub(crate) const CALLS: &[Call] = &[
    call(60, "open", 2, &[PATH, OPEN_FLAGS, MODE]),
    call(20, "openat", 257, &[DIRECTORY, PATH, OPEN_FLAGS, MODE]),
    call(6, "creat", 85, &[PATH, MODE]),
    call(40, "close", 3, &[DESCRIPTOR]),
    call(4, "close_range", 436, &[DESCRIPTOR, LAST, RANGE_FLAGS]),
    call(20, "dup", 32, &[DESCRIPTOR]),
    call(20, "dup2", 33, &[DESCRIPTOR, DESCRIPTOR]),
    call(10, "dup3", 292, &[DESCRIPTOR, DESCRIPTOR, NEW_FLAGS]),
    call(30, "fcntl", 72, &[DESCRIPTOR, DESCRIPTOR_COMMAND, COMMAND_ARGUMENT]),
    call(10, "fcntl F_DUPFD", 72, &[DESCRIPTOR, &[("F_DUPFD", Meaning::Number(0))], MINIMUM]),
    call(
        10,
        "fcntl F_DUPFD_CLOEXEC",
        72,
        &[DESCRIPTOR, &[("F_DUPFD_CLOEXEC", Meaning::Number(1030))], MINIMUM],
    ),
    call(10, "fcntl F_SETFD", 72, &[DESCRIPTOR, &[("F_SETFD", Meaning::Number(2))], MINIMUM]),
    call(30, "lseek", 8, &[DESCRIPTOR, OFFSET, WHENCE]),
    call(40, "read", 0, &[DESCRIPTOR, BUFFERS, SIZE]),
    call(15, "pread64", 17, &[DESCRIPTOR, BUFFERS, SIZE, OFFSET]),
    call(10, "readv", 19, &[DESCRIPTOR, VECTOR, VECTOR_COUNT]),
    call(5, "preadv", 295, &[DESCRIPTOR, VECTOR, VECTOR_COUNT, OFFSET, ZERO]),
    call(30, "write", 1, &[DESCRIPTOR, BUFFERS, SIZE]),
    call(10, "pwrite64", 18, &[DESCRIPTOR, BUFFERS, SIZE, LENGTH]),
    call(10, "writev", 20, &[DESCRIPTOR, VECTOR, VECTOR_COUNT]),
    call(30, "fstat", 5, &[DESCRIPTOR, RESULTS]).but(Treatment::Stat(1)),
    call(10, "stat", 4, &[PATH, RESULTS]).but(Treatment::Stat(1)),
    call(6, "lstat", 6, &[PATH, RESULTS]).but(Treatment::Stat(1)),
    call(15, "newfstatat", 262, &[DIRECTORY, PATH, RESULTS, AT_FLAGS]).but(Treatment::Stat(2)),
    call(10, "access", 21, &[PATH, ACCESS_MODE]),
    call(6, "faccessat", 269, &[DIRECTORY, PATH, ACCESS_MODE]),
    call(10, "ftruncate", 77, &[DESCRIPTOR, LENGTH]),
    call(5, "truncate", 76, &[PATH, LENGTH]),
    call(5, "fallocate", 285, &[DESCRIPTOR, ALLOCATION, LENGTH, LENGTH]),
    call(3, "fsync", 74, &[DESCRIPTOR]),
    call(2, "fdatasync", 75, &[DESCRIPTOR]),
    call(3, "fadvise64", 221, &[DESCRIPTOR, OFFSET, LENGTH, ADVISED]),
    call(6, "sendfile", 40, &[DESCRIPTOR, DESCRIPTOR, NULL, SIZE]),
    call(6, "copy_file_range", 326, &[DESCRIPTOR, NULL, DESCRIPTOR, NULL, SIZE, ZERO]),
    call(5, "flock", 73, &[DESCRIPTOR, LOCKING]),
    call(10, "rename", 82, &[PATH, OTHER_PATH]),
    call(6, "renameat2", 316, &[DIRECTORY, PATH, DIRECTORY, OTHER_PATH, RENAME_FLAGS]),
    call(15, "unlink", 87, &[PATH]),
    call(5, "unlinkat", 263, &[DIRECTORY, PATH, AT_FLAGS]),
    call(10, "mkdir", 83, &[PATH, MODE]),
    call(5, "rmdir", 84, &[PATH]),
    call(10, "link", 86, &[PATH, OTHER_PATH]),
    call(5, "linkat", 265, &[DIRECTORY, PATH, DIRECTORY, OTHER_PATH, LINK_FLAGS]),
    call(10, "symlink", 88, &[PATH, OTHER_PATH]),
    call(6, "readlink", 89, &[PATH, BUFFERS, NAME_SIZE]),
    call(6, "chmod", 90, &[PATH, MODE]),
    call(6, "fchmod", 91, &[DESCRIPTOR, MODE]),
    call(4, "chown", 92, &[PATH, IDENTITY, IDENTITY]),
    call(10, "getdents64", 217, &[DESCRIPTOR, RESULTS, ENTRIES_SIZE]).but(Treatment::Entries(1)),
    call(6, "chdir", 80, &[PLACE]),
    call(6, "fchdir", 81, &[DESCRIPTOR]),
    call(6, "getcwd", 79, &[RESULTS, NAME_SIZE]).but(Treatment::Directory(0)),
    call(5, "umask", 95, &[MODE]),
    call(10, "pipe2", 293, &[BUFFERS, PIPE_FLAGS]),
    call(6, "socketpair", 53, &[FAMILY, SOCKET_FLAGS, ZERO, RESULTS]),
    call(10, "eventfd2", 290, &[INITIAL, EVENT_FLAGS]),
    call(5, "memfd_create", 319, &[NAME, MEMORY_FILE_FLAGS]),
    call(15, "poll", 7, &[POLLED, POLLED_COUNT, ZERO]),
    call(10, "epoll_create1", 291, &[INSTANCE_FLAGS]),
    call(40, "epoll_ctl", 233, &[DESCRIPTOR, CHANGE, DESCRIPTOR, EVENT]),
    call(20, "epoll_wait", 232, &[DESCRIPTOR, RESULTS, EVENT_COUNT, ZERO]),
    call(40, "rt_sigprocmask", 14, &[SET_HOW, SET, BUFFERS, SET_SIZE]),
    call(10, "rt_sigpending", 127, &[BUFFERS, SET_SIZE]),
    call(10, "rt_sigtimedwait", 128, &[SET, RESULTS, SOON, SET_SIZE]).but(Treatment::Zero(1)),
    call(10, "mmap", 9, &[MAP_PLACE, MAP_LENGTH, PROTECTION, MAP_FLAGS, DESCRIPTOR, MAP_OFFSET]),
    call(8, "munmap", 11, &[MAP_PLACE, MAP_LENGTH]),
    call(8, "mprotect", 10, &[MAP_PLACE, MAP_LENGTH, PROTECTION]),
    call(4, "mremap", 25, &[MAP_PLACE, MOVED_LENGTH, MOVED_LENGTH, MOVE_FLAGS, MOVED_TO]),
    call(4, "msync", 26, &[MAP_PLACE, MAP_LENGTH, SYNC_FLAGS]),
    call(5, "madvise", 28, &[MAP_PLACE, ADVISED_LENGTH, ADVICE]),
    call(10, "futex", 202, &[FUTEX_WORD, FUTEX_OPERATION, FUTEX_VALUE, SOON, NULL, BITSET]),
    call(
        6,
        "futex of two words",
        202,
        &[FUTEX_WORD, FUTEX_REQUEUE, FUTEX_VALUE, FUTEX_VALUE, FUTEX_WORD, FUTEX_CHANGE],
    ),
    call(3, "sched_yield", 24, &[]),
    call(5, "clock_nanosleep", 230, &[SLEEPING_CLOCK, SLEEPING_FLAGS, SOON, BUFFERS]).but(Treatment::Zero(3)),
    call(6, "clock_gettime", 228, &[CLOCK, RESULTS]).but(Treatment::Zero(1)),
    call(2, "time", 201, &[RESULTS]).but(Treatment::Zero(0)),
    call(3, "getcpu", 309, &[RESULTS, NULL]).but(Treatment::Zero(0)),
    call(5, "getpid", 39, &[]).but(Treatment::Process),
    call(5, "gettid", 186, &[]).but(Treatment::Process),
    call(5, "getppid", 110, &[]).but(Treatment::Process),
    call(3, "getuid", 102, &[]),
    call(3, "geteuid", 107, &[]),
    call(3, "getegid", 108, &[]),
    call(5, "setresuid", 117, &[IDENTITY, IDENTITY, IDENTITY]),
    call(4, "setresgid", 119, &[IDENTITY, IDENTITY, IDENTITY]),
    call(3, "getresuid", 118, &[BUFFERS, BUFFERS, BUFFERS]),
    call(8, "wait4", 61, &[CHILD, BUFFERS, WAIT_OPTIONS, NULL]).but(Treatment::Process),
    call(8, "load", 1000, &[BYTE_PLACE]),
    call(8, "store", 1001, &[BYTE_PLACE, BYTE]),
    call(10, "sigaction", 1002, &[CAUGHT, DISPOSITION, ACTION_FLAGS]),
    call(20, "raise", 1003, &[SIGNAL, TO_THREAD]),
    call(8, "signal the child", 1004, &[SIGNAL]),
    call(5, "execute", 1005, &[]),
    call(5, "end", 1006, &[]),
];
