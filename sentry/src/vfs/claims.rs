//! Uses of a file that exclude each other: writing it and executing it, mapping it for writing and sealing it (the
//! kernel's `i_writecount` and `i_mmap_writable`).

use std::sync::atomic::{AtomicI32, Ordering};

use usk_abi::Errno;

use crate::vfs::InodeRef;

/// Counts those who use a file in one way (above zero), or those who keep others from it (below zero): never both.
#[derive(Debug, Default)]
pub struct Exclusion(AtomicI32);

impl Exclusion {
    /// One more user. False while somebody keeps users away.
    pub fn enter(&self) -> bool {
        self.step(1, |count| count >= 0)
    }

    /// One less.
    pub fn leave(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    /// True while there are users.
    pub fn is_used(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }

    /// Keeps users away. False while there are some.
    pub fn deny(&self) -> bool {
        self.step(-1, |count| count <= 0)
    }

    /// Ends one [`Exclusion::deny`].
    pub fn permit(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn step(&self, by: i32, is_allowed: impl Fn(i32) -> bool) -> bool {
        let step = |count: i32| is_allowed(count).then_some(count).and_then(|count| count.checked_add(by));
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step).is_ok()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Writing,
    Executing,
    MappedWritable,
}

/// A use of a file, until it is dropped.
pub struct FileClaim {
    inode: InodeRef,
    kind: Kind,
}

impl std::fmt::Debug for FileClaim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FileClaim").field(&self.kind).finish()
    }
}

impl FileClaim {
    /// The file is written. `ETXTBSY` while it is executed.
    pub fn write(inode: &InodeRef) -> Result<Self, Errno> {
        let common = inode.common();
        let claim = Self::of(inode, Kind::Writing, common.writers.enter(), Errno::ETXTBSY)?;
        drop(common.borrowers().recall_lent());
        Ok(claim)
    }

    /// The file is executed. `ETXTBSY` while it is open for writing.
    pub fn execute(inode: &InodeRef) -> Result<Self, Errno> {
        let is_free = inode.common().writers.deny();
        Self::of(inode, Kind::Executing, is_free, Errno::ETXTBSY)
    }

    /// A mapping shares the file and may be written. `EPERM` once the file is sealed against writing.
    pub fn map_writable(inode: &InodeRef) -> Result<Self, Errno> {
        let is_free = inode.common().writable_mappings.enter();
        Self::of(inode, Kind::MappedWritable, is_free, Errno::EPERM)
    }

    fn of(inode: &InodeRef, kind: Kind, is_free: bool, otherwise: Errno) -> Result<Self, Errno> {
        if is_free { Ok(FileClaim { inode: inode.clone(), kind }) } else { Err(otherwise) }
    }
}

impl Drop for FileClaim {
    fn drop(&mut self) {
        let common = self.inode.common();
        match self.kind {
            Kind::Writing => common.writers.leave(),
            Kind::Executing => common.writers.permit(),
            Kind::MappedWritable => common.writable_mappings.leave(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::{AnonymousInode, FileType};

    #[test]
    fn writers_and_programs_keep_each_other_away() {
        let inode = AnonymousInode::create(FileType::Regular, 0o700);
        let writer = FileClaim::write(&inode).unwrap();
        let other = FileClaim::write(&inode).unwrap();
        drop(writer);
        assert_eq!(FileClaim::execute(&inode).unwrap_err(), Errno::ETXTBSY);
        drop(other);
        let program = FileClaim::execute(&inode).unwrap();
        let second = FileClaim::execute(&inode).unwrap();
        drop(program);
        assert_eq!(FileClaim::write(&inode).unwrap_err(), Errno::ETXTBSY);
        drop(second);
        assert!(FileClaim::write(&inode).is_ok());
    }
}
