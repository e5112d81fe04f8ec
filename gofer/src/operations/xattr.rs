//! Extended attributes, of regular files and directories: other files have none that a user can set. Those
//! called `trusted.` are for the host's administrator and do not exist here; only those called `user.` can be
//! changed: what a client says of a file's capabilities must not become true on the host. Of a tree with
//! [`Owners`](crate::Owners) those say which capabilities its files have, and there are no other attributes.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{OFlags, XattrFlags};
use usk_abi::Errno;
use usk_abi::capability::{FileCapabilities, XATTR_NAME_CAPS};
use usk_gofer_protocol::limits::MAX_XATTR_VALUE;
use usk_gofer_protocol::{FileType, NodeId, Reply, XattrMode, XattrName, XattrValue};

use crate::host;
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
        let mut names = vec![0; MAX_XATTR_VALUE];
        let length = match self.open_for_xattr(&node)? {
            None => 0,
            Some(file) => match rustix::fs::flistxattr(&file, &mut names[..]) {
                // A file system without extended attributes.
                Err(rustix::io::Errno::OPNOTSUPP) => 0,
                result => result.map_err(host::errno)?,
            },
        };
        names.truncate(length);
        let visible = names.split_inclusive(|&byte| byte == 0).filter(|name| !is_hidden(name));
        let value = XattrValue::new(visible.flatten().copied().collect())?;
        Ok((Reply::Xattr { value }, None))
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

fn is_hidden(name: &[u8]) -> bool {
    name.starts_with(b"trusted.")
}
