//! Making files. A new file gets its owner and its exact permission bits after it exists; if that fails it is
//! removed again.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType as HostType, Mode, OFlags};
use usk_abi::Errno;
use usk_gofer_protocol::{Access, Entry, FileType, LinkTarget, Name, NodeId, Owner, Reply};

use crate::host;
use crate::nodes::OpenNode;
use crate::server::{Answer, Server};

const MAX_PERMISSIONS: u16 = 0o7777;
/// What a new entry has for permissions until it has its owner: by them it is told from one that somebody has put in its place.
/// Nobody has such a file, and who might make one may not give it to others.
const UNFINISHED: u16 = 0o1000;
/// Set-group-ID comes from the directory.
const INHERITED: u16 = 0o2000;

impl Server {
    /// A regular file that did not exist, and its descriptor.
    pub(crate) fn create_file(
        &self,
        parent: NodeId,
        name: Name<'_>,
        permissions: u16,
        owner: Option<Owner>,
        access: Access,
    ) -> Answer {
        let parent = self.writable_place(parent, name)?;
        let permissions = checked(permissions)?;
        let file = host::create(parent.as_fd(), name, access, permissions, self.crossing(&parent))?;
        let finish = || -> Result<Entry, Errno> {
            let status = host::status(file.as_fd()).map_err(host::errno)?;
            host::give_to(file.as_fd(), &status, owner)?;
            // Also after a change of owner, which clears set-id bits.
            rustix::fs::fchmod(&file, Mode::from_bits_retain(u32::from(permissions))).map_err(host::errno)?;
            // An O_PATH descriptor for the table: one that can write would keep the file from being executed.
            let path = self.descriptors.reopen(file.as_fd(), OFlags::PATH)?;
            let status = host::status(path.as_fd()).map_err(host::errno)?;
            Ok(self.adopt(&parent, name, path.into(), &status)?.1)
        };
        let entry = finish().inspect_err(|&errno| undo(&parent, name, AtFlags::empty(), errno))?;
        Ok((Reply::Created { entry }, Some(file)))
    }

    /// `mkdir(2)`.
    pub(crate) fn make_directory(
        &self,
        parent: NodeId,
        name: Name<'_>,
        permissions: u16,
        owner: Option<Owner>,
    ) -> Answer {
        let parent = self.writable_place(parent, name)?;
        let permissions = checked(permissions)?;
        rustix::fs::mkdirat(&parent, name.as_bytes(), first_mode(permissions, owner)).map_err(host::errno)?;
        self.finish(&parent, name, FileType::Directory, Some(permissions), owner)
            .inspect_err(|&errno| undo(&parent, name, AtFlags::REMOVEDIR, errno))
    }

    /// `symlink(2)`.
    pub(crate) fn make_symlink(
        &self,
        parent: NodeId,
        name: Name<'_>,
        target: &LinkTarget,
        owner: Option<Owner>,
    ) -> Answer {
        let parent = self.writable_place(parent, name)?;
        rustix::fs::symlinkat(target.as_bytes(), &parent, name.as_bytes()).map_err(host::errno)?;
        self.finish(&parent, name, FileType::Symlink, None, owner)
            .inspect_err(|&errno| undo(&parent, name, AtFlags::empty(), errno))
    }

    /// `mknod(2)` of a fifo or a socket.
    pub(crate) fn make_special(
        &self,
        parent: NodeId,
        name: Name<'_>,
        file_type: FileType,
        permissions: u16,
        owner: Option<Owner>,
    ) -> Answer {
        let host_type = match file_type {
            FileType::Fifo => HostType::Fifo,
            FileType::Socket => HostType::Socket,
            FileType::CharacterDevice | FileType::BlockDevice => return Err(Errno::EPERM),
            _ => return Err(Errno::EINVAL),
        };
        let parent = self.writable_place(parent, name)?;
        let permissions = checked(permissions)?;
        let mode = first_mode(permissions, owner);
        rustix::fs::mknodat(&parent, name.as_bytes(), host_type, mode, 0).map_err(host::errno)?;
        self.finish(&parent, name, file_type, Some(permissions), owner)
            .inspect_err(|&errno| undo(&parent, name, AtFlags::empty(), errno))
    }

    /// Finds what was just made, and makes it what was asked for. The client keeps its guests from renaming entries of the
    /// directory meanwhile, but they may have it by another export, and others may have it at all: `ESTALE` if what is there
    /// now is something else.
    fn finish(
        &self,
        parent: &OpenNode,
        name: Name<'_>,
        expected: FileType,
        permissions: Option<u16>,
        owner: Option<Owner>,
    ) -> Answer {
        let file: OwnedFd = host::look_up(parent.as_fd(), name, self.crossing(parent))?;
        let status = host::status(file.as_fd()).map_err(host::errno)?;
        if host::Identity::of(&status).file_type() != Some(expected) {
            return Err(Errno::ESTALE);
        }
        let found = status.stx_mode & MAX_PERMISSIONS;
        let is_known = owner.is_none() || permissions.is_none() || found & !INHERITED == UNFINISHED;
        // Not every file system keeps permissions: there nothing may be left to do.
        let is_finished =
            permissions == Some(found) && owner.is_some_and(|owner| host::belongs_to(&status, owner));
        if !is_known && !is_finished {
            return Err(Errno::ESTALE);
        }
        if !is_finished {
            host::give_to(file.as_fd(), &status, owner)?;
            if let Some(permissions) = permissions {
                self.descriptors.set_permissions(file.as_fd(), permissions)?;
            }
        }
        let status = host::status(file.as_fd()).map_err(host::errno)?;
        let (_, entry) = self.adopt(parent, name, file.into(), &status)?;
        Ok((Reply::Created { entry }, None))
    }
}

/// The permissions to make an entry with. Who may give it to an owner could give away another's: it must be known again.
fn first_mode(permissions: u16, owner: Option<Owner>) -> Mode {
    let first = if owner.is_some() { UNFINISHED } else { permissions };
    Mode::from_bits_retain(u32::from(first))
}

fn checked(permissions: u16) -> Result<u16, Errno> {
    if permissions > MAX_PERMISSIONS { Err(Errno::EINVAL) } else { Ok(permissions) }
}

/// Removes what could not be finished because of `errno`, unless something else is there. If that fails too the file stays, as after
/// a crash.
fn undo(parent: &OpenNode, name: Name<'_>, flags: AtFlags, errno: Errno) {
    if errno != Errno::ESTALE {
        let _ = rustix::fs::unlinkat(parent, name.as_bytes(), flags);
    }
}
