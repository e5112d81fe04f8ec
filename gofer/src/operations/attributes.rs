//! Attributes, read and changed.

use std::os::fd::AsFd;

use rustix::fs::{OFlags, Timespec, UTIME_NOW, UTIME_OMIT};
use usk_abi::Errno;
use usk_gofer_protocol::{AttributeChange, Attributes, FileType, NodeId, Reply, TimeChange};

use crate::host;
use crate::nodes::OpenNode;
use crate::server::{Answer, Server};

impl Server {
    /// Attributes of each node.
    pub(crate) fn get_attributes(&self, nodes: &[NodeId]) -> Answer {
        let read = |&id: &NodeId| self.nodes.get(id).and_then(|node| self.attributes_of(&node));
        Ok((Reply::Attributes { results: nodes.iter().map(read).collect() }, None))
    }

    /// Changes what is to be changed, in the order that the protocol says: a change of owner clears set-id
    /// bits, which the permission bits may set again, and times come last because the other changes touch
    /// them.
    pub(crate) fn set_attributes(&self, node: NodeId, change: AttributeChange) -> Answer {
        let node = self.writable(node)?;
        if change.permissions.is_some_and(|permissions| permissions > 0o7777) {
            return Err(Errno::EINVAL);
        }
        if let Some(size) = change.size {
            self.truncate(&node, size)?;
        }
        if change.uid.is_some() || change.gid.is_some() {
            host::set_owner(node.as_fd(), change.uid, change.gid)?;
        }
        if let Some(permissions) = change.permissions {
            if node.identity.file_type() == Some(FileType::Symlink) {
                return Err(Errno::EOPNOTSUPP);
            }
            self.descriptors.set_permissions(node.as_fd(), permissions)?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            host::set_times(node.as_fd(), timespec(change.atime), timespec(change.mtime))?;
        }
        Ok((Reply::Attributes { results: vec![self.attributes_of(&node)] }, None))
    }

    fn attributes_of(&self, node: &OpenNode) -> Result<Attributes, Errno> {
        let status = host::status(node.as_fd()).map_err(host::errno)?;
        self.attributes(node.export, &status)
    }

    fn truncate(&self, node: &OpenNode, size: u64) -> Result<(), Errno> {
        match node.identity.file_type() {
            Some(FileType::Regular) => {}
            Some(FileType::Directory) => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        }
        let file = self.descriptors.reopen(node.as_fd(), OFlags::WRONLY)?;
        rustix::fs::ftruncate(&file, size).map_err(host::errno)
    }
}

fn timespec(change: Option<TimeChange>) -> Timespec {
    match change {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(TimeChange::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(TimeChange::At(time)) => Timespec { tv_sec: time.seconds(), tv_nsec: time.nanoseconds().into() },
    }
}
