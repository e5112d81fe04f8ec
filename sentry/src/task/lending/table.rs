//! Which records files have, and what is lent of each: a descriptor table as it is lent.

use std::sync::Arc;

use usk_abi::fs::OpenFlags;
use usk_platform::{FileStatus, GuestThread, LENT_DESCRIPTORS, LENT_RECORDS, LentDescriptor, LentFile};

use super::{Lending, Record};
use crate::countdown::Countdown;
use crate::task::known_names::shown;
use crate::task::{Resource, Task};
use crate::vfs::{Attributes, Borrower, FdTable, FileType, FirstSlots, InodeRef, OpenFile};

/// Records of files that are neither regular nor directories, and have little to tell: half. A program with threads has a dozen before it
/// opens the first of the others.
const MOST_OTHERS: usize = LENT_RECORDS / 2;

/// Changes of a table that are lent by themselves, before it is looked at as a whole: what others have let go of may be lent again.
const MOST_CHANGES: u32 = 16;
/// Descriptors that change together at most if they are lent by themselves.
const MOST_CHANGED: u32 = 4;

/// What the first descriptors of a table are descriptors of. Beyond the table's end there are none.
struct Files {
    /// For each, the lowest one of the same file.
    lowest: [usize; LENT_DESCRIPTORS],
    /// For the lowest of each file, how many there are.
    counts: [u8; LENT_DESCRIPTORS],
}

impl Files {
    fn of(slots: &FirstSlots<'_>) -> Files {
        let (mut lowest, mut counts) = ([0; LENT_DESCRIPTORS], [0; LENT_DESCRIPTORS]);
        for (number, file, _) in slots.iter() {
            let is_same =
                |other: &usize| slots.get(*other).is_some_and(|(other, _)| Arc::ptr_eq(other, file));
            let first = match Arc::strong_count(file) {
                1 => number,
                _ => (0..number).find(is_same).unwrap_or(number),
            };
            lowest[number] = first;
            counts[first] += 1;
        }
        Files { lowest, counts }
    }

    /// Each file once, with its lowest descriptor.
    fn each<'a>(&'a self, slots: &'a FirstSlots<'_>) -> impl Iterator<Item = (usize, &'a Arc<OpenFile>)> {
        let is_lowest = |number: usize| self.lowest[number] == number;
        slots.iter().filter_map(move |(number, file, _)| is_lowest(number).then_some((number, file)))
    }

    /// How many descriptors a file has whose lowest this is.
    fn count(&self, number: usize) -> usize {
        self.counts[number].into()
    }
}

/// Descriptors as they have been lent.
pub(super) struct Descriptors {
    lent: [LentDescriptor; LENT_DESCRIPTORS],
    /// See [`Files::counts`].
    counts: [u8; LENT_DESCRIPTORS],
}

impl Default for Descriptors {
    fn default() -> Self {
        Descriptors { lent: [LentDescriptor::Withheld; LENT_DESCRIPTORS], counts: [0; LENT_DESCRIPTORS] }
    }
}

impl Descriptors {
    /// The number of the record of a descriptor's file.
    fn record(&self, number: usize) -> Option<usize> {
        match self.lent.get(number)? {
            LentDescriptor::Open { record, .. } => record.map(usize::from),
            _ => None,
        }
    }

    /// Whether each of a few descriptors that have changed was the only one of its file, and is.
    fn are_sole(&self, slots: &FirstSlots<'_>) -> bool {
        let was_sole = |number: usize| match self.lent[number] {
            LentDescriptor::Open { file, .. } => self.counts[usize::from(file)] == 1,
            _ => true,
        };
        let is_sole = |number: usize| slots.get(number).is_none_or(|(file, _)| Arc::strong_count(file) == 1);
        slots.changed.count_ones() <= MOST_CHANGED
            && slots.changed().all(|number| was_sole(number) && is_sole(number))
    }
}

/// A descriptor as the platform is told of it, with the lowest one of its file and the record of that. New ones are below `limit`.
fn lent_descriptor(
    slot: Option<(&Arc<OpenFile>, bool)>,
    number: usize,
    lowest: usize,
    record: Option<(usize, &Record)>,
    limit: u64,
) -> LentDescriptor {
    match slot {
        None if (number as u64) < limit => LentDescriptor::Free,
        None => LentDescriptor::Withheld,
        Some((_, close_on_exec)) => LentDescriptor::Open {
            file: lowest as u8,
            record: record.map(|(place, _)| place as u8),
            close_on_exec,
            closes_silently: record.is_some_and(|(_, record)| record.closes_silently),
        },
    }
}

fn is_prepared(record: &Option<Box<Record>>) -> bool {
    record.as_ref().is_some_and(|known| known.prepared.is_some())
}

impl Record {
    /// Nothing is lent of its file any more under this number. The attributes of a file that was held have been shown by its name, too.
    fn end(&self, number: usize, thread: &mut dyn GuestThread) {
        self.close_window(thread);
        if self.lent.until_written {
            thread.lend_file(number, &LentFile::default());
        }
    }

    fn close_window(&self, thread: &mut dyn GuestThread) {
        self.window.into_iter().for_each(|window| thread.close_window(window));
    }

    /// What is lent of its attributes until somebody withdraws them.
    fn fixed_attributes(&self) -> Option<FileStatus> {
        self.lent.attributes.filter(|_| !self.lent.until_written)
    }

    /// Brings the attributes of a file that is held up to date: of all who reach it the task itself may have changed them, and nobody else
    /// without releasing it.
    fn renew_attributes(&mut self, file: &OpenFile, number: usize, thread: &mut dyn GuestThread) {
        let attributes = shown_now(file);
        if self.lent.until_written && self.lent.attributes != attributes {
            self.lent.attributes = attributes;
            self.lent.until_written = attributes.is_some();
            thread.lend_file(number, &self.lent);
        }
    }
}

impl Lending {
    /// Looks whether files are still reached by this table alone, and brings their positions up to date. False if something has
    /// changed that the descriptors' words depend on.
    pub(super) fn renew_records(&mut self, task: &Arc<Task>, thread: &mut dyn GuestThread) -> bool {
        for (number, record) in self.records.iter_mut().enumerate() {
            let Some(record) = record else { continue };
            let has_changed = record.is_sole() != record.lent.flags.is_some();
            if has_changed || record.closes_silently && !record.is_only_mapped_beyond() {
                return false;
            }
            // Flags that nobody else reaches only the task itself changes, and touches the table.
            if !record.moves() && record.lent.entries_end.is_none() && !record.lent.is_listed {
                continue;
            }
            let Some(file) = record.file.upgrade() else { return false };
            let is_held = record.is_held();
            if is_held
                && (!file.inode().common().holder().is(task)
                    || record.closes_silently != file.ends_unlocked())
            {
                return false;
            }
            if is_held {
                record.renew_attributes(&file, number, thread);
            }
            let position = *file.position.lock();
            if position != record.position {
                record.position = position;
                thread.lend_position(number, position);
                // Another task has moved it.
                if std::mem::take(&mut record.lent.is_listed) {
                    thread.lend_file(number, &record.lent);
                }
            }
        }
        true
    }

    /// Lends what has become of a few descriptors. False if more has, or if files have several descriptors, or if it is time to look what
    /// else may be lent by now: then all is to be lent anew.
    pub(super) fn lend_changes(
        &mut self,
        task: &Arc<Task>,
        files: &FdTable,
        thread: &mut dyn GuestThread,
    ) -> bool {
        let Some((id, version)) = self.table.filter(|(id, _)| *id == files.id()) else { return false };
        if files.version() == version {
            return true;
        }
        if !self.changes.step() {
            return false;
        }
        let limit = task.group.limits.lock().soft(Resource::Files);
        let mut are_lent = false;
        let version = files.look_at_changes(Some(version), |slots| {
            are_lent = self.descriptors.are_sole(slots);
            if are_lent {
                self.lend_sole(task, slots, limit, thread);
            }
        });
        self.table = Some((id, version));
        are_lent
    }

    /// Lends descriptors that have changed, where each is the only one of its file, and was.
    fn lend_sole(
        &mut self,
        task: &Arc<Task>,
        slots: &FirstSlots<'_>,
        limit: u64,
        thread: &mut dyn GuestThread,
    ) {
        for place in slots.changed().filter_map(|number| self.descriptors.record(number)) {
            let is_closed = |record: &mut Box<Record>| {
                let mut files = slots.changed().filter_map(|number| slots.get(number));
                record.prepared.is_none() && !files.any(|(file, _)| file.id() == record.id)
            };
            if let Some(record) = self.records[place].take_if(is_closed) {
                record.end(place, thread);
            }
        }
        for number in slots.changed() {
            let place = slots.get(number).and_then(|(file, _)| self.lend_only(task, file, thread));
            self.descriptors.counts[number] = slots.get(number).map_or(0, |_| 1);
            let record = place.and_then(|place| Some((place, self.records[place].as_deref()?)));
            self.descriptors.lent[number] = lent_descriptor(slots.get(number), number, number, record, limit);
        }
        thread.lend_descriptors(&self.descriptors.lent, slots.changed);
    }

    /// Lends a file that has one descriptor. The number of its record, if it has one.
    fn lend_only(
        &mut self,
        task: &Arc<Task>,
        file: &Arc<OpenFile>,
        thread: &mut dyn GuestThread,
    ) -> Option<usize> {
        let has = |record: &Option<Box<Record>>| record.as_ref().is_some_and(|record| record.id == file.id());
        let place = match self.records.iter().position(has) {
            Some(place) => {
                let known = self.records[place].take()?;
                self.update_record(place, known, (task, file, 1), thread)
            }
            None => {
                let others = if self.is_other(file) { self.count_others() } else { 0 };
                self.make_record(others, (task, file, 1), thread)
            }
        }?;
        self.lend_record(place, thread);
        Some(place)
    }

    /// Lends a table anew, with records for as many of its files as there are. Files that had one keep it, and so does what is prepared,
    /// as long as there are others.
    pub(super) fn lend_table(&mut self, task: &Arc<Task>, files: &FdTable, thread: &mut dyn GuestThread) {
        if self.is_outdated || self.is_watched {
            self.let_go(thread, |_| true);
        }
        self.changes = Countdown::of(MOST_CHANGES);
        let limit = task.group.limits.lock().soft(Resource::Files);
        let version = files.look_at_changes(None, |slots| {
            let files = Files::of(slots);
            let places = self.assign_records(task, slots, &files, thread);
            self.descriptors.lent = std::array::from_fn(|number| {
                let lowest = files.lowest[number];
                let record = places[lowest].and_then(|place| Some((place, self.records[place].as_deref()?)));
                lent_descriptor(slots.get(number), number, lowest, record, limit)
            });
            self.descriptors.counts = files.counts;
            thread.lend_descriptors(&self.descriptors.lent, u64::MAX);
            for number in 0..self.records.len() {
                self.lend_record(number, thread);
            }
        });
        self.table = Some((files.id(), version));
    }

    /// The record of a descriptor as it was lent.
    pub(super) fn record_of(&self, descriptor: usize) -> Option<&Record> {
        self.records.get(self.descriptors.record(descriptor)?)?.as_deref()
    }

    fn lend_record(&self, number: usize, thread: &mut dyn GuestThread) {
        if let Some(record) = &self.records[number] {
            thread.lend_position(number, record.position);
            thread.lend_file(number, &record.lent);
        }
    }

    /// Which record each file has, by its lowest descriptor.
    fn assign_records(
        &mut self,
        task: &Arc<Task>,
        slots: &FirstSlots<'_>,
        files: &Files,
        thread: &mut dyn GuestThread,
    ) -> [Option<usize>; LENT_DESCRIPTORS] {
        let mut places = [None; LENT_DESCRIPTORS];
        let mut others = 0;
        let mut old = std::mem::take(&mut self.records);
        for (record, old) in self.records.iter_mut().zip(&mut old).filter(|(_, old)| is_prepared(old)) {
            *record = old.take();
        }
        for (number, file) in files.each(slots) {
            let has =
                |record: &Option<Box<Record>>| record.as_ref().is_some_and(|record| record.id == file.id());
            let Some(place) = old.iter().position(has) else { continue };
            let Some(known) = old[place].take() else { continue };
            places[number] = self.update_record(place, known, (task, file, files.count(number)), thread);
            others += usize::from(places[number].is_some() && self.is_other(file));
        }
        for (place, record) in old.iter().enumerate() {
            record.iter().for_each(|record| record.end(place, thread));
        }
        for (number, file) in files.each(slots) {
            if places[number].is_none() {
                places[number] = self.make_record(others, (task, file, files.count(number)), thread);
                others += usize::from(places[number].is_some() && self.is_other(file));
            }
        }
        places
    }

    /// Brings the record of a file that has so many descriptors up to date. Its number, if there still is something to lend.
    fn update_record(
        &mut self,
        place: usize,
        mut known: Box<Record>,
        (task, file, count): (&Arc<Task>, &Arc<OpenFile>, usize),
        thread: &mut dyn GuestThread,
    ) -> Option<usize> {
        let Some(record) = self.record(task, file, count, Some(&known)) else {
            known.end(place, thread);
            return None;
        };
        if record.window != known.window {
            known.close_window(thread);
        }
        *known = record;
        self.records[place] = Some(known);
        Some(place)
    }

    /// Gives a file that has so many descriptors a record, where so many are of others. Its number, if there is one and something to lend.
    fn make_record(
        &mut self,
        others: usize,
        (task, file, count): (&Arc<Task>, &Arc<OpenFile>, usize),
        thread: &mut dyn GuestThread,
    ) -> Option<usize> {
        if others == MOST_OTHERS && self.is_other(file) {
            return None;
        }
        let free = self.records.iter().position(Option::is_none);
        let place = free.or_else(|| self.records.iter().position(is_prepared))?;
        self.let_one_go(place, thread);
        self.records[place] = self.record(task, file, count, None).map(Box::new);
        self.records[place].as_ref().map(|_| place)
    }

    /// How many records are of files that have little to tell.
    fn count_others(&self) -> usize {
        let files = self.records.iter().flatten().filter_map(|record| record.file.upgrade());
        files.filter(|file| self.is_other(file)).count()
    }

    /// Whether a file has little to tell.
    fn is_other(&self, file: &OpenFile) -> bool {
        let may_tell =
            |inode: &InodeRef| matches!(inode.file_type(), FileType::Regular | FileType::Directory);
        let is_used = self.noted.is_about(file) || self.inlet.is_about(file);
        !is_used && !file.inode_if_known().is_some_and(may_tell)
    }

    /// What is lent of a file; `None` if nothing is. `known` is what was lent before.
    pub(super) fn record(
        &self,
        task: &Arc<Task>,
        file: &Arc<OpenFile>,
        count: usize,
        known: Option<&Record>,
    ) -> Option<Record> {
        let is_sole = Arc::strong_count(file) == count;
        let held = if is_sole { self.hold(task, file) } else { None };
        let fixed = match known.filter(|_| !self.is_outdated) {
            Some(known) => known.fixed_attributes().zip(Some(known.fixed_length)),
            None => Self::fixed(task, file),
        };
        let until_written = held.as_ref().and_then(|_| shown_now(file));
        // Of a file that is held nobody knows that it is open for writing before he has its end brought in.
        let closes_silently = match &held {
            Some(_) => file.ends_unlocked(),
            None => {
                (fixed.is_some() || file.ops.is_volatile())
                    && file.is_only_mapped_beyond(count)
                    && file.ends_silently()
            }
        };
        let is_void = file.ops.is_void() && !self.is_watched;
        if !is_sole && fixed.is_none() && !closes_silently && !is_void {
            return None;
        }
        let flags = file.open_flags();
        let may_read = file.check_readable().is_ok() && !self.is_watched;
        let is_stream = is_sole && may_read && file.ops.arrivals().is_some();
        let stream = is_stream.then(|| known.and_then(|known| known.stream).unwrap_or_default());
        let arrived = known.and_then(|known| known.lent.arrived).filter(|_| is_stream);
        let was_at = known.map_or(0, |known| known.position);
        let fixed_length = fixed.and_then(|(_, length)| length);
        let length = fixed_length.or(is_void.then_some(0)).filter(|_| may_read);
        let position = match arrived {
            Some(_) => was_at,
            None if is_sole => *file.position.lock(),
            // Another's read may be moving it.
            None => 0,
        };
        let was_listed = known.is_some_and(|known| known.lent.is_listed && known.position == position);
        // Of a directory that may be removed unnoticed it cannot be said what there is.
        let lists = closes_silently && fixed.is_some();
        let entries_end = known.and_then(|known| known.lent.entries_end).filter(|_| lists);
        let is_unchanged = |known: &Record| length.is_some() && known.lent.length == length;
        let known = known.filter(|known| entries_end.is_some() || is_unchanged(known));
        Some(Record {
            id: file.id(),
            file: Arc::downgrade(file),
            count,
            position,
            fixed_length,
            lent: LentFile {
                identity: file.id(),
                flags: is_sole.then_some(flags.bits()),
                attributes: fixed.map(|(attributes, _)| attributes).or(until_written),
                until_written: until_written.is_some(),
                length,
                seeks: is_sole && length.is_some() && !is_void,
                reads_on: (is_sole || is_void) && length.is_some(),
                is_volatile: file.ops.is_volatile(),
                is_listed: lists && was_listed,
                entries_end,
                arrived,
                window: known.and_then(|known| known.lent.window),
                watchable: 0,
                writes_end: held.as_ref().map(|held| held.writes_end),
                // One or the other: a close ends locks that were noted before, of all its descriptors.
                locks: held.is_some_and(|held| held.locks) && !closes_silently,
                has_inlet: is_sole && self.may_have_inlet(file),
                swallows: is_void && self.ledger.is_allowed && file.check_writable().is_ok(),
                is_prepared: false,
            },
            closes_silently,
            stream,
            window: known.and_then(|known| known.window),
            reads: known.map_or(0, |known| known.reads),
            wanted: known.and_then(|known| known.wanted),
            prepared: None,
        })
    }

    /// What is shown of a file, and of a regular file the length, if they stay what they are until somebody withdraws them.
    fn fixed(task: &Arc<Task>, file: &OpenFile) -> Option<(FileStatus, Option<u64>)> {
        let inode = file.inode_if_known()?;
        let is_regular = match inode.file_type() {
            FileType::Regular => true,
            FileType::Directory => false,
            _ => return None,
        };
        let attributes = inode.lend_attributes(Borrower::Task(task))?;
        // A directory that was removed has no entries, not even an end of them.
        if attributes.links == 0 && !is_regular {
            return None;
        }
        // What is in memory may rest, but reading it moves its time of access.
        let is_read = is_regular && !file.ops.is_volatile() && !file.open_flags().contains(OpenFlags::PATH);
        Some((shown_of(file, &attributes)?, is_read.then_some(attributes.size)))
    }
}

/// What is shown of a file at the moment.
fn shown_now(file: &OpenFile) -> Option<FileStatus> {
    shown_of(file, &file.inode_if_known()?.attributes().ok()?)
}

/// What is shown of a file that has these attributes.
fn shown_of(file: &OpenFile, attributes: &Attributes) -> Option<FileStatus> {
    let path = file.path();
    shown(attributes, (&path.mount, path.is_mount_root()))
}
