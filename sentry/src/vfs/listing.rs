//! The entries of a directory at one moment.

use std::sync::Arc;

use crate::vfs::FileType;

/// Names with their inode numbers and types, packed, in the order in which they are read. A copy costs nothing until it is
/// added to.
#[derive(Clone, Debug, Default)]
pub struct Listing(Arc<Contents>);

#[derive(Clone, Debug, Default)]
struct Contents {
    names: Vec<u8>,
    entries: Vec<Packed>,
}

#[derive(Clone, Copy, Debug)]
struct Packed {
    end: usize,
    inode: u64,
    file_type: FileType,
}

/// One entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryEntry<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Inode number.
    pub inode: u64,
    /// What it is.
    pub file_type: FileType,
}

impl Listing {
    /// No entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, name: &[u8], inode: u64, file_type: FileType) {
        let contents = Arc::make_mut(&mut self.0);
        contents.names.extend_from_slice(name);
        contents.entries.push(Packed { end: contents.names.len(), inode, file_type });
    }

    /// Count of entries.
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }

    /// Entry number `index`, from 0.
    pub fn get(&self, index: usize) -> Option<DirectoryEntry<'_>> {
        let packed = self.0.entries.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.0.entries[before].end);
        Some(DirectoryEntry {
            name: &self.0.names[start..packed.end],
            inode: packed.inode,
            file_type: packed.file_type,
        })
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = DirectoryEntry<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}
