//! Extended attributes, of regular files and directories: other files have none that a user can set. Those
//! called `trusted.` are for the host's administrator and do not exist here; only those called `user.` can be
//! changed: what a client says of a file's capabilities must not become true on the host. Of a tree with
//! [`Owners`](crate::Owners) those say which capabilities its files have, and there are no other attributes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, XattrFlags};
use usk_abi::Errno;
use usk_abi::capability::{FileCapabilities, XATTR_NAME_CAPS};
use usk_gofer_protocol::limits::MAX_XATTR_VALUE;
use usk_gofer_protocol::{FileIn, FileType, Name, NodeId, Reply, XattrMode, XattrName, XattrValue};

use crate::host::{self, Identity};
use crate::nodes::OpenNode;
use crate::server::{Answer, Server};

impl Server {
    /// `getxattr(2)`.
    pub(crate) fn get_xattr(&self, node: NodeId, name: XattrName<'_>) -> Answer {
        let node = self.nodes.get(node)?;
        if is_hidden(name.as_bytes()) {
            return Err(Errno::ENODATA);
        }
        if let Some(held) = self.held_capabilities(&node) {
            let held = held.filter(|_| name.as_bytes() == XATTR_NAME_CAPS).ok_or(Errno::ENODATA)?;
            return Ok((Reply::Xattr { value: XattrValue::new(held.to_value())? }, None));
        }
        let file = self.open_for_xattr(&node)?.ok_or(Errno::ENODATA)?;
        let mut value = vec![0; MAX_XATTR_VALUE];
        let length = rustix::fs::fgetxattr(&file, name.as_bytes(), &mut value[..]).map_err(host::errno)?;
        value.truncate(length);
        Ok((Reply::Xattr { value: XattrValue::new(value)? }, None))
    }

    /// `listxattr(2)`.
    pub(crate) fn list_xattrs(&self, node: NodeId) -> Answer {
        let node = self.nodes.get(node)?;
        if let Some(held) = self.held_capabilities(&node) {
            let names = if held.is_some() { [XATTR_NAME_CAPS, b"\0"].concat() } else { Vec::new() };
            return Ok((Reply::Xattr { value: XattrValue::new(names)? }, None));
        }
        let names = match self.open_for_xattr(&node)? {
            None => Vec::new(),
            Some(file) => visible_xattrs(file.as_fd())?,
        };
        Ok((Reply::Xattr { value: XattrValue::new(names)? }, None))
    }

    /// Which of several files have no extended attributes.
    pub(crate) fn check_xattrs(&self, files: &[FileIn<'_>]) -> Reply {
        let has_none = |&FileIn { parent, name }: &FileIn<'_>| {
            self.nodes.get(parent).is_ok_and(|parent| self.has_no_xattrs(&parent, name).unwrap_or(false))
        };
        Reply::XattrsChecked { none: files.iter().map(has_none).collect() }
    }

    /// Whether `name` in `parent` has none; `None` if that takes a node to find out. It is opened by its name, as a file to be donated is,
    /// and only where nobody else changes names.
    fn has_no_xattrs(&self, parent: &OpenNode, name: Name<'_>) -> Option<bool> {
        let is_plain = parent.is_directory() && !parent.is_sealed && !self.hides(parent, name);
        if !is_plain || !self.is_exclusive(parent) {
            return None;
        }
        let status = host::status_at(parent.as_fd(), name).ok()?;
        if host::mount(&status).is_none_or(|mount| Some(mount) != parent.mount) {
            return None;
        }
        if let Some(owners) = self.owners(parent.export, parent.mount) {
            return Some(owners.get(status.stx_ino).is_none_or(|held| held.capabilities.is_none()));
        }
        let more = match Identity::of(&status).file_type()? {
            FileType::Regular => OFlags::empty(),
            FileType::Directory => OFlags::DIRECTORY,
            _ => return Some(true),
        };
        let file = host::open_by_name(parent.as_fd(), name, more).ok()?;
        visible_xattrs(file.as_fd()).ok().map(|names| names.is_empty())
    }

    /// `setxattr(2)`.
    pub(crate) fn set_xattr(
        &self,
        node: NodeId,
        name: XattrName<'_>,
        value: &XattrValue,
        mode: XattrMode,
    ) -> Answer {
        let file = self.open_to_change(node, name)?;
        let flags = match mode {
            XattrMode::Any => XattrFlags::empty(),
            XattrMode::Create => XattrFlags::CREATE,
            XattrMode::Replace => XattrFlags::REPLACE,
        };
        rustix::fs::fsetxattr(&file, name.as_bytes(), value.as_bytes(), flags).map_err(host::errno)?;
        Ok((Reply::Done {}, None))
    }

    /// `removexattr(2)`.
    pub(crate) fn remove_xattr(&self, node: NodeId, name: XattrName<'_>) -> Answer {
        let file = self.open_to_change(node, name)?;
        rustix::fs::fremovexattr(&file, name.as_bytes()).map_err(host::errno)?;
        Ok((Reply::Done {}, None))
    }

    /// The capabilities that a file is said to have; `None` where the host says what attributes there are.
    fn held_capabilities(&self, node: &OpenNode) -> Option<Option<FileCapabilities>> {
        let owners = self.owners(node.export, node.mount)?;
        Some(owners.get(node.identity.inode()).and_then(|held| held.capabilities))
    }

    fn open_to_change(&self, node: NodeId, name: XattrName<'_>) -> Result<OwnedFd, Errno> {
        let node = self.writable(node)?;
        if !name.as_bytes().starts_with(b"user.") {
            return Err(Errno::EPERM);
        }
        self.open_for_xattr(&node)?.ok_or(Errno::EPERM)
    }

    /// A descriptor that the host accepts for extended attributes, which it does not take by an `O_PATH` one.
    /// `None` for a file that is not opened.
    fn open_for_xattr(&self, node: &OpenNode) -> Result<Option<OwnedFd>, Errno> {
        let is_openable = matches!(node.identity.file_type(), Some(FileType::Regular | FileType::Directory));
        if !is_openable || node.is_sealed {
            return Ok(None);
        }
        self.descriptors.reopen(node.as_fd(), OFlags::RDONLY).map(Some)
    }
}

/// The names of the attributes that a client may see, each followed by NUL.
fn visible_xattrs(file: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    // Hardly a file has many.
    let (mut few, mut many) = ([0; 256], Vec::new());
    let names = match list_xattrs(file, &mut few) {
        Ok(length) => few.get(..length),
        Err(Errno::ERANGE) => {
            many.resize(MAX_XATTR_VALUE, 0);
            let length = list_xattrs(file, &mut many)?;
            many.get(..length)
        }
        Err(errno) => return Err(errno),
    };
    let names = names.ok_or(Errno::EIO)?;
    Ok(names.split_inclusive(|&byte| byte == 0).filter(|name| !is_hidden(name)).flatten().copied().collect())
}

fn list_xattrs(file: BorrowedFd<'_>, names: &mut [u8]) -> Result<usize, Errno> {
    match rustix::fs::flistxattr(file, names) {
        // A file system without extended attributes.
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(0),
        result => result.map_err(host::errno),
    }
}

fn is_hidden(name: &[u8]) -> bool {
    name.starts_with(b"trusted.")
}
