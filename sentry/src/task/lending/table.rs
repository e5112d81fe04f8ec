//! Which records files have, and what is lent of each: a descriptor table as it is lent.

use std::sync::Arc;

use usk_abi::fs::OpenFlags;
use usk_platform::{FileStatus, GuestThread, LENT_DESCRIPTORS, LENT_RECORDS, LentDescriptor, LentFile};

use super::{Lending, Record};
use crate::task::known_names::shown;
use crate::task::{Resource, Task};
use crate::vfs::{Attributes, Borrower, FdTable, FileType, InodeRef, OpenFile};

/// Records of files that are neither regular nor directories, and have little to tell: half. A program with threads has a dozen before it
/// opens the first of the others.
const MOST_OTHERS: usize = LENT_RECORDS / 2;

/// The first descriptors of a table: the file of each, and whether it is closed on exec.
type Slots<'a> = [Option<(&'a Arc<OpenFile>, bool)>; LENT_DESCRIPTORS];

/// What these descriptors are descriptors of.
struct Files {
    /// For each, the lowest one of the same file.
    lowest: [usize; LENT_DESCRIPTORS],
    /// For the lowest of each file, how many there are.
    counts: [usize; LENT_DESCRIPTORS],
}

impl Files {
    fn of(slots: &Slots<'_>) -> Files {
        let (mut lowest, mut counts) = ([0; LENT_DESCRIPTORS], [0; LENT_DESCRIPTORS]);
        for (number, slot) in slots.iter().enumerate() {
            let Some((file, _)) = slot else { continue };
            let is_same = |other: &usize| slots[*other].is_some_and(|(other, _)| Arc::ptr_eq(other, file));
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
    fn each<'a>(&'a self, slots: &'a Slots<'_>) -> impl Iterator<Item = (usize, &'a Arc<OpenFile>)> {
        let numbered = self.lowest.iter().zip(slots).enumerate();
        numbered.filter_map(|(number, (lowest, slot))| {
            slot.filter(|_| *lowest == number).map(|(file, _)| (number, file))
        })
    }
}

impl Record {
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

    /// Lends a table anew, with records for as many of its files as there are. Files that had one keep it, and so does what is prepared,
    /// as long as there are others.
    pub(super) fn lend_table(&mut self, task: &Arc<Task>, files: &FdTable, thread: &mut dyn GuestThread) {
        if self.is_outdated || self.is_watched {
            self.let_go(thread, |_| true);
        }
        let limit = task.group.limits.lock().soft(Resource::Files);
        let version = files.look_at_first(|slots| {
            let files = Files::of(&slots);
            let (places, closed) = self.assign_records(task, &slots, &files, thread);
            thread.lend_descriptors(&self.descriptors(&slots, &files, &places, limit));
            closed.into_iter().for_each(|number| thread.close_window(number));
            for (number, record) in self.records.iter().enumerate() {
                if let Some(record) = record {
                    thread.lend_position(number, record.position);
                    thread.lend_file(number, &record.lent);
                }
            }
        });
        self.table = Some((files.id(), version));
    }

    /// Which record each file has, by its lowest descriptor; and windows that nobody has any more.
    fn assign_records(
        &mut self,
        task: &Arc<Task>,
        slots: &Slots<'_>,
        files: &Files,
        thread: &mut dyn GuestThread,
    ) -> ([Option<usize>; LENT_DESCRIPTORS], Vec<usize>) {
        let (mut places, mut closed) = ([None; LENT_DESCRIPTORS], Vec::new());
        let mut others = 0;
        let is_prepared =
            |record: &Option<Record>| record.as_ref().is_some_and(|known| known.prepared.is_some());
        let mut old = std::mem::take(&mut self.records);
        for (record, old) in self.records.iter_mut().zip(&mut old).filter(|(_, old)| is_prepared(old)) {
            *record = old.take();
        }
        for (number, file) in files.each(slots) {
            let has = |record: &Option<Record>| record.as_ref().is_some_and(|record| record.id == file.id());
            let Some(place) = old.iter().position(has) else { continue };
            let known = old[place].take();
            let window = known.as_ref().and_then(|known| known.window);
            self.records[place] = self.record(task, file, files.counts[number], known);
            let record = self.records[place].as_ref();
            closed.extend(window.filter(|_| record.is_none_or(|record| record.window != window)));
            places[number] = record.map(|_| place);
            others += usize::from(record.is_some() && self.is_other(file));
        }
        for (number, file) in files.each(slots) {
            let is_other = self.is_other(file);
            if places[number].is_some() || is_other && others == MOST_OTHERS {
                continue;
            }
            let free = self.records.iter().position(Option::is_none);
            let Some(place) = free.or_else(|| self.records.iter().position(is_prepared)) else { break };
            self.let_one_go(place, thread);
            self.records[place] = self.record(task, file, files.counts[number], None);
            places[number] = self.records[place].as_ref().map(|_| place);
            others += usize::from(places[number].is_some() && is_other);
        }
        closed.extend(old.iter().flatten().filter_map(|record| record.window));
        (places, closed)
    }

    /// The descriptors as the platform is told of them; new ones are below `limit`.
    fn descriptors(
        &self,
        slots: &Slots<'_>,
        files: &Files,
        places: &[Option<usize>; LENT_DESCRIPTORS],
        limit: u64,
    ) -> [LentDescriptor; LENT_DESCRIPTORS] {
        std::array::from_fn(|number| match slots[number] {
            None if (number as u64) < limit => LentDescriptor::Free,
            None => LentDescriptor::Withheld,
            Some((_, close_on_exec)) => {
                let lowest = files.lowest[number];
                let place = places[lowest];
                let record = place.and_then(|place| self.records[place].as_ref());
                LentDescriptor::Open {
                    file: lowest as u8,
                    record: place.map(|place| place as u8),
                    close_on_exec,
                    closes_silently: record.is_some_and(|record| record.closes_silently),
                }
            }
        })
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
        known: Option<Record>,
    ) -> Option<Record> {
        let is_sole = Arc::strong_count(file) == count;
        let held = if is_sole { self.hold(task, file) } else { None };
        let fixed = match known.as_ref().filter(|_| !self.is_outdated) {
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
        let stream = is_stream.then(|| known.as_ref().and_then(|known| known.stream).unwrap_or_default());
        let arrived = known.as_ref().and_then(|known| known.lent.arrived).filter(|_| is_stream);
        let was_at = known.as_ref().map_or(0, |known| known.position);
        let fixed_length = fixed.and_then(|(_, length)| length);
        let length = fixed_length.or(is_void.then_some(0)).filter(|_| may_read);
        let position = match arrived {
            Some(_) => was_at,
            None if is_sole => *file.position.lock(),
            // Another's read may be moving it.
            None => 0,
        };
        let was_listed =
            known.as_ref().is_some_and(|known| known.lent.is_listed && known.position == position);
        // Of a directory that may be removed unnoticed it cannot be said what there is.
        let lists = closes_silently && fixed.is_some();
        let entries_end = known.as_ref().and_then(|known| known.lent.entries_end).filter(|_| lists);
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
                window: known.as_ref().and_then(|known| known.lent.window),
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
            window: known.as_ref().and_then(|known| known.window),
            reads: known.as_ref().map_or(0, |known| known.reads),
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
