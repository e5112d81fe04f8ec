//! Opening files (`open(2)`, `openat2(2)`; the kernel's `do_open` and `lookup_open`).

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::fs::{OpenFlags, ResolveFlags};
use usk_abi::inotify::InotifyMask;

use crate::SysResult;
use crate::task::Current;
use crate::vfs::create::NewFile;
use crate::vfs::directory_file::{DirectoryFile, PathFile};
use crate::vfs::permission::{check_path, is_owner};
use crate::vfs::special::open_fifo;
use crate::vfs::walk::{Last, Walk};
use crate::vfs::{Access, FileClaim, FileOps, FileType, MountFlags, NameContext, OpenFile, Path, notify};

/// How to open a file. Flags that contradict each other have been refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenHow {
    /// `O_*`.
    pub flags: OpenFlags,
    /// Permissions for a new file, before the umask.
    pub mode: u32,
    /// `RESOLVE_*`.
    pub resolve: ResolveFlags,
}

impl OpenHow {
    /// Opens an existing file with these flags.
    pub fn existing(flags: OpenFlags) -> Self {
        OpenHow { flags, ..Self::default() }
    }
}

/// Flags that an open file does not keep.
const TRANSIENT: OpenFlags = OpenFlags::CREAT
    .union(OpenFlags::EXCL)
    .union(OpenFlags::NOCTTY)
    .union(OpenFlags::TRUNC)
    .union(OpenFlags::CLOEXEC);

impl NameContext<'_> {
    /// Opens (and perhaps creates) a file. `name` is relative to `start`. Opening a FIFO waits, for which it takes the caller.
    pub fn open(
        &self,
        start: &Path,
        name: &[u8],
        how: OpenHow,
        current: Option<&mut Current>,
    ) -> SysResult<Arc<OpenFile>> {
        let flags = how.flags;
        if flags.contains(OpenFlags::TMPFILE) {
            return Ok(self.open_unnamed(start, name, how)?);
        }
        let (path, is_new) = self.find(start, name, how)?;
        if flags.contains(OpenFlags::PATH) {
            return Ok(OpenFile::opened(Arc::new(PathFile), flags & !TRANSIENT, path, None, self.caller));
        }
        let file = self.open_path(&path, flags, is_new, current)?;
        file.happened(InotifyMask::OPEN);
        Ok(file)
    }

    /// Opens a program for execution: a regular file that the caller may execute. `EACCES` for anything else.
    pub fn open_program(
        &self,
        start: &Path,
        name: &[u8],
        options: super::WalkOptions,
    ) -> SysResult<Arc<OpenFile>> {
        let path = if name.is_empty() { start.clone() } else { self.resolve_to_open(start, name, options)? };
        let inode = path.inode()?;
        match inode.file_type() {
            FileType::Regular => {}
            FileType::Symlink => return Err(Errno::ELOOP.into()),
            _ => return Err(Errno::EACCES.into()),
        }
        check_path(&path, self.caller, Access::EXECUTE)?;
        let ops = inode.open(inode, OpenFlags::empty(), self.caller)?;
        let file = OpenFile::named(ops, OpenFlags::LARGEFILE, path);
        file.happened(InotifyMask::OPEN);
        Ok(file)
    }

    /// Walks to the file, creating it if that is asked for. True if it is new.
    fn find(&self, start: &Path, name: &[u8], how: OpenHow) -> Result<(Path, bool), Errno> {
        let flags = how.flags;
        let creates = flags.contains(OpenFlags::CREAT) && !flags.contains(OpenFlags::PATH);
        let mut walk = Walk::new(self, start, name, how.resolve)?;
        walk.opens = !creates
            && !flags.is_writable()
            && !flags.intersects(OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::TRUNC);
        loop {
            let directory = match walk.advance()? {
                Last::Here { directory } => directory,
                Last::Dot => true,
                Last::DotDot => {
                    walk.up()?;
                    true
                }
                Last::Name { name, directory } => {
                    if creates && directory {
                        return Err(Errno::EISDIR);
                    }
                    let mut child = walk.child(&[&name])?;
                    if child.inode().is_none() {
                        if !creates {
                            return Err(Errno::ENOENT);
                        }
                        let (found, is_new) = self.create_unless_there(&walk.path, &name, how.mode)?;
                        if is_new {
                            walk.enter(found)?;
                            return Ok((walk.path, true));
                        }
                        child = found;
                    }
                    if creates && flags.contains(OpenFlags::EXCL) {
                        return Err(Errno::EEXIST);
                    }
                    if child.file_type() == Some(FileType::Symlink) {
                        if !flags.contains(OpenFlags::NOFOLLOW) || directory {
                            walk.follow(&child)?;
                            continue;
                        }
                        if flags.contains(OpenFlags::DIRECTORY) {
                            return Err(Errno::ENOTDIR);
                        }
                        if !flags.contains(OpenFlags::PATH) {
                            return Err(Errno::ELOOP);
                        }
                    }
                    walk.enter(child)?;
                    directory
                }
            };
            let is_directory = walk.path.dentry.is_directory();
            if creates && flags.contains(OpenFlags::EXCL) {
                return Err(Errno::EEXIST);
            }
            if (directory || flags.contains(OpenFlags::DIRECTORY)) && !is_directory {
                return Err(Errno::ENOTDIR);
            }
            if creates && is_directory {
                return Err(Errno::EISDIR);
            }
            return Ok((walk.path, false));
        }
    }

    /// The file of this name, which was not there a moment ago; creates it if it still is not.
    fn create_unless_there(
        &self,
        directory: &Path,
        name: &[u8],
        mode: u32,
    ) -> Result<(Arc<super::Dentry>, bool), Errno> {
        let _changes = directory.dentry.entries.write();
        let child = directory.dentry.child_locked(name)?;
        if child.inode().is_some() {
            return Ok((child, false));
        }
        let file = NewFile {
            file_type: FileType::Regular,
            permissions: mode & 0o7777,
            special_device: 0,
            target: b"",
        };
        let made = self.create_locked(directory, name, &file)?;
        notify::on_name(&directory.dentry, name, InotifyMask::CREATE, false, 0);
        Ok((made, true))
    }

    /// Opens the file at `path`, which exists. What is `is_new` is not checked for permission: a file may be created that its
    /// creator may not open again.
    pub fn open_path(
        &self,
        path: &Path,
        flags: OpenFlags,
        is_new: bool,
        current: Option<&mut Current>,
    ) -> SysResult<Arc<OpenFile>> {
        let inode = path.inode()?.clone();
        let file_type = inode.file_type();
        let truncates = flags.contains(OpenFlags::TRUNC) && file_type == FileType::Regular && !is_new;
        if !is_new {
            self.check_open(path, flags)?;
        }
        let kept = (flags & !TRANSIENT) | OpenFlags::LARGEFILE;
        let writes = file_type == FileType::Regular && flags.is_writable();
        let claim = if writes { Some(FileClaim::write(&inode)?) } else { None };
        let ops: Arc<dyn FileOps> = match file_type {
            _ if inode.opens_itself() => inode.open(&inode, flags, self.caller)?,
            FileType::Regular => inode.open(&inode, flags, self.caller)?,
            FileType::Directory => Arc::new(DirectoryFile::default()),
            FileType::Fifo => open_fifo(&inode, flags, current)?,
            FileType::CharacterDevice | FileType::BlockDevice => {
                self.namespace.special.open_device(&inode, path, flags, current)?
            }
            FileType::Symlink => return Err(Errno::ELOOP.into()),
            FileType::Socket | FileType::Anonymous => return Err(Errno::ENXIO.into()),
        };
        if truncates {
            let _claim = FileClaim::write(&inode)?;
            self.set_size(path, 0)?;
        }
        Ok(OpenFile::opened(ops, kept, path.clone(), claim, self.caller))
    }

    /// May the caller open this file so? (The kernel's `may_open`.)
    fn check_open(&self, path: &Path, flags: OpenFlags) -> Result<(), Errno> {
        let inode = path.inode()?;
        let mut wanted = Access::empty();
        match flags.bits() & OpenFlags::ACCESS_MODE {
            0 => wanted |= Access::READ,
            1 => wanted |= Access::WRITE,
            // 3 is for device control only, but wants both all the same.
            _ => wanted |= Access::READ | Access::WRITE,
        }
        if flags.contains(OpenFlags::TRUNC) {
            wanted |= Access::WRITE;
        }
        match inode.file_type() {
            FileType::Symlink => return Err(Errno::ELOOP),
            FileType::Directory if wanted.contains(Access::WRITE) => return Err(Errno::EISDIR),
            FileType::CharacterDevice | FileType::BlockDevice
                if path.mount.flags.contains(MountFlags::NO_DEVICES) =>
            {
                return Err(Errno::EACCES);
            }
            _ => {}
        }
        check_path(path, self.caller, wanted)?;
        if flags.contains(OpenFlags::NOATIME) && !is_owner(&inode.attributes()?, self.caller.credentials) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// `O_TMPFILE`: a file without a name, of the file system of the directory `name`.
    fn open_unnamed(&self, start: &Path, name: &[u8], how: OpenHow) -> Result<Arc<OpenFile>, Errno> {
        let options = super::WalkOptions {
            follow: !how.flags.contains(OpenFlags::NOFOLLOW),
            directory: true,
            resolve: how.resolve,
        };
        let directory = self.resolve(start, name, options)?;
        check_path(&directory, self.caller, Access::WRITE | Access::EXECUTE)?;
        let file = NewFile {
            file_type: FileType::Regular,
            permissions: how.mode & 0o7777,
            special_device: 0,
            target: b"",
        };
        let node = self.new_node(directory.inode()?, &file)?;
        let linkable = !how.flags.contains(OpenFlags::EXCL);
        let inode = directory.inode()?.create_unnamed(&node, linkable)?;
        let claim = FileClaim::write(&inode)?;
        let ops = inode.open(&inode, how.flags, self.caller)?;
        let number = inode.attributes()?.inode;
        let dentry = directory.dentry.unnamed_child(format!("#{number}").as_bytes(), inode);
        let kept = (how.flags & !TRANSIENT) | OpenFlags::LARGEFILE;
        let path = Path { mount: directory.mount, dentry };
        Ok(OpenFile::opened(ops, kept, path, Some(claim), self.caller))
    }
}
