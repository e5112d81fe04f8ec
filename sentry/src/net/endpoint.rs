//! What the sockets of every family are made of: an inbox, a wait queue, the directions that have ended, a pending error.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use usk_abi::socket::{SHUT_RD, SHUT_RDWR, SHUT_WR};
use usk_abi::{Errno, PollEvents};

use crate::Source;
use crate::net::budget::Budget;
use crate::net::inbox::Inbox;
use crate::net::options::SocketOptions;
use crate::wait::WaitQueue;

/// Nothing is received any more (`RCV_SHUTDOWN`).
pub(super) const RECEIVE_ENDED: u8 = 1;
/// Nothing is sent any more (`SEND_SHUTDOWN`).
pub(super) const SEND_ENDED: u8 = 2;

/// See the module.
#[derive(Default)]
pub(super) struct Endpoint {
    pub(super) inbox: Inbox,
    /// Shared with the inboxes in which this socket waits for room.
    pub(super) queue: Arc<WaitQueue>,
    pub(super) options: Mutex<SocketOptions>,
    /// `RECEIVE_ENDED` and `SEND_ENDED`; the peer sets them too.
    ended: AtomicU8,
    /// The error of the next call, if any (`SO_ERROR`).
    error: Mutex<Option<Errno>>,
}

impl Endpoint {
    /// A fresh one with these options, whose inbox holds what a budget allows.
    pub(super) fn within(budget: &Arc<Budget>, options: SocketOptions) -> Self {
        Endpoint { inbox: Inbox::within(budget), options: Mutex::new(options), ..Endpoint::default() }
    }

    pub(super) fn has_ended(&self, directions: u8) -> bool {
        self.ended.load(Ordering::SeqCst) & directions == directions
    }

    /// Ends directions, from either side, and tells who waits.
    pub(super) fn end(&self, directions: u8) {
        self.ended.fetch_or(directions, Ordering::SeqCst);
        let mut events = PollEvents::HUP;
        if directions & RECEIVE_ENDED != 0 {
            events |= PollEvents::IN | PollEvents::RDNORM | PollEvents::RDHUP;
            self.inbox.wake_senders();
        }
        if directions & SEND_ENDED != 0 {
            events |= PollEvents::OUT | PollEvents::WRNORM;
        }
        self.queue.notify(events);
    }

    /// Opens both directions again: the socket is used for another connection.
    pub(super) fn begin_anew(&self) {
        self.ended.store(0, Ordering::SeqCst);
    }

    pub(super) fn set_error(&self, errno: Errno) {
        *self.error.lock() = Some(errno);
    }

    pub(super) fn has_error(&self) -> bool {
        self.error.lock().is_some()
    }

    pub(super) fn take_error(&self) -> Option<Errno> {
        self.error.lock().take()
    }

    /// Tells that there is something to receive.
    pub(super) fn notify_readable(&self) {
        self.queue.notify(PollEvents::IN | PollEvents::RDNORM);
    }

    /// Tells that something can be sent.
    pub(super) fn notify_writable(&self) {
        self.queue.notify(PollEvents::OUT | PollEvents::WRNORM);
    }
}

/// The directions that `shutdown(2)` ends. `EINVAL` for an argument that is not `SHUT_*`.
pub(super) fn directions(how: i32) -> Result<u8, Errno> {
    match how {
        SHUT_RD => Ok(RECEIVE_ENDED),
        SHUT_WR => Ok(SEND_ENDED),
        SHUT_RDWR => Ok(RECEIVE_ENDED | SEND_ENDED),
        _ => Err(Errno::EINVAL),
    }
}

/// Takes `length` bytes from a source; with `whole`, `EFAULT` unless all can be read.
pub(super) fn take_bytes(source: &mut dyn Source, length: usize, whole: bool) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; length];
    let taken = source.take(&mut bytes)?;
    if whole && taken < length {
        source.give_back(taken);
        return Err(Errno::EFAULT);
    }
    bytes.truncate(taken);
    Ok(bytes)
}
