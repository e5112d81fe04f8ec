//! Directories that were read as wholes, and what follows from that: answers to lookups, and what to fetch ahead.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use parking_lot::Mutex;
use usk_abi::Errno;

use super::attributes;
use super::order::{Order, Sorted};
use super::xattr::Without;
use crate::gofer::{self, FileIn, MAX_OPENED, Name, NameBuf, Node, NodeId};
use crate::vfs::{FileType, Listing};

/// Entries of the wanted kind that may be passed over by somebody who is taken to use one after the other.
const MAX_PASSED_OVER: usize = 2;

/// Entries of a directory that are taken to be asked about in any order, and how far somebody may come back who asks in theirs.
const MAX_TOLD: usize = 32;

/// Entries looked at for that.
const MAX_LOOKED_AT: usize = 256;

/// Directories listed without a question about a file in them after which only directories' attributes are fetched, at first. Some are
/// listed before the program comes to them, and of some the platform answers all questions.
const ENOUGH_WITHOUT: usize = 64;

/// Files that may be opened ahead for each that was and has been used: to ask for one by itself takes as long as to open several
/// with others.
const WORTH: usize = 2;

/// Files that may be opened ahead at most before one of them is used: those of two programs, or two directories that one compares.
const MAX_CREDIT: usize = 2 * MAX_OPENED;

/// How many times that is doubled at most.
const MOST_DOUBLED: usize = 6;

/// Bytes of memory for each entry whose attributes were told.
const TOLD_MEMORY: usize = size_of::<(u32, gofer::Attributes)>();

/// Bytes of memory for each entry at most by which it is found by name, and in other orders than the listing's own.
const ORDERS_MEMORY: usize = 20;

/// A directory that was read as a whole.
pub(super) struct Listed {
    pub(super) listing: Listing,
    attributes: Mutex<Told>,
    /// Only directories' were asked for.
    is_partial: AtomicBool,
    hasher: DefaultHashBuilder,
    /// Numbers of entries, by name. Made for the first lookup: most directories of a tree that is gone through are only listed.
    by_name: OnceLock<HashTable<u32>>,
    sorted: Sorted,
    ahead: Mutex<Ahead>,
    pub(super) without_xattrs: Without,
    /// It has answered since the eviction's hand came by last.
    is_used: AtomicBool,
    /// Bytes of memory that all of the tree take.
    total: Arc<AtomicUsize>,
}

/// What the host told of entries: attributes with the number of the entry, ascending. Where only directories' were asked for they are
/// few.
pub(super) struct Told(Vec<(u32, gofer::Attributes)>);

/// Bytes of memory that a directory takes which was read as a whole.
fn memory(listing: &Listing, told: &Told) -> usize {
    size_of::<Listed>() + listing.memory() + listing.len() * ORDERS_MEMORY + told.0.capacity() * TOLD_MEMORY
}

impl Told {
    fn of(&self, index: usize) -> Option<gofer::Attributes> {
        let index = u32::try_from(index).ok()?;
        let place = self.0.binary_search_by_key(&index, |(of, _)| *of).ok()?;
        self.0.get(place).map(|(_, attributes)| *attributes)
    }
}

/// What comes before it is asked for.
#[derive(Default)]
struct Ahead {
    /// The directory in this one that was read last.
    read: Option<usize>,
    /// The regular file that was opened last.
    opened: Option<usize>,
    /// The entry whose attributes were asked for or given out last.
    told: Option<usize>,
    /// Directories that were read already, by number of the entry.
    directories: HashMap<usize, (Node, Listed)>,
}

impl Listed {
    /// Takes over the entries of a directory. `total` is the tree's, `number` makes inode numbers.
    pub(super) fn new(
        entries: gofer::DirectoryEntries,
        all_attributes: bool,
        number: impl Fn(u64) -> u64,
        total: &Arc<AtomicUsize>,
    ) -> Self {
        let (listing, told) = listing(entries, number);
        total.fetch_add(memory(&listing, &told), Ordering::Relaxed);
        Listed {
            attributes: Mutex::new(told),
            is_partial: AtomicBool::new(!all_attributes),
            by_name: OnceLock::new(),
            sorted: Sorted::default(),
            ahead: Mutex::default(),
            without_xattrs: Without::default(),
            is_used: AtomicBool::new(false),
            total: total.clone(),
            hasher: DefaultHashBuilder::default(),
            listing,
        }
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        let hash = |index: &u32| self.hasher.hash_one(entry_name(&self.listing, *index));
        let by_name = self.by_name.get_or_init(|| {
            let mut by_name = HashTable::with_capacity(self.listing.len());
            for index in (0..).take(self.listing.len()) {
                // The first of a name, should there be several: many equal ones would make the table slow.
                let name = entry_name(&self.listing, index);
                let is_same = |other: &u32| entry_name(&self.listing, *other) == name;
                if let Entry::Vacant(place) = by_name.entry(hash(&index), is_same, hash) {
                    place.insert(index);
                }
            }
            by_name
        });
        let is_it = |index: &u32| entry_name(&self.listing, *index) == name;
        by_name.find(self.hasher.hash_one(name), is_it).and_then(|index| usize::try_from(*index).ok())
    }

    /// The attributes of a name: `None` if the host did not tell, `ENOENT` if the name is not there.
    pub(super) fn attributes(&self, name: &[u8]) -> Option<Result<gofer::Attributes, Errno>> {
        self.note_used();
        match self.find(name) {
            None => Some(Err(Errno::ENOENT)),
            Some(index) => self.attributes.lock().of(index).map(Ok),
        }
    }

    pub(super) fn note_used(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
    }

    /// Attributes of this name were asked for, or will be of the first: the entries that will probably be asked about next, as far as
    /// theirs are known. At most `limit`.
    pub(super) fn attributes_after(
        &self,
        name: Option<&[u8]>,
        habits: &Habits,
        limit: usize,
    ) -> Vec<(&[u8], gofer::Attributes)> {
        self.note_used();
        let index = name.map(|name| self.find(name));
        if index == Some(None) {
            return Vec::new();
        }
        let index = index.flatten();
        let is_small = self.listing.len() <= MAX_TOLD;
        let attributes = self.attributes.lock();
        let known = |at: usize| Some((at, self.listing.get(at)?.name, attributes.of(at)?));
        let mut ahead = self.ahead.lock();
        if let Some(index) = index {
            // Who asks about one need not ask about more.
            let Some(last) = ahead.told.replace(index) else { return Vec::new() };
            // Of few, in whichever order.
            let goes_on = is_small
                || self.goes_on(habits, Some(last), index, |at| known(at).is_some())
                || self.comes_back(habits.order(), last, index);
            if !goes_on {
                return Vec::new();
            }
        }
        let order = habits.order();
        let place = index.map_or(0, |index| self.place(order, index) + 1);
        let before = self.entries_at(order, 0).take(if is_small { place.saturating_sub(1) } else { 0 });
        let next = self.entries_at(order, place).chain(before).take(MAX_LOOKED_AT);
        let next: Vec<_> = next.filter_map(known).take(limit).collect();
        ahead.told = next.last().map(|(at, ..)| *at).or(ahead.told);
        next.into_iter().map(|(_, name, attributes)| (name, attributes)).collect()
    }

    /// True if entry `index` is at most [`MAX_TOLD`] before `last` in an order: the platform forgets some that it was told of.
    fn comes_back(&self, order: Order, last: usize, index: usize) -> bool {
        let distance = self.place(order, last).checked_sub(self.place(order, index));
        distance.is_some_and(|distance| distance <= MAX_TOLD)
    }

    /// True once, if attributes were left out: then they are to be fetched now.
    pub(super) fn starts_completion(&self) -> bool {
        self.is_partial.load(Ordering::Relaxed) && self.is_partial.swap(false, Ordering::Relaxed)
    }

    /// Adds the attributes that were left out. Returns how many bytes of memory they take.
    pub(super) fn complete(&self, entries: &gofer::DirectoryEntries) -> usize {
        if entries.len() > self.listing.len() {
            // A directory that does not change has no more of them than before.
            return 0;
        }
        let mut attributes = self.attributes.lock();
        let before = attributes.0.capacity();
        let told =
            entries.iter().filter_map(|entry| Some((self.find(entry.name.as_bytes())?, entry.attributes?)));
        let new = told.filter(|(index, _)| attributes.of(*index).is_none());
        let new: Vec<_> = new.filter_map(|(index, told)| Some((u32::try_from(index).ok()?, told))).collect();
        attributes.0.reserve_exact(new.len());
        attributes.0.extend(new);
        attributes.0.sort_by_key(|(index, _)| *index);
        attributes.0.dedup_by_key(|(index, _)| *index);
        let more = (attributes.0.capacity() - before) * TOLD_MEMORY;
        self.total.fetch_add(more, Ordering::Relaxed);
        more
    }

    /// Bytes of memory that it takes.
    pub(super) fn memory(&self) -> usize {
        memory(&self.listing, &self.attributes.lock())
    }

    /// Bytes of memory that it takes at most with all attributes.
    pub(super) fn memory_when_complete(&self) -> usize {
        self.memory() + self.listing.len() * TOLD_MEMORY
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
        if ahead.directories.is_empty() {
            // It keeps room for as many as there were.
            ahead.directories = HashMap::default();
        }
        ahead.read = Some(index);
        Some(taken)
    }

    /// Keeps what was read ahead of the directory of this name.
    pub(super) fn put_directory(&self, name: &[u8], node: Node, listed: Listed) {
        if let Some(index) = self.find(name) {
            self.put_directory_at(index, node, listed);
        }
    }

    /// The same for the directory of this entry.
    pub(super) fn put_directory_at(&self, index: usize, node: Node, listed: Listed) {
        let replaced = self.ahead.lock().directories.insert(index, (node, listed));
        drop(replaced);
    }

    /// Whether an entry was announced as this file.
    pub(super) fn is_at(&self, index: usize, found: &gofer::Attributes) -> bool {
        let announced = self.attributes.lock().of(index);
        announced.is_some_and(|announced| (announced.dev, announced.ino) == (found.dev, found.ino))
    }

    /// The directory of this name is to be read: it, and those that will probably be read next. At most `limit`.
    pub(super) fn directories_from(&self, name: &[u8], habits: &Habits, limit: usize) -> Vec<&[u8]> {
        let Some(index) = self.find(name) else { return Vec::new() };
        let mut ahead = self.ahead.lock();
        let last = ahead.read.replace(index);
        let goes_on = self.goes_on(habits, last, index, |at| self.is(at, FileType::Directory));
        let is_new = |at: &usize| self.is(*at, FileType::Directory) && !ahead.directories.contains_key(at);
        let new = self.entries_from(habits.order(), index).filter(is_new);
        let names = new.filter_map(|at| Some(self.listing.get(at)?.name));
        names.take(advance(&habits.reading, goes_on, limit)).collect()
    }

    /// The regular file of this name is to be opened: its number, and how many may be opened with it.
    pub(super) fn files_to_open(&self, name: &[u8], habits: &Habits) -> Option<(usize, usize)> {
        let index = self.find(name).filter(|index| self.is(*index, FileType::Regular))?;
        let mut ahead = self.ahead.lock();
        let last = ahead.opened.replace(index);
        let goes_on = self.goes_on(habits, last, index, |at| self.is(at, FileType::Regular));
        Some((index, habits.files_ahead(goes_on)))
    }

    /// Adds the files from an entry on of this directory, whose node that is, as somebody comes to them who goes through a tree: those
    /// of a directory that was read ahead in its place.
    pub(super) fn add_files(&self, directory: &Node, first: usize, next: &mut FilesAhead) {
        self.add(directory, self.entries_from(next.order, first), next);
    }

    fn add(&self, directory: &Node, entries: impl Iterator<Item = usize>, next: &mut FilesAhead) {
        let ahead = self.ahead.lock();
        for index in entries.take(MAX_LOOKED_AT) {
            let Some(entry) = self.listing.get(index).filter(|_| !next.is_full()) else { return };
            match (entry.file_type, ahead.directories.get(&index)) {
                (FileType::Regular, _) => next.add(directory, entry.name),
                // No deeper than one reply is long.
                (_, Some((below, listed))) => listed.add(below, listed.entries_at(next.order, 0), next),
                _ => {}
            }
        }
    }

    /// The same from what comes after this name.
    pub(super) fn add_files_after(&self, directory: &Node, name: &[u8], next: &mut FilesAhead) {
        if let Some(index) = self.find(name) {
            self.add(directory, self.entries_from(next.order, index).skip(1), next);
        }
    }

    /// The regular file of this name was opened without asking.
    pub(super) fn opened(&self, name: &[u8]) {
        if let Some(index) = self.find(name) {
            self.ahead.lock().opened = Some(index);
        }
    }

    fn is(&self, index: usize, file_type: FileType) -> bool {
        self.listing.get(index).is_some_and(|entry| entry.file_type == file_type)
    }

    /// An entry, and those that come after it in an order.
    fn entries_from(&self, order: Order, first: usize) -> impl Iterator<Item = usize> {
        self.entries_at(order, self.place(order, first))
    }

    /// The entries from a place on in an order.
    fn entries_at(&self, order: Order, place: usize) -> impl Iterator<Item = usize> {
        (place..).map_while(move |place| self.sorted.entry(&self.listing, order, place))
    }

    /// The place of an entry in an order.
    fn place(&self, order: Order, entry: usize) -> usize {
        self.sorted.place(&self.listing, order, entry)
    }

    /// True if whoever used entry `last` before, or none, and uses `index` now seems to use those that are wanted one after the other, in
    /// an order that is noted.
    fn goes_on(
        &self,
        habits: &Habits,
        last: Option<usize>,
        index: usize,
        is_wanted: impl Fn(usize) -> bool,
    ) -> bool {
        let passed_over = |order: Order| Some((self.passed_over(order, last, index, &is_wanted)?, order));
        let followed = habits.order();
        if passed_over(followed).is_some() {
            return true;
        }
        let others = Order::ALL.into_iter().filter(|order| *order != followed).filter_map(passed_over);
        let Some((_, order)) = others.min_by_key(|(passed, _)| *passed) else { return false };
        *habits.order.lock() = order;
        true
    }

    /// How many that are wanted are between two entries in an order, if those are one after the other as far as it goes.
    fn passed_over(
        &self,
        order: Order,
        last: Option<usize>,
        index: usize,
        is_wanted: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let (from, to) = (last.map_or(0, |last| self.place(order, last) + 1), self.place(order, index));
        let between = self.entries_at(order, from).take(to.checked_sub(from)?.min(MAX_LOOKED_AT));
        let passed = between.filter(|entry| is_wanted(*entry)).take(MAX_PASSED_OVER + 1).count();
        (passed <= MAX_PASSED_OVER).then_some(passed)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.total.fetch_sub(memory(&self.listing, self.attributes.get_mut()), Ordering::Relaxed);
    }
}

/// Files that are opened together.
pub(super) struct FilesAhead {
    files: Vec<(NodeId, NameBuf)>,
    order: Order,
    most: usize,
}

impl FilesAhead {
    /// None yet.
    pub(super) fn new(order: Order, most: usize) -> Self {
        FilesAhead { files: Vec::new(), order, most }
    }

    pub(super) fn is_full(&self) -> bool {
        self.files.len() >= self.most
    }

    fn add(&mut self, directory: &Node, name: &[u8]) {
        // What the gofer has announced has a name that it takes back.
        self.files.extend(Name::new(name).ok().map(|name| (directory.id(), name.into())));
    }

    /// As they are asked for.
    pub(super) fn files(&self) -> Vec<FileIn<'_>> {
        let files = self.files.iter();
        files.map(|(parent, name)| FileIn { parent: *parent, name: name.as_name() }).collect()
    }
}

/// How a tree is being used: whoever goes through one directory from its beginning will do so with the next.
#[derive(Default)]
pub(super) struct Habits {
    /// The order in which directories are gone through.
    order: Mutex<Order>,
    /// Directories to read together.
    reading: AtomicUsize,
    /// Files that may be opened ahead: those that were and have been used pay for them.
    credit: AtomicUsize,
    /// Directories read since attributes of anything else were asked for.
    without_attributes: AtomicUsize,
    /// Times that attributes which had been left out were asked for after all.
    were_missed: AtomicUsize,
}

impl Habits {
    /// The order in which the last directory was gone through.
    pub(super) fn order(&self) -> Order {
        *self.order.lock()
    }

    /// How many files may be opened ahead together with one that is asked for. If it does not go on where somebody was, none are paid for
    /// any more; else it pays for one that comes later.
    fn files_ahead(&self, goes_on: bool) -> usize {
        let credit = if goes_on { self.credit.load(Ordering::Relaxed) } else { 0 };
        self.credit.store(if goes_on { (credit + 1).min(MAX_CREDIT) } else { 0 }, Ordering::Relaxed);
        credit
    }

    /// So many files were opened ahead.
    pub(super) fn opened_ahead(&self, count: usize) {
        let left = self.credit.load(Ordering::Relaxed).saturating_sub(count);
        self.credit.store(left, Ordering::Relaxed);
    }

    /// A file that was opened ahead is used for the first time.
    pub(super) fn used_ahead(&self) {
        let credit = self.credit.load(Ordering::Relaxed) + WORTH;
        self.credit.store(credit.min(MAX_CREDIT), Ordering::Relaxed);
    }

    /// How many directories to read that are in those which are read together.
    pub(super) fn directories_below(&self) -> u16 {
        match self.reading.load(Ordering::Relaxed) {
            0 | 1 => 0,
            together => u16::try_from(together).unwrap_or(u16::MAX),
        }
    }

    /// Attributes were asked for that are not there.
    pub(super) fn attributes_missed(&self) {
        // Those that were left out together count once: whoever asks for the first wants them from then on.
        if !self.want_attributes() {
            self.were_missed.fetch_add(1, Ordering::Relaxed);
        }
    }

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
        let doubled = self.were_missed.load(Ordering::Relaxed).min(MOST_DOUBLED);
        self.without_attributes.load(Ordering::Relaxed) < ENOUGH_WITHOUT << doubled
    }
}

/// How many to fetch: twice as many as the last time, if the one that is due goes on where that ended, else one.
fn advance(window: &AtomicUsize, goes_on: bool, limit: usize) -> usize {
    let next = if goes_on { (window.load(Ordering::Relaxed) * 2).clamp(1, limit) } else { 1 };
    window.store(next, Ordering::Relaxed);
    next
}

/// The entries as the VFS wants them, and what the host told of them.
pub(super) fn listing(entries: gofer::DirectoryEntries, number: impl Fn(u64) -> u64) -> (Listing, Told) {
    let (mut names, mut entries, mut told) = entries.into_parts();
    // Those of several pages have room for more.
    names.shrink_to_fit();
    entries.shrink_to_fit();
    told.shrink_to_fit();
    let told = Told(told);
    let entries = entries.into_iter().enumerate().map(|(index, entry)| {
        let known = || told.of(index).map(|attributes| attributes.file_type());
        let kind = entry.file_type.or_else(known).map_or(FileType::Anonymous, attributes::file_type);
        (entry.name_end as usize, number(entry.ino), kind)
    });
    (Listing::packed(names, entries), told)
}

fn entry_name(listing: &Listing, index: u32) -> &[u8] {
    usize::try_from(index).ok().and_then(|index| listing.get(index)).map_or(&[], |entry| entry.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gofer::tests::attributes;
    use crate::gofer::{Attributes, DirectoryEntries, DirectoryEntry, Name};

    /// A directory of `count` files, of which each `every`th has its attributes told. Sizes are numbers, and by inode numbers the last
    /// comes first.
    fn listed(count: usize, every: usize) -> Listed {
        let mut entries = DirectoryEntries::new();
        for number in 0..count {
            entries.push(&DirectoryEntry {
                name: Name::new(format!("file{number}").as_bytes()).unwrap(),
                ino: (count - number) as u64,
                file_type: Some(gofer::FileType::Regular),
                attributes: number
                    .is_multiple_of(every)
                    .then(|| Attributes { size: number as u64, ..attributes(gofer::FileType::Regular) }),
            });
        }
        Listed::new(entries, every == 1, |inode| inode, &Arc::default())
    }

    /// Numbers of the files that are told with one that is asked about, to somebody who keeps to the listings' order until now.
    fn told(listed: &Listed, number: Option<u64>, limit: usize) -> Vec<u64> {
        told_to(&Habits::default(), listed, number, limit)
    }

    fn told_to(habits: &Habits, listed: &Listed, number: Option<u64>, limit: usize) -> Vec<u64> {
        let name = number.map(|number| format!("file{number}"));
        let told = listed.attributes_after(name.as_ref().map(|name| name.as_bytes()), habits, limit);
        told.iter().map(|(_, attributes)| attributes.size).collect()
    }

    #[test]
    fn who_asks_about_a_second_file_of_a_small_directory_is_told_of_all() {
        let listed = listed(6, 1);
        assert!(told(&listed, Some(3), 32).is_empty());
        assert_eq!(told(&listed, Some(2), 32), [3, 4, 5, 0, 1]);
        assert_eq!(told(&listed, Some(5), 2), [0, 1]);
    }

    #[test]
    fn who_asks_in_the_order_of_a_large_directory_is_told_of_the_next() {
        let listed = listed(1000, 10);
        assert!(told(&listed, Some(0), 4).is_empty());
        assert_eq!(told(&listed, Some(10), 4), [20, 30, 40, 50]);
        assert_eq!(told(&listed, Some(70), 2), [80, 90]);
        // Too far on, and too far back.
        assert!(told(&listed, Some(500), 4).is_empty());
        assert!(told(&listed, Some(100), 4).is_empty());
        assert_eq!(told(&listed, Some(110), 1), [120]);
        assert!(told(&listed, Some(990), 4).is_empty());
    }

    #[test]
    fn who_asks_in_another_order_is_told_of_the_next_in_that() {
        let (listed, habits) = (listed(1000, 1), Habits::default());
        assert!(told_to(&habits, &listed, Some(999), 2).is_empty());
        assert_eq!(told_to(&habits, &listed, Some(998), 2), [997, 996]);
        assert_eq!(habits.order(), Order::Inode);
        assert_eq!(told_to(&habits, &listed, Some(995), 1), [994]);
        assert!(told_to(&habits, &listed, Some(109), 2).is_empty());
        assert_eq!(told_to(&habits, &listed, Some(11), 3), [110, 111, 112]);
        assert_eq!(habits.order(), Order::Name);
        assert_eq!(told_to(&habits, &listed, None, 3), [0, 1, 10]);
    }

    /// How many files may be opened ahead with the one of this number. All are, and are used if `uses`.
    fn opened(habits: &Habits, listed: &Listed, number: usize, uses: bool) -> usize {
        let (index, ahead) = listed.files_to_open(format!("file{number}").as_bytes(), habits).unwrap();
        assert_eq!(index, number);
        habits.opened_ahead(ahead);
        (0..ahead).filter(|_| uses).for_each(|_| habits.used_ahead());
        ahead
    }

    #[test]
    fn the_order_in_which_files_are_opened_is_expected_of_the_next_directory() {
        let habits = Habits::default();
        let by_inode = listed(100, 1);
        assert_eq!([99, 98, 96].map(|number| opened(&habits, &by_inode, number, true)), [0, 1, 3]);
        assert_eq!(habits.order(), Order::Inode);
        assert_eq!(opened(&habits, &listed(100, 1), 98, true), 7);
        assert_eq!(habits.order(), Order::Inode);
        // Nothing comes next after a leap.
        assert_eq!(opened(&habits, &by_inode, 30, true), 0);
        let by_name = listed(100, 1);
        assert_eq!([0, 1, 10, 11].map(|number| opened(&habits, &by_name, number, true)), [0, 1, 3, 7]);
        assert_eq!(habits.order(), Order::Name);
        // In which 2 to 7 would come before the end.
        assert_eq!([79, 8, 80].map(|number| opened(&habits, &by_name, number, true)), [0, 0, 1]);
    }

    #[test]
    fn files_that_are_not_used_are_not_opened_ahead_for_long() {
        let (habits, listed) = (Habits::default(), listed(100, 1));
        assert_eq!([0, 1, 2, 3].map(|number| opened(&habits, &listed, number, true)), [0, 1, 3, 7]);
        assert_eq!([4, 5, 6].map(|number| opened(&habits, &listed, number, false)), [15, 1, 1]);
    }

    #[test]
    fn who_begins_is_told_of_the_first() {
        assert_eq!(told(&listed(1000, 10), None, 3), [0, 10, 20]);
        assert!(told(&listed(1000, 10), None, 0).is_empty());
        assert!(told(&listed(3, 1), Some(7), 3).is_empty());
    }

    #[test]
    fn attributes_that_were_left_out_are_added() {
        let (some, all) = (listed(100, 10), listed(100, 1));
        let (total, before, most) = (some.total.clone(), some.memory(), some.memory_when_complete());
        assert!(some.attributes(b"file5").is_none());
        assert!(some.starts_completion() && !some.starts_completion());
        let mut entries = DirectoryEntries::new();
        for number in 0..100 {
            entries.push(&DirectoryEntry {
                name: Name::new(format!("file{number}").as_bytes()).unwrap(),
                ino: 1,
                file_type: None,
                attributes: all.attributes(format!("file{number}").as_bytes()).and_then(Result::ok),
            });
        }
        let more = some.complete(&entries);
        assert!(more >= 90 * TOLD_MEMORY && some.memory() == before + more && some.memory() <= most);
        assert_eq!(total.load(Ordering::Relaxed), some.memory());
        for number in 0..100 {
            let attributes = some.attributes(format!("file{number}").as_bytes()).unwrap().unwrap();
            assert_eq!(attributes.size, number);
        }
        assert_eq!(some.attributes(b"file100").map(|result| result.err()), Some(Some(Errno::ENOENT)));
        drop(some);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn more_entries_than_before_say_nothing() {
        let some = listed(10, 10);
        let mut entries = DirectoryEntries::new();
        for _ in 0..11 {
            let name = Name::new(b"file5").unwrap();
            let told = Some(attributes(gofer::FileType::Regular));
            entries.push(&DirectoryEntry { name, ino: 1, file_type: None, attributes: told });
        }
        assert_eq!(some.complete(&entries), 0);
        assert!(some.attributes(b"file5").is_none());
    }

    #[test]
    fn of_equal_names_the_first_is_meant() {
        let mut entries = DirectoryEntries::new();
        for ino in 0..20_000 {
            let name = Name::new(if ino == 19_999 { b"b" } else { b"a" }).unwrap();
            entries.push(&DirectoryEntry { name, ino, file_type: None, attributes: None });
        }
        let listed = Listed::new(entries, true, |inode| inode, &Arc::default());
        assert_eq!((listed.find(b"a"), listed.find(b"b"), listed.find(b"c")), (Some(0), Some(19_999), None));
    }
}
