//! The sentry's client with the gofer's server: what the virtual file system builds on.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use usk_abi::Errno;
use usk_gofer::{Export, ExportMode, GoferError, HiddenNames, MountCrossing, SelfDescriptors, Sharing};
use usk_platform::host::message_socket_pair;
use usk_sentry::gofer::{Access, GoferClient, Name, Node, RenameMode, WalkEnd, XattrMode, XattrName};

/// Descriptors that the server may have.
const LIMIT: usize = 256;

fn start(path: &Path, lanes: usize) -> (Arc<GoferClient>, JoinHandle<Result<(), GoferError>>) {
    let (ours, theirs): (Vec<OwnedFd>, Vec<OwnedFd>) =
        (0..lanes).map(|_| message_socket_pair().unwrap()).unzip();
    let export = Export {
        root: File::open(path).unwrap().into(),
        mode: ExportMode::ReadWrite,
        sharing: Sharing::Exclusive,
        crossing: MountCrossing::Cross,
        owners: None,
        hidden: HiddenNames::default(),
    };
    let descriptors = SelfDescriptors::open().unwrap();
    let server = std::thread::spawn(move || {
        usk_gofer::serve_without_lockdown(theirs, vec![export], descriptors, LIMIT)
    });
    (GoferClient::new(ours).unwrap(), server)
}

fn root(client: &Arc<GoferClient>) -> Node {
    client.root(0).unwrap().0
}

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

fn names(path: &str) -> Vec<Name<'_>> {
    path.split('/').map(name).collect()
}

#[test]
fn a_tree_is_built_read_and_taken_down() {
    let directory = tempfile::tempdir().unwrap();
    let (client, server) = start(directory.path(), 2);
    assert!(!client.exports()[0].read_only && !client.exports()[0].shared);
    let root = root(&client);
    let sub = root.make_directory(name("sub"), 0o750, None).unwrap();
    assert_eq!(sub.attributes.st_mode(), 0o040_750);
    let created = sub.node.create_file(name("file"), 0o644, None, Access::ReadWrite).unwrap();
    File::from(created.descriptor.expect("a file comes open")).write_all(b"contents").unwrap();
    let node = created.node;
    assert_eq!(node.attributes().unwrap().size, 8);
    let link = sub.node.make_symlink(name("link"), b"file", None).unwrap();
    assert_eq!(link.node.read_link().unwrap().as_bytes(), b"file");

    let outcome = root.walk(&names("sub/file"), Some(Access::Read)).unwrap();
    let WalkEnd::Complete { opened: Some(Ok(file)) } = outcome.end else { panic!("the file was not opened") };
    drop(outcome.steps);
    let mut text = String::new();
    File::from(file).read_to_string(&mut text).unwrap();
    assert_eq!(text, "contents");
    let outcome = root.walk(&names("sub/link/beyond"), None).unwrap();
    assert!(matches!(outcome.end, WalkEnd::Symlink(_)) && outcome.steps.len() == 2);

    let both = client.attributes(&[&node, &root]).unwrap();
    assert!(both[0].unwrap().is_regular() && both[1].unwrap().is_directory());
    let key = XattrName::new(b"user.key").unwrap();
    match node.set_xattr(key, b"value", XattrMode::Any) {
        Ok(()) => assert_eq!(node.get_xattr(key).unwrap(), b"value"),
        Err(errno) => assert_eq!(errno, Errno::EOPNOTSUPP),
    }
    sub.node.rename(name("file"), &root, name("moved"), RenameMode::Replace).unwrap();
    assert_eq!(node.attributes().unwrap().ino, created.attributes.ino);
    let mut entries: Vec<_> =
        root.read_whole_directory(true).unwrap().iter().map(|entry| entry.name.as_bytes().to_vec()).collect();
    entries.sort();
    assert_eq!(entries, [b"moved".to_vec(), b"sub".to_vec()]);
    assert_eq!(root.remove_directory(name("sub")), Err(Errno::ENOTEMPTY));
    sub.node.unlink(name("link")).unwrap();
    root.remove_directory(name("sub")).unwrap();
    root.unlink(name("moved")).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

    assert_eq!(client.failure(), None);
    drop((root, sub, node, link, outcome, client));
    server.join().unwrap().unwrap();
}

#[test]
fn a_walk_of_any_length_is_one_call() {
    let directory = tempfile::tempdir().unwrap();
    let path = vec!["d"; 150].join("/");
    fs::create_dir_all(directory.path().join(&path)).unwrap();
    fs::write(directory.path().join(&path).join("file"), "deep").unwrap();
    let (client, _) = start(directory.path(), 1);
    let outcome = root(&client).walk(&names(&format!("{path}/file")), Some(Access::Read)).unwrap();
    assert_eq!(outcome.steps.len(), 151);
    assert!(matches!(outcome.end, WalkEnd::Complete { opened: Some(Ok(_)) }));
    let outcome = root(&client).walk(&names(&format!("{path}/none/x")), None).unwrap();
    assert!(matches!(outcome.end, WalkEnd::Missing) && outcome.steps.len() == 150);
}

#[test]
fn many_threads_share_few_lanes() {
    const THREADS: usize = 8;
    const FILES: usize = 200;
    let directory = tempfile::tempdir().unwrap();
    let (client, server) = start(directory.path(), 3);
    let workers: Vec<_> = (0..THREADS)
        .map(|worker| {
            let client = Arc::clone(&client);
            std::thread::spawn(move || {
                let own = root(&client).make_directory(name(&format!("{worker}")), 0o700, None).unwrap().node;
                let nodes: Vec<Node> = (0..FILES)
                    .map(|file| {
                        let file = format!("{file}");
                        let created = own.create_file(name(&file), 0o600, None, Access::Write).unwrap();
                        File::from(created.descriptor.expect("a file comes open"))
                            .write_all(file.as_bytes())
                            .unwrap();
                        created.node
                    })
                    .collect();
                // By now most have lost their descriptors in the server.
                for (number, node) in nodes.iter().enumerate() {
                    let mut text = String::new();
                    File::from(node.open(Access::Read).unwrap()).read_to_string(&mut text).unwrap();
                    assert_eq!(text, format!("{number}"));
                }
                assert_eq!(own.read_whole_directory(true).unwrap().len(), FILES);
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert_eq!(client.failure(), None);
    drop(client);
    server.join().unwrap().unwrap();
}
