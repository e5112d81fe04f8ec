//! Readiness events of `poll(2)` and `epoll(7)`. The low sixteen bits are the same for both.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags! {
    /// `POLL*` and `EPOLL*` readiness bits (`asm-generic/poll.h`, `linux/eventpoll.h`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct PollEvents: u32 {
        /// There is data to read.
        const IN = 0x0001;
        /// There is an exceptional condition.
        const PRI = 0x0002;
        /// Writing is possible.
        const OUT = 0x0004;
        /// An error has happened; always reported.
        const ERR = 0x0008;
        /// The peer has closed its end; always reported.
        const HUP = 0x0010;
        /// The descriptor is not open (`poll` only).
        const NVAL = 0x0020;
        /// Normal data to read.
        const RDNORM = 0x0040;
        /// Priority band data to read.
        const RDBAND = 0x0080;
        /// Writing normal data is possible.
        const WRNORM = 0x0100;
        /// Writing priority data is possible.
        const WRBAND = 0x0200;
        /// Unused on Linux, but accepted.
        const MSG = 0x0400;
        /// The peer has shut down its writing half.
        const RDHUP = 0x2000;
    }
}

/// `struct pollfd`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PollFd {
    /// The descriptor; negative ones are passed over.
    pub descriptor: i32,
    /// What to wait for.
    pub events: u16,
    /// What has come.
    pub ready: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_matches_the_headers() {
        assert_eq!(size_of::<PollFd>(), size_of::<libc::pollfd>());
        assert_eq!(std::mem::offset_of!(PollFd, ready), std::mem::offset_of!(libc::pollfd, revents));
    }
}
