//! Writes and record locks that the platform only notes, of files that their task holds ([`Holder`](crate::vfs::Holder)).
//!
//! What is noted is done when the task is taken back what it was lent, before anything else, and whoever else looks at the file has that
//! happen first. A note is what the guest could have called for: it is judged as the call would have been.

use std::sync::Arc;

use usk_abi::fs::OpenFlags;
use usk_platform::{Deed, GuestThread, Note, Notes};

use super::{Lending, Record};
use crate::task::{Current, Resource, Task};
use crate::vfs::{
    FdTable, LateWrite, LockOwner, OpenFile, Path, RecordLock, TO_THE_END, Timestamp, has_capabilities,
};

/// The calls that are noted, besides those about lent descriptors.
pub(super) const CALLS: [u32; 2] = [1, 18];

/// Calls that could have been noted after which there is a ledger: it costs as much as three of them.
const PATIENCE: u32 = 8;
/// Notes that fit into a ledger.
const MOST_NOTES: usize = 2048;

/// Whether a task has a ledger.
#[derive(Default)]
pub(super) struct Ledger {
    /// No filter wants to see the calls.
    pub(super) is_allowed: bool,
    is_open: bool,
    /// Calls that could have been noted.
    missed: u32,
}

/// What a task may note of a file that it holds.
pub(super) struct Held {
    pub(super) writes_end: u64,
    pub(super) locks: bool,
}

impl Ledger {
    /// Opens it, if that has begun to pay. True if it was not open before.
    pub(super) fn is_opened(&mut self, thread: &mut dyn GuestThread) -> bool {
        if self.is_open || self.missed < PATIENCE {
            return false;
        }
        self.missed = 0;
        self.is_open = thread.open_ledger();
        self.is_open
    }

    fn miss(&mut self) {
        self.missed = self.missed.saturating_add(1);
    }
}

impl Record {
    /// True if it is a file in memory that this table alone reaches.
    fn may_be_held(&self) -> bool {
        self.lent.flags.is_some() && self.lent.is_volatile
    }

    /// True if the task holds the file.
    pub(super) fn is_held(&self) -> bool {
        self.lent.writes_end.is_some()
    }
}

impl Current {
    /// A write to a file, or a record lock on it, has come to the sentry.
    pub fn note_missed(&mut self, file: &OpenFile) {
        let lending = &mut self.lending;
        lending.inlet.note_write(file);
        let is_it = |record: &Record| record.id == file.id() && record.may_be_held();
        if !lending.ledger.is_open && lending.records.iter().flatten().any(|record| is_it(record)) {
            lending.ledger.miss();
        }
    }

    /// A descriptor is about to be closed by a call: a program that holds its file closes that by itself.
    pub fn note_close(&mut self, descriptor: i32) {
        let lending = &mut self.lending;
        if lending.ledger.is_open {
            return;
        }
        let record = usize::try_from(descriptor).ok().and_then(|number| lending.record_of(number));
        let writes = |record: &Record| record.file.upgrade().is_some_and(|file| file.writes_regular());
        if record.is_some_and(|record| record.may_be_held() && writes(record)) {
            lending.ledger.miss();
        }
    }
}

impl Lending {
    /// The record, and its file, by which the task holds the file at `path`, if it is lent its attributes.
    pub(in crate::task) fn held_file(&self, path: &Path) -> Option<(u8, u64)> {
        let inode = path.inode().ok()?;
        // The mount is shown, too.
        let is_there =
            |of: &Path| Arc::ptr_eq(&of.mount, &path.mount) && of.is_mount_root() == path.is_mount_root();
        let is_it = |record: &Record| {
            record.file.upgrade().is_some_and(|file| {
                is_there(file.path()) && file.inode_if_known().is_some_and(|known| Arc::ptr_eq(known, inode))
            })
        };
        let held = (0..).zip(&self.records).filter_map(|(number, record)| Some((number, record.as_ref()?)));
        let mut held = held.filter(|(_, record)| record.lent.until_written);
        held.find(|(_, record)| is_it(record)).map(|(number, record)| (number, record.id))
    }

    /// Has the task hold a file that it alone reaches, if nobody else has opened it, and there is a ledger.
    pub(super) fn hold(&self, task: &Arc<Task>, file: &OpenFile) -> Option<Held> {
        let flags = file.open_flags();
        let is_good =
            self.ledger.is_open && self.ledger.is_allowed && !self.is_watched && flags.is_writable();
        if !is_good || flags.intersects(OpenFlags::APPEND | OpenFlags::DIRECT | OpenFlags::PATH) {
            return None;
        }
        let inode = file.inode_if_known()?;
        let common = inode.common();
        let limit = task.group.limits.lock().soft(Resource::FileSize);
        let owner = LockOwner::Table(task.lendable_files().as_ref()?.id());
        common.holder().hold(task, || {
            // A write takes its capabilities away; who gives it some releases it first.
            let is_plain = common.is_open_once() && !has_capabilities(inode);
            let writes_end = file.ops.late_writes_end().filter(|_| is_plain)?.min(limit);
            let has_room = common.locks_if_any().is_none_or(|locks| locks.are_only(owner, MOST_NOTES));
            Some(Held { writes_end, locks: has_room && flags.is_readable() })
        })
    }

    /// Does what has been noted, in order. Writes to one file that follow each other are one matter.
    pub(super) fn take_notes(&self, task: &Task, files: &FdTable, notes: &Notes) {
        let mut writes = Vec::new();
        let mut notes = notes.iter().peekable();
        while let Some(note) = notes.next() {
            let record = self.records.get(note.record).and_then(Option::as_ref);
            let Some(record) = record.filter(|record| record.is_held()) else { continue };
            match note.deed {
                Deed::Write { position, data, when_ns } => {
                    writes.extend(record.late_write(position, data, when_ns));
                    let goes_on = |next: &Note<'_>| {
                        next.record == note.record && matches!(next.deed, Deed::Write { .. })
                    };
                    if !notes.peek().is_some_and(goes_on) {
                        record.write(&writes);
                        writes.clear();
                    }
                }
                Deed::Lock { exclusive, start, length } if record.lent.locks => {
                    let Some(file) = record.file.upgrade() else { continue };
                    lock(&file, files, task.tgid(), exclusive, (start, length));
                }
                Deed::Lock { .. } => {}
            }
        }
    }
}

impl Record {
    /// A write, if it is one that may be noted.
    fn late_write<'a>(&self, offset: u64, data: &'a [u8], when_ns: u64) -> Option<LateWrite<'a>> {
        let end = offset.checked_add(data.len() as u64)?;
        let is_good = end <= self.lent.writes_end?;
        is_good.then(|| LateWrite { offset, data, when: Timestamp::at_ns(when_ns) })
    }

    fn write(&self, writes: &[LateWrite<'_>]) {
        let Some(file) = self.file.upgrade() else { return };
        if let Err(error) = file.ops.write_late(writes) {
            tracing::warn!(?error, "a file in memory could not take what was written to it");
        }
    }
}

/// `fcntl(F_SETLK)` of a range, `start` and length. Nobody else has a lock in its way, or else it is not granted.
fn lock(file: &OpenFile, files: &FdTable, pid: i32, exclusive: Option<bool>, range: (u64, u64)) {
    let (start, length) = range;
    let end = match length {
        0 => Some(TO_THE_END),
        length => start.checked_add(length - 1),
    };
    let Some(end) = end.filter(|end| (start..=TO_THE_END).contains(end)) else { return };
    let (locks, owner) = (file.inode().common().locks(), LockOwner::Table(files.id()));
    match exclusive {
        None => {
            if let Err(error) = locks.unlock(owner, start, end) {
                tracing::warn!(?error, "a lock was released that cannot be split");
            }
        }
        Some(exclusive) => {
            let taken = locks.lock(RecordLock { start, end, exclusive, owner, pid });
            if taken != Ok(Ok(())) {
                tracing::warn!(?taken, "a lock was noted that cannot be had");
            }
            if !locks.are_only(owner, MOST_NOTES) {
                // What is lent is judged anew.
                files.touch();
            }
        }
    }
}
