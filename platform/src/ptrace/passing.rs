//! How a file gets into a stub to be mapped: through a socket that all stubs share.
//!
//! A stub has two descriptors at most: the receiving end, and for the length of one `mmap` the file. Because all
//! stubs read from the same socket, one message at a time is under way, and the receiver is the one process that the
//! sender holds stopped.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use parking_lot::Mutex;
use usk_abi::Errno;

use crate::host;

use super::filter::SOCKET;
use super::scratch::Scratch;
use super::tracee::Tracee;

/// Both ends of the socket pair.
pub(super) struct Mailbox {
    /// Locked while a message is in the socket.
    ours: Mutex<OwnedFd>,
    /// Kept to take a message back that its receiver did not live to read.
    theirs: OwnedFd,
}

// Offsets in the scratch slot, in bytes.
const HEADER: u64 = 0;
const VECTOR: u64 = 64;
const DATA: u64 = 80;
const CONTROL: u64 = 96;
/// `CMSG_SPACE(sizeof(int))`.
const CONTROL_LENGTH: u64 = 24;

impl Mailbox {
    pub(super) fn new() -> Result<Mailbox, Errno> {
        let (ours, theirs) = host::message_socket_pair()?;
        Ok(Mailbox { ours: Mutex::new(ours), theirs })
    }

    /// The end that stubs inherit.
    pub(super) fn receiver(&self) -> BorrowedFd<'_> {
        self.theirs.as_fd()
    }

    /// Gives the tracee a descriptor for `file`, numbered [`RECEIVED`](super::filter::RECEIVED).
    ///
    /// The number is not read back, because the guest could change it on the way. A guest that spoils the message
    /// header gets no descriptor, and the `mmap` that follows fails with `EBADF`.
    pub(super) fn pass(
        &self,
        tracee: &mut Tracee,
        scratch: &Scratch,
        file: BorrowedFd<'_>,
    ) -> Result<(), Errno> {
        scratch.write(tracee.process().pid(), 0, &message(scratch.start()))?;
        let ours = self.ours.lock();
        host::send_descriptor(ours.as_fd(), file)?;
        let received =
            tracee.call(libc::SYS_recvmsg, &[SOCKET, scratch.start() + HEADER, libc::MSG_DONTWAIT as u64]);
        if received.is_err() {
            host::discard_messages(self.theirs.as_fd());
        }
        received.map(drop)
    }
}

/// `struct msghdr` and what it points to, for a slot at this address.
fn message(slot: u64) -> Vec<u8> {
    let header = [0, 0, slot + VECTOR, 1, slot + CONTROL, CONTROL_LENGTH, 0, 0];
    let vector = [slot + DATA, 1];
    header.into_iter().chain(vector).flat_map(u64::to_le_bytes).collect()
}
