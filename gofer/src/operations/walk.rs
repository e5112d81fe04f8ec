//! Walking down, and opening what is there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{OFlags, Statx};
use usk_abi::Errno;
use usk_gofer_protocol::{Access, Attributes, Entry, FileIn, FileType, Name, NodeId, Opened, Reply, WalkEnd};

use crate::host::{self, Identity};
use crate::nodes::{Found, OpenNode};
use crate::server::{Answer, Server};

impl Server {
    /// Walks down from `node`, as far as it goes.
    pub(crate) fn walk(&self, node: NodeId, names: &[Name<'_>], open: Option<Access>) -> Answer {
        let start = self.nodes.get(node)?;
        let mut steps: Vec<Entry> = Vec::with_capacity(names.len());
        let (end, donated) = self.walk_from(start, names, open, &mut steps);
        if let WalkEnd::Failed(errno @ Errno::ENFILE) = end {
            // The table is full: the client is to give nodes back, not to take some more.
            let taken: Vec<NodeId> = steps.iter().map(|step| step.node).collect();
            self.nodes.forget(&taken);
            return Err(errno);
        }
        Ok((Reply::Walked { steps, end }, donated))
    }

    fn walk_from(
        &self,
        mut here: OpenNode,
        names: &[Name<'_>],
        open: Option<Access>,
        steps: &mut Vec<Entry>,
    ) -> (WalkEnd, Option<OwnedFd>) {
        for (index, &name) in names.iter().enumerate() {
            if !here.is_directory() {
                return (WalkEnd::NotDirectory, None);
            }
            let (next, entry) = match self.step(&here, name) {
                Ok(found) => found,
                Err(Errno::ENOENT) => return (WalkEnd::Missing, None),
                Err(errno) => return (WalkEnd::Failed(errno), None),
            };
            if entry.attributes.is_symlink() {
                return match host::read_link(next.as_fd()) {
                    Ok(target) => {
                        steps.push(entry);
                        (WalkEnd::Symlink(target), None)
                    }
                    Err(errno) => {
                        self.nodes.forget(&[entry.node]);
                        (WalkEnd::Failed(errno), None)
                    }
                };
            }
            let is_last = index + 1 == names.len();
            steps.push(entry);
            if is_last {
                return self.open_last(&next, open);
            }
            here = next;
        }
        // The protocol has no empty walks.
        (WalkEnd::Failed(Errno::EINVAL), None)
    }

    fn open_last(&self, node: &OpenNode, open: Option<Access>) -> (WalkEnd, Option<OwnedFd>) {
        match open {
            Some(access) if node.identity.file_type() == Some(FileType::Regular) => {
                match self.open_regular(node, access) {
                    Ok(file) => (WalkEnd::Complete(Ok(Opened::Donated)), Some(file)),
                    Err(errno) => (WalkEnd::Complete(Err(errno)), None),
                }
            }
            _ => (WalkEnd::Complete(Ok(Opened::No)), None),
        }
    }

    /// Opens several files for reading. Why one cannot be opened is told with the others.
    pub(crate) fn open_files(&self, files: &[FileIn<'_>]) -> (Reply, Vec<OwnedFd>) {
        let mut donated = Vec::with_capacity(files.len());
        let mut results = Vec::with_capacity(files.len());
        for &FileIn { parent, name } in files {
            let opened = self.nodes.get(parent).and_then(|parent| self.open_below(&parent, name));
            results.push(opened.map(|(attributes, file)| {
                donated.push(file);
                attributes
            }));
        }
        (Reply::Files { results }, donated)
    }

    /// Opens the regular file `name` in `parent` for reading, without a node for it.
    fn open_below(&self, parent: &OpenNode, name: Name<'_>) -> Result<(Attributes, OwnedFd), Errno> {
        if !parent.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        if let Some(opened) = self.open_by_name(parent, name) {
            return Ok(opened);
        }
        let (file, status) = self.look_up(parent, name)?;
        let attributes = self.attributes(parent.export, &status)?;
        check_regular(Some(attributes.file_type()))?;
        if is_sealed(file.as_fd(), parent.mount, host::mount(&status))? {
            return Err(Errno::EACCES);
        }
        Ok((attributes, self.descriptors.reopen(file.as_fd(), host::open_flags(Access::Read))?))
    }

    /// The same for a regular file that nothing is mounted on, without an `O_PATH` descriptor in between (3.6 µs instead of 5.2): it is
    /// looked at, opened by its name, and must be the same file. To open another might do something, as writers of a fifo wait for
    /// readers; where nobody else changes names there is no other. `None` if anything is different.
    fn open_by_name(&self, parent: &OpenNode, name: Name<'_>) -> Option<(Attributes, OwnedFd)> {
        if parent.is_sealed || !self.is_exclusive(parent) || self.hides(parent, name) {
            return None;
        }
        let seen = Identity::of(&host::status_at(parent.as_fd(), name).ok()?);
        if seen.file_type() != Some(FileType::Regular) {
            return None;
        }
        let file = host::open_by_name(parent.as_fd(), name, OFlags::empty()).ok()?;
        let status = host::status(file.as_fd()).ok()?;
        let attributes = self.attributes(parent.export, &status).ok()?;
        (Identity::of(&status) == seen).then_some((attributes, file))
    }

    /// Looks `name` up in `parent` and hands out a reference.
    pub(crate) fn step(&self, parent: &OpenNode, name: Name<'_>) -> Result<(OpenNode, Entry), Errno> {
        let (file, status) = self.look_up(parent, name)?;
        self.adopt(parent, name, file.into(), &status)
    }

    /// Finds `name` in `parent`.
    fn look_up(&self, parent: &OpenNode, name: Name<'_>) -> Result<(OwnedFd, Statx), Errno> {
        if parent.is_sealed {
            return Err(Errno::ENOENT);
        }
        let file = host::look_up(parent.as_fd(), name, self.crossing(parent))?;
        let status = host::status(file.as_fd()).map_err(host::errno)?;
        if self.hides(parent, name) && !self.is_cover(parent.export, &status) {
            return Err(Errno::ENOENT);
        }
        Ok((file, status))
    }

    /// Hands out a reference to a file that was found under `name` in `parent`.
    pub(crate) fn adopt(
        &self,
        parent: &OpenNode,
        name: Name<'_>,
        file: Arc<OwnedFd>,
        status: &Statx,
    ) -> Result<(OpenNode, Entry), Errno> {
        let attributes = self.attributes(parent.export, status)?;
        let mount = host::mount(status);
        let found = Found {
            is_sealed: is_sealed(file.as_fd(), parent.mount, mount)?,
            file,
            identity: Identity::of(status),
            mount,
        };
        let node = self.nodes.adopt(parent, name, found)?;
        let entry = Entry { node: node.id, attributes };
        Ok((node, entry))
    }

    /// Opens the file that a node stands for.
    pub(crate) fn open(&self, node: NodeId, access: Access) -> Answer {
        let node = self.nodes.get(node)?;
        let file = self.open_regular(&node, access)?;
        Ok((Reply::Opened {}, Some(file)))
    }

    /// A descriptor to donate: of a regular file only, and for writing only where that is allowed.
    pub(crate) fn open_regular(&self, node: &OpenNode, access: Access) -> Result<OwnedFd, Errno> {
        check_regular(node.identity.file_type())?;
        if access.writes() && self.is_read_only(node) {
            return Err(Errno::EROFS);
        }
        if node.is_sealed {
            return Err(Errno::EACCES);
        }
        self.descriptors.reopen(node.as_fd(), host::open_flags(access))
    }
}

/// Why a file is not opened that is not a regular one.
fn check_regular(file_type: Option<FileType>) -> Result<(), Errno> {
    match file_type {
        Some(FileType::Regular) => Ok(()),
        Some(FileType::Directory) => Err(Errno::EISDIR),
        Some(FileType::Symlink) => Err(Errno::ELOOP),
        _ => Err(Errno::ENXIO),
    }
}

/// True where a mount begins that shows the host's kernel.
fn is_sealed(file: BorrowedFd<'_>, above: Option<u64>, here: Option<u64>) -> Result<bool, Errno> {
    if here.is_some() && here == above { Ok(false) } else { host::is_kernel_interface(file) }
}
