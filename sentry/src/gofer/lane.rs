//! Lanes: sockets to the gofer, each with at most one request under way.

use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd};

use parking_lot::{Condvar, Mutex};
use usk_abi::Errno;
use usk_gofer_protocol::limits::{MAX_DESCRIPTORS, MAX_MESSAGE};
use usk_gofer_protocol::{Opened, Reply, Request, WalkEnd};
use usk_platform::host::{Stay, current_cpu, receive_packet, send_packet};

use super::failure::GoferFailure;

/// Size of the buffer that replies are received in. It is larger than a reply so that the allocator maps it apart: then its
/// pages exist once they are written to, and most lanes never see a long reply, or none.
const BUFFER: usize = 1 << 20;

/// One socket, and room for a reply.
pub(super) struct Lane {
    socket: OwnedFd,
    buffer: Box<[u8]>,
    last_id: u64,
    /// The CPU that the gofer's worker runs on.
    cpu: usize,
}

impl Lane {
    pub(super) fn new(socket: OwnedFd, cpu: usize) -> Lane {
        Lane { socket, buffer: vec![0; BUFFER].into_boxed_slice(), last_id: 0, cpu }
    }

    /// Sends a request that has no reply.
    pub(super) fn tell(&mut self, request: &Request<'_>) -> Result<(), GoferFailure> {
        self.last_id = self.last_id.wrapping_add(1);
        let message = request
            .encode(self.last_id)
            .map_err(|_| GoferFailure::Contradiction { request: "notice", reason: "it exceeds the bound" })?;
        self.send(&message)
    }

    /// Sends an encoded request that [`Lane::number`] has numbered and waits for its reply, with the
    /// descriptors that came along. If this process has no room for them the reply is that of a gofer that could not open the files.
    pub(super) fn ask(&mut self, message: &[u8]) -> Result<(Reply, Vec<OwnedFd>), GoferFailure> {
        // With its partner on the same CPU, a thread that stays there is woken at a quarter of the cost (10 µs for a round
        // trip instead of 47 on a virtual machine).
        let _stay = (self.cpu == current_cpu()).then(Stay::here);
        self.send(message)?;
        let wrong = |reason| GoferFailure::Contradiction { request: "request", reason };
        let room = self.buffer.get_mut(..MAX_MESSAGE).ok_or(wrong("there is no room for it"))?;
        let packet = receive_packet(self.socket.as_fd(), room).map_err(GoferFailure::Transport)?;
        if packet.truncated || packet.descriptors.len() > MAX_DESCRIPTORS {
            return Err(wrong("it exceeds the bound"));
        }
        if packet.length == 0 {
            return Err(GoferFailure::Closed);
        }
        let bytes = self.buffer.get(..packet.length).ok_or(wrong("it exceeds the bound"))?;
        let (id, reply) = Reply::decode(bytes)?;
        if id != self.last_id {
            return Err(wrong("it answers another request"));
        }
        if packet.lacks_descriptors {
            return Ok((without_descriptors(reply), Vec::new()));
        }
        Ok((reply, packet.descriptors))
    }

    /// The number for the next request.
    pub(super) fn number(&mut self) -> u64 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }

    fn send(&self, message: &[u8]) -> Result<(), GoferFailure> {
        send_packet(self.socket.as_fd(), message, &[]).map_err(|errno| match errno {
            Errno::EPIPE | Errno::ECONNRESET => GoferFailure::Closed,
            errno => GoferFailure::Transport(errno),
        })
    }
}

/// What a reply comes to without the descriptors that came with it: files were found, or created, but not opened (`ENFILE`).
/// References in it remain, so that they are given back.
fn without_descriptors(reply: Reply) -> Reply {
    match reply {
        Reply::Walked { steps, end: WalkEnd::Complete(Ok(Opened::Donated)) } => {
            Reply::Walked { steps, end: WalkEnd::Complete(Err(Errno::ENFILE)) }
        }
        Reply::Opened {} => Reply::Failed { errno: Errno::ENFILE },
        Reply::Files { results } => Reply::Files {
            results: results.into_iter().map(|result| result.and(Err(Errno::ENFILE))).collect(),
        },
        reply => reply,
    }
}

/// The lanes that nobody is using.
pub(super) struct LanePool {
    free: Mutex<Vec<Lane>>,
    returned: Condvar,
}

impl LanePool {
    pub(super) fn new(lanes: Vec<Lane>) -> LanePool {
        LanePool { free: Mutex::new(lanes), returned: Condvar::new() }
    }

    /// A lane whose worker is on the caller's CPU if there is one, else the lane that was used last (its buffer is warm);
    /// blocks while all are in use.
    pub(super) fn borrow(&self) -> BorrowedLane<'_> {
        let mut free = self.free.lock();
        loop {
            let near = free.iter().rposition(|lane| lane.cpu == current_cpu());
            if let Some(index) = near.or(free.len().checked_sub(1)) {
                let lane = free.swap_remove(index);
                return BorrowedLane { pool: self, lane: Some(lane) };
            }
            self.returned.wait(&mut free);
        }
    }
}

/// A lane for one call; goes back to the pool when dropped.
pub(super) struct BorrowedLane<'a> {
    pool: &'a LanePool,
    lane: Option<Lane>,
}

impl Deref for BorrowedLane<'_> {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        self.lane.as_ref().expect("a lane is taken back only by drop")
    }
}

impl DerefMut for BorrowedLane<'_> {
    fn deref_mut(&mut self) -> &mut Lane {
        self.lane.as_mut().expect("a lane is taken back only by drop")
    }
}

impl Drop for BorrowedLane<'_> {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            self.pool.free.lock().push(lane);
            self.pool.returned.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gofer::tests::attributes;
    use usk_gofer_protocol::{Entry, FileType, NodeId};

    #[test]
    fn files_without_their_descriptors_are_found_but_not_opened() {
        let regular = || attributes(FileType::Regular);
        let steps = || vec![Entry { node: NodeId(1), attributes: regular() }];
        let walked = |opened| Reply::Walked { steps: steps(), end: WalkEnd::Complete(opened) };
        assert_eq!(without_descriptors(walked(Ok(Opened::Donated))), walked(Err(Errno::ENFILE)));
        assert_eq!(without_descriptors(Reply::Opened {}), Reply::Failed { errno: Errno::ENFILE });
        let files = |results: [Result<_, _>; 2]| Reply::Files { results: results.into() };
        assert_eq!(
            without_descriptors(files([Ok(regular()), Err(Errno::EACCES)])),
            files([Err(Errno::ENFILE), Err(Errno::EACCES)])
        );
    }
}
