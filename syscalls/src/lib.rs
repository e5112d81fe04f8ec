//! The system calls: one file for each manual page.
//!
//! A handler decodes its registers, rejects what Linux rejects, calls the sentry's object, and copies the result out; it
//! remembers nothing. Each file declares its rows of the table beside its handlers, and [`table`] puts them together. Each row says
//! how complete the call is; `docs/compatibility.md` is generated from that.
//!
//! Depends on `sentry`, `platform` and `abi`.

#![forbid(unsafe_code)]

mod accept;
mod access;
mod address;
mod bind;
mod brk;
mod capget;
mod chdir;
mod chmod;
mod chown;
mod clock_gettime;
mod clone;
mod close;
mod connect;
mod copy;
mod descriptor;
mod dispatch;
mod dup;
mod epoll_create;
mod epoll_ctl;
mod epoll_wait;
mod eventfd;
mod execve;
mod exit;
mod fcntl;
mod flock;
mod fsync;
mod futex;
mod getdents;
mod getitimer;
mod getpeername;
mod getpid;
mod getrlimit;
mod getrusage;
mod getsockname;
mod getsockopt;
mod getuid;
mod getxattr;
mod inotify_add_watch;
mod inotify_init;
mod ioctl;
mod ioprio_set;
mod kill;
mod link;
mod listen;
mod lseek;
mod madvise;
mod membarrier;
mod memfd_create;
mod mincore;
mod mkdir;
mod mlock;
mod mmap;
mod mprotect;
mod mremap;
mod mseal;
mod msgctl;
mod msgget;
mod msgop;
mod msync;
mod names;
mod nanosleep;
mod open;
mod pidfd_getfd;
mod pipe;
mod pkey_alloc;
mod place;
mod poll;
mod prctl;
mod process_vm_readv;
mod read;
mod recv;
mod rename;
mod sched;
mod sched_setattr;
mod select;
mod semctl;
mod semget;
mod semop;
mod send;
mod sendfile;
mod setpgid;
mod shmctl;
mod shmget;
mod shmop;
mod shutdown;
mod sigaction;
mod signalfd;
mod sigprocmask;
mod socket;
mod socketpair;
mod splice;
mod stat;
mod statfs;
mod strace;
mod sysinfo;
mod table;
mod timer_create;
mod timerfd_create;
mod transfer;
mod truncate;
mod uname;
mod unshare;
mod utimensat;
mod wait4;
mod write;

pub use dispatch::TableDispatcher;
pub use names::{NAMES, syscall_name};
pub use table::{Argument, Handler, Row, Support, Table};
