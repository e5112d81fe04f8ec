//! Directories that were read as wholes, and what follows from that: answers to lookups, and what to fetch ahead.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use parking_lot::Mutex;
use usk_abi::Errno;

use super::attributes;
use crate::gofer::{self, Node};
use crate::vfs::{FileType, Listing};

/// Entries of the wanted kind that may be passed over by somebody who is taken to use one after the other.
const MAX_PASSED_OVER: usize = 2;

/// Entries whose attributes are given out before they are asked for, at most.
const MAX_TOLD: usize = 32;

/// Entries looked at for that.
const MAX_LOOKED_AT: usize = 256;

/// Directories listed without a question about a file in them after which only directories' attributes are fetched.
const ENOUGH_WITHOUT: usize = 8;

/// A directory that was read as a whole.
pub(super) struct Listed {
    pub(super) listing: Listing,
    /// Of each entry, where the host told them.
    attributes: Mutex<Vec<Option<gofer::Attributes>>>,
    /// Only directories' were asked for.
    is_partial: AtomicBool,
    hasher: DefaultHashBuilder,
    /// Numbers of entries, by name. Made for the first lookup: most directories of a tree that is gone through are only listed.
    by_name: OnceLock<HashTable<u32>>,
    ahead: Mutex<Ahead>,
    /// It has answered since the eviction's hand came by last.
    is_used: AtomicBool,
    /// Entries of all listings of the tree.
    count: Arc<AtomicUsize>,
}

/// What comes before it is asked for.
#[derive(Default)]
struct Ahead {
    /// The entry after the directory in this one that was read last.
    read: usize,
    /// The entry after the regular file that was opened last.
    opened: usize,
    /// The entry after the last whose attributes were given out.
    told: usize,
    /// Directories that were read already, by number of the entry.
    directories: HashMap<usize, (Node, Listed)>,
}

impl Listed {
    /// Takes over the entries of a directory. `count` is the tree's, `number` makes inode numbers.
    pub(super) fn new(
        entries: &[gofer::DirectoryEntry],
        all_attributes: bool,
        number: impl Fn(u64) -> u64,
        count: &Arc<AtomicUsize>,
    ) -> Self {
        count.fetch_add(entries.len(), Ordering::Relaxed);
        Listed {
            attributes: Mutex::new(entries.iter().map(|entry| entry.attributes).collect()),
            is_partial: AtomicBool::new(!all_attributes),
            by_name: OnceLock::new(),
            ahead: Mutex::default(),
            is_used: AtomicBool::new(false),
            count: count.clone(),
            hasher: DefaultHashBuilder::default(),
            listing: listing(entries, number),
        }
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        let hash = |index: &u32| self.hasher.hash_one(entry_name(&self.listing, *index));
        let by_name = self.by_name.get_or_init(|| {
            let mut by_name = HashTable::with_capacity(self.listing.len());
            for index in (0..).take(self.listing.len()) {
                by_name.insert_unique(hash(&index), index, hash);
            }
            by_name
        });
        let is_it = |index: &u32| entry_name(&self.listing, *index) == name;
        by_name.find(self.hasher.hash_one(name), is_it).and_then(|index| usize::try_from(*index).ok())
    }

    /// The attributes of a name: `None` if the host did not tell, `ENOENT` if the name is not there.
    pub(super) fn attributes(&self, name: &[u8]) -> Option<Result<gofer::Attributes, Errno>> {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
        match self.find(name) {
            None => Some(Err(Errno::ENOENT)),
            Some(index) => self.attributes.lock().get(index).copied().flatten().map(Ok),
        }
    }

    /// Attributes of this name were asked for, or will be of the first: the entries that will probably be asked about next, as far as
    /// theirs are known.
    pub(super) fn attributes_after(
        &self,
        name: Option<&[u8]>,
        habits: &Habits,
    ) -> Vec<(&[u8], gofer::Attributes)> {
        let after = match name {
            None => 0,
            Some(name) => match self.find(name) {
                Some(index) => index + 1,
                None => return Vec::new(),
            },
        };
        let attributes = self.attributes.lock();
        let known = |at: usize| {
            let known = attributes.get(at).copied().flatten()?;
            Some((at, self.listing.get(at)?.name, known))
        };
        let mut ahead = self.ahead.lock();
        let goes_on = after == 0 || goes_on(ahead.told, after - 1, |at| known(at).is_some());
        let count = advance(&habits.telling, goes_on, MAX_TOLD);
        let next: Vec<_> = (after..).take(MAX_LOOKED_AT).filter_map(known).take(count).collect();
        ahead.told = next.last().map_or(after, |(at, ..)| *at + 1);
        next.into_iter().map(|(_, name, attributes)| (name, attributes)).collect()
    }

    /// True once, if attributes were left out: then they are to be fetched now.
    pub(super) fn starts_completion(&self) -> bool {
        self.is_partial.load(Ordering::Relaxed) && self.is_partial.swap(false, Ordering::Relaxed)
    }

    /// Adds the attributes that were left out.
    pub(super) fn complete(&self, entries: &[gofer::DirectoryEntry]) {
        let mut attributes = self.attributes.lock();
        for entry in entries {
            if let Some(known) = self.find(entry.name.as_bytes()).and_then(|index| attributes.get_mut(index))
                && known.is_none()
            {
                *known = entry.attributes;
            }
        }
    }

    /// True if it has answered since this was asked last.
    pub(super) fn was_used(&self) -> bool {
        self.is_used.swap(false, Ordering::Relaxed)
    }

    /// The directory of this name, if it was read ahead.
    pub(super) fn take_directory(&self, name: &[u8]) -> Option<(Node, Listed)> {
        let index = self.find(name)?;
        let mut ahead = self.ahead.lock();
        let taken = ahead.directories.remove(&index)?;
        ahead.read = index + 1;
        Some(taken)
    }

    /// Keeps what was read ahead of the directory of this name.
    pub(super) fn put_directory(&self, name: &[u8], node: Node, listed: Listed) {
        let Some(index) = self.find(name) else { return };
        let replaced = self.ahead.lock().directories.insert(index, (node, listed));
        drop(replaced);
    }

    /// The directory of this name is to be read: it, and those that will probably be read next. At most `limit`.
    pub(super) fn directories_from(&self, name: &[u8], habits: &Habits, limit: usize) -> Vec<&[u8]> {
        let Some(index) = self.find(name) else { return Vec::new() };
        let mut ahead = self.ahead.lock();
        let goes_on = goes_on(ahead.read, index, |at| self.is(at, FileType::Directory));
        ahead.read = index + 1;
        let is_new = |at: &usize| self.is(*at, FileType::Directory) && !ahead.directories.contains_key(at);
        self.names(index, is_new, advance(&habits.reading, goes_on, limit))
    }

    /// The regular file of this name is to be opened: it, and those that will probably be opened next. At most `limit`.
    pub(super) fn files_from(&self, name: &[u8], habits: &Habits, limit: usize) -> Vec<&[u8]> {
        let Some(index) = self.find(name) else { return Vec::new() };
        let mut ahead = self.ahead.lock();
        let goes_on = goes_on(ahead.opened, index, |at| self.is(at, FileType::Regular));
        ahead.opened = index + 1;
        drop(ahead);
        let is_file = |at: &usize| self.is(*at, FileType::Regular);
        self.names(index, is_file, advance(&habits.opening, goes_on, limit))
    }

    /// The regular file of this name was opened without asking.
    pub(super) fn opened(&self, name: &[u8]) {
        if let Some(index) = self.find(name) {
            self.ahead.lock().opened = index + 1;
        }
    }

    fn is(&self, index: usize, file_type: FileType) -> bool {
        self.listing.get(index).is_some_and(|entry| entry.file_type == file_type)
    }

    fn names(&self, first: usize, is_wanted: impl FnMut(&usize) -> bool, count: usize) -> Vec<&[u8]> {
        let name = |index| self.listing.get(index).map(|entry| entry.name);
        (first..self.listing.len()).filter(is_wanted).take(count).filter_map(name).collect()
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.count.fetch_sub(self.listing.len(), Ordering::Relaxed);
    }
}

/// How a tree is being used: whoever goes through one directory from its beginning will do so with the next.
#[derive(Default)]
pub(super) struct Habits {
    /// Directories to read together.
    reading: AtomicUsize,
    /// Files to open together.
    opening: AtomicUsize,
    /// Entries to give out the attributes of together.
    telling: AtomicUsize,
    /// Directories read since attributes of anything else were asked for.
    without_attributes: AtomicUsize,
}

impl Habits {
    /// Attributes of something that is no directory were asked for.
    pub(super) fn attributes_used(&self) {
        if self.without_attributes.load(Ordering::Relaxed) != 0 {
            self.without_attributes.store(0, Ordering::Relaxed);
        }
    }

    /// A directory is to be listed.
    pub(super) fn directory_listed(&self) {
        self.without_attributes.fetch_add(1, Ordering::Relaxed);
    }

    /// True if the attributes of all entries of a directory will probably be asked for.
    pub(super) fn want_attributes(&self) -> bool {
        self.without_attributes.load(Ordering::Relaxed) < ENOUGH_WITHOUT
    }
}

/// True if whoever had come to entry `next` and uses `index` now seems to use one after the other.
fn goes_on(next: usize, index: usize, is_wanted: impl Fn(usize) -> bool) -> bool {
    let passed_over = (next..index).filter(|at| is_wanted(*at)).take(MAX_PASSED_OVER + 1).count();
    index >= next && passed_over <= MAX_PASSED_OVER
}

/// How many to fetch: twice as many as the last time, if the one that is due goes on where that ended, else one.
fn advance(window: &AtomicUsize, goes_on: bool, limit: usize) -> usize {
    let next = if goes_on { (window.load(Ordering::Relaxed) * 2).clamp(1, limit) } else { 1 };
    window.store(next, Ordering::Relaxed);
    next
}

/// The entries as the VFS wants them.
pub(super) fn listing(entries: &[gofer::DirectoryEntry], number: impl Fn(u64) -> u64) -> Listing {
    let mut listing = Listing::new();
    for entry in entries {
        let known = entry.attributes.map(|attributes| attributes.file_type());
        let kind = entry.file_type.or(known).map_or(FileType::Anonymous, attributes::file_type);
        listing.push(entry.name.as_bytes(), number(entry.ino), kind);
    }
    listing
}

fn entry_name(listing: &Listing, index: u32) -> &[u8] {
    usize::try_from(index).ok().and_then(|index| listing.get(index)).map_or(&[], |entry| entry.name)
}
