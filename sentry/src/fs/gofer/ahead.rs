//! What an exclusive export's files get without asking for each: listings of directories, and descriptors.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use usk_abi::Errno;

use super::MAX_LISTED_MEMORY;
use super::inode::GoferInode;
use super::listed::{FilesAhead, Listed};
use crate::gofer::{Access, Attributes, DirectoryEntries, MAX_COMPONENTS, MAX_OPENED, Name, Node, ReadAhead};
use crate::vfs::{FileType, Inode};

/// Names that are looked up in a directory one by one, before it is read as a whole. Directories do not count: a listing does not save
/// the walk to one.
const MAX_LOOKUPS: u32 = 2;

/// Size of a directory up to which that is worth it: one block of the usual file systems, with some 50 to 100 names.
const SMALL_DIRECTORY: u64 = 4096;

/// Entries of a directory whose attributes are not all fetched for one lookup.
const MANY_ENTRIES: usize = 8192;

impl GoferInode {
    /// What reading this directory as a whole said, if that is known and holds for good.
    pub(super) fn listed(&self) -> Option<Arc<Listed>> {
        self.listed.lock().clone()
    }

    /// The directory that announced this file, and the name there, while it has no node.
    fn place(&self) -> Option<(Arc<GoferInode>, Box<[u8]>)> {
        self.origin.lock().as_ref().map(|origin| (origin.directory.clone(), origin.name.clone()))
    }

    /// The directory that was read as a whole and has this file, and the name there, whether the file has a node or not.
    pub(super) fn listed_at(&self) -> Option<(Arc<GoferInode>, Box<[u8]>)> {
        let above =
            || self.above.lock().as_ref().and_then(|(above, name)| Some((above.upgrade()?, name.clone())));
        self.place().or_else(above)
    }

    /// Takes over what was read of this directory before it was asked for.
    pub(super) fn take_what_was_read(&self) {
        let Some((directory, name)) = self.place() else { return };
        if let Some((node, listed)) = directory.listed().and_then(|listed| listed.take_directory(&name)) {
            self.adopt(node, listed);
        }
    }

    /// Reads this directory, which has no node yet, together with those that will probably be read next.
    pub(super) fn read_with_others(&self) -> Result<(), Errno> {
        let Some((directory, name)) = self.place() else { return Ok(()) };
        let Some(listed) = directory.listed() else { return Ok(()) };
        let names = listed.directories_from(&name, &self.tree.habits, MAX_COMPONENTS);
        let names = fitting(&names)?;
        if names.is_empty() {
            return Ok(());
        }
        let all = self.tree.habits.want_attributes();
        let below = self.tree.habits.directories_below();
        let read = directory.node()?.read_directories(&names, below, all)?;
        for (at, read) in names.iter().zip(read) {
            // The others are a guess: when it fails, they are asked for by themselves, and say why.
            let Ok(read) = read else { continue };
            let announced = listed.attributes(at.as_bytes()).and_then(Result::ok);
            let found = (read.attributes.dev, read.attributes.ino);
            if announced.is_none_or(|announced| (announced.dev, announced.ino) != found) {
                continue;
            }
            let (node, whole) = self.take_over(read, all);
            if at.as_bytes() == &*name {
                self.adopt(node, whole);
            } else {
                listed.put_directory(at.as_bytes(), node, whole);
            }
        }
        Ok(())
    }

    /// What a directory says that was read, and what those say that were read with it. No deeper than one reply is long.
    fn take_over(&self, read: ReadAhead, all_attributes: bool) -> (Node, Listed) {
        let listed = self.whole(read.attributes.dev, read.entries, all_attributes);
        for (entry, below) in read.below {
            if listed.is_at(entry, &below.attributes) {
                let (node, whole) = self.take_over(below, all_attributes);
                listed.put_directory_at(entry, node, whole);
            }
        }
        (read.node, listed)
    }

    /// Opens this file, which has no node, for reading, together with those that will probably be opened next.
    pub(super) fn open_with_others(&self) -> Result<Option<Arc<OwnedFd>>, Errno> {
        let Some((directory, name)) = self.place() else { return Ok(None) };
        let Some(listed) = directory.listed() else { return Ok(None) };
        let Some((index, count)) = listed.files_to_open(&name, &self.tree.habits) else {
            return Ok(None);
        };
        let node = directory.node()?;
        let mut next = FilesAhead::new(self.tree.habits.order(), (1 + count).min(MAX_OPENED));
        listed.add_files(node, index, &mut next);
        directory.add_files_after(&mut next);
        let files = next.files();
        if files.first().is_none_or(|first| first.name.as_bytes() != &*name) {
            return Ok(None);
        }
        let mut opened = node.open_files(&files)?.into_iter();
        let (attributes, file) = opened.next().ok_or(Errno::EIO)??;
        if (attributes.dev, attributes.ino) != self.identity {
            return Err(Errno::ESTALE);
        }
        self.tree.habits.opened_ahead(files.len() - 1);
        for (attributes, file) in opened.flatten() {
            self.tree.keep((attributes.dev, attributes.ino), &Arc::new(file), true);
        }
        Ok(Some(self.donate(Access::Read, file)))
    }

    /// Adds the files that somebody comes to after this directory who goes through the tree that it was read with.
    fn add_files_after(&self, next: &mut FilesAhead) {
        let mut below = self.above.lock().clone();
        for _ in 0..MAX_COMPONENTS {
            let Some((directory, name)) = below.filter(|_| !next.is_full()) else { return };
            let Some(directory) = directory.upgrade() else { return };
            if let (Some(node), Some(listed)) = (directory.node.get(), directory.listed()) {
                listed.add_files_after(node, &name, next);
            }
            below = directory.above.lock().clone();
        }
    }

    /// A descriptor for reading that was donated before, if it is still there.
    pub(super) fn opened_before(&self) -> Option<Arc<OwnedFd>> {
        if !self.tree.is_fixed() {
            return None;
        }
        let file = self.tree.spare(self.identity)?;
        if let Some((directory, name)) = self.place()
            && let Some(listed) = directory.listed()
        {
            listed.opened(&name);
        }
        self.use_for_reading(&file);
        Some(file)
    }

    /// The directory's entries, with their index.
    pub(super) fn whole(&self, device: u64, entries: DirectoryEntries, all_attributes: bool) -> Listed {
        Listed::new(entries, all_attributes, self.tree.inode_numbers(device), &self.tree.listed_memory)
    }

    /// Reads a small directory when it is asked for names again and again: the answers to all further questions cost about as
    /// much as one or two (`git status` in a tree of 900 files: 400 round trips instead of 1,000).
    pub(super) fn consider_listing(&self) {
        let is_due = |count: u32| (count == MAX_LOOKUPS).then_some(count + 1);
        if !self.tree.is_fixed()
            || self.lookups.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).is_err()
            || self.listed().is_some()
            || self.known.lock().attributes.size > SMALL_DIRECTORY
        {
            return;
        }
        // In one page, or not at all. An error is for the lookup itself to meet.
        let Ok(node) = self.node() else { return };
        let Ok(page) = node.read_directory(None, true) else { return };
        match page.next {
            None => self.keep_listed(self.whole(self.identity.0, page.entries, true)),
            Some(next) => node.client().close_directory(next.stream),
        }
    }

    /// Notes what came of a question for a name.
    pub(super) fn note_lookup(&self, found: Option<&Arc<GoferInode>>) {
        if found.is_none_or(|found| found.file_type() != FileType::Directory) {
            let count = |count: u32| (count < MAX_LOOKUPS).then_some(count + 1);
            let _ = self.lookups.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        }
    }

    /// The child of this name as the listing has it: `None` if there is no listing to go by, or it does not say.
    pub(super) fn announced(&self, name: &[u8]) -> Option<Result<Attributes, Errno>> {
        let listed = self.listed()?;
        let mut announced = listed.attributes(name);
        let is_asked_about =
            listed.listing.len() <= MANY_ENTRIES || self.lookups.load(Ordering::Relaxed) > MAX_LOOKUPS;
        let is_worth_it = is_asked_about && listed.memory_when_complete() <= MAX_LISTED_MEMORY;
        if announced.is_none()
            && is_worth_it
            && listed.starts_completion()
            && let Ok(entries) = self.node().and_then(|node| node.read_whole_directory(true))
        {
            self.tree.habits.attributes_missed();
            let more = listed.complete(&entries);
            self.tree.make_room(more);
            announced = listed.attributes(name);
        }
        if announced.is_none_or(|announced| announced.is_ok_and(|attributes| !attributes.is_directory())) {
            self.tree.habits.attributes_used();
        }
        announced
    }

    fn adopt(&self, node: Node, listed: Listed) {
        // Another thread may have been faster; its node is as good.
        let _ = self.node.set(node);
        let origin = self.origin.lock().take();
        *self.above.lock() = origin.map(|origin| (Arc::downgrade(&origin.directory), origin.name));
        self.keep_listed(listed);
    }

    /// Keeps what this directory says. That of others goes if there is too much of it.
    pub(super) fn keep_listed(&self, listed: Listed) {
        let memory = listed.memory();
        let replaced = self.listed.lock().replace(Arc::new(listed));
        drop(replaced);
        self.tree.note_listed(&self.this, memory);
    }

    /// Forgets what this directory says, unless that was used since this was called last. True if it is forgotten.
    pub(super) fn forget_listed(&self) -> bool {
        let mut listed = self.listed.lock();
        if listed.as_ref().is_some_and(|listed| listed.was_used()) {
            return false;
        }
        let forgotten = listed.take();
        drop(listed);
        drop(forgotten);
        true
    }
}

/// As many names from the front as one request holds.
fn fitting<'a>(names: &[&'a [u8]]) -> Result<Vec<Name<'a>>, Errno> {
    let mut length = 0;
    let fits = |name: &&&[u8]| {
        length += name.len();
        length <= crate::gofer::MAX_WALK_BYTES
    };
    names.iter().take_while(fits).map(|name| Name::new(name)).collect()
}
