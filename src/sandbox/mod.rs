//! The processes of a sandbox and how they are set up.
//!
//! The gofer and the sentry are forks of the monitor; nothing is executed. They are made by a process that gives them a session
//! and ends ([`maker`]). Each is the first process of a PID namespace, so that what it makes dies with it, and each waits for
//! [`ToSandbox::Go`](crate::control::ToSandbox::Go) while the monitor writes its identity map and puts it into the cgroup. Then
//! it sets itself up, single-threaded, in an order that leaves nothing out: an error at any step ends the sandbox and says what to
//! do.
//!
//! ```text
//! usk run          monitor   waits for signals, both children, the control socket
//!  ├─ usk-gofer              PID, mount namespaces; the sentry's IPC, UTS, network, or, where it has users of its own
//!  │                         (an ordinary caller's, mapped users), user, IPC, UTS, network; root: the exports
//!  └─ usk-sentry             user, PID namespaces; mount, IPC, UTS, network namespaces in which there is nothing: those of all
//!      │                     sandboxes ([`empty`]), or its own; root: empty, read-only
//!      └─ stubs              made by the platform, in the sentry's namespaces
//! ```
//!
//! What takes the host long is done where it holds up nobody: each process makes most of its namespaces itself, while the
//! monitor goes on ([`AT_BIRTH`](launch::AT_BIRTH)), or it is there already ([`empty`]), and the sentry goes on while the platform comes up. `usk run
//! --trace-start` shows it.
//!
//! Before them there may be a process that unpacks an image, set up in the same way and gone when it is done (`confined`).
//!
//! When one goes, all go: the two children have asked for SIGKILL at the monitor's death; the monitor waits for both
//! and ends the other; the gofer also leaves when its lanes hang up.

mod confined;
mod empty;
mod gofer;
mod identity;
mod launch;
mod maker;
mod sentry;
mod view;

pub(crate) use confined::confined;
pub(crate) use empty::{DIRECTORY as EMPTY_NAMESPACES, remove_empty_namespaces};
pub use gofer::{GOFER_CAPABILITIES, GOFER_NAMESPACES};
pub use launch::{Sandbox, launch};
pub use sentry::{SENTRY_NAMESPACES, Sentry};
pub use view::{MountedView, View};
