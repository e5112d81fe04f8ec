//! What each request does, seen from the client and from the host.

mod common;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use common::{ROOT, RawClient, exclusive, export, files, name, names, start, start_one};
use usk_abi::Errno;
use usk_abi::capability::{FileCapabilities, XATTR_NAME_CAPS};
use usk_gofer::ExportMode::{ReadOnly, ReadWrite};
use usk_gofer::{Export, HeldAttributes, Owners};
use usk_gofer_protocol::limits::{MAX_DESCRIPTORS, VERSION};
use usk_gofer_protocol::{
    Access, AttributeChange, Attributes, DirectoryBelow, FileIn, FileType, LinkTarget, NodeId, Opened, Owner,
    RenameMode, Reply, Request, TimeChange, Timestamp, WalkEnd, WholeDirectory, XattrMode, XattrName,
    XattrValue,
};

#[test]
fn attach_lists_the_exports_in_order() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut clients, _) = start(vec![export(one.path(), ReadOnly), export(two.path(), ReadWrite)], 1, 1024);
    match clients[0].ask(&Request::Attach { version: VERSION }) {
        (Reply::Attached { exports, .. }, None) => {
            assert_eq!(exports.iter().map(|export| export.read_only).collect::<Vec<_>>(), [true, false]);
            let inodes: Vec<u64> = exports.iter().map(|export| export.attributes.ino).collect();
            let expected = [one.path(), two.path()].map(|path| fs::metadata(path).unwrap().ino());
            assert_eq!(inodes, expected);
        }
        (reply, _) => panic!("{reply:?}"),
    }
    assert_eq!(clients[0].try_ask(&Request::Attach { version: VERSION + 1 }).unwrap_err(), Errno::EPROTO);
}

#[test]
fn a_walk_reports_every_step_and_opens_the_last() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/b")).unwrap();
    fs::write(root.path().join("a/b/file"), "contents").unwrap();
    let mut client = start_one(root.path(), ReadOnly);
    let (steps, end, file) = client.walk(ROOT, "a/b/file", Some(Access::Read));
    assert_eq!(end, WalkEnd::Complete(Ok(Opened::Donated)));
    assert_eq!(steps.len(), 3);
    let host = fs::metadata(root.path().join("a/b/file")).unwrap();
    let attributes = steps[2].attributes;
    assert_eq!((attributes.dev, attributes.ino, attributes.size), (host.dev(), host.ino(), 8));
    assert_eq!(attributes.st_mode(), host.mode());
    assert_eq!(attributes.mtime, Timestamp::new(host.mtime(), host.mtime_nsec() as u32).unwrap());
    let mut text = String::new();
    File::from(file.unwrap()).read_to_string(&mut text).unwrap();
    assert_eq!(text, "contents");
}

#[test]
fn a_walk_says_where_and_why_it_ends() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("d")).unwrap();
    fs::write(root.path().join("d/file"), "").unwrap();
    symlink("../elsewhere/x", root.path().join("d/link")).unwrap();
    let mut client = start_one(root.path(), ReadOnly);
    let target = LinkTarget::new(b"../elsewhere/x").unwrap();
    for (path, count, expected) in [
        ("d/none/x", 1, WalkEnd::Missing),
        ("none", 0, WalkEnd::Missing),
        ("d/file/x/y", 2, WalkEnd::NotDirectory),
        ("d/link/x", 2, WalkEnd::Symlink(target.clone())),
        ("d/link", 2, WalkEnd::Symlink(target)),
        ("d", 1, WalkEnd::Complete(Ok(Opened::No))),
    ] {
        let (steps, end, file) = client.walk(ROOT, path, Some(Access::Read));
        assert_eq!((steps.len(), &end), (count, &expected), "{path}");
        assert!(file.is_none());
    }
    let file = client.find(ROOT, "d/file").node;
    let (steps, end, _) = client.walk(file, "x", None);
    assert_eq!((steps.len(), end), (0, WalkEnd::NotDirectory));
}

#[test]
fn a_big_directory_is_read_completely() {
    const COUNT: usize = 20_000;
    let root = tempfile::tempdir().unwrap();
    for index in 0..COUNT {
        File::create(root.path().join(format!("entry number {index}"))).unwrap();
    }
    let mut client = start_one(root.path(), ReadOnly);
    let entries = client.read_directory(ROOT);
    assert_eq!(entries.len(), COUNT);
    let distinct: HashSet<_> = entries.iter().map(|entry| entry.name.as_bytes().to_vec()).collect();
    assert_eq!(distinct.len(), COUNT);
    assert!(entries.iter().all(|entry| entry.attributes.is_some_and(|attributes| attributes.is_regular())));
    assert!(entries.iter().all(|entry| entry.attributes.unwrap().ino == entry.ino));
}

#[test]
fn a_directory_goes_on_at_its_cursor_when_its_stream_is_gone() {
    let root = tempfile::tempdir().unwrap();
    for index in 0..3000 {
        File::create(root.path().join(format!("{index}"))).unwrap();
    }
    let mut client = start_one(root.path(), ReadOnly);
    let mut found = HashSet::new();
    let mut cursor = 0;
    loop {
        // Stream 0 is none.
        match client.ask(&Request::ReadDirectory { node: ROOT, stream: 0, cursor, all_attributes: true }) {
            (Reply::Directory { entries, next }, None) => {
                assert!(entries.iter().all(|entry| found.insert(entry.name.as_bytes().to_vec())));
                let Some(next) = next else { break };
                client.tell(&Request::CloseDirectory { stream: next.stream });
                cursor = next.cursor;
            }
            (reply, _) => panic!("{reply:?}"),
        }
    }
    assert_eq!(found.len(), 3000);
}

#[test]
fn a_file_is_created_exactly_as_asked() {
    let root = tempfile::tempdir().unwrap();
    let mut client = start_one(root.path(), ReadWrite);
    let request = Request::CreateFile {
        parent: ROOT,
        name: name("new"),
        permissions: 0o4676,
        owner: None,
        access: Access::ReadWrite,
    };
    let (reply, file) = client.try_ask(&request).unwrap();
    let Reply::Created { entry } = reply else { panic!("{reply:?}") };
    assert_eq!(entry.attributes.st_mode(), 0o104_676);
    File::from(file.unwrap()).write_all(b"written").unwrap();
    assert_eq!(fs::read(root.path().join("new")).unwrap(), b"written");
    assert_eq!(client.attributes(entry.node).unwrap().size, 7);
    assert_eq!(client.try_ask(&request).unwrap_err(), Errno::EEXIST);
}

#[test]
fn directories_links_and_fifos_are_made_and_removed() {
    let root = tempfile::tempdir().unwrap();
    let mut client = start_one(root.path(), ReadWrite);
    let directory =
        Request::MakeDirectory { parent: ROOT, name: name("d"), permissions: 0o1777, owner: None };
    let directory = client.created(&directory).unwrap();
    assert_eq!(directory.attributes.st_mode(), 0o041_777);
    let parent = directory.node;
    let target = LinkTarget::new(b"/anything").unwrap();
    let link = Request::MakeSymlink { parent, name: name("link"), target: target.clone(), owner: None };
    let link = client.created(&link).unwrap();
    assert_eq!(client.ask(&Request::ReadLink { node: link.node }).0, Reply::LinkTarget { target });
    assert_eq!(client.try_ask(&Request::ReadLink { node: parent }).unwrap_err(), Errno::EINVAL);
    let special = |file_type| Request::MakeSpecial {
        parent,
        name: name("special"),
        file_type,
        permissions: 0o622,
        owner: None,
    };
    assert_eq!(client.created(&special(FileType::CharacterDevice)).unwrap_err(), Errno::EPERM);
    assert_eq!(client.created(&special(FileType::Directory)).unwrap_err(), Errno::EINVAL);
    let fifo = client.created(&special(FileType::Fifo)).unwrap();
    assert_eq!(fifo.attributes.st_mode(), 0o010_622);
    assert!(fs::metadata(root.path().join("d/special")).unwrap().file_type().is_fifo());
    assert_eq!(
        client.try_ask(&Request::Open { node: fifo.node, access: Access::Read }).unwrap_err(),
        Errno::ENXIO
    );
    let second = client.created(&Request::Link { node: link.node, parent, name: name("link 2") }).unwrap();
    assert_eq!((second.attributes.ino, second.attributes.nlink), (link.attributes.ino, 2));
    assert_eq!(
        client.try_ask(&Request::Link { node: parent, parent: ROOT, name: name("x") }).unwrap_err(),
        Errno::EPERM
    );
    let rmdir = Request::RemoveDirectory { parent: ROOT, name: name("d") };
    assert_eq!(client.try_ask(&rmdir).unwrap_err(), Errno::ENOTEMPTY);
    for gone in ["link", "link 2", "special"] {
        client.try_ask(&Request::Unlink { parent, name: name(gone) }).unwrap();
    }
    client.try_ask(&rmdir).unwrap();
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn a_removed_file_can_still_be_opened_by_its_node() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "still here").unwrap();
    let mut client = start_one(root.path(), ReadWrite);
    let node = client.find(ROOT, "file").node;
    client.try_ask(&Request::Unlink { parent: ROOT, name: name("file") }).unwrap();
    assert_eq!(client.attributes(node).unwrap().nlink, 0);
    let (_, file) = client.try_ask(&Request::Open { node, access: Access::Read }).unwrap();
    let mut text = String::new();
    File::from(file.unwrap()).read_to_string(&mut text).unwrap();
    assert_eq!(text, "still here");
}

#[test]
fn attributes_change_as_asked() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "0123456789").unwrap();
    symlink("file", root.path().join("link")).unwrap();
    let mut client = start_one(root.path(), ReadWrite);
    let node = client.find(ROOT, "file").node;
    let time = Timestamp::new(1_000_000_000, 123_456_789).unwrap();
    let change = AttributeChange {
        permissions: Some(0o2640),
        size: Some(4),
        atime: Some(TimeChange::Now),
        mtime: Some(TimeChange::At(time)),
        ..AttributeChange::default()
    };
    let (reply, _) = client.try_ask(&Request::SetAttributes { node, change }).unwrap();
    let Reply::Attributes { results } = reply else { panic!("{reply:?}") };
    let attributes = results[0].unwrap();
    assert_eq!((attributes.st_mode(), attributes.size, attributes.mtime), (0o102_640, 4, time));
    assert!(attributes.atime > time);
    assert_eq!(fs::read(root.path().join("file")).unwrap(), b"0123");

    let link = client.find(ROOT, "link").node;
    let chmod = AttributeChange { permissions: Some(0o600), ..AttributeChange::default() };
    let refused = client.try_ask(&Request::SetAttributes { node: link, change: chmod }).unwrap_err();
    assert_eq!(refused, Errno::EOPNOTSUPP);
    let touch = AttributeChange { mtime: Some(TimeChange::At(time)), ..AttributeChange::default() };
    client.try_ask(&Request::SetAttributes { node: link, change: touch }).unwrap();
    assert_eq!(fs::symlink_metadata(root.path().join("link")).unwrap().mtime(), time.seconds());
    let too_many = AttributeChange { permissions: Some(0o10_000), ..AttributeChange::default() };
    let refused = client.try_ask(&Request::SetAttributes { node, change: too_many }).unwrap_err();
    assert_eq!(refused, Errno::EINVAL);
}

#[test]
fn owners_change_where_the_host_allows_it() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    let mut client = start_one(root.path(), ReadWrite);
    let node = client.find(ROOT, "file").node;
    let is_root = rustix::process::geteuid().is_root();
    let change = AttributeChange { uid: Some(1234), gid: Some(4321), ..AttributeChange::default() };
    let changed = client.try_ask(&Request::SetAttributes { node, change });
    let owner = Some(Owner { uid: 77, gid: 88 });
    let made =
        client.created(&Request::MakeDirectory { parent: ROOT, name: name("d"), permissions: 0o700, owner });
    if is_root {
        changed.unwrap();
        let attributes = client.attributes(node).unwrap();
        assert_eq!((attributes.uid, attributes.gid), (1234, 4321));
        let attributes = made.unwrap().attributes;
        assert_eq!((attributes.uid, attributes.gid), (77, 88));
    } else {
        assert_eq!(changed.unwrap_err(), Errno::EPERM);
        // What could not be finished is gone.
        assert_eq!(made.unwrap_err(), Errno::EPERM);
        assert!(!root.path().join("d").exists());
    }
    let change = AttributeChange { uid: Some(u32::MAX), ..AttributeChange::default() };
    assert_eq!(client.try_ask(&Request::SetAttributes { node, change }).unwrap_err(), Errno::EINVAL);
}

#[test]
fn nodes_follow_their_files_when_renamed() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/inner")).unwrap();
    fs::create_dir(root.path().join("b")).unwrap();
    fs::write(root.path().join("a/inner/file"), "one").unwrap();
    fs::write(root.path().join("b/file"), "two").unwrap();
    // So few descriptors that nodes lose theirs all the time.
    let (mut clients, _) = start(vec![export(root.path(), ReadWrite)], 1, 0);
    let client = &mut clients[0];
    let (a, b) = (client.find(ROOT, "a").node, client.find(ROOT, "b").node);
    let one = client.find(ROOT, "a/inner/file");
    let two = client.find(b, "file");
    let rename = |name, new_parent, new_name, mode| Request::Rename {
        parent: if name == "file" { b } else { a },
        name: common::name(name),
        new_parent,
        new_name: common::name(new_name),
        mode,
    };
    client.try_ask(&rename("inner", b, "moved", RenameMode::NoReplace)).unwrap();
    assert_eq!(client.attributes(one.node).unwrap().ino, one.attributes.ino);
    client.try_ask(&rename("file", b, "moved", RenameMode::Exchange)).unwrap();
    for entry in [one, two] {
        assert_eq!(client.attributes(entry.node).unwrap().ino, entry.attributes.ino);
    }
    assert_eq!(fs::read(root.path().join("b/moved")).unwrap(), b"two");
    assert_eq!(fs::read(root.path().join("b/file/file")).unwrap(), b"one");
    let refused = client.try_ask(&rename("file", b, "moved", RenameMode::NoReplace)).unwrap_err();
    assert_eq!(refused, Errno::EEXIST);
}

#[test]
fn a_node_whose_file_was_replaced_behind_its_back_is_stale() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "one").unwrap();
    fs::write(root.path().join("other"), "").unwrap();
    let (mut clients, _) = start(vec![export(root.path(), ReadOnly)], 1, 0);
    let client = &mut clients[0];
    let node = client.find(ROOT, "file").node;
    fs::write(root.path().join("new"), "two").unwrap();
    fs::rename(root.path().join("new"), root.path().join("file")).unwrap();
    // Takes the only descriptor away.
    client.find(ROOT, "other");
    assert_eq!(client.attributes(node), Err(Errno::ESTALE));
    let again = client.find(ROOT, "file");
    assert_ne!(again.node, node);
    assert_eq!(client.attributes(again.node).unwrap().size, 3);
}

#[test]
fn forgotten_nodes_are_stale_and_ancestors_outlive_them() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/b/c")).unwrap();
    let (mut clients, _) = start(vec![export(root.path(), ReadOnly)], 1, 0);
    let client = &mut clients[0];
    let (steps, _, _) = client.walk(ROOT, "a/b/c", None);
    let [a, b, c] = [steps[0].node, steps[1].node, steps[2].node];
    client.tell(&Request::Forget { nodes: vec![a, b, ROOT, NodeId(12345)] });
    assert_eq!(client.attributes(a), Err(Errno::ESTALE));
    assert!(client.attributes(ROOT).is_ok());
    assert!(client.attributes(c).is_ok());
    // The same name is the same node, with one reference more.
    assert_eq!(client.find(ROOT, "a/b/c").node, c);
    client.tell(&Request::Forget { nodes: vec![c] });
    assert!(client.attributes(c).is_ok());
    client.tell(&Request::Forget { nodes: vec![c, a, b] });
    assert_eq!(client.attributes(c), Err(Errno::ESTALE));
    assert_ne!(client.find(ROOT, "a").node, a);
}

#[test]
fn thousands_of_nodes_share_few_descriptors() {
    let root = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for directory in 0..20 {
        fs::create_dir(root.path().join(format!("{directory}"))).unwrap();
        for file in 0..100 {
            let path = format!("{directory}/{file}");
            fs::write(root.path().join(&path), &path).unwrap();
            expected.push(path);
        }
    }
    let (mut clients, _) = start(vec![export(root.path(), ReadOnly)], 1, 160);
    let client = &mut clients[0];
    let nodes: Vec<NodeId> = expected.iter().map(|path| client.find(ROOT, path).node).collect();
    for (path, &node) in expected.iter().zip(&nodes) {
        let (_, file) = client.try_ask(&Request::Open { node, access: Access::Read }).unwrap();
        let mut text = String::new();
        File::from(file.unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(&text, path);
    }
}

#[test]
fn extended_attributes_work_for_user_names_only() {
    // Not every file system under the temporary directory has them.
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    symlink("file", root.path().join("link")).unwrap();
    let mut client = start_one(root.path(), ReadWrite);
    let node = client.find(ROOT, "file").node;
    let user = XattrName::new(b"user.key").unwrap();
    let value = XattrValue::new(b"value".to_vec()).unwrap();
    let set = |node, name, mode| Request::SetXattr { node, name, value: value.clone(), mode };
    assert_eq!(client.try_ask(&Request::GetXattr { node, name: user }).unwrap_err(), Errno::ENODATA);
    assert_eq!(client.try_ask(&set(node, user, XattrMode::Replace)).unwrap_err(), Errno::ENODATA);
    client.try_ask(&set(node, user, XattrMode::Create)).unwrap();
    assert_eq!(client.try_ask(&set(node, user, XattrMode::Create)).unwrap_err(), Errno::EEXIST);
    assert_eq!(client.ask(&Request::GetXattr { node, name: user }).0, Reply::Xattr { value: value.clone() });
    let names = XattrValue::new(b"user.key\0".to_vec()).unwrap();
    assert_eq!(client.ask(&Request::ListXattrs { node }).0, Reply::Xattr { value: names });
    for hidden in [&b"trusted.x"[..], b"security.capability"] {
        let name = XattrName::new(hidden).unwrap();
        assert_eq!(client.try_ask(&set(node, name, XattrMode::Any)).unwrap_err(), Errno::EPERM);
        assert_eq!(client.try_ask(&Request::GetXattr { node, name }).unwrap_err(), Errno::ENODATA);
    }
    client.try_ask(&Request::RemoveXattr { node, name: user }).unwrap();
    assert_eq!(client.try_ask(&Request::RemoveXattr { node, name: user }).unwrap_err(), Errno::ENODATA);
    let link = client.find(ROOT, "link").node;
    assert_eq!(client.try_ask(&set(link, user, XattrMode::Any)).unwrap_err(), Errno::EPERM);
}

#[test]
fn statfs_is_the_hosts() {
    let root = tempfile::tempdir().unwrap();
    let mut client = start_one(root.path(), ReadOnly);
    let (reply, _) = client.try_ask(&Request::StatFileSystem { node: ROOT }).unwrap();
    let Reply::FileSystem { statistics } = reply else { panic!("{reply:?}") };
    let host = rustix::fs::statfs(root.path()).unwrap();
    assert_eq!((statistics.kind, statistics.blocks), (host.f_type as u64, host.f_blocks));
    assert_eq!(statistics.name_length, host.f_namelen as u64);
}

#[test]
fn lanes_are_independent_and_the_gofer_ends_with_the_last() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    let (mut clients, server) = start(vec![export(root.path(), ReadOnly)], 3, 1024);
    let node = clients[0].find(ROOT, "file").node;
    // A node is good on every lane.
    assert!(clients[2].attributes(node).is_ok());
    clients.remove(0);
    assert!(clients[1].attributes(node).is_ok());
    assert!(!server.is_finished());
    drop(clients);
    server.join().unwrap().unwrap();
}

#[test]
fn permissions_survive_a_umask() {
    let root = tempfile::tempdir().unwrap();
    let mut client = start_one(root.path(), ReadWrite);
    let make = Request::MakeDirectory { parent: ROOT, name: name("d"), permissions: 0o777, owner: None };
    client.created(&make).unwrap();
    assert_eq!(fs::metadata(root.path().join("d")).unwrap().permissions().mode() & 0o7777, 0o777);
}

fn read_directories(
    client: &mut RawClient,
    names: &str,
    all_attributes: bool,
) -> Vec<Result<WholeDirectory, Errno>> {
    let names = common::names(names);
    match client.ask(&Request::ReadDirectories { parent: ROOT, names, below: 0, all_attributes }) {
        (Reply::Directories { directories, below }, None) if below.is_empty() => directories,
        (reply, _) => panic!("{reply:?}"),
    }
}

#[test]
fn several_directories_are_read_as_wholes() {
    let root = tempfile::tempdir().unwrap();
    for directory in ["one/below", "two"] {
        fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    fs::write(root.path().join("one/file"), "12345").unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    symlink("one", root.path().join("link")).unwrap();
    let mut client = start_one(root.path(), ReadOnly);
    for all_attributes in [true, false] {
        let read = read_directories(&mut client, "one/two/file/link/none", all_attributes);
        let [Ok(one), Ok(two), Err(Errno::ENOTDIR), Err(Errno::ENOTDIR), Err(Errno::ENOENT)] =
            read.as_slice()
        else {
            panic!("{read:?}");
        };
        assert!(two.entries.is_empty());
        assert_eq!(one.directory.attributes.ino, fs::metadata(root.path().join("one")).unwrap().ino());
        // What was read is a node that can be walked from.
        assert_eq!(client.find(one.directory.node, "file").attributes.size, 5);
        let find = |wanted: &str| one.entries.iter().find(|entry| entry.name.as_bytes() == wanted.as_bytes());
        assert_eq!(one.entries.len(), 2);
        assert!(find("below").unwrap().attributes.unwrap().is_directory());
        assert_eq!(find("file").unwrap().file_type, Some(FileType::Regular));
        let size = find("file").unwrap().attributes.map(|attributes| attributes.size);
        assert_eq!(size, all_attributes.then_some(5));
    }
    let parent = client.find(ROOT, "file").node;
    let request = Request::ReadDirectories { parent, names: names("x"), below: 1, all_attributes: true };
    assert_eq!(client.try_ask(&request).unwrap_err(), Errno::ENOTDIR);
}

#[test]
fn directories_in_those_that_are_read_are_read_with_them() {
    let root = tempfile::tempdir().unwrap();
    for directory in ["a/b/c/d", "a/e", "f/g"] {
        fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    for (number, directory) in ["a", "a/b", "a/b/c", "f/g"].iter().enumerate() {
        fs::write(root.path().join(directory).join(format!("file{number}")), "").unwrap();
        symlink("/", root.path().join(directory).join("link")).unwrap();
    }
    let mut client = start_one(root.path(), ReadOnly);
    for most in [0, 1, 4, 5, u16::MAX] {
        let names = common::names("a/none/f");
        let request = Request::ReadDirectories { parent: ROOT, names, below: most, all_attributes: false };
        let (Reply::Directories { directories, below }, None) = client.ask(&request) else { panic!() };
        assert_eq!((directories.len(), below.len()), (3, usize::from(most.min(5))));
        let mut all: Vec<(PathBuf, _)> = Vec::new();
        for (name, read) in ["a", "none", "f"].into_iter().zip(directories) {
            all.push((name.into(), read.ok()));
        }
        for DirectoryBelow { above, entry, read } in below {
            let (path, above) = &all[above as usize];
            let name = above.as_ref().unwrap().entries.name(entry as usize).unwrap();
            all.push((path.join(OsStr::from_bytes(name.as_bytes())), Some(read)));
        }
        for (path, read) in all {
            let Some(read) = read else { continue };
            let path = root.path().join(path);
            assert_eq!(read.directory.attributes.ino, fs::metadata(&path).unwrap().ino());
            assert_eq!(read.entries.len(), fs::read_dir(&path).unwrap().count(), "{path:?}");
        }
    }
}

#[test]
fn directories_that_do_not_fit_in_a_reply_are_left_out() {
    let root = tempfile::tempdir().unwrap();
    for (directory, count) in [("small", 3), ("half", 200), ("other half", 200), ("huge", 1500)] {
        fs::create_dir(root.path().join(directory)).unwrap();
        for index in 0..count {
            File::create(root.path().join(format!("{directory}/{index:0100}"))).unwrap();
        }
    }
    let mut client = start_one(root.path(), ReadOnly);
    assert_eq!(read_directories(&mut client, "small/half/other half", true).len(), 2);
    assert_eq!(read_directories(&mut client, "small/half/other half/huge", false).len(), 3);
    assert!(read_directories(&mut client, "huge/small", false).is_empty());
    // Page by page they are there.
    let huge = client.find(ROOT, "huge").node;
    assert_eq!(client.read_directory(huge).len(), 1500);
}

#[test]
fn several_files_are_opened_and_nothing_else_is() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("directory")).unwrap();
    for file in ["a", "b", "directory/c"] {
        fs::write(root.path().join(file), file).unwrap();
    }
    symlink("a", root.path().join("link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    for shared_or_not in [export, exclusive] {
        let mut client = start(vec![shared_or_not(root.path(), ReadWrite)], 1, 1024).0.remove(0);
        let directory = client.find(ROOT, "directory").node;
        let file = client.find(ROOT, "a").node;
        let mut asked = files("a/directory/link/fifo/none/b");
        asked.extend([directory, file, NodeId(99)].map(|parent| FileIn { parent, name: name("c") }));
        let (results, descriptors) = open_files(&mut client, asked);
        let inode = |file: &str| Ok(fs::metadata(root.path().join(file)).unwrap().ino());
        let expected = [
            inode("a"),
            Err(Errno::EISDIR),
            Err(Errno::ELOOP),
            Err(Errno::ENXIO),
            Err(Errno::ENOENT),
            inode("b"),
            inode("directory/c"),
            Err(Errno::ENOTDIR),
            Err(Errno::ESTALE),
        ];
        let found: Vec<_> =
            results.into_iter().map(|result| result.map(|attributes| attributes.ino)).collect();
        assert_eq!(found, expected);
        let texts: Vec<String> = descriptors
            .into_iter()
            .map(|descriptor| {
                let mut file = File::from(descriptor);
                assert!(file.write_all(b"x").is_err());
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                text
            })
            .collect();
        assert_eq!(texts, ["a", "b", "directory/c"]);
        let many = vec![FileIn { parent: ROOT, name: name("a") }; MAX_DESCRIPTORS];
        assert_eq!(open_files(&mut client, many).1.len(), MAX_DESCRIPTORS);
    }
}

fn open_files(
    client: &mut RawClient,
    files: Vec<FileIn<'_>>,
) -> (Vec<Result<Attributes, Errno>>, Vec<OwnedFd>) {
    match client.ask_for_several(&Request::OpenFiles { files }) {
        (Reply::Files { results }, descriptors) => (results, descriptors),
        (reply, _) => panic!("{reply:?}"),
    }
}

#[test]
fn files_without_extended_attributes_are_told_together_where_nobody_else_changes_names() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let host = |name: &str| root.path().join(name);
    for directory in ["bare", "marked"] {
        fs::create_dir(host(directory)).unwrap();
    }
    for file in ["a", "b"] {
        fs::write(host(file), file).unwrap();
    }
    std::os::unix::fs::symlink("b", host("link")).unwrap();
    for marked in ["b", "marked"] {
        rustix::fs::setxattr(host(marked), "user.mark", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    }
    let none_of = |client: &mut RawClient, mut asked: Vec<_>| {
        asked.extend([1, 99].map(|parent| FileIn { parent: NodeId(parent), name: name("a") }));
        match client.ask(&Request::CheckXattrs { files: asked }) {
            (Reply::XattrsChecked { none }, None) => none,
            reply => panic!("{reply:?}"),
        }
    };
    let asked = || files("a/b/bare/marked/link/none");
    let mut client = start(vec![exclusive(root.path(), ReadOnly)], 1, 1024).0.remove(0);
    let expected = [true, false, true, false, true, false, false, false];
    assert_eq!(none_of(&mut client, asked()), expected);
    let mut client = start(vec![export(root.path(), ReadOnly)], 1, 1024).0.remove(0);
    assert_eq!(none_of(&mut client, asked()), [false; 8]);
}

#[test]
fn an_export_can_say_whose_its_files_are() {
    let root = tempfile::tempdir().unwrap();
    for name in ["listed", "other", "second"] {
        fs::write(root.path().join(name), "").unwrap();
        fs::set_permissions(root.path().join(name), PermissionsExt::from_mode(0o600)).unwrap();
    }
    fs::hard_link(root.path().join("other"), root.path().join("another")).unwrap();
    let inode = fs::metadata(root.path().join("listed")).unwrap().ino();
    let capabilities = FileCapabilities { permitted: 1 << 13, inheritable: 0, effective: true, root: 0 };
    let held = HeldAttributes {
        permissions: 0o4711,
        uid: 1234,
        gid: 5678,
        nlink: 3,
        capabilities: Some(capabilities),
    };
    let owners = Some(Owners::new([(inode, held)].into()));
    let (mut clients, _) = start(vec![Export { owners, ..export(root.path(), ReadOnly) }], 1, 1024);
    let client = &mut clients[0];
    let shown = |attributes: Attributes| {
        (attributes.mode.permissions, attributes.uid, attributes.gid, attributes.nlink)
    };
    let listed = client.find(ROOT, "listed");
    assert_eq!(shown(listed.attributes), (0o4711, 1234, 5678, 3));
    assert_eq!(shown(client.attributes(listed.node).unwrap()), (0o4711, 1234, 5678, 3));
    // Its capabilities are all that it has of extended attributes, and others have none.
    let name = XattrName::new(XATTR_NAME_CAPS).unwrap();
    let reply = |value: Vec<u8>| Reply::Xattr { value: XattrValue::new(value).unwrap() };
    assert_eq!(client.ask(&Request::GetXattr { node: listed.node, name }).0, reply(capabilities.to_value()));
    let names = b"security.capability\0".to_vec();
    assert_eq!(client.ask(&Request::ListXattrs { node: listed.node }).0, reply(names));
    let other = client.find(ROOT, "second").node;
    assert_eq!(client.try_ask(&Request::GetXattr { node: other, name }).unwrap_err(), Errno::ENODATA);
    assert_eq!(client.ask(&Request::ListXattrs { node: other }).0, reply(Vec::new()));
    // Whoever runs the tests, and however many names the file has.
    assert_eq!(shown(client.find(ROOT, "other").attributes), (0o600, 0, 0, 1));
    for entry in client.read_directory(ROOT).iter() {
        let expected =
            if entry.name.as_bytes() == b"listed" { (0o4711, 1234, 5678, 3) } else { (0o600, 0, 0, 1) };
        assert_eq!(entry.attributes.map(shown), Some(expected));
    }
    match client.ask(&Request::Attach { version: VERSION }) {
        (Reply::Attached { exports, .. }, None) => {
            let host = fs::metadata(root.path()).unwrap();
            let attributes = exports[0].attributes;
            assert_eq!((attributes.uid, attributes.gid, u64::from(attributes.nlink)), (0, 0, host.nlink()));
        }
        (reply, _) => panic!("{reply:?}"),
    }
}
