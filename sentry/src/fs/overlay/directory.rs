//! How a directory of an overlay differs from the one below.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;
use usk_abi::Errno;

use super::inode::OverlayInode;
use crate::vfs::{FileType, Listing};

/// What an overlay knows about a name in a directory.
#[derive(Clone)]
pub(super) enum Entry {
    /// It means this file.
    File {
        inode: Arc<OverlayInode>,
        /// The lower directory has the name, too.
        hides_lower: bool,
    },
    /// It means nothing, although the lower directory has it.
    Whiteout,
}

impl Entry {
    /// What it adds to the count of subdirectories.
    fn counts(&self) -> u32 {
        match self {
            Entry::File { inode, .. } => u32::from(inode.kind() == FileType::Directory),
            Entry::Whiteout => 0,
        }
    }
}

/// The names of a directory that do not mean what they mean in the lower one.
#[derive(Default)]
pub(super) struct Entries {
    /// In order: who asks about files by their names will ask about those whose names come next.
    by_name: BTreeMap<Box<[u8]>, Entry>,
    /// How many of the files are directories.
    subdirectories: u32,
    /// About which of them somebody will ask next if it is in order.
    expected: Mutex<Option<Box<[u8]>>>,
}

impl Entries {
    pub(super) fn get(&self, name: &[u8]) -> Option<&Entry> {
        self.by_name.get(name)
    }

    /// The files about which somebody will ask next who has asked about this one, or begins to, at most `limit`: those that come next, if
    /// he asks in order. Who asks in no order is told of files in vain.
    pub(super) fn next_after(
        &self,
        name: Option<&[u8]>,
        limit: usize,
    ) -> Vec<(Box<[u8]>, Arc<OverlayInode>)> {
        let mut expected = self.expected.lock();
        if name.is_some() && expected.as_deref() != name {
            *expected = self.files_after(name).next().map(|(name, _)| name);
            return Vec::new();
        }
        let mut next: Vec<_> = self.files_after(name).take(limit + 1).collect();
        *expected = if next.len() > limit { next.pop().map(|(name, _)| name) } else { None };
        next
    }

    /// The files that are noted here whose names come after this one, in order.
    fn files_after(&self, name: Option<&[u8]>) -> impl Iterator<Item = (Box<[u8]>, Arc<OverlayInode>)> + '_ {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.by_name.range::<[u8], _>((from, Bound::Unbounded));
        next.filter_map(|(name, entry)| match entry {
            Entry::File { inode, .. } => Some((name.clone(), inode.clone())),
            Entry::Whiteout => None,
        })
    }

    /// Lets a name mean a file, whatever it meant.
    pub(super) fn set(&mut self, name: &[u8], inode: Arc<OverlayInode>, is_from_lower: bool) {
        let hides_lower = is_from_lower || self.hides_lower(name);
        self.put(name, Entry::File { inode, hides_lower });
    }

    fn put(&mut self, name: &[u8], entry: Entry) {
        self.subdirectories += entry.counts();
        let before = self.by_name.insert(name.into(), entry);
        self.subdirectories -= before.map_or(0, |before| before.counts());
    }

    /// Notes a file that was looked up in the lower directory, unless the name means something else by now.
    pub(super) fn pin(&mut self, name: &[u8], inode: Arc<OverlayInode>) {
        if !self.by_name.contains_key(name) {
            self.put(name, Entry::File { inode, hides_lower: true });
        }
    }

    /// Lets a name mean nothing. If nothing was noted about it, it is the lower directory's.
    pub(super) fn remove(&mut self, name: &[u8]) {
        let hides_lower = !self.by_name.contains_key(name) || self.hides_lower(name);
        self.put(name, Entry::Whiteout);
        if !hides_lower {
            self.by_name.remove(name);
        }
    }

    fn hides_lower(&self, name: &[u8]) -> bool {
        match self.by_name.get(name) {
            None => false,
            Some(Entry::Whiteout) => true,
            Some(Entry::File { hides_lower, .. }) => *hides_lower,
        }
    }

    /// Count of subdirectories that are noted here.
    pub(super) fn subdirectories(&self) -> u32 {
        self.subdirectories
    }

    /// The lower directory's listing with the differences worked in.
    pub(super) fn merge(&self, lower: Option<Listing>) -> Listing {
        let lower = lower.unwrap_or_default();
        if self.by_name.is_empty() {
            return lower;
        }
        let mut merged = Listing::new();
        for entry in lower.iter().filter(|entry| !self.by_name.contains_key(entry.name)) {
            merged.push(entry.name, entry.inode, entry.file_type);
        }
        for (name, entry) in &self.by_name {
            if let Entry::File { inode, .. } = entry {
                merged.push(name, inode.number(), inode.kind());
            }
        }
        merged
    }

    /// `ENOTEMPTY` if any name of the merged directory means something.
    pub(super) fn check_empty(&self, lower: Option<Listing>) -> Result<(), Errno> {
        let has_own = self.by_name.values().any(|entry| matches!(entry, Entry::File { .. }));
        let lower = lower.unwrap_or_default();
        if has_own || lower.iter().any(|entry| !self.by_name.contains_key(entry.name)) {
            return Err(Errno::ENOTEMPTY);
        }
        Ok(())
    }
}
