//! Names that come, go and move.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, RenameFlags};
use usk_abi::Errno;
use usk_gofer_protocol::{Name, NodeId, RenameMode, Reply};

use crate::host;
use crate::server::{Answer, Server};

impl Server {
    /// `link(2)`.
    pub(crate) fn link(&self, node: NodeId, parent: NodeId, name: Name<'_>) -> Answer {
        let node = self.writable(node)?;
        let parent = self.writable_place(parent, name)?;
        if node.export != parent.export {
            return Err(Errno::EXDEV);
        }
        if node.is_directory() {
            return Err(Errno::EPERM);
        }
        self.descriptors.link(node.as_fd(), parent.as_fd(), name)?;
        let (_, entry) = self.step(&parent, name)?;
        Ok((Reply::Created { entry }, None))
    }

    /// `unlink(2)` and `rmdir(2)`.
    pub(crate) fn remove(&self, parent: NodeId, name: Name<'_>, is_directory: bool) -> Answer {
        let parent = self.writable_place(parent, name)?;
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        self.nodes.hold(&parent, name);
        rustix::fs::unlinkat(&parent, name.as_bytes(), flags).map_err(host::errno)?;
        self.nodes.removed(&parent, name);
        Ok((Reply::Done {}, None))
    }

    /// `renameat2(2)`.
    pub(crate) fn rename(
        &self,
        (parent, name): (NodeId, Name<'_>),
        (new_parent, new_name): (NodeId, Name<'_>),
        mode: RenameMode,
    ) -> Answer {
        let parent = self.writable_place(parent, name)?;
        let new_parent = self.writable_place(new_parent, new_name)?;
        if parent.export != new_parent.export {
            return Err(Errno::EXDEV);
        }
        let flags = match mode {
            RenameMode::Replace => RenameFlags::empty(),
            RenameMode::NoReplace => RenameFlags::NOREPLACE,
            RenameMode::Exchange => RenameFlags::EXCHANGE,
        };
        if mode == RenameMode::Replace {
            self.nodes.hold(&new_parent, new_name);
        }
        rustix::fs::renameat_with(&parent, name.as_bytes(), &new_parent, new_name.as_bytes(), flags)
            .map_err(host::errno)?;
        self.nodes.renamed((&parent, name), (&new_parent, new_name), mode);
        Ok((Reply::Done {}, None))
    }
}
