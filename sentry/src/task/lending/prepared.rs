//! Files that a program will probably open next, opened before it asks, when it goes through a tree: by directories that are open, in the
//! order of their listings, and what is in a directory before what comes after it; or because it opens them [again and again](super::again).
//! The platform gives such a file a descriptor when the program opens it by the same name and in the same way.
//!
//! Until then a prepared file is nobody's: it is in no table, and nothing that it could hold up is prepared. What its name means holds
//! as long as any name's ([`NamesAsOf`]), and its record as long as any record of the task's. It is let go when either
//! is withdrawn, and when the program has turned out to do something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use usk_abi::fs::OpenFlags;
use usk_platform::{GuestThread, LENT_CONTENTS, LentFile, MAX_KNOWN_NAME, NameMeaning, TakenBack};

use super::ahead::contents_or_entries;
use super::{Lending, Record};
use crate::task::{Current, NameQuestion, Task};
use crate::vfs::{
    DirectoryEntry, FileType, LookedUp, NameContext, NamesAsOf, OpenFile, Path, WalkOptions, notify,
};

/// Files prepared for all threads of all sandboxes of this process. Each may hold a descriptor of the host's.
const MOST_PREPARED_TOGETHER: usize = 2048;
/// Files that are read and prepared together from which on there is to be more room for what is left of them, which costs some calls.
const MANY: usize = 4;
/// Room for contents, in bytes, that is not worth another file.
const LEAST_ROOM: usize = LENT_CONTENTS / 8;
/// Flags with which a file may be opened that is prepared.
pub(super) const PLAIN: OpenFlags = OpenFlags::CLOEXEC
    .union(OpenFlags::DIRECTORY)
    .union(OpenFlags::LARGEFILE)
    .union(OpenFlags::NOCTTY)
    .union(OpenFlags::NOFOLLOW)
    .union(OpenFlags::NONBLOCK);

/// How many are prepared in this process.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Why a file is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It comes next in a tree, in the open directory with this [`OpenFile::id`].
    Next(u64),
    /// It is opened again and again.
    Again,
}

/// A file that is open and has no descriptor.
pub(super) struct Prepared {
    file: Arc<OpenFile>,
    pub(super) purpose: Purpose,
    /// The program has opened it, and closed it.
    is_used: bool,
    /// Others have been prepared since.
    is_old: bool,
    _place: Place,
}

impl Prepared {
    fn is_of_walk(&self) -> bool {
        self.purpose != Purpose::Again
    }
}

/// One of [`MOST_PREPARED_TOGETHER`].
struct Place(());

impl Place {
    fn take() -> Option<Place> {
        let place = Place(());
        (COUNT.fetch_add(1, Ordering::Relaxed) < MOST_PREPARED_TOGETHER).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Files that are prepared together.
struct Batch<'a> {
    task: &'a Arc<Task>,
    names: NameContext<'a>,
    as_of: NamesAsOf,
    /// Bytes that may still be left of them.
    room: usize,
}

impl Current {
    /// A file has been opened by its name in an open directory: prepares those that will probably be opened next.
    pub fn prepare_next(&mut self, file: &OpenFile, directory: i32, name: &[u8], flags: OpenFlags) {
        let is_plain = PLAIN.contains(flags) && !name.contains(&b'/') && name != b"..";
        if !self.is_lent_to() || !self.lending.is_on || !is_plain || notify::is_active() {
            return;
        }
        let Some(as_of) = self.names_as_of_now() else { return };
        let Ok(directory) = self.task.files().get(directory) else { return };
        let is_fixed = directory.inode_if_known().is_some_and(|inode| inode.fixed_attributes().is_some());
        if !is_fixed || self.lending.walk.pace.rests() {
            return;
        }
        match self.lending.note_open(&directory, name, file, flags) {
            Some(0) => {}
            Some(count) => self.prepare_up_to(count, as_of),
            None => self.lending.let_go(&mut *self.thread, Prepared::is_of_walk),
        }
    }

    fn prepare_up_to(&mut self, count: usize, as_of: NamesAsOf) {
        self.lending.let_outdated_go(&mut *self.thread);
        let is_over = |prepared: &Prepared| prepared.is_used || prepared.is_old;
        self.lending.let_go(&mut *self.thread, |prepared| prepared.is_of_walk() && is_over(prepared));
        self.lending.make_old();
        let task = self.task.clone();
        let (credentials, fs) = (task.credentials(), task.fs());
        let names = fs.names(&credentials, Some(&task));
        if count >= MANY && self.lending.habits.reads {
            self.lending.room.grow(&mut *self.thread);
        }
        // Some is lost where it begins anew.
        let room = (self.lending.room.size() / 4 * 3).saturating_sub(self.lending.bytes_ahead());
        let mut batch = Batch { task: &task, names, as_of, room };
        while self.lending.prepared().count() < count && batch.room >= LEAST_ROOM {
            let Some((question, meaning)) = self.lending.prepare_one(&mut batch, &mut *self.thread) else {
                break;
            };
            if let Some(meaning) = meaning {
                self.leave_meaning(&question, meaning);
            }
        }
        self.lending.walk.pace.prepared = self.lending.prepared().count();
        self.lending.walk.as_of = Some(as_of);
    }
}

impl Lending {
    /// The files of a tree that are prepared.
    fn prepared(&self) -> impl Iterator<Item = &Prepared> {
        let prepared = self.records.iter().flatten().filter_map(|record| record.prepared.as_ref());
        prepared.filter(|prepared| prepared.is_of_walk())
    }

    /// A file has been opened. How many should be prepared now; `None` if those that are will not be used.
    fn note_open(
        &mut self,
        directory: &OpenFile,
        name: &[u8],
        file: &OpenFile,
        flags: OpenFlags,
    ) -> Option<usize> {
        if !self.habits.lists && !self.walk.has_begun() {
            return Some(0);
        }
        let goes_on = self.walk.note_open(directory, name, file, flags)
            || self.prepared().any(|prepared| prepared.purpose == Purpose::Next(directory.id()));
        let unused = self.prepared().filter(|prepared| !prepared.is_used).count();
        self.walk.pace.advance(goes_on, unused)
    }

    /// What is prepared was not prepared last.
    fn make_old(&mut self) {
        let prepared = self.records.iter_mut().flatten().filter_map(|record| record.prepared.as_mut());
        prepared.for_each(|prepared| prepared.is_old = true);
    }

    /// Prepares the next file. `None` if there is none; no meaning if it cannot be prepared.
    fn prepare_one(
        &mut self,
        batch: &mut Batch<'_>,
        thread: &mut dyn GuestThread,
    ) -> Option<(NameQuestion, Option<NameMeaning>)> {
        let number = self.records.iter().position(Option::is_none)?;
        let (level, index, flags) = self.walk.next()?;
        let (start, entry) = (level.start, level.listing.get(index)?);
        let follows = !flags.contains(OpenFlags::NOFOLLOW);
        let looked_up = LookedUp::default().with(level.path.dentry.mark_of(entry.name)?)?;
        let name = entry.name.to_vec();
        let question = NameQuestion { as_of: batch.as_of, start, follows, name, looked_up };
        let opened = batch.open(&level.path, &entry, flags);
        let purpose = Purpose::Next(start);
        let meaning = opened
            .and_then(|file| self.prepare_file(batch.task, &mut batch.room, file, purpose, number, thread));
        Some((question, meaning))
    }

    /// Prepares a file that has just been opened, and that nobody else has, under a record of this number. At most `room` bytes are left of
    /// what is in it, and are taken from that.
    pub(super) fn prepare_file(
        &mut self,
        task: &Arc<Task>,
        room: &mut usize,
        file: Arc<OpenFile>,
        purpose: Purpose,
        number: usize,
        thread: &mut dyn GuestThread,
    ) -> Option<NameMeaning> {
        let mut record = self.record(task, &file, 1, None)?;
        let attributes = record.lent.attributes.filter(|_| record.closes_silently && record.is_sole())?;
        let place = Place::take()?;
        let is_read = self.habits.reads || file.inode().file_type() == FileType::Directory;
        if let Some((bytes, entries_end)) =
            is_read.then(|| contents_or_entries(&file, (*room).min(LENT_CONTENTS))).flatten()
        {
            *room = room.saturating_sub(bytes.len().next_multiple_of(8));
            record.lent.window = self.leave_bytes(&bytes, thread);
            record.lent.entries_end = entries_end.filter(|_| record.lent.window.is_some());
        }
        if let Purpose::Next(_) = purpose {
            self.walk.enter(&file);
        }
        file.set_prepared(true);
        record.lent.is_prepared = true;
        record.prepared = Some(Prepared { file, purpose, is_used: false, is_old: false, _place: place });
        thread.lend_file(number, &record.lent);
        let identity = record.id;
        self.records[number] = Some(Box::new(record));
        Some(NameMeaning::Prepared { attributes, record: u8::try_from(number).ok()?, identity })
    }

    /// Lets all files go that are prepared if names have changed since.
    pub(super) fn let_outdated_go(&mut self, thread: &mut dyn GuestThread) {
        if !self.walk.holds() {
            self.let_go(thread, |_| true);
        }
    }

    /// Lets files go that are prepared.
    pub(super) fn let_go(&mut self, thread: &mut dyn GuestThread, which: impl Fn(&Prepared) -> bool) {
        for number in 0..self.records.len() {
            let record = self.records[number].as_ref();
            if record.and_then(|record| record.prepared.as_ref()).is_some_and(&which) {
                self.let_one_go(number, thread);
            }
        }
        if self.records.iter().flatten().all(|record| record.prepared.is_none()) {
            self.walk.as_of = None;
        }
    }

    /// Lets the file of this record go, if it is prepared.
    pub(super) fn let_one_go(&mut self, number: usize, thread: &mut dyn GuestThread) {
        let is_prepared = |record: &mut Box<Record>| record.prepared.is_some();
        let Some(prepared) = self.records[number].take_if(is_prepared).and_then(|record| record.prepared)
        else {
            return;
        };
        if !prepared.is_of_walk() {
            self.again.note_end(prepared.is_used);
        }
        self.gone.push(prepared);
        thread.lend_file(number, &LentFile::default());
    }

    /// The file that is prepared under a record of this number.
    pub(super) fn prepared_file(&self, record: u8) -> Option<Arc<OpenFile>> {
        let record = self.records.get(usize::from(record))?.as_ref()?;
        record.prepared.as_ref().map(|prepared| prepared.file.clone())
    }

    /// Notes which of them have got descriptors.
    pub(super) fn note_opened(&mut self, taken: &TakenBack) {
        for (record, position) in self.records.iter_mut().zip(taken.positions) {
            let Some(record) = record else { continue };
            let Some(prepared) = &mut record.prepared else { continue };
            prepared.is_used |= position.is_some();
            if Arc::strong_count(&prepared.file) > 1 {
                prepared.file.set_prepared(false);
                if !prepared.is_of_walk() {
                    self.again.note_end(true);
                }
                record.prepared = None;
            }
        }
    }
}

impl Batch<'_> {
    /// Opens a file that does not change unnoticed. `None` if it is not what the listing said, or for any error, which is for whoever
    /// asks for the file to meet.
    fn open(&self, directory: &Path, entry: &DirectoryEntry<'_>, flags: OpenFlags) -> Option<Arc<OpenFile>> {
        if entry.name.len() > MAX_KNOWN_NAME {
            return None;
        }
        let path = self.names.resolve(directory, entry.name, WalkOptions::NO_FOLLOW).ok()?;
        let inode = path.inode().ok()?;
        let is_it = inode.file_type() == entry.file_type && !path.is_mount_root();
        if !is_it || inode.fixed_attributes().is_none() {
            return None;
        }
        self.names.open_path(&path, flags, false, None).ok()
    }
}
