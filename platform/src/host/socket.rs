//! Packets with descriptors over a unix socket.

use std::io::{IoSlice, IoSliceMut};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{self, ControlMessage, MsgFlags};
use usk_abi::Errno;

use super::result::from_nix;

/// Most descriptors that one packet may carry: the host's `SCM_MAX_FD`.
pub const MAX_PACKET_DESCRIPTORS: usize = 253;

/// A packet as it arrived.
#[derive(Debug)]
pub struct ReceivedPacket {
    /// Bytes written to the buffer. 0 without descriptors is the end: the peer has closed its side.
    pub length: usize,
    /// The descriptors that came with it, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
    /// The packet was longer than the buffer; the excess is lost.
    pub truncated: bool,
    /// There was no room for all of its descriptors: this process has as many as it may have. The others are lost.
    pub lacks_descriptors: bool,
}

/// Sends one packet, with descriptors beside it, and blocks until there is room. Never raises SIGPIPE: a
/// closed peer is `EPIPE` or `ECONNRESET`. An interrupted call is repeated. See sendmsg(2).
pub fn send_packet(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    send_packet_with(socket, bytes, descriptors, MsgFlags::MSG_NOSIGNAL)
}

/// As [`send_packet`], but fails with `EAGAIN` if there is no room.
pub fn try_send_packet(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    send_packet_with(socket, bytes, descriptors, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)
}

fn send_packet_with(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: MsgFlags,
) -> Result<(), Errno> {
    let numbers: Vec<RawFd> = descriptors.iter().map(|descriptor| descriptor.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control: &[ControlMessage<'_>] = if numbers.is_empty() { &[] } else { &rights };
    loop {
        let sent = socket::sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None);
        match sent {
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(from_nix(errno)),
        }
    }
}

/// Room for a control message with [`MAX_PACKET_DESCRIPTORS`], aligned as the host wants it.
#[repr(C, align(8))]
struct ControlBuffer([MaybeUninit<u8>; 24 + 4 * MAX_PACKET_DESCRIPTORS]);

/// Receives one packet, and blocks until there is one. An interrupted call is repeated. See recvmsg(2).
pub fn receive_packet(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<ReceivedPacket, Errno> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut control = ControlBuffer([MaybeUninit::uninit(); 24 + 4 * MAX_PACKET_DESCRIPTORS]);
    // SAFETY: all-zero bytes are a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    // IoSliceMut has the layout of iovec on Unix.
    header.msg_iov = parts.as_mut_ptr().cast();
    header.msg_iovlen = parts.len();
    let length = loop {
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = size_of::<ControlBuffer>();
        // SAFETY: (1) `header` names one buffer and one control buffer, both live, writable and of the
        // lengths given; (2) the call keeps no pointer.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_CMSG_CLOEXEC) };
        match usize::try_from(received) {
            Ok(length) => break length,
            Err(_) if nix::errno::Errno::last() == nix::errno::Errno::EINTR => {}
            Err(_) => return Err(Errno::from_raw(nix::errno::Errno::last_raw())),
        }
    };
    Ok(ReceivedPacket {
        length,
        // SAFETY: `header` is as the successful recvmsg left it.
        descriptors: unsafe { take_descriptors(&header) },
        truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        lacks_descriptors: header.msg_flags & libc::MSG_CTRUNC != 0,
    })
}

/// The descriptors in a received header, owned, also of one whose control data was cut short: what did arrive
/// must be closed.
///
/// # Safety
///
/// `header` must come from a successful recvmsg(2), with its control buffer still alive, and only once.
unsafe fn take_descriptors(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: the host filled in `msg_control` and `msg_controllen`.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return headers that lie within the control buffer.
        let (level, kind, length) =
            unsafe { ((*message).cmsg_level, (*message).cmsg_type, (*message).cmsg_len) };
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            // SAFETY: no memory is accessed.
            let overhead = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = length.saturating_sub(overhead) / size_of::<RawFd>();
            for index in 0..count {
                // SAFETY: (1) the message holds `count` descriptor numbers, perhaps unaligned; (2) the host
                // has just made each of them ours, and nothing else knows them.
                let descriptor = unsafe {
                    let data = libc::CMSG_DATA(message).cast::<RawFd>();
                    OwnedFd::from_raw_fd(data.add(index).read_unaligned())
                };
                descriptors.push(descriptor);
            }
        }
        // SAFETY: `message` is a header of this control buffer.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    descriptors
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;

    use super::*;
    use crate::host::message_socket_pair;

    #[test]
    fn a_packet_arrives_with_its_descriptors() {
        let (left, right) = message_socket_pair().unwrap();
        let directory = std::env::temp_dir();
        let path = directory.join(format!("usk-socket-test-{}", std::process::id()));
        let mut file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(b"hello").unwrap();
        send_packet(left.as_fd(), b"packet", &[file.as_fd(), file.as_fd()]).unwrap();
        let mut buffer = [0; 64];
        let packet = receive_packet(right.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..packet.length], b"packet");
        assert!(!packet.truncated);
        assert_eq!(packet.descriptors.len(), 2);
        let mut received = File::from(packet.descriptors.into_iter().next().unwrap());
        received.rewind().unwrap();
        let mut text = String::new();
        received.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn excess_is_reported_and_the_end_is_empty() {
        let (left, right) = message_socket_pair().unwrap();
        let mut buffer = [0; 4];
        send_packet(left.as_fd(), b"too long", &[]).unwrap();
        assert!(receive_packet(right.as_fd(), &mut buffer).unwrap().truncated);
        let many = [left.as_fd(); MAX_PACKET_DESCRIPTORS + 1];
        assert_eq!(send_packet(left.as_fd(), b"many", &many), Err(Errno::EINVAL));
        send_packet(left.as_fd(), b"many", &many[1..]).unwrap();
        let packet = receive_packet(right.as_fd(), &mut buffer).unwrap();
        assert_eq!((packet.truncated, packet.descriptors.len()), (false, MAX_PACKET_DESCRIPTORS));
        drop(packet);
        drop(left);
        let packet = receive_packet(right.as_fd(), &mut buffer).unwrap();
        assert_eq!((packet.length, packet.descriptors.len()), (0, 0));
        assert_eq!(send_packet(right.as_fd(), b"nobody", &[]), Err(Errno::EPIPE));
    }
}
