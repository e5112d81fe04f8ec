//! Objects that are files without a name of their own. One object, one file, named as its manual page.
//!
//! - [`epoll`], [`eventfd`], [`signalfd`], [`timerfd`]; [`poll`]: what poll(2) and select(2) have in common.
//! - [`async_io`]: signals when files become ready.
//! - [`inotify`]: watching files.
//! - [`namespace`]: what `/proc/PID/ns` leads to.
//! - [`pipe`]: pipes and FIFOs; [`splice`]: moving bytes through them.
//! - [`host`]: descriptors of the host that the sandbox was given, and the thread that waits for them.

pub mod async_io;
pub mod epoll;
pub mod eventfd;
pub mod host;
mod host_poller;
pub mod inotify;
pub mod namespace;
pub mod pipe;
pub mod poll;
pub(crate) mod ring;
pub mod signalfd;
pub mod splice;
#[cfg(test)]
pub(crate) mod testing;
pub mod timerfd;

pub use host_poller::HostPoller;
