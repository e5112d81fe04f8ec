//! A directory that is only reached by its descriptor: no path below it leads out, over a symbolic link, or anywhere but
//! where its names say. openat2(2).

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, UtimensatFlags, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, mkfifoat, symlinkat, unlinkat};

use super::listing::{Place, split};

/// A tree, and the directory in it that was used last: neighbours follow each other.
pub(super) struct Tree {
    root: OwnedFd,
    last: Option<(Place, OwnedFd)>,
}

impl Tree {
    /// Makes an empty directory, which must not exist, and begins a tree in it.
    pub(super) fn make(path: &std::path::Path) -> io::Result<Tree> {
        mkdirat(AT_FDCWD, path, Mode::S_IRWXU)?;
        Tree::open(path)
    }

    /// Opens the tree in a directory.
    pub(super) fn open(path: &std::path::Path) -> io::Result<Tree> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(Tree { root: openat(AT_FDCWD, path, flags, Mode::empty())?, last: None })
    }

    /// The directory that a place is in, and the place's name there.
    fn parent(&mut self, place: &[u8]) -> io::Result<(BorrowedFd<'_>, CString)> {
        let (directory, name) = split(place);
        let name = CString::new(if name.is_empty() { b"." } else { name })?;
        if directory.is_empty() {
            return Ok((self.root.as_fd(), name));
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != directory) {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let resolve = ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS
                | ResolveFlag::RESOLVE_NO_XDEV;
            let how = OpenHow::new().flags(flags).resolve(resolve);
            let opened = openat2(self.root.as_fd(), CString::new(directory)?.as_c_str(), how)?;
            self.last = Some((directory.to_vec(), opened));
        }
        let opened = self.last.as_ref().map(|(_, opened)| opened.as_fd());
        Ok((opened.unwrap_or(self.root.as_fd()), name))
    }

    /// Makes a directory for whoever makes the tree.
    pub(super) fn make_directory(&mut self, place: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(place)?;
        Ok(mkdirat(parent, name.as_c_str(), Mode::S_IRWXU)?)
    }

    /// Makes a file with this content, permissions, and time.
    pub(super) fn make_file(
        &mut self,
        place: &[u8],
        content: &mut dyn io::Read,
        permissions: u32,
        mtime: (i64, u32),
    ) -> io::Result<()> {
        let (parent, name) = self.parent(place)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(parent, name.as_c_str(), flags, Mode::S_IRUSR)?);
        let mut buffer = vec![0; 256 << 10];
        loop {
            match content.read(&mut buffer)? {
                0 => break,
                length => file.write_all(buffer.get(..length).unwrap_or_default())?,
            }
        }
        nix::sys::stat::fchmod(&file, Mode::from_bits_truncate(permissions))?;
        Ok(futimens(&file, &time(mtime), &time(mtime))?)
    }

    /// Makes a symbolic link.
    pub(super) fn make_symlink(&mut self, place: &[u8], target: &[u8], mtime: (i64, u32)) -> io::Result<()> {
        let (parent, name) = self.parent(place)?;
        symlinkat(CString::new(target)?.as_c_str(), parent, name.as_c_str())?;
        let flags = UtimensatFlags::NoFollowSymlink;
        Ok(utimensat(parent, name.as_c_str(), &time(mtime), &time(mtime), flags)?)
    }

    /// Makes a fifo.
    pub(super) fn make_fifo(&mut self, place: &[u8], mtime: (i64, u32)) -> io::Result<()> {
        let (parent, name) = self.parent(place)?;
        mkfifoat(parent, name.as_c_str(), Mode::S_IRUSR | Mode::S_IWUSR)?;
        let flags = UtimensatFlags::NoFollowSymlink;
        Ok(utimensat(parent, name.as_c_str(), &time(mtime), &time(mtime), flags)?)
    }

    /// Gives a file of this tree another name.
    pub(super) fn link(&mut self, target: &[u8], place: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(target)?;
        let target = (parent.try_clone_to_owned()?, name);
        let (parent, name) = self.parent(place)?;
        Ok(linkat(target.0, target.1.as_c_str(), parent, name.as_c_str(), AtFlags::empty())?)
    }

    /// Gives a file of another tree the same place in this one.
    pub(super) fn link_from(&mut self, other: &mut Tree, place: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(place)?;
        let (other_parent, _) = other.parent(place)?;
        Ok(linkat(other_parent, name.as_c_str(), parent, name.as_c_str(), AtFlags::empty())?)
    }

    /// Removes a file or an empty directory.
    pub(super) fn remove(&mut self, place: &[u8]) -> io::Result<()> {
        // It might be the directory that was used last.
        self.last = None;
        let (parent, name) = self.parent(place)?;
        match unlinkat(parent, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => Ok(unlinkat(parent, name.as_c_str(), UnlinkatFlags::RemoveDir)?),
            result => Ok(result?),
        }
    }

    /// Sets a directory's permissions and time; the tree's own for the empty place.
    pub(super) fn finish_directory(
        &mut self,
        place: &[u8],
        permissions: u32,
        mtime: (i64, u32),
    ) -> io::Result<()> {
        let (parent, name) = self.parent(place)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = openat(parent, name.as_c_str(), flags, Mode::empty())?;
        nix::sys::stat::fchmod(&directory, Mode::from_bits_truncate(permissions))?;
        Ok(futimens(&directory, &time(mtime), &time(mtime))?)
    }

    /// What the host says about a place. stat(2).
    pub(super) fn status(&mut self, place: &[u8]) -> io::Result<nix::sys::stat::FileStat> {
        let (parent, name) = self.parent(place)?;
        Ok(nix::sys::stat::fstatat(parent, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }
}

fn time((seconds, nanoseconds): (i64, u32)) -> TimeSpec {
    TimeSpec::new(seconds, i64::from(nanoseconds))
}
