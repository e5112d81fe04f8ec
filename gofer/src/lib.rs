//! The file broker: the only process of a sandbox that can name files of the host, and only those it was
//! given.
//!
//! [`serve`] answers the requests of `gofer/protocol` on one or more lanes until all of them are closed. It
//! assumes that its client has been taken over by the guest.
//!
//! - [`Export`]: a tree that the client may see, held as an `O_PATH` descriptor. Everything below is reached
//!   from there one component at a time with `openat2(2)` (`RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
//!   RESOLVE_NO_MAGICLINKS`); a name never holds a `/` and is never `..`, so there is nothing to race with a
//!   symbolic link.
//! - `nodes`: the files that the client knows, by number; each an `O_PATH` descriptor, of which the least
//!   used are closed when there are too many and found again by their names, identity checked.
//! - `operations`: what each request does. A file that an `O_PATH` descriptor stands for is opened through
//!   [`SelfDescriptors`] (`/proc/self/fd`), so that what was looked at is what is opened, whatever others
//!   rename meanwhile. Only regular files are ever opened, and directories to list them.
//! - `lockdown`, `filter`: what the process gives up before it reads its first request.
//!
//! # What the caller arranges
//!
//! In a process of its own, which has a single thread:
//!
//! 1. Open the exports' roots (`O_PATH | O_CLOEXEC`), then [`SelfDescriptors::open`] while `/proc` is
//!    visible: in this very process, not in a parent of it.
//! 2. Namespaces: own user (unless root), mount, PID, IPC, UTS and network namespaces, an empty root. The
//!    exports' own mounts must stay attached to each other: a lazy unmount of the old root takes them apart,
//!    and mount points below an export would show what they cover. `open_tree(2)` with `OPEN_TREE_CLONE |
//!    AT_RECURSIVE` makes a copy that stays whole.
//! 3. Close every descriptor but the lanes, the roots, `SelfDescriptors` and standard error; set PDEATHSIG.
//! 4. Call [`serve`]. It drops capabilities, sets `no_new_privs`, the umask, the descriptor limit and the
//!    filter.
//!
//! Depends on `gofer/protocol` and `abi` only. The host is reached through rustix, which has safe wrappers
//! for what nix lacks: `statx`, directory positions, extended attributes, capability sets.

#![forbid(unsafe_code)]

mod error;
mod export;
mod filter;
mod host;
mod lane;
mod lockdown;
mod nodes;
mod operations;
mod server;

pub use error::GoferError;
pub use export::{Export, ExportMode, HeldAttributes, HiddenNames, MountCrossing, Owners, Sharing};
pub use filter::{FILTER, Form, HostCall, Need};
pub use host::SelfDescriptors;
pub use server::{serve, serve_without_lockdown};
