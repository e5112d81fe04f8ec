//! The file systems.
//!
//! - [`sys`]: what runtimes read of the hardware.
//! - [`cgroup`]: the sandbox's own cgroup.
//! - [`dev`]: devices that are no hardware.
//! - [`gofer`]: files of the host, through the gofer.
//! - [`mqueue`]: POSIX message queues.
//! - [`overlay`]: a writable layer over a tree that is only read.
//! - [`proc`]: the kernel's own state. [`synthetic`]: what it is built of.
//! - [`tmpfs`]: files in memory; also what is behind `memfd_create(2)` and the writable layer of an overlay.

mod bitmap;
pub mod cgroup;
pub mod dev;
pub mod gofer;
pub mod mqueue;
pub mod overlay;
pub mod proc;
pub mod synthetic;
pub mod sys;
pub mod tmpfs;
