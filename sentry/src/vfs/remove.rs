//! Names that go away: `unlink(2)` and `rmdir(2)`.

use usk_abi::Errno;
use usk_abi::fs::ResolveFlags;
use usk_abi::inotify::InotifyMask;

use crate::vfs::permission::check_removal;
use crate::vfs::walk::{Last, Walk};
use crate::vfs::{FileType, Mark, NameContext, Path, notify};

impl NameContext<'_> {
    /// `unlink(2)`. Returns what depends on the name, if that is known.
    pub fn unlink(&self, start: &Path, name: &[u8]) -> Result<Option<Mark>, Errno> {
        let mut walk = Walk::new(self, start, name, ResolveFlags::empty())?;
        let Last::Name { name, directory } = walk.advance()? else { return Err(Errno::EISDIR) };
        let parent = walk.path;
        parent.mount.check_writable()?;
        let _changes = parent.dentry.entries.write();
        let child = parent.dentry.child_locked(&name)?;
        let inode = child.require()?;
        let is_directory = inode.file_type() == FileType::Directory;
        if directory {
            return Err(if is_directory { Errno::EISDIR } else { Errno::ENOTDIR });
        }
        check_removal(parent.inode()?, inode, self.caller)?;
        if is_directory {
            return Err(Errno::EISDIR);
        }
        if child.is_mount_point() {
            return Err(Errno::EBUSY);
        }
        let is_last = notify::loses_last_name(inode);
        inode.common().holder().change(|| parent.inode()?.unlink(&name, inode))?;
        parent.dentry.detach(&name, &child);
        notify::on_name_gone(inode, is_last);
        notify::on_name(&parent.dentry, &name, InotifyMask::DELETE, false, 0);
        Ok(parent.dentry.mark_of(&name))
    }

    /// `rmdir(2)`.
    pub fn remove_directory(&self, start: &Path, name: &[u8]) -> Result<(), Errno> {
        let mut walk = Walk::new(self, start, name, ResolveFlags::empty())?;
        let name = match walk.advance()? {
            Last::Name { name, .. } => name,
            Last::Dot => return Err(Errno::EINVAL),
            Last::DotDot => return Err(Errno::ENOTEMPTY),
            Last::Here { .. } => return Err(Errno::EBUSY),
        };
        let parent = walk.path;
        parent.mount.check_writable()?;
        let _changes = parent.dentry.entries.write();
        let child = parent.dentry.child_locked(&name)?;
        let inode = child.require()?;
        check_removal(parent.inode()?, inode, self.caller)?;
        if inode.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        if child.is_mount_point() {
            return Err(Errno::EBUSY);
        }
        let _inner_changes = child.entries.write();
        parent.inode()?.rmdir(&name, inode)?;
        parent.dentry.detach(&name, &child);
        notify::on_name_gone(inode, notify::loses_last_name(inode));
        notify::on_name(&parent.dentry, &name, InotifyMask::DELETE, true, 0);
        Ok(())
    }
}
