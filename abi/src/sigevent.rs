//! How a process wants to be told of something (`sigevent(3type)`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// By a signal.
pub const SIGEV_SIGNAL: i32 = 0;
/// Not at all.
pub const SIGEV_NONE: i32 = 1;
/// By a thread, which the C library makes.
pub const SIGEV_THREAD: i32 = 2;
/// By a signal to one thread.
pub const SIGEV_THREAD_ID: i32 = 4;

/// `struct sigevent`
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct SignalEvent {
    pub value: u64,
    pub signal: i32,
    pub notify: i32,
    pub thread: i32,
    pub padding: [i32; 11],
}
