//! Extended attributes (`xattr(7)`).

use usk_abi::Errno;
use usk_abi::capability::{CAP_SETFCAP, CAP_SYS_ADMIN, FileCapabilities, XATTR_NAME_CAPS};
use usk_abi::fs::S_ISVTX;
use usk_abi::inotify::InotifyMask;

use crate::vfs::permission::{check_inode, check_path, is_owner};
use crate::vfs::{Access, FileType, InodeRef, NameContext, Path, notify};

impl NameContext<'_> {
    /// `getxattr(2)`.
    pub fn get_xattr(&self, path: &Path, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let inode = path.inode()?;
        if name.starts_with(b"user.") {
            if !may_have_user_attributes(inode) {
                return Err(Errno::ENODATA);
            }
            check_inode(inode, self.caller, Access::READ)?;
        } else if name.starts_with(b"trusted.") && !self.caller.credentials.has_capability(CAP_SYS_ADMIN) {
            return Err(Errno::ENODATA);
        } else if !has_known_namespace(name) {
            return Err(Errno::EOPNOTSUPP);
        }
        let value = inode.get_xattr(name)?;
        Ok(if name == XATTR_NAME_CAPS { FileCapabilities::as_shown(value) } else { value })
    }

    /// `setxattr(2)`.
    pub fn set_xattr(&self, path: &Path, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        let is_capabilities = name == XATTR_NAME_CAPS;
        if is_capabilities && !FileCapabilities::may_be_set(value) {
            return Err(Errno::EINVAL);
        }
        self.check_xattr_change(path, name)?;
        let inode = path.inode()?;
        let common = inode.common();
        common.holder().change(|| {
            let set = inode.set_xattr(name, value, flags);
            if is_capabilities {
                common.set_without_capabilities(false);
            }
            set
        })?;
        notify::on_file(&path.dentry, InotifyMask::ATTRIB);
        Ok(())
    }

    /// `removexattr(2)`.
    pub fn remove_xattr(&self, path: &Path, name: &[u8]) -> Result<(), Errno> {
        self.check_xattr_change(path, name)?;
        let inode = path.inode()?;
        inode.common().holder().change(|| inode.remove_xattr(name))?;
        notify::on_file(&path.dentry, InotifyMask::ATTRIB);
        Ok(())
    }

    /// `listxattr(2)`: the names, each followed by NUL.
    pub fn list_xattr(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        let is_privileged = self.caller.credentials.has_capability(CAP_SYS_ADMIN);
        let mut list = Vec::new();
        for name in path.inode()?.list_xattr()? {
            if is_privileged || !name.starts_with(b"trusted.") {
                list.extend_from_slice(&name);
                list.push(0);
            }
        }
        Ok(list)
    }

    fn check_xattr_change(&self, path: &Path, name: &[u8]) -> Result<(), Errno> {
        let credentials = self.caller.credentials;
        let inode = path.inode()?;
        path.mount.check_writable()?;
        if name.starts_with(b"user.") {
            if !may_have_user_attributes(inode) {
                return Err(Errno::EPERM);
            }
            let attributes = inode.attributes()?;
            let is_sticky = inode.file_type() == FileType::Directory && attributes.mode & S_ISVTX != 0;
            if is_sticky && !is_owner(&attributes, credentials) {
                return Err(Errno::EPERM);
            }
            return check_path(path, self.caller, Access::WRITE);
        }
        let allowed = if name == XATTR_NAME_CAPS {
            credentials.has_capability(CAP_SETFCAP)
        } else if name.starts_with(b"trusted.") || name.starts_with(b"security.") {
            credentials.has_capability(CAP_SYS_ADMIN)
        } else {
            return Err(Errno::EOPNOTSUPP);
        };
        if allowed { Ok(()) } else { Err(Errno::EPERM) }
    }
}

/// What a file gives to whoever executes it: only what counts for the sandbox's own user 0. `EINVAL` if it says something
/// that cannot be understood; what cannot be read gives nothing.
pub(crate) fn file_capabilities(inode: &InodeRef) -> Result<Option<FileCapabilities>, Errno> {
    let Ok(value) = inode.get_xattr(XATTR_NAME_CAPS) else { return Ok(None) };
    let found = FileCapabilities::parse(&value)?;
    Ok((found.root == 0).then_some(found))
}

/// Whether a write has capabilities to take away from a file. To be asked with its holder locked, so that none are given meanwhile.
pub(crate) fn has_capabilities(inode: &InodeRef) -> bool {
    let common = inode.common();
    if common.has_no_capabilities() {
        return false;
    }
    let has_none = matches!(inode.get_xattr(XATTR_NAME_CAPS), Err(Errno::ENODATA));
    common.set_without_capabilities(has_none);
    !has_none
}

/// Whether some handler of Linux's would take the attribute.
fn has_known_namespace(name: &[u8]) -> bool {
    [&b"trusted."[..], b"security.", b"system."].iter().any(|prefix| name.starts_with(prefix))
}

fn may_have_user_attributes(inode: &InodeRef) -> bool {
    matches!(inode.file_type(), FileType::Regular | FileType::Directory)
}
