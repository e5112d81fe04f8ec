//! How a process is told, once, that a message has come to an empty queue (`mq_notify(2)`).

use std::sync::{Arc, Weak};

use usk_abi::Signal;
use usk_abi::mqueue::{NOTIFY_COOKIE_LEN, NOTIFY_REMOVED, NOTIFY_WOKENUP};
use usk_abi::sigevent::{SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD};
use usk_abi::signal::SignalInfo;

use crate::net::netlink::NetlinkSocket;
use crate::task::{Task, ThreadGroup};
use crate::vfs::OpenFile;

/// What happens.
#[derive(Clone)]
pub enum Notice {
    /// Nothing: only that nobody else may ask.
    Silent,
    /// A signal with a value. Signal 0 is none.
    Signal(Option<Signal>, u64),
    /// Bytes that the C library chose come to its netlink socket, where a thread of its waits.
    Socket(Arc<OpenFile>, [u8; NOTIFY_COOKIE_LEN]),
}

/// Who has asked.
#[derive(Clone)]
pub struct Registration {
    /// The process.
    pub group: Weak<ThreadGroup>,
    /// The number of its table of descriptors: when it closes one for the queue, this ends.
    pub table: u64,
    /// What happens.
    pub notice: Notice,
}

impl Registration {
    /// `sigev_notify` and `sigev_signo`, as the queue's file shows them.
    pub(super) fn shown(&self) -> (i32, i32) {
        match &self.notice {
            Notice::Silent => (SIGEV_NONE, 0),
            Notice::Signal(signal, _) => (SIGEV_SIGNAL, signal.map_or(0, Signal::number)),
            Notice::Socket(..) => (SIGEV_THREAD, 0),
        }
    }

    /// A message from `sender` has come. The caller holds no lock.
    pub fn fire(self, sender: &Task) {
        match self.notice {
            Notice::Silent | Notice::Signal(None, _) => {}
            Notice::Signal(Some(signal), value) => {
                if let Some(group) = self.group.upgrade() {
                    let info = SignalInfo::message(signal, sender.tgid(), sender.credentials().uid, value);
                    // It fails only for a process that ends, or has too many signals: nothing is told then.
                    let _ = sender.kernel.signal_group(&group, info);
                }
            }
            Notice::Socket(socket, cookie) => deliver(&socket, cookie, NOTIFY_WOKENUP),
        }
    }

    /// It is taken back. The caller holds no lock.
    pub fn withdraw(self) {
        if let Notice::Socket(socket, cookie) = self.notice {
            deliver(&socket, cookie, NOTIFY_REMOVED);
        }
    }
}

fn deliver(socket: &OpenFile, mut cookie: [u8; NOTIFY_COOKIE_LEN], what: u8) {
    if let Some(last) = cookie.last_mut() {
        *last = what;
    }
    if let Some(socket) = NetlinkSocket::of(socket) {
        socket.deliver(cookie.to_vec());
    }
}
