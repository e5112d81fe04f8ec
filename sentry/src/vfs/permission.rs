//! Who may do what with a file (`path_resolution(7)`, `capabilities(7)`; the kernel's `fs/namei.c`).

use bitflags::bitflags;
use usk_abi::Errno;
use usk_abi::capability::{CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER};
use usk_abi::fs::{S_ISGID, S_ISUID, S_ISVTX};

use crate::task::Credentials;
use crate::vfs::{Attributes, Caller, FileType, InodeRef, MountFlags, Path};

bitflags! {
    /// Kinds of access (`MAY_*`), with the values of `access(2)`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Access: u32 {
        /// Execute, or search a directory.
        const EXECUTE = 1;
        /// Write.
        const WRITE = 2;
        /// Read.
        const READ = 4;
    }
}

/// What the file itself says to an access, else its permission bits and the caller's capabilities: `EACCES` if `caller` may not have
/// all of `wanted` (the kernel's `inode_permission`).
pub fn check_inode(inode: &InodeRef, caller: Caller<'_>, wanted: Access) -> Result<(), Errno> {
    if let Some(is_admitted) = inode.judge(caller, wanted) {
        return if is_admitted { Ok(()) } else { Err(Errno::EACCES) };
    }
    let credentials = caller.credentials;
    let is_directory = inode.file_type() == FileType::Directory;
    // Whoever overrides everything need not have the attributes looked up.
    if is_directory && credentials.has_capability(CAP_DAC_OVERRIDE) {
        return Ok(());
    }
    let attributes = inode.attributes()?;
    let bits = if credentials.fsuid == attributes.uid {
        attributes.mode >> 6
    } else if credentials.in_group(attributes.gid) {
        attributes.mode >> 3
    } else {
        attributes.mode
    };
    if Access::from_bits_truncate(bits & 7).contains(wanted) {
        return Ok(());
    }
    let may_search = if is_directory { !wanted.contains(Access::WRITE) } else { wanted == Access::READ };
    if may_search && credentials.has_capability(CAP_DAC_READ_SEARCH) {
        return Ok(());
    }
    // Nobody executes a file that is executable for nobody.
    let has_override = credentials.has_capability(CAP_DAC_OVERRIDE);
    if has_override && (!wanted.contains(Access::EXECUTE) || attributes.mode & 0o111 != 0) {
        return Ok(());
    }
    Err(Errno::EACCES)
}

/// [`check_inode`] for a place, with the flags of its mount: `EROFS` for writing what cannot be written there, `EACCES` for
/// executing where nothing can be.
pub fn check_path(path: &Path, caller: Caller<'_>, wanted: Access) -> Result<(), Errno> {
    let inode = path.inode()?;
    let file_type = inode.file_type();
    if wanted.contains(Access::WRITE)
        && matches!(file_type, FileType::Regular | FileType::Directory | FileType::Symlink)
    {
        path.mount.check_writable()?;
    }
    if wanted.contains(Access::EXECUTE)
        && file_type == FileType::Regular
        && path.mount.flags.contains(MountFlags::NO_EXECUTE)
    {
        return Err(Errno::EACCES);
    }
    check_inode(inode, caller, wanted)
}

/// True if the caller may act as the file's owner.
pub fn is_owner(attributes: &Attributes, credentials: &Credentials) -> bool {
    credentials.fsuid == attributes.uid || credentials.has_capability(CAP_FOWNER)
}

/// May the caller give a file another name? Its owner may; others only if it is a regular file that they may read and write,
/// and that runs as nobody else (`/proc/sys/fs/protected_hardlinks`).
pub(super) fn check_link(inode: &InodeRef, caller: Caller<'_>) -> Result<(), Errno> {
    let attributes = inode.attributes()?;
    if is_owner(&attributes, caller.credentials) {
        return Ok(());
    }
    let runs_as_another =
        attributes.mode & S_ISUID != 0 || attributes.mode & (S_ISGID | 0o010) == S_ISGID | 0o010;
    let is_safe = inode.file_type() == FileType::Regular
        && !runs_as_another
        && check_inode(inode, caller, Access::READ | Access::WRITE).is_ok();
    if is_safe { Ok(()) } else { Err(Errno::EPERM) }
}

/// May `child` be taken out of `directory` (unlink, rmdir, rename)? The directory's sticky bit restricts that.
pub(super) fn check_removal(directory: &InodeRef, child: &InodeRef, caller: Caller<'_>) -> Result<(), Errno> {
    check_inode(directory, caller, Access::WRITE | Access::EXECUTE)?;
    let credentials = caller.credentials;
    let attributes = directory.attributes()?;
    if attributes.mode & S_ISVTX != 0
        && credentials.fsuid != attributes.uid
        && credentials.fsuid != child.attributes()?.uid
        && !credentials.has_capability(CAP_FOWNER)
    {
        return Err(Errno::EPERM);
    }
    Ok(())
}
