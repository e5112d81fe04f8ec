//! Message sockets between the processes of one sandbox: bounded, in order, and hung up when a side is gone.
//! unix(7), SOCK_SEQPACKET.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use usk_abi::Errno;

use super::result::from_nix;

/// One end of a connection that keeps messages apart.
pub struct MessageSocket {
    descriptor: OwnedFd,
}

impl MessageSocket {
    /// Two connected ends.
    pub fn pair() -> Result<(MessageSocket, MessageSocket), Errno> {
        let (left, right) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(from_nix)?;
        Ok((MessageSocket { descriptor: left }, MessageSocket { descriptor: right }))
    }

    /// Another handle of the same end.
    pub fn try_clone(&self) -> Result<MessageSocket, Errno> {
        match self.descriptor.try_clone() {
            Ok(descriptor) => Ok(MessageSocket { descriptor }),
            Err(error) => Err(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EMFILE))),
        }
    }

    /// Sends one message, waiting for room. `EPIPE` once the other end is gone; no signal is raised.
    pub fn send(&self, message: &[u8]) -> Result<(), Errno> {
        loop {
            match send(self.descriptor.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(from_nix(error)),
            }
        }
    }

    /// Waits for a message and returns its length. `Ok(None)` once the other end is gone. `EMSGSIZE` if it does not
    /// fit into `buffer`: it is lost then.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
        self.receive_with(buffer, MsgFlags::MSG_TRUNC)
    }

    /// As [`MessageSocket::receive`], but `EAGAIN` when there is no message yet.
    pub fn try_receive(&self, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
        self.receive_with(buffer, MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT)
    }

    fn receive_with(&self, buffer: &mut [u8], flags: MsgFlags) -> Result<Option<usize>, Errno> {
        loop {
            match recv(self.descriptor.as_raw_fd(), buffer, flags) {
                Ok(0) => return Ok(None),
                Ok(length) if length > buffer.len() => return Err(Errno::EMSGSIZE),
                Ok(length) => return Ok(Some(length)),
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::ECONNRESET) => return Ok(None),
                Err(error) => return Err(from_nix(error)),
            }
        }
    }
}

impl AsFd for MessageSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
