//! An OCI runtime over the same library as `usk`: runc's command line, the runtime specification's containers, usk's
//! kernel.
//!
//! [`command_line`] is runc's. [`config`] turns a bundle's `config.json` into a plan of the `usk` library. [`monitor`] is
//! the process behind a container: it makes the sandbox, stays with it, and answers the verbs over a socket ([`protocol`])
//! in the container's directory ([`state`]). [`cgroup`] places and limits it, [`hooks`] are run around it, [`console`]
//! makes its terminals, [`log`](mod@log) writes what engines parse. The [`verbs`] are short-lived clients of all this.
//!
//! Depends on `usk` (the library), `platform` and `abi`.

#![forbid(unsafe_code)]

pub mod cgroup;
pub mod command_line;
pub mod config;
mod console;
mod container;
mod entry;
mod go_flags;
pub mod hooks;
pub mod log;
mod monitor;
mod output;
mod protocol;
mod signals;
pub mod state;
mod timestamp;
mod users;
mod verbs;

pub use entry::main;
