//! The `usk` command: a program, run on a kernel of its own in a user process.
//!
//! [`command_line`] says what can be asked for, [`plan`] turns it into a [`spec`] by looking at the host, [`sandbox`]
//! makes the processes, and [`monitor`] stays with them until the end. The sentry's process sets itself up, gives up
//! what it does not need, and becomes the kernel in [`boot`]. [`control`] is what monitor and sentry say to each
//! other, [`filters`] what the processes may ask of the host, [`cgroup`] how memory is limited, [`doctor`] what a host
//! lacks, [`mod@bench`] what all of it costs beside other runtimes, `install` what engines are told about usk, and [`image`] how
//! container images become roots.
//!
//! This crate connects the others and decides nothing about Linux.

#![forbid(unsafe_code)]

mod bench;
pub mod boot;
pub mod cgroup;
pub mod command_line;
pub mod control;
pub mod doctor;
mod entry;
pub mod filters;
pub mod image;
mod install;
mod monitor;
mod personality;
pub mod plan;
mod receipt;
mod run;
pub mod sandbox;
pub mod spec;
pub mod status;
mod usage;
pub mod values;

pub use entry::main;
pub use personality::randomize_addresses;
pub use usage::{usage, usage_line};
pub use usk_syscalls::syscall_number;
