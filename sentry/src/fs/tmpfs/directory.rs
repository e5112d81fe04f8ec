//! The entries of a directory in memory.

use std::sync::Arc;

use hashbrown::HashMap;
use usk_abi::Errno;

use crate::vfs::{InodeRef, Listing};

struct Entry {
    inode: InodeRef,
    /// Grows with each entry, so that a listing has an order.
    sequence: u64,
}

/// The entries of a directory.
#[derive(Default)]
pub(super) struct Entries {
    by_name: HashMap<Arc<[u8]>, Entry>,
    next_sequence: u64,
}

impl Entries {
    pub(super) fn get(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        self.by_name.get(name).map(|entry| entry.inode.clone()).ok_or(Errno::ENOENT)
    }

    /// Puts an entry in, in the place of one of the same name.
    pub(super) fn insert(&mut self, name: &[u8], inode: InodeRef) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.by_name.insert(name.into(), Entry { inode, sequence });
    }

    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.by_name.contains_key(name)
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        self.by_name.remove(name);
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// All entries, the newest first, with each inode's number.
    pub(super) fn list(&self, number: impl Fn(&InodeRef) -> u64) -> Listing {
        let mut entries: Vec<(&Arc<[u8]>, &Entry)> = self.by_name.iter().collect();
        entries.sort_unstable_by_key(|(_, entry)| std::cmp::Reverse(entry.sequence));
        let mut listing = Listing::new();
        for (name, entry) in entries {
            listing.push(name, number(&entry.inode), entry.inode.file_type());
        }
        listing
    }
}
