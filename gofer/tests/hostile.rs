//! What a client that the guest has taken over can try, and what others on the host can do meanwhile.

mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use common::{ROOT, RawClient, exclusive, export, files, name, names, open_root, start, start_one};
use rustix::fs::{CWD, RenameFlags, inotify};
use usk_abi::Errno;
use usk_gofer::ExportMode::{ReadOnly, ReadWrite};
use usk_gofer::{Export, GoferError, HiddenNames, MountCrossing, SelfDescriptors, Sharing};
use usk_gofer_protocol::limits::MAX_MESSAGE;
use usk_gofer_protocol::{
    Access, AttributeChange, FileIn, FileType, LinkTarget, NodeId, Opened, Owner, RenameMode, Reply, Request,
    WalkEnd, XattrMode, XattrName, XattrValue,
};

/// Rounds of a race, and how many more there may be until both outcomes were seen.
const ROUNDS: usize = 5_000;
const MOST_ROUNDS: usize = 200_000;

/// An export with a secret beside it.
struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("export")).unwrap();
        fs::create_dir(directory.path().join("outside")).unwrap();
        fs::write(directory.path().join("outside/file"), "secret").unwrap();
        Scene { directory }
    }

    fn export(&self) -> std::path::PathBuf {
        self.directory.path().join("export")
    }

    fn outside(&self) -> std::path::PathBuf {
        self.directory.path().join("outside")
    }
}

/// The bytes of a walk whose names are these, allowed or not.
fn walk_message(names: &[&[u8]]) -> Vec<u8> {
    let mut bytes =
        Request::Walk { node: ROOT, names: common::names("x"), open: Some(Access::Read) }.encode(1).unwrap();
    // The id, the number, the node; then the names; then the access.
    let end = bytes.split_off(bytes.len() - 2);
    bytes.truncate(8 + 2 + 8);
    bytes.extend((names.len() as u32).to_le_bytes());
    for name in names {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend(*name);
    }
    bytes.extend(end);
    bytes
}

#[test]
fn names_that_are_paths_end_the_conversation() {
    let scene = Scene::new();
    fs::write(scene.export().join("x"), "").unwrap();
    let long = [b'a'; 256];
    let many = vec![&b"x"[..]; 65];
    let bad: &[&[&[u8]]] = &[
        &[b".."],
        &[b"."],
        &[b"x", b"..", b"x"],
        &[b"../outside/file"],
        &[b"/etc/passwd"],
        &[b"a/b"],
        &[b"nul\0l"],
        &[b""],
        &[&long],
        &[],
        &many,
    ];
    for names in bad {
        let client = start_one(&scene.export(), ReadWrite);
        client.send_raw(&walk_message(names), &[]);
        assert!(client.is_closed(), "{names:?}");
    }
    // The method itself: a good name is answered.
    let client = start_one(&scene.export(), ReadWrite);
    client.send_raw(&walk_message(&[b"x"]), &[]);
    assert!(client.receive_raw().is_some());
}

#[test]
fn garbage_ends_the_conversation_on_its_lane_only() {
    let scene = Scene::new();
    let (mut clients, server) = start(vec![export(&scene.export(), ReadOnly)], 5, 1024);
    let mut survivor = clients.pop().unwrap();
    let good = Request::GetAttributes { nodes: vec![ROOT] }.encode(1).unwrap();
    let mut trailing = good.clone();
    trailing.push(0);
    let messages = [vec![0xff; 100], trailing, vec![0; MAX_MESSAGE + 1], good[..good.len() - 1].to_vec()];
    for (client, message) in clients.iter().zip(messages) {
        client.send_raw(&message, &[]);
        assert!(client.is_closed());
    }
    assert!(survivor.attributes(ROOT).is_ok());
    drop(survivor);
    server.join().unwrap().unwrap();
}

#[test]
fn descriptors_beside_a_request_end_the_conversation() {
    let scene = Scene::new();
    let client = start_one(&scene.export(), ReadOnly);
    let (reader, writer) = std::io::pipe().unwrap();
    client.send_raw(&Request::GetAttributes { nodes: vec![ROOT] }.encode(1).unwrap(), &[writer.as_fd()]);
    assert!(client.is_closed());
    // The gofer keeps no copy: with ours gone the pipe is at its end.
    drop(writer);
    let mut rest = Vec::new();
    { reader }.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn symbolic_links_are_never_followed() {
    let scene = Scene::new();
    symlink("../outside", scene.export().join("relative")).unwrap();
    symlink(scene.outside(), scene.export().join("absolute")).unwrap();
    symlink("../outside/file", scene.export().join("file")).unwrap();
    symlink("/proc/self/root", scene.export().join("magic")).unwrap();
    let mut client = start_one(&scene.export(), ReadWrite);
    for path in ["relative/file", "absolute/file", "magic/etc", "file"] {
        let (steps, end, file) = client.walk(ROOT, path, Some(Access::ReadWrite));
        assert!(matches!(end, WalkEnd::Symlink(_)), "{path}");
        assert!(steps.len() == 1 && file.is_none(), "{path}");
    }
    let link = client.find(ROOT, "file").node;
    for access in [Access::Read, Access::Write] {
        assert_eq!(client.try_ask(&Request::Open { node: link, access }).unwrap_err(), Errno::ELOOP);
    }
    let directory = client.find(ROOT, "relative").node;
    let below = [
        Request::CreateFile {
            parent: directory,
            name: name("new"),
            permissions: 0o644,
            owner: None,
            access: Access::Write,
        },
        Request::MakeDirectory { parent: directory, name: name("new"), permissions: 0o755, owner: None },
        Request::Unlink { parent: directory, name: name("file") },
        Request::Rename {
            parent: directory,
            name: name("file"),
            new_parent: ROOT,
            new_name: name("stolen"),
            mode: RenameMode::Replace,
        },
        Request::Link { node: link, parent: directory, name: name("new") },
        Request::ReadDirectory { node: directory, stream: 0, cursor: 0, all_attributes: true },
    ];
    for request in below {
        assert_eq!(client.try_ask(&request).unwrap_err(), Errno::ENOTDIR, "{request:?}");
    }
    // Creating over a link neither follows nor replaces it.
    let over = Request::CreateFile {
        parent: ROOT,
        name: name("file"),
        permissions: 0o644,
        owner: None,
        access: Access::Write,
    };
    assert_eq!(client.try_ask(&over).unwrap_err(), Errno::EEXIST);
    let truncate = AttributeChange { size: Some(0), ..AttributeChange::default() };
    assert_eq!(
        client.try_ask(&Request::SetAttributes { node: link, change: truncate }).unwrap_err(),
        Errno::EINVAL
    );
    assert_eq!(fs::read_dir(scene.outside()).unwrap().count(), 1);
    assert_eq!(fs::read(scene.outside().join("file")).unwrap(), b"secret");
}

#[test]
fn a_hard_link_to_a_symbolic_link_links_the_link() {
    let scene = Scene::new();
    symlink("../outside/file", scene.export().join("link")).unwrap();
    let mut client = start_one(&scene.export(), ReadWrite);
    let link = client.find(ROOT, "link");
    let second =
        client.created(&Request::Link { node: link.node, parent: ROOT, name: name("second") }).unwrap();
    assert!(second.attributes.is_symlink());
    assert_eq!(second.attributes.ino, link.attributes.ino);
    assert_eq!(fs::metadata(scene.outside().join("file")).unwrap().nlink(), 1);
}

#[test]
fn nodes_that_were_not_handed_out_are_nothing() {
    let scene = Scene::new();
    let mut client = start_one(&scene.export(), ReadWrite);
    for number in [1, 2, 1000, u64::MAX, 1 << 63] {
        let node = NodeId(number);
        assert_eq!(client.attributes(node), Err(Errno::ESTALE));
        assert_eq!(client.try_ask(&Request::Open { node, access: Access::Read }).unwrap_err(), Errno::ESTALE);
        client.tell(&Request::Forget { nodes: vec![node; 100] });
        client.tell(&Request::CloseDirectory { stream: number });
    }
    client.tell(&Request::Forget { nodes: vec![ROOT; 512] });
    assert!(client.attributes(ROOT).is_ok());
    // Positions that no page named are the host's to refuse, not a way to anything.
    for cursor in [1, u64::MAX, 1 << 62] {
        let _ = client.ask(&Request::ReadDirectory {
            node: ROOT,
            stream: u64::MAX,
            cursor,
            all_attributes: true,
        });
    }
    assert!(client.attributes(ROOT).is_ok());
}

#[test]
fn exports_are_separate() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(one.path().join("file"), "read-only").unwrap();
    let (mut clients, _) = start(vec![export(one.path(), ReadOnly), export(two.path(), ReadWrite)], 1, 1024);
    let client = &mut clients[0];
    let file = client.find(ROOT, "file").node;
    let second = NodeId(1);
    let link = Request::Link { node: file, parent: second, name: name("x") };
    assert_eq!(client.try_ask(&link).unwrap_err(), Errno::EROFS);
    for (parent, new_parent) in [(ROOT, second), (second, ROOT)] {
        let rename = Request::Rename {
            parent,
            name: name("file"),
            new_parent,
            new_name: name("x"),
            mode: RenameMode::Replace,
        };
        assert_eq!(client.try_ask(&rename).unwrap_err(), Errno::EROFS);
    }
    let (mut clients, _) = start(vec![export(one.path(), ReadWrite), export(two.path(), ReadWrite)], 1, 1024);
    let client = &mut clients[0];
    let file = client.find(ROOT, "file").node;
    let link = Request::Link { node: file, parent: second, name: name("x") };
    assert_eq!(client.try_ask(&link).unwrap_err(), Errno::EXDEV);
    let rename = Request::Rename {
        parent: ROOT,
        name: name("file"),
        new_parent: second,
        new_name: name("x"),
        mode: RenameMode::Replace,
    };
    assert_eq!(client.try_ask(&rename).unwrap_err(), Errno::EXDEV);
}

#[test]
fn nothing_changes_on_a_read_only_export() {
    let scene = Scene::new();
    let root = scene.export();
    fs::create_dir(root.join("d")).unwrap();
    fs::write(root.join("file"), "unchanged").unwrap();
    let before = fs::metadata(root.join("file")).unwrap();
    let mut client = start_one(&root, ReadOnly);
    let node = client.find(ROOT, "file").node;
    let parent = ROOT;
    let new = name("new");
    let key = XattrName::new(b"user.k").unwrap();
    let mut changes = vec![
        Request::CreateFile { parent, name: new, permissions: 0o644, owner: None, access: Access::Read },
        Request::MakeDirectory { parent, name: new, permissions: 0o755, owner: None },
        Request::MakeSymlink { parent, name: new, target: LinkTarget::new(b"x").unwrap(), owner: None },
        Request::MakeSpecial {
            parent,
            name: new,
            file_type: FileType::Fifo,
            permissions: 0o644,
            owner: None,
        },
        Request::Link { node, parent, name: new },
        Request::Unlink { parent, name: name("file") },
        Request::RemoveDirectory { parent, name: name("d") },
        Request::SetXattr { node, name: key, value: XattrValue::new(vec![1]).unwrap(), mode: XattrMode::Any },
        Request::RemoveXattr { node, name: key },
        Request::Open { node, access: Access::Write },
        Request::Open { node, access: Access::ReadWrite },
    ];
    for mode in [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange] {
        changes.push(Request::Rename { parent, name: name("file"), new_parent: parent, new_name: new, mode });
    }
    let nothing = AttributeChange::default();
    for change in [
        AttributeChange { permissions: Some(0o777), ..nothing },
        AttributeChange { uid: Some(1), ..nothing },
        AttributeChange { size: Some(0), ..nothing },
        AttributeChange { mtime: Some(usk_gofer_protocol::TimeChange::Now), ..nothing },
        nothing,
    ] {
        changes.push(Request::SetAttributes { node, change });
    }
    for request in changes {
        assert_eq!(client.try_ask(&request).unwrap_err(), Errno::EROFS, "{request:?}");
    }
    for access in [Access::Write, Access::ReadWrite] {
        let (_, end, file) = client.walk(ROOT, "file", Some(access));
        assert!(end == WalkEnd::Complete(Err(Errno::EROFS)) && file.is_none());
    }
    // The descriptor that is donated cannot write.
    let (_, _, file) = client.walk(ROOT, "file", Some(Access::Read));
    let mut file = File::from(file.unwrap());
    assert!(file.write_all(b"x").is_err() && file.set_len(0).is_err());
    let after = fs::metadata(root.join("file")).unwrap();
    assert_eq!((before.ctime(), before.ctime_nsec()), (after.ctime(), after.ctime_nsec()));
    assert_eq!(fs::read_dir(&root).unwrap().count(), 2);
}

#[test]
fn special_files_are_never_opened() {
    let scene = Scene::new();
    let root = scene.export();
    let _listener = UnixListener::bind(root.join("socket")).unwrap();
    rustix::fs::mknodat(CWD, root.join("fifo"), rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    let mut special = vec!["socket", "fifo"];
    let null = rustix::fs::makedev(1, 3);
    // Only root can make a device.
    if rustix::fs::mknodat(CWD, root.join("null"), rustix::fs::FileType::CharacterDevice, 0o666.into(), null)
        .is_ok()
    {
        special.push("null");
    }
    let mut client = start_one(&root, ReadWrite);
    for path in special {
        // Opening the fifo would block for ever.
        let (steps, end, file) = client.walk(ROOT, path, Some(Access::Read));
        assert!(end == WalkEnd::Complete(Ok(Opened::No)) && file.is_none(), "{path}");
        let node = steps[0].node;
        assert_eq!(
            client.try_ask(&Request::Open { node, access: Access::ReadWrite }).unwrap_err(),
            Errno::ENXIO
        );
        let key = XattrName::new(b"user.k").unwrap();
        assert_eq!(client.try_ask(&Request::GetXattr { node, name: key }).unwrap_err(), Errno::ENODATA);
        let truncate = AttributeChange { size: Some(0), ..AttributeChange::default() };
        assert_eq!(
            client.try_ask(&Request::SetAttributes { node, change: truncate }).unwrap_err(),
            Errno::EINVAL
        );
    }
    assert_eq!(
        client.try_ask(&Request::Open { node: ROOT, access: Access::Read }).unwrap_err(),
        Errno::EISDIR
    );
}

/// A writer of a fifo would go on, and a tape be rewound, if it were opened only to find out what it is.
#[test]
fn a_fifo_is_not_opened_to_see_that_it_is_one() {
    let scene = Scene::new();
    let root = scene.export();
    rustix::fs::mknodat(CWD, root.join("fifo"), rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    fs::write(root.join("file"), "").unwrap();
    for shared_or_not in [export, exclusive] {
        let mut client = start(vec![shared_or_not(&root, ReadOnly)], 1, 1024).0.remove(0);
        let opens = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        for file in ["fifo", "file"] {
            inotify::add_watch(&opens, root.join(file), inotify::WatchFlags::OPEN).unwrap();
        }
        let mut seen_of = |file: &'static str| {
            client.ask_for_several(&Request::OpenFiles { files: files(file) });
            client.ask(&Request::CheckXattrs { files: files(file) });
            client.ask(&Request::ReadDirectories {
                parent: ROOT,
                names: names(file),
                below: 0,
                all_attributes: true,
            });
            rustix::io::read(&opens, &mut [0; 64])
        };
        assert_eq!(seen_of("fifo"), Err(rustix::io::Errno::AGAIN));
        assert!(seen_of("file").is_ok());
    }
}

/// Somebody on the host who lets a name and `swap` change places all the time.
struct Flipper {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Flipper {
    fn of(root: &Path, name: &'static str) -> Flipper {
        let is_over = Arc::new(AtomicBool::new(false));
        let (root, stop) = (open_root(root), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let mut flips = 0;
            while !stop.load(Ordering::Relaxed) {
                // Where the name comes and goes it may be gone.
                flips += u64::from(
                    rustix::fs::renameat_with(&root, name, &root, "swap", RenameFlags::EXCHANGE).is_ok(),
                );
            }
            flips
        });
        Flipper { is_over, thread }
    }

    /// Returns how often they did.
    fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Opens a path of two components again and again while somebody on the host swaps the first between a
/// directory and a symbolic link to one outside.
#[test]
fn a_directory_that_becomes_a_link_leads_nowhere() {
    let scene = Scene::new();
    let root = scene.export();
    fs::create_dir(root.join("inside")).unwrap();
    fs::write(root.join("inside/file"), "harmless").unwrap();
    symlink("../outside", root.join("swap")).unwrap();
    let (mut clients, _) = start(vec![export(&root, ReadWrite)], 1, 1024);
    let mut client = clients.remove(0);
    let flipper = Flipper::of(&root, "inside");
    let (mut opened, mut links) = (0, 0);
    for round in 0..MOST_ROUNDS {
        if round >= ROUNDS && opened > 0 && links > 0 {
            break;
        }
        let (steps, end, file) = client.walk(ROOT, "inside/file", Some(Access::ReadWrite));
        match (&end, file) {
            (WalkEnd::Complete(Ok(Opened::Donated)), Some(file)) => {
                let mut text = String::new();
                File::from(file).read_to_string(&mut text).unwrap();
                assert_eq!(text, "harmless");
                opened += 1;
            }
            (WalkEnd::Symlink(_), None) => links += 1,
            (end, file) => panic!("{end:?} {file:?}"),
        }
        // The first step's node may be the link or the directory: never a way to the other side.
        let parent = steps[0].node;
        let probe = format!("probe {round}");
        let create = Request::CreateFile {
            parent,
            name: name(&probe),
            permissions: 0o600,
            owner: None,
            access: Access::Write,
        };
        if client.try_ask(&create).is_ok() {
            client.try_ask(&Request::Unlink { parent, name: name(&probe) }).unwrap();
        }
        client.tell(&Request::Forget { nodes: steps.iter().map(|step| step.node).collect() });
    }
    let flips = flipper.stop();
    assert!(opened > 0 && links > 0 && flips > 0, "the race did not happen: {opened} {links} {flips}");
    assert_eq!(fs::read_dir(scene.outside()).unwrap().count(), 1);
    assert_eq!(fs::read(scene.outside().join("file")).unwrap(), b"secret");
}

/// The same with a file: what was looked at is what is opened, also when its node has lost its descriptor.
#[test]
fn a_file_that_becomes_a_link_leads_nowhere() {
    let scene = Scene::new();
    let root = scene.export();
    fs::write(root.join("file"), "harmless").unwrap();
    fs::write(root.join("other"), "").unwrap();
    symlink("../outside/file", root.join("swap")).unwrap();
    let (mut clients, _) = start(vec![export(&root, ReadWrite)], 1, 0);
    let mut client = clients.remove(0);
    let flipper = Flipper::of(&root, "file");
    let (mut opened, mut refused) = (0, 0);
    for round in 0..MOST_ROUNDS {
        if round >= ROUNDS && opened > 0 && refused > 0 {
            break;
        }
        let (steps, end, _) = client.walk(ROOT, "file", None);
        let node = steps[0].node;
        let is_link = matches!(end, WalkEnd::Symlink(_));
        // Takes the only descriptor away.
        let other = client.find(ROOT, "other").node;
        match client.try_ask(&Request::Open { node, access: Access::Read }) {
            Ok((_, file)) => {
                assert!(!is_link);
                let mut text = String::new();
                File::from(file.unwrap()).read_to_string(&mut text).unwrap();
                assert_eq!(text, "harmless");
                opened += 1;
            }
            Err(Errno::ELOOP) if is_link => refused += 1,
            Err(Errno::ESTALE) => refused += 1,
            Err(errno) => panic!("{errno:?}"),
        }
        client.tell(&Request::Forget { nodes: vec![node, other] });
    }
    flipper.stop();
    assert!(opened > 0 && refused > 0, "the race did not happen: {opened} {refused}");
}

/// The same with a file that is opened by its name, although somebody changes what is exported as if nobody did.
#[test]
fn what_takes_a_files_place_is_not_given_away_for_it() {
    for in_between in ["link", "directory"] {
        let scene = Scene::new();
        let root = scene.export();
        fs::write(root.join("file"), "harmless").unwrap();
        match in_between {
            "link" => symlink("../outside/file", root.join("swap")).unwrap(),
            _ => fs::create_dir(root.join("swap")).unwrap(),
        }
        let mut client = start(vec![exclusive(&root, ReadOnly)], 1, 1024).0.remove(0);
        let flipper = Flipper::of(&root, "file");
        let (mut opened, mut refused) = (0, 0);
        for round in 0..MOST_ROUNDS {
            if round >= ROUNDS && opened > 0 && refused > 0 {
                break;
            }
            let (Reply::Files { results }, given) =
                client.ask_for_several(&Request::OpenFiles { files: files("file") })
            else {
                panic!("it is something else")
            };
            match (results.as_slice(), given.into_iter().next()) {
                ([Ok(attributes)], Some(file)) => {
                    let mut text = String::new();
                    File::from(file).read_to_string(&mut text).unwrap();
                    assert!(text == "harmless" && attributes.is_regular());
                    opened += 1;
                }
                ([Err(Errno::ELOOP | Errno::EISDIR)], None) => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        flipper.stop();
        assert!(opened > 0 && refused > 0, "the race did not happen: {opened} {refused}");
    }
}

/// Somebody lets a directory of root's take the place of one that has just been made for a user: it stays root's.
#[test]
fn what_takes_a_new_directorys_place_is_not_given_away_for_it() {
    // Who is not root cannot give anything away.
    let owner = rustix::process::geteuid().is_root().then_some(Owner { uid: 1000, gid: 1000 });
    let scene = Scene::new();
    let root = scene.export();
    fs::create_dir(root.join("swap")).unwrap();
    fs::write(root.join("swap/file"), "secret").unwrap();
    fs::set_permissions(root.join("swap"), fs::Permissions::from_mode(0o700)).unwrap();
    let victim = File::open(root.join("swap")).unwrap();
    let untouched = |victim: &File| {
        let status = victim.metadata().unwrap();
        (status.uid(), status.mode() & 0o7777)
    };
    let before = untouched(&victim);
    let mut client = start(vec![export(&root, ReadWrite)], 1, 1024).0.remove(0);
    let flipper = Flipper::of(&root, "new");
    let (mut made, mut lost) = (0, 0);
    for round in 0..MOST_ROUNDS {
        if round >= ROUNDS && made > 0 && (lost > 0 || owner.is_none()) {
            break;
        }
        let request = Request::MakeDirectory { parent: ROOT, name: name("new"), permissions: 0o755, owner };
        match client.try_ask(&request) {
            Ok(_) => made += 1,
            Err(Errno::ESTALE) => lost += 1,
            Err(Errno::EEXIST) => {}
            Err(errno) => panic!("{errno:?}"),
        }
        assert_eq!(untouched(&victim), before);
        // Only one of the two is empty.
        let _ = fs::remove_dir(root.join("new")).or_else(|_| fs::remove_dir(root.join("swap")));
        if !root.join("swap").exists() {
            let _ = fs::rename(root.join("new"), root.join("swap"));
        }
    }
    flipper.stop();
    assert!(made > 0 && (lost > 0 || owner.is_none()), "the race did not happen: {made} {lost}");
}

/// Two lanes rename, look up and forget at once; in the end the table still tells the truth.
#[test]
fn lanes_that_race_each_other_confuse_nothing() {
    let scene = Scene::new();
    let root = scene.export();
    for directory in ["a", "b"] {
        fs::create_dir(root.join(directory)).unwrap();
        for file in 0..4 {
            fs::write(root.join(format!("{directory}/{file}")), format!("{directory}{file}")).unwrap();
        }
    }
    let (clients, server) = start(vec![export(&root, ReadWrite)], 2, 0);
    let workers: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(worker, mut client)| std::thread::spawn(move || churn(&mut client, worker)))
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    server.join().unwrap().unwrap();
    let mut contents: Vec<_> = ["a", "b"]
        .iter()
        .flat_map(|directory| fs::read_dir(root.join(directory)).unwrap())
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    contents.sort();
    assert_eq!(contents, ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3"]);
}

fn churn(client: &mut RawClient, worker: usize) {
    for round in 0..3_000 {
        let (a, b) = (client.find(ROOT, "a").node, client.find(ROOT, "b").node);
        let number = format!("{}", (round + worker) % 4);
        let rename = Request::Rename {
            parent: a,
            name: name(&number),
            new_parent: b,
            new_name: name(&number),
            mode: RenameMode::Exchange,
        };
        client.try_ask(&rename).unwrap();
        let (steps, _, _) = client.walk(a, &number, None);
        for step in &steps {
            match client.attributes(step.node) {
                Ok(attributes) => assert_eq!(attributes.ino, step.attributes.ino),
                Err(errno) => assert_eq!(errno, Errno::ESTALE),
            }
        }
        let nodes = steps.iter().map(|step| step.node).chain([a, b]).collect();
        client.tell(&Request::Forget { nodes });
    }
}

#[test]
fn the_hosts_kernel_is_not_a_file_system() {
    // With /proc and /sys mounted below it, as in every container and on every host.
    let mut client = start(vec![exclusive(Path::new("/"), ReadOnly)], 1, 1024).0.remove(0);
    for path in ["proc", "sys"] {
        let entry = client.find(ROOT, path);
        assert!(entry.attributes.is_directory());
        assert!(client.read_directory(entry.node).is_empty(), "{path}");
        let request =
            Request::ReadDirectories { parent: ROOT, names: names(path), below: 64, all_attributes: true };
        let (Reply::Directories { directories, below }, None) = client.ask(&request) else {
            panic!("{path}")
        };
        assert!(directories[0].as_ref().unwrap().entries.is_empty() && below.is_empty(), "{path}");
        let files = vec![FileIn { parent: entry.node, name: name("version") }];
        let (Reply::Files { results }, given) = client.ask_for_several(&Request::OpenFiles { files }) else {
            panic!("{path}")
        };
        assert!(results == [Err(Errno::ENOENT)] && given.is_empty(), "{path}");
    }
    for path in ["proc/self", "proc/1/environ", "sys/kernel"] {
        let (steps, end, _) = client.walk(ROOT, path, Some(Access::Read));
        assert_eq!((steps.len(), end), (1, WalkEnd::Missing), "{path}");
    }
    let proc = Export {
        root: open_root(Path::new("/proc")),
        mode: ReadOnly,
        sharing: Sharing::Shared,
        crossing: MountCrossing::Cross,
        owners: None,
        hidden: HiddenNames::default(),
    };
    let (_, lane) = common::socket_pair();
    let refused =
        usk_gofer::serve_without_lockdown(vec![lane], vec![proc], SelfDescriptors::open().unwrap(), 1024)
            .unwrap_err();
    assert!(matches!(refused, GoferError::KernelInterface { number: 0 }));
}

#[test]
fn mounts_are_not_entered_unless_asked() {
    let stay = Export {
        root: open_root(Path::new("/")),
        mode: ReadOnly,
        sharing: Sharing::Shared,
        crossing: MountCrossing::Stay,
        owners: None,
        hidden: HiddenNames::default(),
    };
    let (mut clients, _) = start(vec![stay], 1, 1024);
    let (steps, end, _) = clients[0].walk(ROOT, "proc/self", None);
    assert_eq!((steps.len(), end), (0, WalkEnd::Failed(Errno::EXDEV)));
}

#[test]
fn a_full_walk_of_many_components_is_answered() {
    let scene = Scene::new();
    let path: Vec<String> = (0..64).map(|level| format!("{level}")).collect();
    fs::create_dir_all(scene.export().join(path.join("/"))).unwrap();
    let mut client = start_one(&scene.export(), ReadOnly);
    let (steps, end, _) = client.walk(ROOT, &path.join("/"), None);
    assert_eq!((steps.len(), end), (64, WalkEnd::Complete(Ok(Opened::No))));
    assert_eq!(names(&path.join("/")).len(), 64);
}
