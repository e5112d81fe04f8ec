//! The virtual file system over a gofer: exports alone, and under an overlay.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::fs::{OpenFlags, RenameFlags, ResolveFlags};
use usk_gofer::{Export, ExportMode, HiddenNames, MountCrossing, SelfDescriptors, Sharing};
use usk_platform::host::message_socket_pair;
use usk_sentry::fs::gofer::GoferFileSystem;
use usk_sentry::fs::overlay::Overlay;
use usk_sentry::gofer::GoferClient;
use usk_sentry::task::Credentials;
use usk_sentry::vfs::{
    Attributes, DirectoryEntry, FileSystem, FileType, FsContext, Mapping, MountFlags, MountNamespace,
    NameContext, OpenFile, OpenHow, WalkOptions,
};
use usk_sentry::{BytesSink, BytesSource, SysError};

/// An export of `path`, served by a gofer that may have `limit` descriptors.
fn export(path: &Path, mode: ExportMode, sharing: Sharing, limit: usize) -> Arc<GoferFileSystem> {
    GoferFileSystem::new(&serve(path, mode, sharing, limit), 0).unwrap()
}

fn serve(path: &Path, mode: ExportMode, sharing: Sharing, limit: usize) -> Arc<GoferClient> {
    let (ours, theirs): (Vec<OwnedFd>, Vec<OwnedFd>) = (0..2).map(|_| message_socket_pair().unwrap()).unzip();
    let root = File::open(path).unwrap().into();
    let export = Export {
        root,
        mode,
        sharing,
        crossing: MountCrossing::Cross,
        owners: None,
        hidden: HiddenNames::default(),
    };
    let descriptors = SelfDescriptors::open().unwrap();
    std::thread::spawn(move || usk_gofer::serve_without_lockdown(theirs, vec![export], descriptors, limit));
    GoferClient::new(ours).unwrap()
}

fn with<T>(file_system: Arc<dyn FileSystem>, action: impl FnOnce(&NameContext<'_>) -> T) -> T {
    let context = FsContext::new(MountNamespace::new(file_system, MountFlags::empty(), "test"));
    let credentials = Credentials::user(0, 0);
    action(&context.names(&credentials, None))
}

fn open(names: &NameContext<'_>, name: &str, flags: OpenFlags) -> Result<Arc<OpenFile>, Errno> {
    let how = OpenHow { flags, mode: 0o644, resolve: ResolveFlags::empty() };
    names.open(&names.cwd, name.as_bytes(), how, None).map_err(|error| match error {
        SysError::Errno(error) => error,
        SysError::Restart(_) => Errno::EINTR,
    })
}

fn read(file: &OpenFile) -> Vec<u8> {
    let mut sink = BytesSink::new(1 << 20);
    file.ops.read(file, &mut sink, 0).unwrap();
    sink.bytes
}

fn write(file: &OpenFile, data: &[u8], at: u64) {
    assert_eq!(file.ops.write(file, &mut BytesSource::new(data), at), Ok(data.len()));
}

fn stat(names: &NameContext<'_>, name: &str) -> Result<Attributes, Errno> {
    names.resolve(&names.cwd, name.as_bytes(), WalkOptions::NO_FOLLOW)?.inode()?.attributes()
}

fn list(names: &NameContext<'_>, name: &str) -> Vec<String> {
    let path = names.resolve(&names.cwd, name.as_bytes(), WalkOptions::FOLLOW).unwrap();
    let listing = path.inode().unwrap().list().unwrap();
    let mut entries: Vec<String> =
        listing.iter().map(|entry| String::from_utf8_lossy(entry.name).into_owned()).collect();
    entries.sort();
    entries
}

#[test]
fn an_overlay_over_an_export_reads_below_and_writes_above() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("usr/lib/deep")).unwrap();
    fs::write(directory.path().join("usr/lib/deep/file"), "below").unwrap();
    fs::hard_link(directory.path().join("usr/lib/deep/file"), directory.path().join("other")).unwrap();
    std::os::unix::fs::symlink("usr/lib", directory.path().join("lib")).unwrap();
    let lower = export(directory.path(), ExportMode::ReadOnly, Sharing::Exclusive, 256);
    with(Overlay::new(lower, None, None).unwrap(), |names| {
        let file = open(names, "lib/deep/file", OpenFlags::empty()).unwrap();
        assert_eq!(read(&file), b"below");
        assert!(matches!(file.ops.mapping(&file, false), Ok(Mapping::Host(_))));
        let before = stat(names, "other").unwrap();
        assert_eq!(list(names, "usr/lib/deep"), ["file"]);
        assert_eq!(stat(names, "usr/lib/deep/absent").err(), Some(Errno::ENOENT));
        assert_eq!(stat(names, "usr/lib/deep/file/x").err(), Some(Errno::ENOTDIR));
        write(&open(names, "usr/lib/deep/file", OpenFlags::RDWR).unwrap(), b"ABOVE and longer", 0);
        assert_eq!(read(&file), b"ABOVE and longer");
        let after = stat(names, "other").unwrap();
        assert_eq!((after.inode, after.links, after.size), (before.inode, 2, 16));
        let renamed = names.rename(
            (&names.cwd, b"usr"),
            || Ok((names.cwd.clone(), b"moved".into())),
            RenameFlags::empty(),
        );
        assert_eq!(renamed, Ok(()));
        assert_eq!(list(names, "moved/lib/deep"), ["file"]);
        assert_eq!(stat(names, "lib/deep").err(), Some(Errno::ENOENT));
    });
    assert_eq!(fs::read(directory.path().join("other")).unwrap(), b"below");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[test]
fn a_writable_export_changes_the_host() {
    let directory = tempfile::tempdir().unwrap();
    let host = |name: &str| directory.path().join(name);
    for sharing in [Sharing::Exclusive, Sharing::Shared] {
        with(export(directory.path(), ExportMode::ReadWrite, sharing, 256), |names| {
            let cwd = &names.cwd;
            names.make_directory(cwd, b"dir", 0o755).unwrap();
            let file = open(names, "dir/file", OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::RDWR).unwrap();
            write(&file, b"one", 0);
            assert_eq!(file.ops.append(&file, &mut BytesSource::new(b"two")), Ok((3, 6)));
            assert_eq!(fs::read(host("dir/file")).unwrap(), b"onetwo");
            assert_eq!(stat(names, "dir/file").unwrap().size, 6);
            names.truncate(file.path(), 3).unwrap();
            names.change_permissions(file.path(), 0o600).unwrap();
            let changed = stat(names, "dir/file").unwrap();
            assert_eq!((changed.size, changed.mode & 0o777), (3, 0o600));
            names.link(file.path(), cwd, b"linked").unwrap();
            assert_eq!(stat(names, "dir/file").unwrap().links, 2);
            names.make_symlink(cwd, b"link", b"dir/file").unwrap();
            assert_eq!(read(&open(names, "link", OpenFlags::empty()).unwrap()), b"one");
            let renamed = names.rename(
                (cwd, b"linked"),
                || Ok((cwd.clone(), b"dir/renamed".into())),
                RenameFlags::empty(),
            );
            assert_eq!(renamed, Ok(()));
            assert_eq!(list(names, "dir"), ["file", "renamed"]);
            names.unlink(cwd, b"dir/renamed").unwrap();
            names.unlink(cwd, b"dir/file").unwrap();
            assert_eq!(read(&file), b"one");
            assert_eq!(file.inode().attributes().unwrap().links, 0);
            assert_eq!(stat(names, "dir/file").err(), Some(Errno::ENOENT));
            names.unlink(cwd, b"link").unwrap();
            names.remove_directory(cwd, b"dir").unwrap();
        });
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_shared_export_shows_what_others_change() {
    let directory = tempfile::tempdir().unwrap();
    let host = |name: &str| directory.path().join(name);
    with(export(directory.path(), ExportMode::ReadWrite, Sharing::Shared, 256), |names| {
        assert_eq!(stat(names, "file").err(), Some(Errno::ENOENT));
        fs::write(host("file"), "1").unwrap();
        assert_eq!(read(&open(names, "file", OpenFlags::empty()).unwrap()), b"1");
        fs::write(host("new"), "replaced").unwrap();
        fs::rename(host("new"), host("file")).unwrap();
        assert_eq!(stat(names, "file").unwrap().size, 8);
        assert_eq!(read(&open(names, "file", OpenFlags::empty()).unwrap()), b"replaced");
        fs::remove_file(host("file")).unwrap();
        assert_eq!(stat(names, "file").err(), Some(Errno::ENOENT));
        assert_eq!(list(names, "/"), [""; 0]);
    });
}

#[test]
fn more_files_than_the_gofer_has_descriptors_can_be_visited() {
    let directory = tempfile::tempdir().unwrap();
    for outer in 0..40 {
        let inner = directory.path().join(format!("d{outer}"));
        fs::create_dir(&inner).unwrap();
        for file in 0..20 {
            fs::write(inner.join(format!("f{file}")), [outer]).unwrap();
        }
    }
    let lower = export(directory.path(), ExportMode::ReadOnly, Sharing::Exclusive, 256);
    with(Overlay::new(lower, None, None).unwrap(), |names| {
        for _ in 0..2 {
            for outer in 0..40u8 {
                for file in 0..20 {
                    let file = open(names, &format!("d{outer}/f{file}"), OpenFlags::empty()).unwrap();
                    assert_eq!(read(&file), [outer]);
                }
            }
        }
        assert_eq!(list(names, "/").len(), 40);
    });
}

/// Directories `d00`, `d01`, … with files `f0`, `f1`, …, each as long as its number.
fn tree(directory: &Path, directories: usize, files: usize) {
    for outer in 0..directories {
        let inner = directory.join(format!("d{outer:02}"));
        fs::create_dir(&inner).unwrap();
        for file in 0..files {
            fs::write(inner.join(format!("f{file}")), vec![b'x'; file]).unwrap();
        }
    }
}

#[test]
fn what_an_exclusive_export_has_listed_is_not_asked_for_again() {
    let directory = tempfile::tempdir().unwrap();
    tree(directory.path(), 20, 4);
    let lower = export(directory.path(), ExportMode::ReadOnly, Sharing::Exclusive, 256);
    with(Overlay::new(lower, None, None).unwrap(), |names| {
        let all = list(names, "/");
        // The first few come alone, the others together. Stopping half-way leaves some that were read and not asked for.
        let read: Vec<&String> = all.iter().take(10).collect();
        for name in &read {
            assert_eq!(list(names, name), ["f0", "f1", "f2", "f3"]);
            assert_eq!(stat(names, &format!("{name}/f3")).unwrap().size, 3);
        }
        // What the host does from now on does not show: nobody asks.
        for name in &all {
            fs::write(directory.path().join(name).join("new"), "").unwrap();
            fs::write(directory.path().join(name).join("f2"), "longer than before").unwrap();
        }
        for name in read {
            assert_eq!(stat(names, &format!("{name}/new")).err(), Some(Errno::ENOENT));
            assert_eq!(stat(names, &format!("{name}/f2")).unwrap().size, 2);
            assert_eq!(list(names, name).len(), 4);
        }
        // Changes in the overlay do.
        let name = &all[0];
        let new = format!("{name}/new");
        open(names, &new, OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::RDWR).unwrap();
        assert!(stat(names, &new).is_ok());
        let (from, to) = (format!("{name}/f1"), format!("{name}/moved"));
        let rename = |from: &str, to: &str| {
            names.rename(
                (&names.cwd, from.as_bytes()),
                || Ok((names.cwd.clone(), to.into())),
                RenameFlags::empty(),
            )
        };
        assert_eq!(rename(&from, &to), Ok(()));
        names.unlink(&names.cwd, format!("{name}/f0").as_bytes()).unwrap();
        assert_eq!(list(names, name), ["f2", "f3", "moved", "new"]);
        assert_eq!(stat(names, &from).err(), Some(Errno::ENOENT));
        assert_eq!(stat(names, &to).unwrap().size, 1);
    });
}

#[test]
fn files_that_are_read_in_order_are_opened_ahead() {
    let directory = tempfile::tempdir().unwrap();
    tree(directory.path(), 1, 40);
    let lower = export(directory.path(), ExportMode::ReadOnly, Sharing::Exclusive, 256);
    with(Overlay::new(lower, None, None).unwrap(), |names| {
        let path = names.resolve(&names.cwd, b"d00", WalkOptions::FOLLOW).unwrap();
        let listing = path.inode().unwrap().list().unwrap();
        let in_order: Vec<String> =
            listing.iter().map(|entry| format!("d00/{}", String::from_utf8_lossy(entry.name))).collect();
        let (first, rest) = in_order.split_at(8);
        for name in first {
            let length = stat(names, name).unwrap().size;
            assert_eq!(read(&open(names, name, OpenFlags::empty()).unwrap()).len() as u64, length);
        }
        for name in rest {
            fs::remove_file(directory.path().join(name)).unwrap();
        }
        // 1, 2, 4 and 8 were opened together: 7 more than have been asked for.
        let is_there = |name: &&String| open(names, name, OpenFlags::empty()).is_ok();
        assert_eq!(rest.iter().take_while(is_there).count(), 7);
        // So are those that were opened before.
        for name in first {
            fs::remove_file(directory.path().join(name)).unwrap();
            let length = stat(names, name).unwrap().size;
            assert_eq!(read(&open(names, name, OpenFlags::empty()).unwrap()).len() as u64, length);
        }
    });
}

/// Reads a tree, in the order of its listings as fts(3) does or in another; each file says where it is. Returns how many files there
/// were.
fn read_tree(names: &NameContext<'_>, path: &str, sort: fn(&mut [DirectoryEntry<'_>])) -> usize {
    let at = names.resolve(&names.cwd, path.as_bytes(), WalkOptions::FOLLOW).unwrap();
    let listing = at.inode().unwrap().list().unwrap();
    let mut entries: Vec<DirectoryEntry<'_>> = listing.iter().collect();
    sort(&mut entries);
    let read_one = |entry: DirectoryEntry<'_>| {
        let below = format!("{path}/{}", String::from_utf8_lossy(entry.name));
        if entry.file_type == FileType::Directory {
            return read_tree(names, &below, sort);
        }
        assert_eq!(read(&open(names, &below, OpenFlags::empty()).unwrap()), below.as_bytes());
        1
    };
    entries.into_iter().map(read_one).sum()
}

#[track_caller]
fn assert_that_files_are_asked_for_together(sort: fn(&mut [DirectoryEntry<'_>])) {
    let directory = tempfile::tempdir().unwrap();
    for outer in 0..100 {
        let inner = format!("./{outer}/inner");
        fs::create_dir_all(directory.path().join(&inner)).unwrap();
        for file in [format!("./{outer}/a"), format!("{inner}/b"), format!("{inner}/c")] {
            fs::write(directory.path().join(&file), &file).unwrap();
        }
    }
    let client = serve(directory.path(), ExportMode::ReadOnly, Sharing::Exclusive, 1024);
    let lower = GoferFileSystem::new(&client, 0).unwrap();
    with(Overlay::new(lower, None, None).unwrap(), |names| {
        assert_eq!(read_tree(names, ".", sort), 300);
        let (questions, _) = client.questions();
        assert!(questions < 50, "{questions} questions");
        assert_eq!(read_tree(names, ".", sort), 300);
    });
}

#[test]
fn who_goes_through_a_tree_asks_for_files_of_many_directories_at_a_time() {
    assert_that_files_are_asked_for_together(|_| {});
}

#[test]
fn who_goes_through_a_tree_by_inode_number_asks_for_files_of_many_directories_at_a_time() {
    assert_that_files_are_asked_for_together(|entries| entries.sort_by_key(|entry| entry.inode));
}

#[test]
fn who_goes_through_a_tree_by_name_asks_for_files_of_many_directories_at_a_time() {
    assert_that_files_are_asked_for_together(|entries| entries.sort_by_key(|entry| entry.name));
}

#[test]
fn files_without_extended_attributes_are_found_out_together() {
    const MARK: &str = "user.mark";
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    tree(directory.path(), 10, 150);
    let marked = directory.path().join("d07/f66");
    rustix::fs::setxattr(&marked, MARK, b"here", rustix::fs::XattrFlags::empty()).unwrap();
    let client = serve(directory.path(), ExportMode::ReadOnly, Sharing::Exclusive, 1024);
    let lower = GoferFileSystem::new(&client, 0).unwrap();
    with(Overlay::new(lower, None, None).unwrap(), |names| {
        let at = |name: &str| names.resolve(&names.cwd, name.as_bytes(), WalkOptions::NO_FOLLOW).unwrap();
        let get = |name: &str, attribute: &str| names.get_xattr(&at(name), attribute.as_bytes());
        for directory in list(names, "/") {
            for file in list(names, &directory) {
                let name = format!("{directory}/{file}");
                let expected = if name == "d07/f66" { Ok(b"here".to_vec()) } else { Err(Errno::ENODATA) };
                assert_eq!(get(&name, MARK), expected, "{name}");
                assert_eq!(get(&name, "user.other"), Err(Errno::ENODATA), "{name}");
                assert_eq!(get(&name, "security.capability"), Err(Errno::ENODATA), "{name}");
            }
        }
        assert_eq!(names.list_xattr(&at("d07/f66")), Ok(b"user.mark\0".to_vec()));
        assert_eq!(names.list_xattr(&at("d07/f65")), Ok(Vec::new()));
        let (questions, _) = client.questions();
        assert!(questions < 100, "{questions} questions");
        // What changes is in the overlay.
        names.set_xattr(&at("d03/f3"), MARK.as_bytes(), b"new", 0).unwrap();
        names.remove_xattr(&at("d07/f66"), MARK.as_bytes()).unwrap();
        assert_eq!((get("d03/f3", MARK), get("d07/f66", MARK)), (Ok(b"new".to_vec()), Err(Errno::ENODATA)));
    });
}

#[test]
fn attributes_that_nobody_seemed_to_want_come_when_they_are_wanted() {
    let directory = tempfile::tempdir().unwrap();
    tree(directory.path(), 140, 3);
    let lower = export(directory.path(), ExportMode::ReadOnly, Sharing::Exclusive, 256);
    with(Overlay::new(lower, None, None).unwrap(), |names| {
        // As find(1) does: list everything, look at no file.
        let all = list(names, "/");
        for name in &all {
            assert_eq!(list(names, name), ["f0", "f1", "f2"]);
        }
        for name in &all {
            assert_eq!(stat(names, &format!("{name}/f2")).unwrap().size, 2);
            assert_eq!(read(&open(names, &format!("{name}/f1"), OpenFlags::empty()).unwrap()), b"x");
            assert_eq!(stat(names, &format!("{name}/none")).err(), Some(Errno::ENOENT));
        }
    });
}

#[test]
fn attributes_that_are_wanted_long_after_the_listing_come_with_it() {
    let directory = tempfile::tempdir().unwrap();
    tree(directory.path(), 300, 3);
    let client = serve(directory.path(), ExportMode::ReadOnly, Sharing::Exclusive, 1024);
    let lower = GoferFileSystem::new(&client, 0).unwrap();
    with(Overlay::new(lower, None, None).unwrap(), |names| {
        let listing = names.cwd.inode().unwrap().list().unwrap();
        let all: Vec<_> = listing.iter().map(|entry| String::from_utf8_lossy(entry.name)).collect();
        for (number, name) in all.iter().enumerate() {
            assert_eq!(list(names, name).len(), 3);
            // Some directories are listed ahead of the program, and of some it does not ask the sentry.
            if let Some(before) = number.checked_sub(50).filter(|before| before.is_multiple_of(5)) {
                assert_eq!(stat(names, &format!("{}/f2", all[before])).unwrap().size, 2);
            }
        }
        let (questions, _) = client.questions();
        assert!(questions < 40, "{questions} questions");
    });
}

#[test]
fn the_names_of_a_shared_export_are_asked_for_after_a_listing_too() {
    let directory = tempfile::tempdir().unwrap();
    tree(directory.path(), 4, 2);
    with(export(directory.path(), ExportMode::ReadOnly, Sharing::Shared, 256), |names| {
        for name in list(names, "/") {
            assert_eq!(list(names, &name), ["f0", "f1"]);
            fs::remove_file(directory.path().join(&name).join("f1")).unwrap();
            fs::write(directory.path().join(&name).join("new"), "new").unwrap();
            assert_eq!(stat(names, &format!("{name}/f1")).err(), Some(Errno::ENOENT));
            assert_eq!(stat(names, &format!("{name}/new")).unwrap().size, 3);
            assert_eq!(list(names, &name), ["f0", "new"]);
        }
    });
}

/// Lists 12 directories of 5,000 files, in a tree in which so many directories have been listed before. How many listings are kept.
#[track_caller]
fn listings_kept_after(listed: usize) -> usize {
    const FILES: usize = 5000;
    let directory = tempfile::tempdir().unwrap();
    tree(directory.path(), 1, 1);
    for outer in 1..13 {
        let inner = directory.path().join(format!("d{outer:02}"));
        fs::create_dir(&inner).unwrap();
        for file in 0..FILES {
            fs::hard_link(directory.path().join("d00/f0"), inner.join(format!("{file}"))).unwrap();
        }
    }
    let lower = export(directory.path(), ExportMode::ReadOnly, Sharing::Exclusive, 256);
    with(Overlay::new(lower, None, None).unwrap(), |names| {
        (0..listed).for_each(|_| assert_eq!(list(names, "/").len(), 13));
        for outer in 1..13 {
            assert_eq!(list(names, &format!("d{outer:02}")).len(), FILES);
        }
        // The listing that is kept says that there is no such file; who has forgotten it asks.
        let kept = (1..13).filter(|outer| {
            let name = format!("d{outer:02}/new");
            fs::write(directory.path().join(&name), "").unwrap();
            stat(names, &name).is_err()
        });
        let kept = kept.count();
        assert!(stat(names, "d01/4999").is_ok());
        kept
    })
}

#[test]
fn listings_are_forgotten_when_there_are_too_many() {
    // About 920 KB each with attributes, of 8 MiB.
    assert_eq!(listings_kept_after(0), 9);
}

#[test]
fn names_that_nobody_asks_about_take_little_room() {
    assert_eq!(listings_kept_after(64), 12);
}

#[test]
fn a_small_directory_that_is_asked_for_names_is_read_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    tree(directory.path(), 1, 8);
    let lower = export(directory.path(), ExportMode::ReadOnly, Sharing::Exclusive, 256);
    with(Overlay::new(lower, None, None).unwrap(), |names| {
        // The first comes with the directory; the third question to the directory itself is one too many.
        for file in 0..4 {
            assert_eq!(stat(names, &format!("d00/f{file}")).unwrap().size, file);
        }
        fs::write(directory.path().join("d00/f7"), "").unwrap();
        fs::write(directory.path().join("d00/new"), "").unwrap();
        assert_eq!(stat(names, "d00/f7").unwrap().size, 7);
        assert_eq!(stat(names, "d00/new").err(), Some(Errno::ENOENT));
        assert!(!list(names, "d00").contains(&"new".to_owned()));
    });
}
