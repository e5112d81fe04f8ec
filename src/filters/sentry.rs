//! What the sentry may ask of the host. It has no line that takes a name of a file, and none that makes a socket.

use usk_platform::host::pidfd::PIDFD_GET_INFO;

use super::Form::{self, Any, Bits, OneOf};
use super::HostCall;
use super::Needed::{self, Always, Ptrace, Trap};

const fn call(
    name: &'static str,
    number: i64,
    platform: Needed,
    form: Form,
    reason: &'static str,
) -> HostCall {
    HostCall { name, number, platform, form, reason }
}

const fn ioctl(value: u32) -> u64 {
    value as u64
}

/// SECCOMP_IOCTL_NOTIF_RECV, _SEND, _ID_VALID, _ADDFD, _SET_FLAGS (linux/seccomp.h), and the number of a process.
const STUBS: &[u64] = &[
    ioctl(0xc050_2100),
    ioctl(0xc018_2101),
    ioctl(0x4008_2102),
    ioctl(0x4018_2103),
    ioctl(0x4008_2104),
    ioctl(PIDFD_GET_INFO),
];

/// What terminals, pipes and sockets of the host are asked, when the guest's standard input is one.
const TERMINAL: &[u64] = &[
    libc::TCGETS,
    ioctl(usk_abi::tty::TCGETS2),
    ioctl(usk_abi::tty::TCSETS2),
    ioctl(usk_abi::tty::TCSETSW2),
    ioctl(usk_abi::tty::TCSETSF2),
    libc::TIOCGWINSZ,
    libc::TIOCSWINSZ,
    libc::FIONREAD,
    libc::TIOCOUTQ,
    libc::TCFLSH,
    libc::TCXONC,
];

const CLONE_THREAD: u64 = (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND) as u64;
const CLONE_NEW: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// The list.
#[rustfmt::skip]
pub const SENTRY: &[HostCall] = &[
    // Guest threads.
    call("ioctl", libc::SYS_ioctl, Trap, OneOf { index: 1, values: STUBS }, "receives and answers the stubs' doorbells, hands them descriptors, asks for their numbers"),
    call("pidfd_open", libc::SYS_pidfd_open, Always, Any, "refers to a stub's process, to take its listener and to see its end"),
    call("pidfd_getfd", libc::SYS_pidfd_getfd, Trap, Any, "takes the listener that a guest thread has made"),
    call("pidfd_send_signal", libc::SYS_pidfd_send_signal, Trap, Any, "interrupts and ends stubs without naming a process id"),
    call("ptrace", libc::SYS_ptrace, Ptrace, Any, "runs guest threads and carries out host calls in them"),
    call("clone", libc::SYS_clone, Ptrace, Bits { index: 0, set: 0, clear: CLONE_NEW }, "forks the process of a new address space"),
    call("tgkill", libc::SYS_tgkill, Always, Any, "interrupts a guest thread or another thread of the sentry"),
    call("kill", libc::SYS_kill, Always, Any, "ends stubs; the PID namespace holds nothing else"),
    call("wait4", libc::SYS_wait4, Always, Any, "reaps stubs"),
    call("waitid", libc::SYS_waitid, Always, Any, "sees how a stub ended, and the stops of traced ones"),
    call("sched_setaffinity", libc::SYS_sched_setaffinity, Always, Any, "keeps a hand-over on the caller's CPU"),
    call("sched_getaffinity", libc::SYS_sched_getaffinity, Always, Any, "counts the CPUs"),
    // Guest memory.
    call("process_vm_readv", libc::SYS_process_vm_readv, Always, Any, "reads guest memory"),
    call("process_vm_writev", libc::SYS_process_vm_writev, Always, Any, "writes guest memory"),
    call("memfd_create", libc::SYS_memfd_create, Always, Any, "holds shared memory and files inside the sandbox"),
    // Open files that were handed over: by the monitor, by the gofer, or made here.
    call("read", libc::SYS_read, Always, Any, "reads from streams and wake-up descriptors"),
    call("write", libc::SYS_write, Always, Any, "writes to streams, logs and wake-up descriptors"),
    call("readv", libc::SYS_readv, Always, Any, "reads from streams into several places"),
    call("writev", libc::SYS_writev, Always, Any, "writes to streams from several places"),
    call("pread64", libc::SYS_pread64, Always, Any, "reads files of the host and of the upper layer"),
    call("pwrite64", libc::SYS_pwrite64, Always, Any, "writes files of writable volumes and of the upper layer"),
    call("preadv", libc::SYS_preadv, Always, Any, "the same into several places"),
    call("pwritev", libc::SYS_pwritev, Always, Any, "the same from several places"),
    call("preadv2", libc::SYS_preadv2, Always, Any, "reads from a stream without waiting for it"),
    call("pwritev2", libc::SYS_pwritev2, Always, Any, "writes to a stream without waiting for it"),
    call("lseek", libc::SYS_lseek, Always, Any, "finds data and holes in files"),
    call("fstat", libc::SYS_fstat, Always, Any, "size and type of a descriptor that was handed over"),
    call("newfstatat", libc::SYS_newfstatat, Always, Bits { index: 3, set: libc::AT_EMPTY_PATH as u64, clear: 0 }, "fstat, as the C library makes it; there is no file to name"),
    call("statx", libc::SYS_statx, Always, Any, "the same with all times; there is no file to name"),
    call("fstatfs", libc::SYS_fstatfs, Always, Any, "tells what kind of file system a handed descriptor is on"),
    call("ftruncate", libc::SYS_ftruncate, Always, Any, "sets the size of files in memory and of donated files"),
    call("fallocate", libc::SYS_fallocate, Always, Any, "punches holes and reserves room"),
    call("fsync", libc::SYS_fsync, Always, Any, "fsync of a writable volume's file"),
    call("fdatasync", libc::SYS_fdatasync, Always, Any, "fdatasync of a writable volume's file"),
    call("copy_file_range", libc::SYS_copy_file_range, Always, Any, "copies a file up into the upper layer"),
    call("fcntl", libc::SYS_fcntl, Always, Any, "status flags, duplicates, seals and record locks of own descriptors"),
    call("dup", libc::SYS_dup, Always, Any, "duplicates a descriptor for another owner"),
    call("close", libc::SYS_close, Always, Any, "closes descriptors"),
    call("ioctl", libc::SYS_ioctl, Always, OneOf { index: 1, values: TERMINAL }, "settings and size of the caller's terminal, bytes waiting in a stream"),
    // Waiting, and being told.
    call("poll", libc::SYS_poll, Always, Any, "waits for descriptors"),
    call("ppoll", libc::SYS_ppoll, Always, Any, "waits for descriptors with a timeout in nanoseconds"),
    call("epoll_create1", libc::SYS_epoll_create1, Always, Any, "watches the host's streams and the stubs' ends"),
    call("epoll_ctl", libc::SYS_epoll_ctl, Always, Any, "watches the host's streams and the stubs' ends"),
    call("epoll_wait", libc::SYS_epoll_wait, Always, Any, "watches the host's streams and the stubs' ends"),
    call("epoll_pwait", libc::SYS_epoll_pwait, Always, Any, "watches the host's streams and the stubs' ends"),
    call("eventfd2", libc::SYS_eventfd2, Always, Any, "wakes a thread that waits for descriptors"),
    call("socketpair", libc::SYS_socketpair, Always, OneOf { index: 0, values: &[libc::AF_UNIX as u64] }, "passes descriptors to a stub"),
    call("sendmsg", libc::SYS_sendmsg, Always, Any, "asks the gofer, passes descriptors to a stub"),
    call("recvmsg", libc::SYS_recvmsg, Always, Any, "hears the gofer, with the descriptors it donates"),
    call("sendto", libc::SYS_sendto, Always, Any, "tells the monitor"),
    call("recvfrom", libc::SYS_recvfrom, Always, Any, "hears the monitor"),
    call("shutdown", libc::SYS_shutdown, Always, Any, "ends a conversation"),
    call("futex", libc::SYS_futex, Always, Any, "locks, and wakes the spawner of an address space"),
    call("futex_waitv", libc::SYS_futex_waitv, Always, Any, "sleeps until another sentry thread or a guest thread's bell wakes it"),
    call("nanosleep", libc::SYS_nanosleep, Always, Any, "sleeps for a span of time"),
    call("clock_nanosleep", libc::SYS_clock_nanosleep, Always, Any, "sleeps until a moment"),
    // Time and identity.
    call("clock_gettime", libc::SYS_clock_gettime, Always, Any, "clocks that the vDSO does not answer: of processor time"),
    call("getrusage", libc::SYS_getrusage, Always, Any, "processor time and faults of ended stubs"),
    call("sysinfo", libc::SYS_sysinfo, Always, Any, "how much memory the host has"),
    call("getrandom", libc::SYS_getrandom, Always, Any, "random numbers for the guest and for hash tables"),
    call("getpid", libc::SYS_getpid, Always, Any, "names the own process in a signal"),
    call("gettid", libc::SYS_gettid, Always, Any, "names the own thread in a signal"),
    // The language's runtime and the C library.
    call("mmap", libc::SYS_mmap, Always, Bits { index: 2, set: 0, clear: libc::PROT_EXEC as u64 }, "own memory; never executable"),
    call("mprotect", libc::SYS_mprotect, Always, Bits { index: 2, set: 0, clear: libc::PROT_EXEC as u64 }, "guard pages of threads, and the allocator; never executable"),
    call("munmap", libc::SYS_munmap, Always, Any, "gives memory back"),
    call("mremap", libc::SYS_mremap, Always, Any, "grows large allocations"),
    call("madvise", libc::SYS_madvise, Always, Any, "gives pages back, keeps secrets out of dumps"),
    call("brk", libc::SYS_brk, Always, Any, "the allocator's heap"),
    call("clone", libc::SYS_clone, Always, Bits { index: 0, set: CLONE_THREAD, clear: CLONE_NEW }, "makes threads of this process"),
    call("set_robust_list", libc::SYS_set_robust_list, Always, Any, "the C library, in a new thread"),
    call("rseq", libc::SYS_rseq, Always, Any, "the C library, in a new thread"),
    call("prctl", libc::SYS_prctl, Always, OneOf { index: 0, values: &[libc::PR_SET_NAME as u64, 0x5356_4d41] }, "names threads and memory areas"),
    call("sigaltstack", libc::SYS_sigaltstack, Always, Any, "where a thread notices that its stack is full"),
    call("rt_sigaction", libc::SYS_rt_sigaction, Always, Any, "handlers that interrupt blocking host calls"),
    call("rt_sigprocmask", libc::SYS_rt_sigprocmask, Always, Any, "keeps signals from threads that must not see them"),
    call("rt_sigreturn", libc::SYS_rt_sigreturn, Always, Any, "returns from a handler"),
    call("restart_syscall", libc::SYS_restart_syscall, Always, Any, "goes on with a timed wait after a stop"),
    call("sched_yield", libc::SYS_sched_yield, Always, Any, "backs off between tries for a lock"),
    call("membarrier", libc::SYS_membarrier, Always, Any, "orders memory between threads cheaply"),
    call("exit", libc::SYS_exit, Always, Any, "ends a thread"),
    call("exit_group", libc::SYS_exit_group, Always, Any, "ends the process"),
];

/// A host call that the C library tries and can do without: the host is not asked, and the answer is this error.
#[derive(Clone, Copy, Debug)]
pub struct RefusedCall {
    /// Its name.
    pub name: &'static str,
    /// Its number.
    pub number: i64,
    /// Who tries it, and what happens instead.
    pub reason: &'static str,
}

/// What the sentry is refused (`ENOSYS`) without dying of it.
pub const REFUSED: &[RefusedCall] = &[
    RefusedCall {
        name: "clone3",
        number: libc::SYS_clone3,
        reason: "its flags are in memory, where no filter sees them; the C library makes threads with clone then",
    },
    RefusedCall {
        name: "openat",
        number: libc::SYS_openat,
        reason: "the allocator looks for the count of CPUs and the host's overcommit policy; without, it assumes the usual",
    },
];
