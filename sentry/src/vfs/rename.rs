//! `rename(2)` and `renameat2(2)`.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::fs::{RenameFlags, ResolveFlags};
use usk_abi::inotify::InotifyMask;

use crate::vfs::permission::{check_inode, check_removal};
use crate::vfs::walk::{Last, Walk};
use crate::vfs::{Access, Dentry, FileType, InodeRef, NameChange, NameContext, Path, Rename, notify};

impl NameContext<'_> {
    /// Renames `name` (relative to `start`) to what `new` says: a start and a name, for which it is asked when the way to the
    /// old name is known. The combination of flags has been checked.
    pub fn rename(
        &self,
        (start, name): (&Path, &[u8]),
        new: impl FnOnce() -> Result<(Path, Vec<u8>), Errno>,
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let mut old_walk = Walk::new(self, start, name, ResolveFlags::empty())?;
        let old_last = old_walk.advance()?;
        let (new_start, new_name) = new()?;
        let mut new_walk = Walk::new(self, &new_start, &new_name, ResolveFlags::empty())?;
        let new_last = new_walk.advance()?;
        let (old_parent, new_parent) = (old_walk.path, new_walk.path);
        if !Arc::ptr_eq(&old_parent.mount, &new_parent.mount) {
            return Err(Errno::EXDEV);
        }
        let Last::Name { name: old_name, directory: old_slash } = old_last else { return Err(Errno::EBUSY) };
        let Last::Name { name: new_name, directory: new_slash } = new_last else {
            let refused = flags.contains(RenameFlags::NOREPLACE);
            return Err(if refused { Errno::EEXIST } else { Errno::EBUSY });
        };
        old_parent.mount.check_writable()?;
        let (old, new) = (&old_parent.dentry, &new_parent.dentry);
        let _renames = old.block().renames.write();
        let _changes = lock_both(old, new);

        let child = old.child_locked(&old_name)?;
        let inode = child.require()?;
        let replaced = new.child_locked(&new_name)?;
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        if flags.contains(RenameFlags::NOREPLACE) && replaced.inode().is_some() {
            return Err(Errno::EEXIST);
        }
        if exchange {
            let other = replaced.require()?;
            if other.file_type() != FileType::Directory && new_slash {
                return Err(Errno::ENOTDIR);
            }
        }
        // Trailing slashes are for directories.
        let is_directory = inode.file_type() == FileType::Directory;
        if !is_directory && (old_slash || (!exchange && new_slash)) {
            return Err(Errno::ENOTDIR);
        }
        // A directory cannot be moved into itself, nor onto what it is in.
        if child.is_ancestor_of(new) {
            return Err(Errno::EINVAL);
        }
        if replaced.inode().is_some() && replaced.is_ancestor_of(old) {
            return Err(if exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
        }
        if replaced.inode().is_some_and(|other| Arc::ptr_eq(other, inode)) {
            // Two names of one file: nothing is done.
            return Ok(());
        }
        self.check_rename(&old_parent, &child, &new_parent, &replaced, flags)?;
        if child.is_mount_point() || replaced.is_mount_point() {
            return Err(Errno::EBUSY);
        }
        let victim = (!exchange && replaced.is_directory()).then(|| replaced.entries.write());
        let is_last = replaced.inode().is_some_and(notify::loses_last_name);
        let released =
            [Some(inode), replaced.inode()].map(|inode| inode.map(|inode| inode.common().holder().release()));
        old_parent.inode()?.rename(&Rename {
            name: &old_name,
            child: inode,
            new_directory: new_parent.inode()?,
            new_name: &new_name,
            replaced: replaced.inode(),
            flags,
        })?;
        drop(released);
        if exchange {
            // A directory that loses its name to a file does so before anybody can know.
            let _change = replaced.is_directory().then(NameChange::begin);
            child.move_to(new, &new_name);
            replaced.move_to(old, &old_name);
            tell_move((old, &old_name), (new, &new_name), inode);
            tell_move((new, &new_name), (old, &old_name), replaced.require()?);
            return Ok(());
        }
        if replaced.inode().is_some() {
            replaced.give_way(&new_name);
        }
        drop(victim);
        old.forget(&old_name);
        child.move_to(new, &new_name);
        tell_move((old, &old_name), (new, &new_name), inode);
        if let Some(replaced) = replaced.inode() {
            notify::on_name_gone(replaced, is_last);
        }
        Ok(())
    }

    /// The kernel's `may_delete` and `may_create` for a rename.
    fn check_rename(
        &self,
        old_parent: &Path,
        child: &Arc<Dentry>,
        new_parent: &Path,
        replaced: &Arc<Dentry>,
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let caller = self.caller;
        let inode = child.require()?;
        check_removal(old_parent.inode()?, inode, caller)?;
        let is_directory = inode.file_type() == FileType::Directory;
        let moves_up = !Arc::ptr_eq(&old_parent.dentry, &new_parent.dentry);
        match replaced.inode() {
            None => {
                if new_parent.dentry.is_deleted() {
                    return Err(Errno::ENOENT);
                }
                check_inode(new_parent.inode()?, caller, Access::WRITE | Access::EXECUTE)?;
            }
            Some(other) => {
                check_removal(new_parent.inode()?, other, caller)?;
                let replaces_directory = other.file_type() == FileType::Directory;
                if !flags.contains(RenameFlags::EXCHANGE) && is_directory != replaces_directory {
                    return Err(if is_directory { Errno::ENOTDIR } else { Errno::EISDIR });
                }
                if flags.contains(RenameFlags::EXCHANGE) && replaces_directory && moves_up {
                    check_inode(other, caller, Access::WRITE)?;
                }
            }
        }
        // Its `..` changes.
        if is_directory && moves_up {
            check_inode(inode, caller, Access::WRITE)?;
        }
        Ok(())
    }
}

/// Tells those who watch of a move.
fn tell_move((old, old_name): (&Dentry, &[u8]), (new, new_name): (&Dentry, &[u8]), inode: &InodeRef) {
    if notify::is_active() {
        let is_directory = inode.file_type() == FileType::Directory;
        let cookie = notify::next_cookie();
        notify::on_name(old, old_name, InotifyMask::MOVED_FROM, is_directory, cookie);
        notify::on_name(new, new_name, InotifyMask::MOVED_TO, is_directory, cookie);
        notify::on_inode(inode, InotifyMask::MOVE_SELF);
    }
}

/// Locks the entries of two directories, ancestor first. The caller holds the rename lock.
fn lock_both<'a>(
    one: &'a Arc<Dentry>,
    two: &'a Arc<Dentry>,
) -> (parking_lot::RwLockWriteGuard<'a, ()>, Option<parking_lot::RwLockWriteGuard<'a, ()>>) {
    if Arc::ptr_eq(one, two) {
        return (one.entries.write(), None);
    }
    let one_first = if one.is_ancestor_of(two) {
        true
    } else if two.is_ancestor_of(one) {
        false
    } else {
        Arc::as_ptr(one) < Arc::as_ptr(two)
    };
    let (first, second) = if one_first { (one, two) } else { (two, one) };
    (first.entries.write(), Some(second.entries.write()))
}
