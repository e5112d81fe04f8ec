//! One lane, from the gofer's side: receives requests without descriptors, sends replies with some.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use usk_gofer_protocol::limits::{MAX_DESCRIPTORS, MAX_MESSAGE};

/// Size of the buffer that requests are received in. It is larger than a request so that the allocator maps it apart: then
/// its pages exist once they are written to, and most lanes never see a long request, or none.
const BUFFER: usize = 1 << 20;

/// A connected socket, and room for a request.
pub(crate) struct Lane {
    socket: OwnedFd,
    buffer: Box<[u8]>,
}

/// Why a lane is over.
pub(crate) struct LaneClosed;

impl Lane {
    pub(crate) fn new(socket: OwnedFd) -> Lane {
        Lane { socket, buffer: vec![0; BUFFER].into_boxed_slice() }
    }

    /// Waits for a request. A packet that is too long or has descriptors with it ends the lane: the host has
    /// then already dropped the descriptors.
    pub(crate) fn receive(&mut self) -> Result<&[u8], LaneClosed> {
        let received = loop {
            let room = self.buffer.get_mut(..MAX_MESSAGE).ok_or(LaneClosed)?;
            let mut parts = [IoSliceMut::new(room)];
            let mut no_control = RecvAncillaryBuffer::default();
            match rustix::net::recvmsg(&self.socket, &mut parts, &mut no_control, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Err(LaneClosed),
            }
        };
        if received.bytes == 0 || received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(LaneClosed);
        }
        self.buffer.get(..received.bytes).ok_or(LaneClosed)
    }

    /// Sends a reply, with the descriptors that go with it.
    pub(crate) fn send(&self, message: &[u8], donated: &[OwnedFd]) -> Result<(), LaneClosed> {
        let descriptors: Vec<BorrowedFd<'_>> = donated.iter().map(AsFd::as_fd).collect();
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                return Err(LaneClosed);
            }
            let parts = [IoSlice::new(message)];
            match rustix::net::sendmsg(&self.socket, &parts, &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Err(LaneClosed),
            }
        }
    }
}
