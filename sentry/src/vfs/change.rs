//! Changes of attributes: `chmod(2)`, `chown(2)`, `utimensat(2)`, `truncate(2)`, and `access(2)`.

use usk_abi::Errno;
use usk_abi::capability::{CAP_CHOWN, CAP_FSETID};
use usk_abi::fs::{S_ISGID, S_ISUID};
use usk_abi::inotify::InotifyMask;

use crate::task::Credentials;
use crate::vfs::permission::{check_path, is_owner};
use crate::vfs::{
    Access, Attributes, FileClaim, FileType, InodeRef, NameChange, NameContext, Path, SetAttributes,
    Timestamp, notify,
};

/// What `utimensat(2)` does with a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeChange {
    /// Leaves it alone.
    Keep,
    /// Sets it to the current time.
    Now,
    /// Sets it to this.
    At(Timestamp),
}

impl TimeChange {
    fn value(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            TimeChange::Keep => None,
            TimeChange::Now => Some(now),
            TimeChange::At(time) => Some(time),
        }
    }
}

impl NameContext<'_> {
    /// `chmod(2)` of what is at `path`.
    pub fn change_permissions(&self, path: &Path, mode: u32) -> Result<(), Errno> {
        let inode = path.inode()?;
        path.mount.check_writable()?;
        if inode.file_type() == FileType::Symlink {
            return Err(Errno::EOPNOTSUPP);
        }
        let credentials = self.caller.credentials;
        let _alone = inode.common().changes.lock();
        let attributes = inode.attributes()?;
        if !is_owner(&attributes, credentials) {
            return Err(Errno::EPERM);
        }
        let mut permissions = mode & 0o7777;
        if !credentials.in_group(attributes.gid) && !credentials.has_capability(CAP_FSETID) {
            permissions &= !S_ISGID;
        }
        let _change = change_of_search(inode);
        // Before the change: so a write that is under way looks again at the latest when its bytes are in the file.
        inode.common().set_plain(false);
        inode
            .set_attributes(&SetAttributes { permissions: Some(permissions), ..SetAttributes::default() })?;
        notify::on_file(&path.dentry, InotifyMask::ATTRIB);
        Ok(())
    }

    /// `chown(2)` of what is at `path`.
    pub fn change_owner(&self, path: &Path, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        let inode = path.inode()?;
        path.mount.check_writable()?;
        let _alone = inode.common().changes.lock();
        let attributes = inode.attributes()?;
        let credentials = self.caller.credentials;
        let owns = credentials.fsuid == attributes.uid;
        let is_privileged = credentials.has_capability(CAP_CHOWN);
        let uid_allowed = uid.is_none_or(|uid| owns && uid == attributes.uid);
        let gid_allowed = gid.is_none_or(|gid| owns && (credentials.in_group(gid) || gid == attributes.gid));
        if !is_privileged && (!uid_allowed || !gid_allowed) {
            return Err(Errno::EPERM);
        }
        let mut change = SetAttributes { uid, gid, ..SetAttributes::default() };
        if inode.file_type() != FileType::Directory {
            change.permissions = without_privileges(&attributes, credentials);
        }
        // What goes is a change of permissions (the kernel's notify_change), even where neither owner was to change.
        if change.permissions.is_some() && !is_owner(&attributes, credentials) {
            return Err(Errno::EPERM);
        }
        let _change = change_of_search(inode);
        inode.set_attributes(&change)?;
        if inode.file_type() != FileType::Directory {
            drop_capabilities(inode)?;
        }
        if uid.is_some() || gid.is_some() || change.permissions.is_some() {
            notify::on_file(&path.dentry, InotifyMask::ATTRIB);
        }
        Ok(())
    }

    /// `utimensat(2)` of what is at `path`.
    pub fn change_times(&self, path: &Path, accessed: TimeChange, modified: TimeChange) -> Result<(), Errno> {
        if (accessed, modified) == (TimeChange::Keep, TimeChange::Keep) {
            return Ok(());
        }
        let inode = path.inode()?;
        path.mount.check_writable()?;
        let credentials = self.caller.credentials;
        let _alone = inode.common().changes.lock();
        if !is_owner(&inode.attributes()?, credentials) {
            if (accessed, modified) != (TimeChange::Now, TimeChange::Now) {
                return Err(Errno::EPERM);
            }
            check_path(path, self.caller, Access::WRITE)?;
        }
        let now = Timestamp::now();
        inode.set_attributes(&SetAttributes {
            accessed: accessed.value(now),
            modified: modified.value(now),
            ..SetAttributes::default()
        })?;
        // Both times are a change of attributes, one is what it stands for (the kernel's fsnotify_change).
        let mask = match (accessed, modified) {
            (_, TimeChange::Keep) => InotifyMask::ACCESS,
            (TimeChange::Keep, _) => InotifyMask::MODIFY,
            _ => InotifyMask::ATTRIB,
        };
        notify::on_file(&path.dentry, mask);
        Ok(())
    }

    /// `truncate(2)` of what is at `path`.
    pub fn truncate(&self, path: &Path, size: u64) -> Result<(), Errno> {
        let inode = path.inode()?;
        match inode.file_type() {
            FileType::Regular => {}
            FileType::Directory => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        }
        check_path(path, self.caller, Access::WRITE)?;
        let _claim = FileClaim::write(inode)?;
        self.set_size(path, size)
    }

    /// Sets the length of a regular file that the caller may write. Set-user-ID and set-group-ID go, unless the caller is
    /// privileged.
    pub fn set_size(&self, path: &Path, size: u64) -> Result<(), Errno> {
        let inode = path.inode()?;
        let mut change = SetAttributes { size: Some(size), ..SetAttributes::default() };
        let _alone = inode.common().changes.lock();
        if !self.caller.credentials.has_capability(CAP_FSETID) {
            change.permissions = without_privileges(&inode.attributes()?, self.caller.credentials);
        }
        inode.set_attributes(&change)?;
        drop_capabilities(inode)?;
        notify::on_file(&path.dentry, InotifyMask::MODIFY);
        Ok(())
    }

    /// `access(2)` of what is at `path`.
    pub fn check_access(&self, path: &Path, wanted: Access) -> Result<(), Errno> {
        check_path(path, self.caller, wanted)
    }
}

/// The change of who may search a directory. Of other files only such attributes are told as are withdrawn by themselves
/// ([`Inode::fixed_attributes`](super::Inode::fixed_attributes)).
fn change_of_search(inode: &InodeRef) -> Option<NameChange> {
    (inode.file_type() == FileType::Directory).then(NameChange::begin)
}

/// What a file that is written loses: its capabilities, and, unless the writer is privileged, set-user-ID and set-group-ID
/// (the kernel's `file_remove_privs`).
pub fn drop_privileges(inode: &InodeRef, credentials: &Credentials) -> Result<(), Errno> {
    if inode.file_type() != FileType::Regular {
        return Ok(());
    }
    drop_capabilities(inode)?;
    let common = inode.common();
    if common.is_plain() || credentials.has_capability(CAP_FSETID) {
        return Ok(());
    }
    let _alone = common.changes.lock();
    let attributes = inode.attributes()?;
    let permissions = without_privileges(&attributes, credentials);
    if permissions.is_some() {
        inode.set_attributes(&SetAttributes { permissions, ..SetAttributes::default() })?;
    }
    // Another writer may have to take what this one leaves. chmod(2), which takes it back, waits until then.
    common.set_plain(permissions.unwrap_or(attributes.mode) & (S_ISUID | S_ISGID) == 0);
    Ok(())
}

/// A file that is written, cut off or given away loses its capabilities, whoever does it (the kernel's `inode_killpriv`).
fn drop_capabilities(inode: &InodeRef) -> Result<(), Errno> {
    let common = inode.common();
    if common.has_no_capabilities() {
        return Ok(());
    }
    // Before they go; setxattr(2) takes it back after it has given some: so what it gives between the two is not forgotten.
    common.set_without_capabilities(true);
    inode.drop_capabilities()
}

/// The permissions without set-user-ID, and without set-group-ID if the group may execute the file or the caller is not of it
/// (`setattr_should_drop_suidgid`); `None` if nothing changes by that.
fn without_privileges(attributes: &Attributes, credentials: &Credentials) -> Option<u32> {
    let before = attributes.mode & 0o7777;
    let mut permissions = before & !S_ISUID;
    let may_keep = credentials.in_group(attributes.gid) || credentials.has_capability(CAP_FSETID);
    if before & 0o010 != 0 || !may_keep {
        permissions &= !S_ISGID;
    }
    (permissions != before).then_some(permissions)
}

/// The credentials that `access(2)` checks with: the real identifiers, and capabilities only for a real user 0.
pub fn real_credentials(credentials: &Credentials) -> Credentials {
    let effective = real_capabilities(credentials);
    Credentials { fsuid: credentials.uid, fsgid: credentials.gid, effective, ..credentials.clone() }
}

/// True if these are the credentials that `access(2)` checks with.
pub fn is_real_user(credentials: &Credentials) -> bool {
    let Credentials { uid, gid, fsuid, fsgid, effective, .. } = *credentials;
    (fsuid, fsgid, effective) == (uid, gid, real_capabilities(credentials))
}

fn real_capabilities(credentials: &Credentials) -> u64 {
    if credentials.uid == 0 { credentials.permitted } else { 0 }
}
