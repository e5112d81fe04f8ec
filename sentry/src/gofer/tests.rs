//! The client against gofers that lie. The gofer that does not is tested with it in the root package.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use usk_abi::Errno;
use usk_gofer_protocol::limits::{MAX_MESSAGE, VERSION};
use usk_gofer_protocol::{
    Access, Attributes, DirectoryBelow, DirectoryEntries, DirectoryEntry, DirectoryPosition, Entry,
    ExportDescription, FileIn, FileType, LinkTarget, Mode, Name, NodeId, Opened, Reply, Request, Timestamp,
    WalkEnd, WholeDirectory,
};
use usk_platform::host::{create_memfd, message_socket_pair, receive_packet, send_packet};

use super::{GoferClient, GoferFailure, Node};

/// What the peer sends for a request after the first: bytes, and descriptors beside them.
type Script = Box<dyn Fn(u64, &Request<'_>) -> Option<(Vec<u8>, Vec<OwnedFd>)> + Send>;

/// Those of a file of this type.
pub(crate) fn attributes(file_type: FileType) -> Attributes {
    let time = Timestamp::default();
    Attributes {
        dev: 1,
        ino: 2,
        mode: Mode { file_type, permissions: 0o755 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        size: 0,
        blocks: 0,
        blksize: 4096,
        atime: time,
        mtime: time,
        ctime: time,
        btime: None,
    }
}

fn entry(node: u64, file_type: FileType) -> Entry {
    Entry { node: NodeId(node), attributes: attributes(file_type) }
}

/// A client whose gofer answers by `script`; the thread returns the references that were given back.
fn connect(script: Script) -> (Arc<GoferClient>, JoinHandle<Vec<NodeId>>) {
    let (ours, theirs) = message_socket_pair().unwrap();
    let peer = std::thread::spawn(move || {
        let mut buffer = vec![0; MAX_MESSAGE];
        let mut forgotten = Vec::new();
        loop {
            let packet = receive_packet(theirs.as_fd(), &mut buffer).unwrap();
            if packet.length == 0 {
                return forgotten;
            }
            let (id, request) = Request::decode(&buffer[..packet.length]).unwrap();
            let answer = match &request {
                Request::Attach { .. } => {
                    let root = attributes(FileType::Directory);
                    let export = ExportDescription { read_only: false, shared: true, attributes: root };
                    let reply = Reply::Attached { version: VERSION, exports: vec![export] };
                    Some((reply.encode(id).unwrap(), Vec::new()))
                }
                Request::Forget { nodes } => {
                    forgotten.extend(nodes);
                    continue;
                }
                request => script(id, request),
            };
            let Some((bytes, descriptors)) = answer else { return forgotten };
            let descriptors: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
            if send_packet(theirs.as_fd(), &bytes, &descriptors).is_err() {
                return forgotten;
            }
        }
    });
    (GoferClient::new(vec![ours]).unwrap(), peer)
}

/// The failure that a walk to `a/b`, opened for reading, ends in when the gofer answers like this.
fn failure_of(reply: impl Fn(u64) -> (Vec<u8>, Vec<OwnedFd>) + Send + 'static) -> GoferFailure {
    let (client, peer) = connect(Box::new(move |id, _| Some(reply(id))));
    let reports = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reports);
    client.on_failure(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let root = root(&client);
    let result = root.walk(&[Name::new(b"a").unwrap(), Name::new(b"b").unwrap()], Some(Access::Read));
    assert_eq!(result.map(|_| ()), Err(Errno::EIO));
    // It is not asked again.
    assert_eq!(root.attributes(), Err(Errno::EIO));
    assert_eq!(reports.load(Ordering::Relaxed), 1);
    let failure = client.failure().unwrap().clone();
    drop((root, client));
    peer.join().unwrap();
    failure
}

fn root(client: &Arc<GoferClient>) -> Node {
    client.root(0).unwrap().0
}

fn memfd() -> OwnedFd {
    create_memfd(c"test", 1).unwrap()
}

#[test]
fn a_malformed_reply_ends_the_conversation() {
    let malformed = |bytes: Vec<u8>| failure_of(move |_| (bytes.clone(), Vec::new()));
    assert!(matches!(malformed(vec![0xff; 50]), GoferFailure::Malformed(_)));
    assert!(matches!(malformed(vec![0]), GoferFailure::Malformed(_)));
    assert!(matches!(malformed(vec![0; MAX_MESSAGE + 1]), GoferFailure::Contradiction { .. }));
}

#[test]
fn a_reply_to_something_else_ends_the_conversation() {
    for (offset, reply) in [(1, Reply::Done {}), (0, Reply::Done {}), (0, Reply::Opened {})] {
        let failure = failure_of(move |id| (reply.encode(id + offset).unwrap(), Vec::new()));
        assert!(matches!(failure, GoferFailure::Contradiction { .. }));
    }
}

#[test]
fn descriptors_that_do_not_belong_end_the_conversation() {
    let steps = vec![entry(1, FileType::Directory), entry(2, FileType::Regular)];
    let donated = Reply::Walked { steps: steps.clone(), end: WalkEnd::Complete(Ok(Opened::Donated)) };
    let not_donated = Reply::Walked { steps: steps.clone(), end: WalkEnd::Complete(Ok(Opened::No)) };
    let refused = Reply::Walked { steps, end: WalkEnd::Complete(Err(Errno::EACCES)) };
    let failed = Reply::Failed { errno: Errno::EACCES };
    let too_many = || vec![memfd(), memfd()];
    let one = || vec![memfd()];
    let none = Vec::new;
    let socket = || vec![message_socket_pair().unwrap().0];
    type Case<'a> = (&'a Reply, fn() -> Vec<OwnedFd>);
    let cases: [Case<'_>; 6] = [
        (&donated, none),
        (&donated, too_many),
        (&donated, socket),
        (&not_donated, one),
        (&refused, one),
        (&failed, one),
    ];
    for (reply, descriptors) in cases {
        let reply = reply.clone();
        let failure = failure_of(move |id| (reply.encode(id).unwrap(), descriptors()));
        assert!(matches!(failure, GoferFailure::Contradiction { .. }), "{failure}");
    }
}

#[test]
fn walks_that_contradict_themselves_end_the_conversation() {
    use FileType::{Directory, Regular, Symlink};
    let target = || LinkTarget::new(b"x").unwrap();
    let cases = [
        (vec![Directory], WalkEnd::Complete(Ok(Opened::No))),
        (vec![Directory; 3], WalkEnd::Complete(Ok(Opened::No))),
        (vec![Directory, Symlink], WalkEnd::Complete(Ok(Opened::No))),
        (vec![Regular, Regular], WalkEnd::Complete(Ok(Opened::No))),
        (vec![Directory, Directory], WalkEnd::Missing),
        (vec![Regular], WalkEnd::Missing),
        (vec![Directory, Directory], WalkEnd::Failed(Errno::EACCES)),
        (vec![Directory], WalkEnd::Symlink(target())),
        (vec![], WalkEnd::Symlink(target())),
        (vec![Directory], WalkEnd::NotDirectory),
        (vec![Directory, Regular], WalkEnd::NotDirectory),
    ];
    for (types, end) in cases {
        let steps = (1..).zip(&types).map(|(node, &file_type)| entry(node, file_type)).collect();
        let reply = Reply::Walked { steps, end };
        let failure = failure_of({
            let reply = reply.clone();
            move |id| (reply.encode(id).unwrap(), Vec::new())
        });
        assert!(matches!(failure, GoferFailure::Contradiction { request: "walk", .. }), "{reply:?}");
    }
}

/// What asking for `a` and `b` together ends in when the gofer answers like this.
fn outcome_of<T>(
    reply: &Reply,
    descriptors: fn() -> Vec<OwnedFd>,
    ask: impl Fn(&Node, &[Name<'_>]) -> Result<T, Errno>,
) -> (Result<(), Errno>, Option<GoferFailure>) {
    let reply = reply.clone();
    let (client, peer) = connect(Box::new(move |id, _| Some((reply.encode(id).unwrap(), descriptors()))));
    let root = root(&client);
    let result = ask(&root, &[Name::new(b"a").unwrap(), Name::new(b"b").unwrap()]).map(|_| ());
    let failure = client.failure().cloned();
    drop((root, client));
    peer.join().unwrap();
    (result, failure)
}

#[test]
fn whole_directories_that_were_not_asked_for_end_the_conversation() {
    let read =
        |file_type| Ok(WholeDirectory { directory: entry(1, file_type), entries: DirectoryEntries::new() });
    let directory = || read(FileType::Directory);
    let reply = |directories| Reply::Directories { directories, below: Vec::new() };
    let with_entry = || {
        let mut entries = DirectoryEntries::new();
        entries.push(&DirectoryEntry {
            name: Name::new(b"below").unwrap(),
            ino: 1,
            file_type: Some(FileType::Directory),
            attributes: None,
        });
        Ok(WholeDirectory { directory: entry(1, FileType::Directory), entries })
    };
    let with_below = |places: &[(u32, u32)]| {
        let read =
            || WholeDirectory { directory: entry(1, FileType::Directory), entries: DirectoryEntries::new() };
        let below =
            places.iter().map(|(above, entry)| DirectoryBelow { above: *above, entry: *entry, read: read() });
        Reply::Directories { directories: vec![with_entry(), Err(Errno::EACCES)], below: below.collect() }
    };
    let none = Vec::new;
    let one = || vec![memfd()];
    type Case = (Reply, fn() -> Vec<OwnedFd>, bool);
    let cases: [Case; 14] = [
        (with_below(&[(0, 0)]), none, true),
        (with_below(&[(0, 0), (0, 0)]), none, true),
        (with_below(&[(0, 0), (0, 0), (0, 0)]), none, false),
        (with_below(&[(0, 1)]), none, false),
        (with_below(&[(1, 0)]), none, false),
        (with_below(&[(2, 0)]), none, false),
        (with_below(&[(0, 0), (u32::MAX, u32::MAX)]), none, false),
        (reply(vec![]), none, true),
        (reply(vec![directory()]), none, true),
        (reply(vec![Err(Errno::EACCES), directory()]), none, true),
        (reply(vec![directory(), directory(), directory()]), none, false),
        (reply(vec![directory(), read(FileType::Regular)]), none, false),
        (reply(vec![directory()]), one, false),
        (Reply::Done {}, none, false),
    ];
    for (reply, descriptors, is_good) in cases {
        let outcome = outcome_of(&reply, descriptors, |node, names| node.read_directories(names, 2, true));
        assert_eq!(outcome.0, if is_good { Ok(()) } else { Err(Errno::EIO) }, "{reply:?}");
        assert_eq!(outcome.1.is_none(), is_good, "{reply:?}");
    }
}

#[test]
fn files_that_do_not_match_their_descriptors_end_the_conversation() {
    let regular = || Ok(attributes(FileType::Regular));
    let reply = |results| Reply::Files { results };
    let none = Vec::new;
    let one = || vec![memfd()];
    let two = || vec![memfd(), memfd()];
    let three = || vec![memfd(), memfd(), memfd()];
    let socket = || vec![memfd(), message_socket_pair().unwrap().0];
    type Case = (Reply, fn() -> Vec<OwnedFd>, bool);
    let cases: [Case; 11] = [
        (reply(vec![regular(), regular()]), two, true),
        (reply(vec![Err(Errno::EACCES), regular()]), one, true),
        (reply(vec![Err(Errno::EACCES), Err(Errno::ENOENT)]), none, true),
        (reply(vec![regular(), regular()]), one, false),
        (reply(vec![regular(), regular()]), three, false),
        (reply(vec![regular(), regular()]), socket, false),
        (reply(vec![regular()]), one, false),
        (reply(vec![regular(), regular(), regular()]), three, false),
        (reply(vec![regular(), Ok(attributes(FileType::Directory))]), two, false),
        (reply(vec![Err(Errno::EACCES), Err(Errno::ENOENT)]), one, false),
        (Reply::Done {}, none, false),
    ];
    for (reply, descriptors, is_good) in cases {
        let outcome = outcome_of(&reply, descriptors, |node, names| {
            let files: Vec<_> = names.iter().map(|&name| FileIn { parent: node.id(), name }).collect();
            node.open_files(&files)
        });
        assert_eq!(outcome.0, if is_good { Ok(()) } else { Err(Errno::EIO) }, "{reply:?}");
        assert_eq!(outcome.1.is_none(), is_good, "{reply:?}");
    }
}

#[test]
fn answers_about_other_files_than_were_asked_about_end_the_conversation() {
    for (count, is_good) in [(1, false), (2, true), (3, false)] {
        let reply = Reply::XattrsChecked { none: vec![true; count] };
        let outcome = outcome_of(&reply, Vec::new, |node, names| {
            let files: Vec<_> = names.iter().map(|&name| FileIn { parent: node.id(), name }).collect();
            node.check_xattrs(&files)
        });
        assert_eq!(outcome.0, if is_good { Ok(()) } else { Err(Errno::EIO) });
        assert_eq!(outcome.1.is_none(), is_good);
    }
}

#[test]
fn a_gofer_that_ends_is_reported() {
    let (client, peer) = connect(Box::new(|_, _| None));
    assert_eq!(root(&client).attributes(), Err(Errno::EIO));
    assert_eq!(client.failure(), Some(&GoferFailure::Closed));
    peer.join().unwrap();
    let (ours, theirs) = message_socket_pair().unwrap();
    drop(theirs);
    assert_eq!(GoferClient::new(vec![ours]).err(), Some(GoferFailure::Closed));
}

#[test]
fn an_endless_directory_ends_the_conversation() {
    let (client, peer) = connect(Box::new(|id, _| {
        let next = Some(DirectoryPosition { stream: 1, cursor: 1 });
        Some((Reply::Directory { entries: DirectoryEntries::new(), next }.encode(id).unwrap(), Vec::new()))
    }));
    assert_eq!(root(&client).read_whole_directory(true).map(|_| ()), Err(Errno::EIO));
    drop(client);
    peer.join().unwrap();
}

#[test]
fn every_reference_is_given_back_once_and_a_full_table_gets_them_first() {
    const COUNT: u64 = 300;
    let next = AtomicUsize::new(1);
    let (client, peer) = connect(Box::new(move |id, request| {
        let reply = match request {
            Request::Walk { .. } => {
                let node = next.fetch_add(1, Ordering::Relaxed) as u64;
                Reply::Walked {
                    steps: vec![entry(node, FileType::Directory)],
                    end: WalkEnd::Complete(Ok(Opened::No)),
                }
            }
            _ => Reply::Failed { errno: Errno::ENFILE },
        };
        Some((reply.encode(id).unwrap(), Vec::new()))
    }));
    let root = root(&client);
    for _ in 0..COUNT {
        drop(root.walk(&[Name::new(b"d").unwrap()], None).unwrap());
    }
    // The second refusal is passed on.
    assert_eq!(root.attributes(), Err(Errno::ENFILE));
    drop((root, client));
    let mut forgotten = peer.join().unwrap();
    forgotten.sort();
    assert_eq!(forgotten, (1..=COUNT).map(NodeId).collect::<Vec<_>>());
}
