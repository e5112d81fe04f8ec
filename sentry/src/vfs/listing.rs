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

/// 16 bytes, since there are many.
#[derive(Clone, Copy, Debug)]
struct Packed {
    inode: u64,
    /// Where its name ends among all: the lower half, and what is above, of which no address space has more.
    end: u32,
    end_above: u16,
    file_type: FileType,
}

const _: () = assert!(size_of::<Packed>() == 16);

impl Packed {
    fn new(end: usize, inode: u64, file_type: FileType) -> Self {
        let above = u16::try_from(end >> u32::BITS).unwrap_or(u16::MAX);
        Packed { inode, end: end as u32, end_above: above, file_type }
    }

    fn end(self) -> usize {
        usize::from(self.end_above) << u32::BITS | self.end as usize
    }
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

    /// From all names one after the other, and for each entry, in order, where its name ends there, its inode number, and what it is.
    pub(crate) fn packed(names: Vec<u8>, entries: impl Iterator<Item = (usize, u64, FileType)>) -> Self {
        let entries = entries.map(|(end, inode, file_type)| Packed::new(end, inode, file_type)).collect();
        Listing(Arc::new(Contents { names, entries }))
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, name: &[u8], inode: u64, file_type: FileType) {
        let contents = Arc::make_mut(&mut self.0);
        contents.names.extend_from_slice(name);
        contents.entries.push(Packed::new(contents.names.len(), inode, file_type));
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Contents>() + self.0.names.capacity() + self.0.entries.capacity() * size_of::<Packed>()
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
        let start = index.checked_sub(1).map_or(0, |before| self.0.entries[before].end());
        Some(DirectoryEntry {
            name: self.0.names.get(start..packed.end())?,
            inode: packed.inode,
            file_type: packed.file_type,
        })
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = DirectoryEntry<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}
