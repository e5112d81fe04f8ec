//! Where the parts of an image are read from: a directory, or an archive.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;

use super::archive::{Archive, Kind};
use super::limits::{MAX_DOCUMENT, MAX_MEMBER_LINKS, MAX_MEMBERS};
use super::listing::shown;
use super::reference::Transport;
use crate::plan::open_in_root;

/// Files by name.
pub(super) enum Source {
    /// Below a directory, which links do not leave.
    Directory(OwnedFd),
    /// Members of an archive.
    Archive(File, HashMap<Vec<u8>, Member>),
}

/// Where a member of an archive is.
pub(super) enum Member {
    At {
        offset: u64,
        size: u64,
    },
    /// Old versions of Docker wrote layers that occur twice once.
    Link(Vec<u8>),
}

impl Source {
    /// Opens a directory, or an archive and lists it.
    pub(super) fn open(transport: Transport, path: &Path) -> Result<Source> {
        match transport {
            Transport::Directory => {
                let mut options = File::options();
                options.read(true).custom_flags(OFlag::O_DIRECTORY.bits());
                match options.open(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                        bail!("it is not a directory; for an archive write docker-archive: or oci-archive:")
                    }
                    opened => Ok(Source::Directory(opened?.into())),
                }
            }
            Transport::Archive => {
                let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
                if !file.metadata()?.is_file() {
                    bail!("it is not a regular file; for a directory write oci:");
                }
                let members = list(&file)?;
                Ok(Source::Archive(file, members))
            }
        }
    }

    /// The directory's path, if it is one.
    pub(super) fn directory(&self) -> io::Result<Option<PathBuf>> {
        match self {
            Source::Directory(root) => {
                std::fs::read_link(format!("/proc/self/fd/{}", root.as_raw_fd())).map(Some)
            }
            Source::Archive(..) => Ok(None),
        }
    }

    /// The archive, if it is one.
    pub(super) fn file(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Source::Directory(_) => None,
            Source::Archive(file, _) => Some(file.as_fd()),
        }
    }

    /// Opens a file. What is not there is an error of its own kind.
    pub(super) fn part(&self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        match self {
            Source::Directory(root) => {
                let file = open_in_root(root, Path::new(name), false)?;
                if !file.metadata()?.is_file() {
                    return Err(io::Error::other("it is not a regular file"));
                }
                Ok(Box::new(file))
            }
            Source::Archive(file, members) => {
                let mut name = name.as_bytes();
                for _ in 0..MAX_MEMBER_LINKS {
                    match members.get(name) {
                        None => return Err(io::ErrorKind::NotFound.into()),
                        Some(Member::Link(target)) => name = target,
                        Some(&Member::At { offset, size }) => {
                            return Ok(Box::new(Part { file, offset, left: size }));
                        }
                    }
                }
                Err(io::Error::other("it is a link to a link, too often"))
            }
        }
    }

    /// Reads a small file.
    pub(super) fn document(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.part(name)?.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(io::Error::other(format!("it is larger than {} MiB", MAX_DOCUMENT >> 20)));
        }
        Ok(bytes)
    }
}

/// A part of a file, read without moving anybody's position.
struct Part<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let length = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.offset)?;
        if length == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is truncated"));
        }
        self.offset = self.offset.saturating_add(length as u64);
        self.left = self.left.saturating_sub(length as u64);
        Ok(length)
    }
}

/// Where each member is. Goes from header to header, and reads nothing between.
fn list(file: &File) -> Result<HashMap<Vec<u8>, Member>> {
    let length = file.metadata()?.len();
    let mut begin = [0; 6];
    let known = file.read_at(&mut begin, 0)?;
    if begin.starts_with(&[0x1f, 0x8b]) || begin.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        bail!("it is compressed as a whole: decompress it first, with gunzip or unzstd");
    }
    if known == 0 {
        bail!("it is empty");
    }
    let mut archive =
        Archive::new(BufReader::with_capacity(4096, file.as_fd().try_clone_to_owned().map(File::from)?));
    archive.reader().seek(SeekFrom::Start(0))?;
    let mut members = HashMap::new();
    while let Some(entry) = archive.next()? {
        if members.len() >= MAX_MEMBERS {
            bail!("it has more than {MAX_MEMBERS} members");
        }
        let named = || format!("member {}", shown(&entry.path));
        let offset = archive.reader().stream_position()?;
        let name = normal(&entry.path, b"");
        match entry.kind {
            Kind::Regular => {
                if offset.checked_add(entry.size).is_none_or(|end| end > length) {
                    bail!("it is truncated in the member {}", shown(&entry.path));
                }
                members.insert(name, Member::At { offset, size: entry.size });
            }
            Kind::Symlink(target) => {
                let directory = super::listing::split(&name).0.to_vec();
                members.insert(name, Member::Link(normal(&target, &directory)));
            }
            Kind::HardLink(target) => drop(members.insert(name, Member::Link(normal(&target, b"")))),
            Kind::Directory | Kind::Fifo | Kind::Device => {}
        }
        let skipped =
            i64::try_from(archive.skipped()).context("its size makes no sense").with_context(named)?;
        archive.reader().seek_relative(skipped).with_context(named)?;
    }
    Ok(members)
}

/// A member's name, as text: nothing is opened by it.
fn normal(path: &[u8], base: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = base.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).collect();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join(&b'/')
}
