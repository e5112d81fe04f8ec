//! The kernel: everything that usk remembers about its guests.
//!
//! - [`task`]: tasks, thread groups, process groups, sessions, credentials; the loop that runs a guest thread; the one
//!   way to block.
//! - [`seccomp`]: the filters that guests lay on their own calls.
//! - [`settings`]: what `/proc/sys` lets one change.
//! - [`signal`]: pending sets, actions, delivery, frames. [`ptrace`]: tasks that trace others.
//! - [`mm`]: the memory map of an address space. [`loader`]: from an executable file to a running image.
//! - [`vfs`]: mounts, dentries, inodes, open files, descriptor tables. [`fs`]: the file systems. [`mod@file`]: objects that are
//!   files without a name. [`net`]: sockets.
//! - [`aio`]: asynchronous input and output. [`time`]: clocks and timers. [`gofer`]: the client of the file broker.
//!
//! A system call arrives in [`task`], is decoded by the table in the `syscalls` crate (which this crate knows only as a
//! [`task::Dispatcher`]) and acts on these objects. Each guest thread has a sentry thread of its own, so code that blocks
//! reads straight down: see [`wait`].
//!
//! # Lock order
//!
//! Taken from the outside in; a lock may be taken only while holding locks above it.
//!
//! ```text
//! Kernel::tasks (the process tree: parents, children, groups, sessions, identifiers, who traces whom)
//!   a timer that sends signals (its setting; no two at once)
//!   Task::signals, ThreadGroup::signals (pending sets, actions)
//!     Task::tracing
//!     Task wake-ups (Waiter)
//! InodeCommon::changes (of one file: owner, permissions). Held while the gofer is asked, and while a task is waited for to leave guest
//! code; by whoever changes a file for a caller, and an overlay's for its upper file as well.
//! Mm::program (which program's memory it is). Held while a stopped task is asked to copy, and by an execution.
//! Mm::state (the VMA tree). Held while threads are waited for to leave guest code: whoever counts as in it takes none of these.
//!   futex buckets
//!     who waits for which owner of a priority-inheriting futex
//! FdTable. Whoever begins to use one waits for the task that is lent it to leave guest code, with none of the locks from here on.
//! Held by `accept` while it takes the connection.
//! OpenFile::position
//!   FsContext
//!   SuperBlock::renames (held whole by renames)
//!     Dentry::entries (one directory's names; two by renames only, ancestor first). Held while the gofer is asked.
//!       Holder (of one file). Held while its task is waited for to leave guest code, on whose way out FdTable, positions, contents and
//!       FileLocks are taken: whoever looks at attributes or opens files has none of these.
//!       overlay: OverlayInode::copying → Entries → place → Layers::linked, Layers::kept
//!         Borrowers (of one file; an overlay's before those of its upper file). Taken also with none of these held.
//!         tmpfs: contents or entries → state
//!         gofer: writers; the others are held for no call
//!       SuperBlock::cache (what may be evicted)
//!         Dentry::children
//!     Dentry::position, MountNamespace::mounts, FileLocks (of one file → who waits for records)
//!     file objects (pipe, socket, terminal, …; inotify: a file's watches → instance). Who waits for a stream's reader to leave guest code
//!     has none of these but a pipe's consumer, where it is not the reader's.
//!       FileOwner (signals on readiness: what is due is sent with no lock held)
//!       WaitQueue
//!         Waiter, epoll ready list
//! What threads were told of names (`vfs::known_names`): inside of everything, and nothing is locked inside of it
//! ```
//!
//! Depends on `platform`, `gofer/protocol` and `abi`; never on `syscalls` nor on the gofer's server.

#![forbid(unsafe_code)]

pub mod aio;
mod countdown;
mod error;
pub mod file;
pub mod fs;
pub mod futex;
pub mod gofer;
pub mod host_memory;
pub mod ipc;
mod kernel;
mod limits;
pub mod loader;
mod meter;
pub mod mm;
pub mod net;
pub mod ptrace;
pub mod seccomp;
pub mod settings;
pub mod signal;
pub mod task;
pub mod time;
pub mod tty;
mod usercopy;
pub mod vfs;
pub mod wait;

pub use error::{Restart, RestartBlock, SysError, SysResult};
pub use kernel::{ExitWatch, IdentityMaps, Kernel, RELEASE, Report, UtsNames, VERSION};
pub use limits::{Limits, SandboxLimits};
pub use meter::{CallCost, Costs, Meter, Totals};
pub use usercopy::{
    BytesSink, BytesSource, Discard, Filler, IoVec, MAX_TRANSFER, Sink, Source, Taker, TransitSink, UserPtr,
    UserSink, UserSource, read_c_string,
};
