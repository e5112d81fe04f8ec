//! Open directories.

use std::any::Any;

use parking_lot::Mutex;
use usk_abi::Errno;

use crate::vfs::{DirectoryEntry, FileOps, FileType, Listing, OpenFile};

/// An open directory. It reads a listing that is taken when reading begins, and again when it begins anew (`rewinddir(3)`);
/// POSIX leaves open whether changes in between show. Positions count entries: 0 is `.`, 1 is `..`.
#[derive(Default)]
pub struct DirectoryFile {
    listing: Mutex<Option<Listing>>,
}

impl DirectoryFile {
    /// The listing that is being read; the one that will be if nothing changes, if none is.
    pub(crate) fn listing(&self, file: &OpenFile) -> Result<Listing, Errno> {
        let mut listing = self.listing.lock();
        if listing.is_none() {
            *listing = Some(file.inode().list()?);
        }
        listing.clone().ok_or(Errno::EIO)
    }
}

impl FileOps for DirectoryFile {
    fn read(&self, _: &OpenFile, _: &mut dyn crate::Sink, _: u64) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn sync(&self, _: &OpenFile, _: bool) -> Result<(), Errno> {
        Ok(())
    }

    fn is_volatile(&self) -> bool {
        true
    }

    fn read_directory(
        &self,
        file: &OpenFile,
        position: &mut u64,
        emit: &mut dyn FnMut(&DirectoryEntry<'_>, u64) -> bool,
    ) -> Result<(), Errno> {
        let dentry = &file.path().dentry;
        if dentry.is_deleted() {
            return Err(Errno::ENOENT);
        }
        let inode = file.inode();
        let mut listing = self.listing.lock();
        if *position == 0 {
            *listing = None;
        }
        for (index, name) in [(0, b".".as_slice()), (1, b"..")] {
            if *position != index {
                continue;
            }
            let parent = (index == 1).then(|| dentry.parent()).flatten();
            let target = parent.as_ref().and_then(|parent| parent.inode()).unwrap_or(inode);
            let number = target.attributes()?.inode;
            let entry = DirectoryEntry { name, inode: number, file_type: FileType::Directory };
            if !emit(&entry, index + 1) {
                return Ok(());
            }
            *position = index + 1;
        }
        let listing = match &mut *listing {
            Some(listing) => listing,
            none => none.insert(inode.list()?),
        };
        while let Some(entry) = usize::try_from(*position - 2).ok().and_then(|index| listing.get(index)) {
            if !emit(&entry, *position + 1) {
                break;
            }
            *position += 1;
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What a descriptor opened with `O_PATH` can do by itself: nothing.
pub(super) struct PathFile;

impl FileOps for PathFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
}
