//! Calls that are about the same thing, for the receipt of `usk run --report`.

use crate::names::syscall_name;

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Files by name, and their attributes.
    Names,
    /// What is in files, pipes and sockets.
    Data,
    /// Making and changing descriptors.
    Descriptors,
    /// Mappings.
    Memory,
    /// Processes, threads, programs, and how they are run.
    Processes,
    /// Who somebody is.
    Identity,
    /// Signals.
    Signals,
    /// Clocks and timers.
    Time,
    /// Waiting for each other, and what is shared for that.
    Waiting,
    /// Sockets.
    Network,
    /// The system as a whole.
    System,
    /// Calls that the kernel does not have.
    Unimplemented,
}

/// The calls of the table, by family.
#[rustfmt::skip]
const FAMILIES: [(Family, &[&str]); 11] = [
    (Family::Names, &[
        "access", "chdir", "chmod", "chown", "chroot", "creat", "faccessat", "faccessat2", "fchdir", "fchmod",
        "fchmodat", "fchmodat2", "fchown", "fchownat", "fgetxattr", "flistxattr", "fremovexattr", "fsetxattr",
        "fstat", "fstatfs", "futimesat", "getcwd", "getdents", "getdents64", "getxattr", "inotify_add_watch",
        "inotify_init", "inotify_init1", "inotify_rm_watch", "lchown", "lgetxattr", "link", "linkat", "listxattr",
        "llistxattr", "lremovexattr", "lsetxattr", "lstat", "mkdir", "mkdirat", "mknod", "mknodat", "name_to_handle_at",
        "newfstatat",
        "open", "openat", "openat2", "readlink", "readlinkat", "removexattr", "rename", "renameat", "renameat2",
        "rmdir", "setxattr", "stat", "statfs", "statx", "symlink", "symlinkat", "umask", "unlink", "unlinkat",
        "utime", "utimensat", "utimes"
    ]),
    (Family::Data, &[
        "copy_file_range", "fadvise64", "fallocate", "fdatasync", "fsync", "ftruncate", "io_cancel",
        "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit", "lseek", "pread64",
        "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readv", "sendfile", "splice",
        "sync", "sync_file_range", "syncfs", "tee", "truncate", "vmsplice", "write", "writev"
    ]),
    (Family::Descriptors, &[
        "close", "close_range", "dup", "dup2", "dup3", "eventfd", "eventfd2", "fcntl", "flock", "ioctl",
        "memfd_create", "pidfd_getfd", "pidfd_open", "pipe", "pipe2", "signalfd", "signalfd4", "timerfd_create",
        "timerfd_gettime", "timerfd_settime"
    ]),
    (Family::Memory, &[
        "brk", "get_mempolicy", "madvise", "mbind", "membarrier", "mincore", "mlock", "mlock2", "mlockall", "mmap",
        "mprotect", "mremap", "mseal", "msync", "munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free",
        "pkey_mprotect", "process_vm_readv", "process_vm_writev", "set_mempolicy"
    ]),
    (Family::Processes, &[
        "arch_prctl", "clone", "clone3", "execve", "execveat", "exit", "exit_group", "fork", "getcpu", "getpgid",
        "getpgrp", "getpriority", "getrlimit", "getrusage", "getsid", "ioprio_get", "ioprio_set", "kcmp", "ptrace",
        "personality", "prctl", "prlimit64", "sched_get_priority_max", "sched_get_priority_min",
        "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval",
        "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp",
        "set_tid_address", "setns", "setpgid", "setpriority", "setrlimit", "setsid", "times", "unshare", "vfork",
        "wait4", "waitid"
    ]),
    (Family::Identity, &[
        "capget", "capset", "getegid", "geteuid", "getgid", "getgroups", "getpid", "getppid", "getresgid",
        "getresuid", "gettid", "getuid", "setfsgid", "setfsuid", "setgid", "setgroups", "setregid", "setresgid",
        "setresuid", "setreuid", "setuid"
    ]),
    (Family::Signals, &[
        "kill", "pause", "pidfd_send_signal", "restart_syscall", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
        "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo", "sigaltstack",
        "tgkill", "tkill"
    ]),
    (Family::Time, &[
        "adjtimex", "alarm", "clock_adjtime", "clock_getres", "clock_gettime", "clock_nanosleep", "clock_settime", "getitimer", "gettimeofday",
        "nanosleep", "setitimer", "settimeofday", "time", "timer_create", "timer_delete", "timer_getoverrun",
        "timer_gettime", "timer_settime"
    ]),
    (Family::Waiting, &[
        "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "futex",
        "futex_requeue", "futex_wait", "futex_waitv", "futex_wake", "get_robust_list", "mq_getsetattr", "mq_notify", "mq_open",
        "mq_timedreceive", "mq_timedsend", "mq_unlink", "msgctl", "msgget", "msgrcv",
        "msgsnd", "poll", "ppoll", "pselect6", "select", "semctl", "semget", "semop", "semtimedop",
        "set_robust_list", "shmat", "shmctl", "shmdt", "shmget"
    ]),
    (Family::Network, &[
        "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom",
        "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown", "socket", "socketpair"
    ]),
    (Family::System, &[
        "getrandom", "setdomainname", "sethostname", "sysinfo", "uname"
    ]),
];

impl Family {
    /// Of a call, by its number.
    pub fn of(number: u64) -> Family {
        let name = syscall_name(number);
        let family = FAMILIES.iter().find(|(_, names)| names.contains(&&*name));
        family.map_or(Family::Unimplemented, |(family, _)| *family)
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Family::Names => "names",
            Family::Data => "data",
            Family::Descriptors => "descriptors",
            Family::Memory => "memory",
            Family::Processes => "processes",
            Family::Identity => "identity",
            Family::Signals => "signals",
            Family::Time => "time",
            Family::Waiting => "waiting",
            Family::Network => "network",
            Family::System => "system",
            Family::Unimplemented => "unimplemented",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Table;

    #[test]
    fn each_call_of_the_table_has_one_family_and_no_other_call_has_any() {
        let table = Table::new();
        for number in 0..1000 {
            let name = syscall_name(number);
            let count: usize =
                FAMILIES.iter().map(|(_, names)| names.iter().filter(|of| ***of == *name).count()).sum();
            assert_eq!(count, usize::from(table.row(number).is_some()), "{name}");
            assert_eq!(Family::of(number) == Family::Unimplemented, count == 0, "{name}");
        }
        let names: Vec<_> = FAMILIES.iter().flat_map(|(_, names)| *names).collect();
        assert!(names.iter().all(|name| crate::syscall_number(name).is_some()), "{names:?}");
    }
}
