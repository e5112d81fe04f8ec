//! An overlay over a tmpfs that stands for the lower tree.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::fs::{OpenFlags, RenameFlags, ResolveFlags};

use super::Overlay;
use crate::fs::tmpfs::{Tmpfs, TmpfsOptions};
use crate::task::Credentials;
use crate::vfs::{
    Attributes, FileSystem, FsContext, MountFlags, MountNamespace, NameContext, OpenFile, OpenHow,
    WalkOptions,
};
use crate::{BytesSink, BytesSource};

/// A lower tree with `dir/a`, `dir/b`, `dir/sub/deep`, a file with two names, and a link; and an overlay over it.
struct Fixture {
    lower: FsContext,
    overlay: FsContext,
}

fn context(file_system: Arc<dyn FileSystem>) -> FsContext {
    FsContext::new(MountNamespace::new(file_system, MountFlags::empty(), "test"))
}

fn with<T>(context: &FsContext, action: impl FnOnce(&NameContext<'_>) -> T) -> T {
    let credentials = Credentials::user(0, 0);
    action(&context.names(&credentials, None))
}

fn open(names: &NameContext<'_>, name: &str, flags: OpenFlags) -> Arc<OpenFile> {
    let how = OpenHow { flags, mode: 0o644, resolve: ResolveFlags::empty() };
    names.open(&names.cwd, name.as_bytes(), how, None).unwrap()
}

fn write(names: &NameContext<'_>, name: &str, data: &[u8]) {
    let file = open(names, name, OpenFlags::CREAT | OpenFlags::RDWR);
    assert_eq!(file.ops.write(&file, &mut BytesSource::new(data), 0), Ok(data.len()));
}

fn read_file(file: &OpenFile) -> Vec<u8> {
    let mut sink = BytesSink::new(1 << 20);
    file.ops.read(file, &mut sink, 0).unwrap();
    sink.bytes
}

fn read(names: &NameContext<'_>, name: &str) -> Vec<u8> {
    read_file(&open(names, name, OpenFlags::empty()))
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

fn rename(names: &NameContext<'_>, from: &str, to: &str, flags: RenameFlags) -> Result<(), Errno> {
    names.rename((&names.cwd, from.as_bytes()), || Ok((names.cwd.clone(), to.into())), flags)
}

fn fixture() -> Fixture {
    let tree = Tmpfs::new(TmpfsOptions::default());
    let lower = context(tree.clone());
    with(&lower, |names| {
        names.make_directory(&names.cwd, b"dir", 0o755).unwrap();
        names.make_directory(&names.cwd, b"dir/sub", 0o755).unwrap();
        write(names, "dir/a", b"lower a");
        write(names, "dir/b", b"lower b");
        write(names, "dir/sub/deep", b"deep");
        write(names, "one", b"linked");
        let one = names.resolve(&names.cwd, b"one", WalkOptions::FOLLOW).unwrap();
        names.link(&one, &names.cwd, b"two").unwrap();
        names.make_symlink(&names.cwd, b"link", b"dir/a").unwrap();
    });
    Fixture { overlay: context(Overlay::new(tree, None, None).unwrap()), lower }
}

#[test]
fn changes_show_above_and_never_below() {
    let fixture = fixture();
    with(&fixture.overlay, |names| {
        let before = stat(names, "dir/a").unwrap();
        let reader = open(names, "link", OpenFlags::empty());
        write(names, "dir/a", b"UPPER");
        assert_eq!(read(names, "dir/a"), b"UPPER a");
        assert_eq!(read_file(&reader), b"UPPER a");
        write(names, "dir/new", b"new");
        names.unlink(&names.cwd, b"dir/b").unwrap();
        assert_eq!(list(names, "dir"), ["a", "new", "sub"]);
        assert_eq!(stat(names, "dir/b").err(), Some(Errno::ENOENT));
        let after = stat(names, "dir/a").unwrap();
        assert_eq!((before.device, before.inode), (after.device, after.inode));
        write(names, "dir/b", b"again");
        assert_eq!(read(names, "dir/b"), b"again");
        names.unlink(&names.cwd, b"dir/b").unwrap();
        assert_eq!(stat(names, "dir/b").err(), Some(Errno::ENOENT));
    });
    with(&fixture.lower, |names| {
        assert_eq!(list(names, "dir"), ["a", "b", "sub"]);
        assert_eq!(read(names, "dir/a"), b"lower a");
    });
}

#[test]
fn a_change_of_attributes_leaves_the_contents_below() {
    let fixture = fixture();
    with(&fixture.overlay, |names| {
        let path = names.resolve(&names.cwd, b"dir/a", WalkOptions::FOLLOW).unwrap();
        let modified = stat(names, "dir/a").unwrap().modified;
        names.change_permissions(&path, 0o600).unwrap();
        let changed = stat(names, "dir/a").unwrap();
        assert_eq!((changed.mode & 0o7777, changed.size, changed.modified), (0o600, 7, modified));
        assert_eq!(read(names, "dir/a"), b"lower a");
        names.truncate(&path, 5).unwrap();
        assert_eq!(read(names, "dir/a"), b"lower");
        names.set_xattr(&path, b"user.x", b"1", 0).unwrap();
        assert_eq!(names.get_xattr(&path, b"user.x").unwrap(), b"1");
    });
}

#[test]
fn truncating_on_open_copies_nothing() {
    with(&fixture().overlay, |names| {
        let file = open(names, "dir/a", OpenFlags::WRONLY | OpenFlags::TRUNC);
        assert_eq!(stat(names, "dir/a").unwrap().size, 0);
        file.ops.write(&file, &mut BytesSource::new(b"x"), 0).unwrap();
        assert_eq!(read(names, "dir/a"), b"x");
    });
}

#[test]
fn directories_from_below_are_renamed_with_what_they_hold() {
    let fixture = fixture();
    with(&fixture.overlay, |names| {
        write(names, "dir/sub/own", b"own");
        assert_eq!(rename(names, "dir", "moved", RenameFlags::empty()), Ok(()));
        assert_eq!(stat(names, "dir").err(), Some(Errno::ENOENT));
        assert_eq!(list(names, "moved"), ["a", "b", "sub"]);
        assert_eq!(list(names, "moved/sub"), ["deep", "own"]);
        assert_eq!(read(names, "moved/sub/deep"), b"deep");
        names.make_directory(&names.cwd, b"dir", 0o755).unwrap();
        assert_eq!(list(names, "dir"), [""; 0]);
        assert_eq!(rename(names, "moved/sub", "dir", RenameFlags::EXCHANGE), Ok(()));
        assert_eq!(list(names, "dir"), ["deep", "own"]);
        assert_eq!(list(names, "moved/sub"), [""; 0]);
        assert_eq!(rename(names, "moved/a", "moved/b", RenameFlags::empty()), Ok(()));
        assert_eq!(list(names, "moved"), ["b", "sub"]);
        assert_eq!(read(names, "moved/b"), b"lower a");
    });
    with(&fixture.lower, |names| assert_eq!(list(names, "/"), ["dir", "link", "one", "two"]));
}

#[test]
fn directories_are_removed_only_when_nothing_shows_in_them() {
    with(&fixture().overlay, |names| {
        assert_eq!(names.remove_directory(&names.cwd, b"dir/sub"), Err(Errno::ENOTEMPTY));
        names.unlink(&names.cwd, b"dir/sub/deep").unwrap();
        assert_eq!(names.remove_directory(&names.cwd, b"dir/sub"), Ok(()));
        names.make_directory(&names.cwd, b"dir/sub", 0o755).unwrap();
        assert_eq!(list(names, "dir/sub"), [""; 0]);
        assert_eq!(stat(names, "dir/sub/deep").err(), Some(Errno::ENOENT));
    });
}

#[test]
fn hard_links_stay_one_file_whichever_name_is_changed() {
    with(&fixture().overlay, |names| {
        assert_eq!(stat(names, "one").unwrap().links, 2);
        write(names, "one", b"CHANGED");
        assert_eq!(read(names, "two"), b"CHANGED");
        assert_eq!(stat(names, "one").unwrap().inode, stat(names, "two").unwrap().inode);
        names.unlink(&names.cwd, b"one").unwrap();
        assert_eq!(stat(names, "two").unwrap().links, 1);
        assert_eq!(read(names, "two"), b"CHANGED");
        // A new name for a file that was never changed.
        let a = names.resolve(&names.cwd, b"dir/a", WalkOptions::FOLLOW).unwrap();
        let before = stat(names, "dir/a").unwrap();
        names.link(&a, &names.cwd, b"third").unwrap();
        let after = stat(names, "third").unwrap();
        assert_eq!((after.links, after.inode, after.size), (2, before.inode, 7));
        names.unlink(&names.cwd, b"dir/a").unwrap();
        assert_eq!(read(names, "third"), b"lower a");
        assert_eq!(stat(names, "third").unwrap().links, 1);
    });
}

#[test]
fn what_was_changed_survives_a_full_cache() {
    with(&fixture().overlay, |names| {
        write(names, "dir/sub/deep", b"DEEP");
        write(names, "dir/sub/own", b"own");
        for number in 0..40_000 {
            assert!(stat(names, &format!("absent{number}")).is_err());
        }
        assert_eq!(read(names, "dir/sub/deep"), b"DEEP");
        assert_eq!(read(names, "dir/sub/own"), b"own");
    });
}
