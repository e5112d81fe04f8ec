//! Handing one descriptor at a time through a socket pair (`unix(7)`, `SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use usk_abi::Errno;

/// A connected pair of sockets that keep message boundaries; closed on exec.
pub fn message_socket_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).map_err(from_nix)
}

/// Sends a message of one byte with `file`. Does not wait.
pub fn send_descriptor(socket: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<(), Errno> {
    let descriptors = [file.as_raw_fd()];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(&[0])],
        &[ControlMessage::ScmRights(&descriptors)],
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map(|_| ())
    .map_err(from_nix)
}

/// Takes all messages off the socket that nobody received, and closes the descriptors in them. Does not wait.
pub fn discard_messages(socket: BorrowedFd<'_>) {
    let mut byte = [0];
    loop {
        let mut control = nix::cmsg_space!([RawFd; 1]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let mut data = [IoSliceMut::new(&mut byte)];
        let Ok(message) = recvmsg::<()>(socket.as_raw_fd(), &mut data, Some(&mut control), flags) else {
            return;
        };
        if message.bytes == 0 {
            return;
        }
        for part in message.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(descriptors) = part {
                for descriptor in descriptors {
                    // SAFETY: the host has just made this descriptor for us, and nothing else knows its number.
                    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
                }
            }
        }
    }
}

fn from_nix(error: nix::errno::Errno) -> Errno {
    Errno::from_raw(error as i32)
}
