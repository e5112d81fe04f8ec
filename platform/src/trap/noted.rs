//! Changes of an epoll instance that the stub has noted: the sentry's end of `noted.S`.
//!
//! All of it is the guest's to forge: each word is read once, while the thread does not run, and says no more than a call could.

use usk_abi::epoll::{EPOLL_CTL_ADD, EPOLL_CTL_MOD, EpollEvent};

use crate::lent::NotedChange;
use crate::stub::geometry::*;

use super::thread::Thread;

fn decode(what: u64, data: u64) -> NotedChange {
    let [descriptor, operation, ..] = what.to_le_bytes();
    let operation = i32::from(operation);
    let has_event = matches!(operation, EPOLL_CTL_ADD | EPOLL_CTL_MOD);
    let event = EpollEvent { events: (what >> 32) as u32, data };
    NotedChange { descriptor, operation, event: if has_event { event } else { EpollEvent::default() } }
}

impl Thread {
    /// See [`GuestThread::lend_watched`](crate::GuestThread::lend_watched).
    pub(super) fn write_watched(&self, watched: u64) {
        self.slot().store(NOTED_COUNT, 0);
        self.slot().write_u64(NOTED_WATCHED, watched);
    }

    /// See [`GuestThread::noted`](crate::GuestThread::noted).
    pub(super) fn read_noted(&self) -> Vec<NotedChange> {
        let slot = self.slot();
        let count = u64::from(slot.load(NOTED_COUNT).min(MOST_NOTED));
        let entries = (0..count).map(|index| NOTED + NOTED_SIZE * index);
        entries.map(|entry| decode(slot.read_u64(entry), slot.read_u64(entry + 8))).collect()
    }
}

#[cfg(test)]
mod tests {
    use usk_abi::epoll::EPOLL_CTL_DEL;

    use super::*;

    #[test]
    fn an_entry_is_a_call_s_arguments() {
        let change = decode(0x8000_0001_0000_0305, 7);
        assert_eq!((change.descriptor, change.operation), (5, EPOLL_CTL_MOD));
        assert_eq!(change.event, EpollEvent { events: 0x8000_0001, data: 7 });
        // What an earlier entry has left is no event.
        let change = decode(0x8000_0001_0000_0205, 7);
        assert_eq!((change.operation, change.event), (EPOLL_CTL_DEL, EpollEvent::default()));
    }
}
