//! Waiting for descriptors of the host. epoll(7), eventfd(2).

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use usk_abi::{Errno, PollEvents};

use super::result::from_nix;

/// Most events that one wait returns.
const BATCH: usize = 32;

/// An epoll instance that reports changes of readiness (edge triggered), each with the number given at registration.
pub struct EdgePoll {
    epoll: Epoll,
}

impl EdgePoll {
    /// An instance without descriptors.
    pub fn new() -> Result<Self, Errno> {
        Ok(EdgePoll { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(from_nix)? })
    }

    /// Registers a descriptor for every event. `EPERM` if it is of a kind that is always ready.
    pub fn add(&self, file: impl AsFd, number: u64) -> Result<(), Errno> {
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLPRI
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        self.epoll.add(file, EpollEvent::new(flags, number)).map_err(from_nix)
    }

    /// Ends a registration. Needed before the descriptor is closed: its open file may live on elsewhere.
    pub fn remove(&self, file: impl AsFd) -> Result<(), Errno> {
        self.epoll.delete(file).map_err(from_nix)
    }

    /// Sleeps until something happens; returns the numbers registered and what they are ready for.
    pub fn wait(&self) -> Result<Vec<(u64, PollEvents)>, Errno> {
        let mut events = [EpollEvent::empty(); BATCH];
        let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => 0,
            result => result.map_err(from_nix)?,
        };
        let report =
            |event: &EpollEvent| (event.data(), PollEvents::from_bits_truncate(event.events().bits() as u32));
        Ok(events[..count].iter().map(report).collect())
    }
}

/// A descriptor that becomes readable when another thread says so.
pub struct WakeDescriptor {
    event: EventFd,
}

impl WakeDescriptor {
    /// One that nobody has woken yet.
    pub fn new() -> Result<Self, Errno> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(WakeDescriptor { event: EventFd::from_flags(flags).map_err(from_nix)? })
    }

    /// Makes it readable.
    pub fn wake(&self) {
        // The counter cannot overflow in the lifetime of a process, and if it did it would be readable anyway.
        let _ = self.event.write(1);
    }
}

impl AsFd for WakeDescriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn an_edge_is_reported_for_each_write() {
        let poll = EdgePoll::new().unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        poll.add(&reader, 7).unwrap();
        for _ in 0..3 {
            writer.write_all(b"x").unwrap();
            let events = poll.wait().unwrap();
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].0, 7);
            assert!(events[0].1.contains(PollEvents::IN));
        }
        poll.remove(&reader).unwrap();
    }

    #[test]
    fn files_that_are_always_ready_are_refused() {
        let poll = EdgePoll::new().unwrap();
        let file = crate::host::create_memfd(c"file", 0).unwrap();
        assert_eq!(poll.add(&file, 1), Err(Errno::EPERM));
    }

    #[test]
    fn a_wake_descriptor_becomes_readable() {
        let poll = EdgePoll::new().unwrap();
        let wake = WakeDescriptor::new().unwrap();
        poll.add(&wake, 1).unwrap();
        poll.wait().unwrap();
        wake.wake();
        assert!(poll.wait().unwrap()[0].1.contains(PollEvents::IN));
    }
}
