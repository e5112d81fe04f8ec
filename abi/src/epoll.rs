//! `epoll(7)` (`linux/eventpoll.h`). The readiness bits are [`crate::PollEvents`].

#![allow(missing_docs)]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub const EPOLL_CTL_ADD: i32 = 1;
pub const EPOLL_CTL_DEL: i32 = 2;
pub const EPOLL_CTL_MOD: i32 = 3;

pub const EPOLL_CLOEXEC: u32 = crate::fcntl::O_CLOEXEC;

/// Wake one waiter instead of all.
pub const EPOLLEXCLUSIVE: u32 = 1 << 28;
/// Keep the system awake; needs a capability, and means nothing in a sandbox.
pub const EPOLLWAKEUP: u32 = 1 << 29;
/// Report once, then wait to be armed again.
pub const EPOLLONESHOT: u32 = 1 << 30;
/// Report changes, not states.
pub const EPOLLET: u32 = 1 << 31;

/// `struct epoll_event`, packed on x86-64.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C, packed)]
pub struct EpollEvent {
    /// `EPOLL*`.
    pub events: u32,
    /// The caller's own.
    pub data: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_and_numbers_match_the_headers() {
        assert_eq!(size_of::<EpollEvent>(), size_of::<libc::epoll_event>());
        assert_eq!(EPOLLET as i32, libc::EPOLLET);
        assert_eq!(EPOLLONESHOT as i32, libc::EPOLLONESHOT);
        assert_eq!(EPOLLEXCLUSIVE as i32, libc::EPOLLEXCLUSIVE);
        assert_eq!(EPOLLWAKEUP as i32, libc::EPOLLWAKEUP);
        assert_eq!(
            [EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD],
            [libc::EPOLL_CTL_ADD, libc::EPOLL_CTL_DEL, libc::EPOLL_CTL_MOD]
        );
    }
}
