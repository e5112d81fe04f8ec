//! The VFS over tmpfs, without a platform.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::fs::{OpenFlags, RenameFlags, ResolveFlags};

use crate::fs::tmpfs::{Tmpfs, TmpfsOptions};
use crate::task::Credentials;
use crate::vfs::walk::Walk;
use crate::vfs::{
    Access, FileType, FsContext, MountFlags, MountNamespace, NameContext, OpenFile, OpenHow, WalkOptions,
};
use crate::{BytesSink, BytesSource, SysError};

fn context() -> FsContext {
    FsContext::new(MountNamespace::new(Tmpfs::new(TmpfsOptions::default()), MountFlags::empty(), "root"))
}

fn as_root(context: &FsContext, action: impl FnOnce(&NameContext<'_>)) {
    let credentials = Credentials::user(0, 0);
    action(&context.names(&credentials, None));
}

fn open(names: &NameContext<'_>, name: &str, flags: OpenFlags) -> Result<Arc<OpenFile>, Errno> {
    let how = OpenHow { flags, mode: 0o644, resolve: ResolveFlags::empty() };
    names.open(&names.cwd, name.as_bytes(), how, None).map_err(|error| match error {
        SysError::Errno(errno) => errno,
        SysError::Restart(_) => panic!("restart"),
    })
}

fn create(names: &NameContext<'_>, name: &str) -> Arc<OpenFile> {
    open(names, name, OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::RDWR).unwrap()
}

fn stat(names: &NameContext<'_>, name: &str) -> Result<crate::vfs::Attributes, Errno> {
    names.resolve(&names.cwd, name.as_bytes(), WalkOptions::FOLLOW)?.inode()?.attributes()
}

fn write(file: &OpenFile, data: &[u8], at: u64) -> Result<usize, Errno> {
    file.ops.write(file, &mut BytesSource::new(data), at)
}

fn read(file: &OpenFile, at: u64, count: usize) -> Vec<u8> {
    let mut sink = BytesSink::new(count);
    file.ops.read(file, &mut sink, at).unwrap();
    sink.bytes
}

fn list(file: &OpenFile) -> Vec<String> {
    let mut names = Vec::new();
    let mut emit = |entry: &crate::vfs::DirectoryEntry<'_>, _| {
        names.push(String::from_utf8_lossy(entry.name).into_owned());
        true
    };
    file.ops.read_directory(file, &mut file.position.lock(), &mut emit).unwrap();
    names.sort();
    names
}

#[test]
fn files_keep_what_is_written_across_growth() {
    as_root(&context(), |names| {
        let file = create(names, "file");
        assert_eq!(write(&file, b"hello", 0), Ok(5));
        assert_eq!(read(&file, 1, 100), b"ello");
        let large = vec![7u8; 100_000];
        assert_eq!(write(&file, &large, 10_000), Ok(100_000));
        assert_eq!(stat(names, "file").unwrap().size, 110_000);
        assert_eq!(&read(&file, 0, 6), b"hello\0");
        assert_eq!(read(&file, 109_999, 10), [7]);
        assert_eq!(file.ops.append(&file, &mut BytesSource::new(b"end")), Ok((3, 110_003)));
        names.truncate(&file.path().clone(), 3).unwrap();
        assert_eq!(read(&file, 0, 100), b"hel");
        names.truncate(&file.path().clone(), 5).unwrap();
        assert_eq!(read(&file, 0, 100), b"hel\0\0");
    });
}

#[test]
fn a_full_tmpfs_says_enospc_and_takes_what_fits() {
    let options = TmpfsOptions { size: Some(64 << 10), files: Some(3), ..TmpfsOptions::default() };
    let context = FsContext::new(MountNamespace::new(Tmpfs::new(options), MountFlags::empty(), "root"));
    as_root(&context, |names| {
        let file = create(names, "a");
        assert_eq!(write(&file, &vec![1; 100_000], 0), Ok(64 << 10));
        assert_eq!(write(&file, b"x", 64 << 10), Err(Errno::ENOSPC));
        assert_eq!(write(&file, b"x", 0), Ok(1));
        let other = create(names, "b");
        assert_eq!(write(&other, b"x", 0), Err(Errno::ENOSPC));
        assert_eq!(open(names, "c", OpenFlags::CREAT | OpenFlags::RDWR).err(), Some(Errno::ENOSPC));
        names.truncate(&file.path().clone(), 0).unwrap();
        assert_eq!(write(&other, b"x", 0), Ok(1));
        names.unlink(&names.cwd, b"a").unwrap();
        drop(file);
        create(names, "c");
    });
}

#[test]
fn unlinked_files_live_while_they_are_open() {
    as_root(&context(), |names| {
        let file = create(names, "file");
        write(&file, b"data", 0).unwrap();
        names.unlink(&names.cwd, b"file").unwrap();
        assert_eq!(stat(names, "file").err(), Some(Errno::ENOENT));
        assert_eq!(read(&file, 0, 10), b"data");
        assert_eq!(file.inode().attributes().unwrap().links, 0);
        assert_eq!(file.display_name(&names.root), b"/file (deleted)");
    });
}

#[test]
fn trailing_slashes_and_dots_mean_what_linux_means() {
    as_root(&context(), |names| {
        let cwd = &names.cwd;
        create(names, "file");
        names.make_directory(cwd, b"dir/", 0o755).unwrap();
        names.make_symlink(cwd, b"link", b"dir").unwrap();
        names.make_symlink(cwd, b"loop", b"loop").unwrap();
        assert_eq!(stat(names, "file/").err(), Some(Errno::ENOTDIR));
        assert_eq!(stat(names, "file/x").err(), Some(Errno::ENOTDIR));
        assert_eq!(stat(names, "").err(), Some(Errno::ENOENT));
        assert_eq!(stat(names, "loop").err(), Some(Errno::ELOOP));
        assert_eq!(stat(names, &"x".repeat(256)).err(), Some(Errno::ENAMETOOLONG));
        assert!(stat(names, "link/../dir/.").is_ok());
        assert!(stat(names, "../../dir//").is_ok());
        let link = |name: &[u8]| names.resolve(cwd, name, WalkOptions::NO_FOLLOW).unwrap();
        assert_eq!(link(b"link").dentry.file_type(), Some(FileType::Symlink));
        assert_eq!(link(b"link/").dentry.file_type(), Some(FileType::Directory));
        assert_eq!(names.make_directory(cwd, b"dir/.", 0o755), Err(Errno::EEXIST));
        assert_eq!(names.make_directory(cwd, b"/", 0o755), Err(Errno::EEXIST));
        assert_eq!(names.make_symlink(cwd, b"new/", b"x"), Err(Errno::ENOENT));
        assert_eq!(names.unlink(cwd, b"file/"), Err(Errno::ENOTDIR));
        assert_eq!(names.unlink(cwd, b"dir"), Err(Errno::EISDIR));
        assert_eq!(names.remove_directory(cwd, b"dir/."), Err(Errno::EINVAL));
        assert_eq!(names.remove_directory(cwd, b"dir/.."), Err(Errno::ENOTEMPTY));
        assert_eq!(names.remove_directory(cwd, b"file"), Err(Errno::ENOTDIR));
        assert_eq!(open(names, "new/", OpenFlags::CREAT).err(), Some(Errno::EISDIR));
        assert_eq!(open(names, "link", OpenFlags::NOFOLLOW).err(), Some(Errno::ELOOP));
        assert_eq!(open(names, "file", OpenFlags::DIRECTORY).err(), Some(Errno::ENOTDIR));
    });
}

#[test]
fn creating_through_a_dangling_link_creates_its_target() {
    as_root(&context(), |names| {
        names.make_symlink(&names.cwd, b"link", b"target").unwrap();
        let exclusive = OpenFlags::CREAT | OpenFlags::EXCL;
        assert_eq!(open(names, "link", exclusive).err(), Some(Errno::EEXIST));
        open(names, "link", OpenFlags::CREAT).unwrap();
        assert!(stat(names, "target").is_ok());
    });
}

#[test]
fn permission_is_checked_on_every_directory() {
    let context = context();
    as_root(&context, |names| {
        names.make_directory(&names.cwd, b"private", 0o700).unwrap();
        create(names, "private/file");
        create(names, "readable");
    });
    let credentials = Credentials::user(1000, 1000);
    let names = context.names(&credentials, None);
    assert_eq!(stat(&names, "private/file").err(), Some(Errno::EACCES));
    assert!(open(&names, "readable", OpenFlags::empty()).is_ok());
    assert_eq!(open(&names, "readable", OpenFlags::WRONLY).err(), Some(Errno::EACCES));
    let own = create(&names, "own");
    assert_eq!(own.inode().attributes().unwrap().uid, 1000);
    // The root directory is sticky: others' files stay.
    assert_eq!(names.unlink(&names.cwd, b"readable"), Err(Errno::EPERM));
    assert!(names.unlink(&names.cwd, b"own").is_ok());
    let path = names.resolve(&names.cwd, b"readable", WalkOptions::FOLLOW).unwrap();
    assert_eq!(names.change_permissions(&path, 0o777), Err(Errno::EPERM));
    assert_eq!(names.check_access(&path, Access::WRITE), Err(Errno::EACCES));
}

#[test]
fn renames_follow_the_rules() {
    as_root(&context(), |names| {
        let cwd = &names.cwd;
        let rename = |from: &[u8], to: &[u8], flags| {
            names.rename((cwd, from), || Ok((cwd.clone(), to.to_vec())), flags)
        };
        let plain = RenameFlags::empty();
        names.make_directory(cwd, b"a", 0o755).unwrap();
        names.make_directory(cwd, b"a/b", 0o755).unwrap();
        names.make_directory(cwd, b"c", 0o755).unwrap();
        create(names, "file");
        create(names, "c/inner");
        assert_eq!(rename(b"a", b"a/b/x", plain), Err(Errno::EINVAL));
        assert_eq!(rename(b"a/b", b"a", plain), Err(Errno::ENOTEMPTY));
        assert_eq!(rename(b"a", b"c", plain), Err(Errno::ENOTEMPTY));
        assert_eq!(rename(b"a", b"file", plain), Err(Errno::ENOTDIR));
        assert_eq!(rename(b"file", b"a", plain), Err(Errno::EISDIR));
        assert_eq!(rename(b"file", b"new/", plain), Err(Errno::ENOTDIR));
        assert_eq!(rename(b"file", b"c", RenameFlags::NOREPLACE), Err(Errno::EEXIST));
        assert_eq!(rename(b"a/.", b"x", plain), Err(Errno::EBUSY));
        let held = names.resolve(cwd, b"a/b", WalkOptions::FOLLOW).unwrap();
        assert_eq!(rename(b"a", b"c/moved", plain), Ok(()));
        assert_eq!(held.seen_from(&names.root).name, b"/c/moved/b");
        assert_eq!(stat(names, "a").err(), Some(Errno::ENOENT));
        assert_eq!(stat(names, "c").unwrap().links, 3);
        assert_eq!(rename(b"file", b"c/moved", RenameFlags::EXCHANGE), Ok(()));
        assert!(stat(names, "file/b").is_ok());
        assert_eq!(stat(names, "c/moved").unwrap().file_type(), FileType::Regular);
        assert_eq!(stat(names, "c").unwrap().links, 2);
    });
}

#[test]
fn hard_links_are_one_file() {
    as_root(&context(), |names| {
        let file = create(names, "one");
        names.link(file.path(), &names.cwd, b"two").unwrap();
        write(&open(names, "two", OpenFlags::RDWR).unwrap(), b"x", 0).unwrap();
        assert_eq!(read(&file, 0, 1), b"x");
        assert_eq!(stat(names, "one").unwrap().links, 2);
        assert_eq!(stat(names, "one").unwrap().inode, stat(names, "two").unwrap().inode);
        let renamed = names.rename(
            (&names.cwd, b"one"),
            || Ok((names.cwd.clone(), b"two".into())),
            RenameFlags::empty(),
        );
        assert_eq!(renamed, Ok(()));
        assert!(stat(names, "one").is_ok());
        names.unlink(&names.cwd, b"one").unwrap();
        assert_eq!(stat(names, "two").unwrap().links, 1);
    });
}

#[test]
fn mounts_hide_what_is_below_and_cannot_be_removed() {
    let context = context();
    let namespace = context.namespace().clone();
    let small = Tmpfs::new(TmpfsOptions::default());
    namespace.mount_at(b"/mnt/deep", small, MountFlags::READ_ONLY, "small").unwrap();
    as_root(&context, |names| {
        let cwd = &names.cwd;
        create(names, "hidden");
        assert_eq!(names.remove_directory(cwd, b"mnt/deep"), Err(Errno::EBUSY));
        let moved = names.rename((cwd, b"mnt/deep"), || Ok((cwd.clone(), b"x".into())), RenameFlags::empty());
        assert_eq!(moved, Err(Errno::EBUSY));
        assert_eq!(open(names, "mnt/deep/x", OpenFlags::CREAT).err(), Some(Errno::EROFS));
        assert_eq!(open(names, "mnt/deep/x", OpenFlags::empty()).err(), Some(Errno::ENOENT));
        let deep = names.resolve(cwd, b"mnt/deep", WalkOptions::FOLLOW).unwrap();
        assert_eq!(deep.full_name(), b"/mnt/deep");
        assert!(names.resolve(&deep, b"../../hidden", WalkOptions::FOLLOW).is_ok());
        let options = WalkOptions { resolve: ResolveFlags::NO_XDEV, ..WalkOptions::FOLLOW };
        assert_eq!(names.resolve(cwd, b"mnt/deep", options).err(), Some(Errno::EXDEV));
        namespace.hide(b"/hidden").unwrap();
        assert_eq!(open(names, "hidden", OpenFlags::WRONLY).err(), Some(Errno::EROFS));
        assert_eq!(read(&open(names, "hidden", OpenFlags::empty()).unwrap(), 0, 1), b"");
    });
}

#[test]
fn scoped_walks_do_not_leave_their_directory() {
    as_root(&context(), |names| {
        let cwd = &names.cwd;
        names.make_directory(cwd, b"jail", 0o755).unwrap();
        create(names, "outside");
        create(names, "jail/inside");
        names.make_symlink(cwd, b"jail/absolute", b"/inside").unwrap();
        names.make_symlink(cwd, b"jail/up", b"../outside").unwrap();
        let jail = names.resolve(cwd, b"jail", WalkOptions::FOLLOW).unwrap();
        let walk = |name: &[u8], resolve| {
            let options = WalkOptions { follow: true, directory: false, resolve };
            names.resolve(&jail, name, options).map(|path| path.full_name())
        };
        let (beneath, in_root) = (ResolveFlags::BENEATH, ResolveFlags::IN_ROOT);
        assert_eq!(walk(b"../outside", beneath), Err(Errno::EXDEV));
        assert_eq!(walk(b"absolute", beneath), Err(Errno::EXDEV));
        assert_eq!(walk(b"up", beneath), Err(Errno::EXDEV));
        assert_eq!(walk(b"/inside", beneath), Err(Errno::EXDEV));
        assert_eq!(walk(b"../jail/../inside", in_root), Err(Errno::ENOENT));
        assert_eq!(walk(b"absolute", in_root).unwrap(), b"/jail/inside");
        assert_eq!(walk(b"up", in_root), Err(Errno::ENOENT));
        assert_eq!(walk(b"absolute", ResolveFlags::NO_SYMLINKS), Err(Errno::ELOOP));
    });
}

#[test]
fn scoped_walks_notice_that_directories_were_moved_meanwhile() {
    as_root(&context(), |names| {
        let cwd = &names.cwd;
        names.make_directory(cwd, b"jail", 0o755).unwrap();
        names.make_directory(cwd, b"jail/dir", 0o755).unwrap();
        let jail = names.resolve(cwd, b"jail", WalkOptions::FOLLOW).unwrap();
        let begin = |resolve| {
            let mut walk = Walk::new(names, &jail, b"dir/../outside", resolve).unwrap();
            walk.enter(walk.child(&[b"dir"]).unwrap()).unwrap();
            walk
        };
        let rename = |from: &[u8], to: &[u8]| {
            names.rename((cwd, from), || Ok((cwd.clone(), to.to_vec())), RenameFlags::empty())
        };
        let mut beneath = begin(ResolveFlags::BENEATH);
        let mut in_root = begin(ResolveFlags::IN_ROOT);
        let mut free = begin(ResolveFlags::empty());
        assert_eq!(rename(b"jail/dir", b"moved"), Ok(()));
        assert_eq!(beneath.up(), Err(Errno::EAGAIN));
        assert_eq!(in_root.up(), Err(Errno::EAGAIN));
        assert_eq!(free.up(), Ok(()));
        assert_eq!(free.path.full_name(), b"/");
    });
}

#[test]
fn directories_list_their_entries() {
    as_root(&context(), |names| {
        names.make_directory(&names.cwd, b"dir", 0o755).unwrap();
        create(names, "dir/b");
        create(names, "dir/a");
        let directory = open(names, "dir", OpenFlags::DIRECTORY).unwrap();
        assert_eq!(list(&directory), [".", "..", "a", "b"]);
        assert_eq!(list(&directory), [""; 0]);
        *directory.position.lock() = 0;
        names.unlink(&names.cwd, b"dir/a").unwrap();
        assert_eq!(list(&directory), [".", "..", "b"]);
        names.unlink(&names.cwd, b"dir/b").unwrap();
        names.remove_directory(&names.cwd, b"dir").unwrap();
        assert_eq!(names.make_directory(directory.path(), b"x", 0o755), Err(Errno::ENOENT));
        assert!(directory.path().seen_from(&names.root).is_deleted);
    });
}

#[test]
fn unnamed_files_can_get_a_name_once() {
    as_root(&context(), |names| {
        let file = open(names, "/", OpenFlags::TMPFILE | OpenFlags::RDWR).unwrap();
        assert_eq!(file.inode().attributes().unwrap().links, 0);
        names.link(file.path(), &names.cwd, b"named").unwrap();
        assert_eq!(stat(names, "named").unwrap().links, 1);
        let hidden = open(names, "/", OpenFlags::TMPFILE | OpenFlags::RDWR | OpenFlags::EXCL).unwrap();
        assert_eq!(names.link(hidden.path(), &names.cwd, b"other"), Err(Errno::ENOENT));
    });
}

#[test]
fn a_pipe_without_a_name_is_opened_again_without_waiting() {
    as_root(&context(), |names| {
        let (reader, writer) = crate::file::pipe::Pipe::pair(0);
        assert_eq!(write(&writer, b"left", 0), Ok(4));
        drop(writer);
        let again = names.open_path(reader.path(), OpenFlags::empty(), false, None).unwrap();
        assert_eq!(read(&again, 0, 10), b"left");
        assert_eq!(reader.inode().file_type(), FileType::Fifo);
    });
}
