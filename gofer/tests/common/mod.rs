//! A gofer in a thread of the test, a directory that it exports, and a client that says whatever the test
//! wants.

#![allow(dead_code)]

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread::JoinHandle;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use usk_abi::Errno;
use usk_gofer::{Export, ExportMode, GoferError, HiddenNames, MountCrossing, SelfDescriptors, Sharing};
use usk_gofer_protocol::limits::{MAX_DESCRIPTORS, MAX_MESSAGE};
use usk_gofer_protocol::{Access, Attributes, Entry, FileIn, Name, NodeId, Reply, Request, WalkEnd};

pub(crate) const ROOT: NodeId = NodeId(0);

/// One lane, from the client's side.
pub(crate) struct RawClient {
    pub(crate) socket: OwnedFd,
    next: u64,
}

pub(crate) fn socket_pair() -> (OwnedFd, OwnedFd) {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

pub(crate) fn open_root(path: &Path) -> OwnedFd {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

pub(crate) fn export(path: &Path, mode: ExportMode) -> Export {
    Export {
        root: open_root(path),
        mode,
        sharing: Sharing::Shared,
        crossing: MountCrossing::Cross,
        owners: None,
        hidden: HiddenNames::default(),
    }
}

/// The same of which the caller says that nobody else changes it.
pub(crate) fn exclusive(path: &Path, mode: ExportMode) -> Export {
    Export { sharing: Sharing::Exclusive, ..export(path, mode) }
}

pub(crate) fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

pub(crate) fn names<'a>(path: &'a str) -> Vec<Name<'a>> {
    path.split('/').map(name).collect()
}

/// Names in the root, to be opened.
pub(crate) fn files<'a>(path: &'a str) -> Vec<FileIn<'a>> {
    names(path).into_iter().map(|name| FileIn { parent: ROOT, name }).collect()
}

/// A gofer that serves `exports` with `lanes` lanes, without lockdown.
pub(crate) fn start(
    exports: Vec<Export>,
    lanes: usize,
    limit: usize,
) -> (Vec<RawClient>, JoinHandle<Result<(), GoferError>>) {
    let (ours, theirs): (Vec<_>, Vec<_>) = (0..lanes).map(|_| socket_pair()).unzip();
    let descriptors = SelfDescriptors::open().unwrap();
    let server =
        std::thread::spawn(move || usk_gofer::serve_without_lockdown(theirs, exports, descriptors, limit));
    (ours.into_iter().map(RawClient::new).collect(), server)
}

/// A gofer with one lane and one export.
pub(crate) fn start_one(path: &Path, mode: ExportMode) -> RawClient {
    start(vec![export(path, mode)], 1, 1024).0.remove(0)
}

impl RawClient {
    pub(crate) fn new(socket: OwnedFd) -> RawClient {
        RawClient { socket, next: 1 }
    }

    pub(crate) fn send_raw(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        let _ = rustix::net::sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
    }

    /// The next packet; `None` at the end.
    pub(crate) fn receive_raw(&self) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
        let mut bytes = vec![0; MAX_MESSAGE + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received =
            match rustix::net::recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::CONNRESET) => return None,
                result => result.unwrap(),
            };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        bytes.truncate(received.bytes);
        if bytes.is_empty() { None } else { Some((bytes, descriptors)) }
    }

    pub(crate) fn tell(&mut self, request: &Request<'_>) {
        self.next += 1;
        self.send_raw(&request.encode(self.next).unwrap(), &[]);
    }

    pub(crate) fn ask(&mut self, request: &Request<'_>) -> (Reply, Option<OwnedFd>) {
        let (reply, mut descriptors) = self.ask_for_several(request);
        assert!(descriptors.len() <= 1);
        (reply, descriptors.pop())
    }

    pub(crate) fn ask_for_several(&mut self, request: &Request<'_>) -> (Reply, Vec<OwnedFd>) {
        self.tell(request);
        let (bytes, descriptors) = self.receive_raw().expect("the gofer has closed the lane");
        let (id, reply) = Reply::decode(&bytes).unwrap();
        assert_eq!(id, self.next);
        (reply, descriptors)
    }

    /// The reply, or the errno of a failure.
    pub(crate) fn try_ask(&mut self, request: &Request<'_>) -> Result<(Reply, Option<OwnedFd>), Errno> {
        match self.ask(request) {
            (Reply::Failed { errno }, None) => Err(errno),
            (Reply::Failed { .. }, Some(_)) => panic!("a failure came with a descriptor"),
            answer => Ok(answer),
        }
    }

    pub(crate) fn walk(
        &mut self,
        node: NodeId,
        path: &str,
        open: Option<Access>,
    ) -> (Vec<Entry>, WalkEnd, Option<OwnedFd>) {
        match self.ask(&Request::Walk { node, names: names(path), open }) {
            (Reply::Walked { steps, end }, file) => (steps, end, file),
            (reply, _) => panic!("{reply:?}"),
        }
    }

    /// The last file of a walk that must be complete.
    pub(crate) fn find(&mut self, node: NodeId, path: &str) -> Entry {
        let (steps, end, _) = self.walk(node, path, None);
        assert!(matches!(end, WalkEnd::Complete(_) | WalkEnd::Symlink(_)), "{path}: {end:?}");
        assert_eq!(steps.len(), names(path).len());
        *steps.last().unwrap()
    }

    pub(crate) fn attributes(&mut self, node: NodeId) -> Result<Attributes, Errno> {
        match self.ask(&Request::GetAttributes { nodes: vec![node] }) {
            (Reply::Attributes { results }, None) => results[0],
            (reply, _) => panic!("{reply:?}"),
        }
    }

    pub(crate) fn created(&mut self, request: &Request<'_>) -> Result<Entry, Errno> {
        match self.try_ask(request)? {
            (Reply::Created { entry }, _) => Ok(entry),
            (reply, _) => panic!("{reply:?}"),
        }
    }

    pub(crate) fn read_directory(&mut self, node: NodeId) -> usk_gofer_protocol::DirectoryEntries {
        let (mut all, mut stream, mut cursor) = (usk_gofer_protocol::DirectoryEntries::new(), 0, 0);
        loop {
            match self.ask(&Request::ReadDirectory { node, stream, cursor, all_attributes: true }) {
                (Reply::Directory { entries, next }, None) => {
                    all.append(entries);
                    let Some(next) = next else { return all };
                    (stream, cursor) = (next.stream, next.cursor);
                }
                (reply, _) => panic!("{reply:?}"),
            }
        }
    }

    /// True once the gofer has closed the lane.
    pub(crate) fn is_closed(&self) -> bool {
        self.receive_raw().is_none()
    }
}
