//! What Linux says: numbers, structures, flags and error codes of the x86-64 system-call interface (the ABI of
//! Linux 6.12).
//!
//! This crate states facts and does nothing: no I/O, no state, and no other crate of the project below it. Layouts
//! are checked against the host's headers by tests.
//!
//! Dependencies point one way: `usk → syscalls → sentry → platform, gofer/protocol → abi`.

#![forbid(unsafe_code)]

pub mod aio;
pub mod auxv;
pub mod capability;
pub mod elf;
pub mod epoll;
mod errno;
pub mod fcntl;
pub mod fs;
pub mod inotify;
pub mod ipc;
pub mod mm;
pub mod mqueue;
pub mod nsfs;
pub mod personality;
pub mod poll;
pub mod ptrace;
pub mod sched;
pub mod seccomp;
pub mod sigevent;
pub mod signal;
pub mod signalfd;
pub mod socket;
pub mod time;
pub mod tty;

pub use errno::{Errno, MAX_ERRNO};
pub use poll::PollEvents;
pub use signal::Signal;
