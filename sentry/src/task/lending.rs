//! Descriptors that are lent to a task's guest thread, whose platform then serves calls about them by itself (tier 0).
//!
//! The task's table stays what counts. While the guest runs, the platform may change what it was lent: it closes and
//! duplicates descriptors, sets their flags, and moves positions. The first thing after each trap is to take that back: each
//! change is checked and made as the calls would have made it, and whatever the guest forges could have come about by calls.
//! So nobody but the guest itself knows of a change before its next trap, and only such things are lent as nobody else can
//! see, or can see late:
//!
//! - a table that no other task shares, or that this task has lately used alone ([`Turns`](turns::Turns));
//! - of a file that is reached by this table alone, its flags and its position;
//! - of a stream that is read by this table alone, what has arrived ([`arrived`]);
//! - of an epoll instance that is reached by this table alone, changes that succeed ([`noted`]);
//! - of a file below an overlay (or on an export that nobody writes), as long as it is not changed, its attributes and its
//!   contents; and if it was opened for reading and has no locks, its end, also where it is mapped;
//! - of a pipe that is reached by this table alone, as far as there is room and nobody waits for it, that it is written (`inlet.rs`);
//! - of a small file in memory, and of any directory, its end in the same way;
//! - of a file in memory that nobody else can reach ([`Holder`](crate::vfs::Holder)), that it is written and locked (`ledger.rs`), or
//!   closed: while it is small and was never locked.
//!
//! Who uses a table that another task is lent, or looks into it, has it taken back first ([`Task::files`], [`Task::borrow_files`]). Who
//! changes a file whose attributes are lent withdraws them ([`Borrowers`](crate::vfs::Borrowers)).

mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};

    /// Between a write and a read that must not pass it: `SeqCst` accesses never do.
    pub(super) fn order() {}
}
mod again;
mod ahead;
mod arrived;
mod inlet;
mod ledger;
mod lent;
mod loan;
mod noted;
mod prepared;
mod table;
mod turns;
mod walk;

#[cfg(test)]
mod model_tests;

use std::os::fd::AsFd;
use std::sync::{Arc, Weak};

use usk_platform::{
    GuestThread, LENT_CONTENTS, LENT_RECORDS, LENT_WINDOWS, LentFile, LentWindow, TakenBack, WINDOW_SIZE,
};

use self::again::Again;
use self::ahead::{Ahead, Habits, Room};
use self::arrived::{Stream, Streams};
use self::inlet::Inlet;
use self::ledger::Ledger;
pub use self::lent::BorrowedFiles;
pub(crate) use self::lent::Lent;
use self::noted::Noted;
use self::prepared::Prepared;
use self::table::Descriptors;
use self::walk::Walk;
use super::{Current, Resource, Task};
use crate::countdown::Countdown;
use crate::kernel::Kernel;
use crate::vfs::{FdTable, Mapping, OpenFile, notify};

/// The calls that are served: a filter that looks at one of them wants to see them all.
const CALLS: [u32; 14] = [0, 3, 5, 8, 17, 32, 45, 72, 74, 75, 217, 233, 262, 332];

/// Traps of a program before it is lent anything. Short programs are over by then, and do not pay for it: a hundred times
/// `/bin/true` from a shell took five per cent more without this.
const YOUNG: u32 = 64;
/// Reads that come here after which a window follows no jumps any more.
const MOST_JUMPS: u32 = 8;
const PAGE: u64 = 4096;

/// A watch for files is about to be added, which is told when files are read and closed: from now until this is dropped, and
/// as long as there are watches, nobody does that silently.
pub struct WatchAnnounced {
    _announced: notify::Announced,
}

impl WatchAnnounced {
    /// Announces it.
    pub fn new(kernel: &Kernel) -> Self {
        let (announced, is_first) = notify::announce();
        if is_first {
            let tasks: Vec<Arc<Task>> = kernel.tasks.lock().threads().cloned().collect();
            for task in tasks {
                drop(task.borrow_files());
                task.mm().recall_files();
            }
        }
        WatchAnnounced { _announced: announced }
    }
}

/// What is lent of one file.
struct Record {
    id: u64,
    file: Weak<OpenFile>,
    /// How many descriptors it has in this table.
    count: usize,
    position: u64,
    /// The length, if it is a regular file that does not change.
    fixed_length: Option<u64>,
    lent: LentFile,
    closes_silently: bool,
    /// What is known of it as a stream whose arrivals may be left.
    stream: Option<Stream>,
    /// Its window's number.
    window: Option<usize>,
    /// Reads that have come here.
    reads: u32,
    /// A window should show what comes after this byte.
    wanted: Option<u64>,
    /// The file itself, as long as it has no descriptor.
    prepared: Option<Prepared>,
}

impl Record {
    /// True if it is reached by this table alone.
    fn is_sole(&self) -> bool {
        self.file.strong_count() == self.count
    }

    /// True if it is reached by this table alone, but for mappings.
    fn is_only_mapped_beyond(&self) -> bool {
        // One reference is this one.
        self.is_sole() || self.file.upgrade().is_some_and(|file| file.is_only_mapped_beyond(self.count + 1))
    }

    /// True if the platform may move its position.
    fn moves(&self) -> bool {
        self.lent.seeks || self.is_held()
    }

    /// True if it is a directory of which more can be said than its name as long as nothing changes.
    fn lists(&self) -> bool {
        self.closes_silently && self.lent.attributes.is_some()
    }

    /// Whether the platform may have moved it there.
    fn may_be_at(&self, position: u64) -> bool {
        self.moves() && i64::try_from(position).is_ok()
            || self.lent.entries_end.is_some_and(|end| position == end || position == 0)
    }

    /// A read has come here, of these bytes: decides whether to have the next ones read through a window. A window costs as
    /// much as three reads.
    fn note_read(&mut self, start: u64, end: u64) {
        let Some(length) = self.lent.length else { return };
        self.reads = self.reads.saturating_add(1);
        let pays_soon = self.reads > 1 && length.saturating_sub(end) / 4 >= end - start;
        let is_wanted = match self.lent.window {
            None => pays_soon || self.reads > 3,
            // Not one that could not be served for another reason; and not one of a reader that goes to and fro.
            Some(window) => {
                let window_end = window.start + window.length;
                end > window_end && start <= window_end || self.reads <= MOST_JUMPS && start > window_end
            }
        };
        self.wanted = is_wanted.then_some(if end < length { end } else { start });
    }
}

/// What is lent of files, by the numbers of their records. Few have a file, and those go from one table to the next as they are.
type Records = [Option<Box<Record>>; LENT_RECORDS];

/// What a task has lent to its guest thread.
#[derive(Default)]
pub(crate) struct Lending {
    /// Traps so far, up to [`YOUNG`].
    age: u32,
    is_on: bool,
    /// Which table, in which state.
    table: Option<(u64, u64)>,
    /// Which table, touched how often.
    touched: Option<(u64, u64)>,
    /// The counts of withdrawals, of answers and of what is lent, before the guest last ran.
    standing: Option<(u32, u32)>,
    /// Something has been withdrawn since files were looked at.
    is_outdated: bool,
    is_allowed: bool,
    /// Files are watched.
    is_watched: bool,
    records: Records,
    descriptors: Descriptors,
    /// How often what changes of the table may still be lent by itself, before all of it is looked at.
    changes: Countdown,
    noted: Noted,
    ledger: Ledger,
    inlet: Inlet,
    habits: Habits,
    ahead: Option<Ahead>,
    streams: Streams,
    room: Room,
    walk: Walk,
    again: Again,
    /// What was prepared and is let go at the next trap: not by a thread that counts as in guest code.
    gone: Vec<Prepared>,
}

impl Current {
    /// Whether the program is old enough, and its platform able, to be lent anything.
    pub(super) fn is_lent_to(&self) -> bool {
        self.lending.age >= YOUNG && self.thread.can_lend()
    }

    /// A read of these bytes of a file has come to the sentry.
    pub fn note_read(&mut self, file: &OpenFile, start: u64, end: u64) {
        if self.lending.has_read_stream(file) {
            return;
        }
        let mut records = self.lending.records.iter_mut().flatten();
        let Some(record) = records.find(|record| record.id == file.id()) else { return };
        record.note_read(start, end);
        let is_small = record.lent.length.is_some_and(|length| length <= LENT_CONTENTS as u64);
        if is_small && start == 0 {
            self.lending.habits.reads = true;
        }
    }

    /// The position of a file has been moved here: behind its last entry, if it is a directory that `is_listed`.
    pub fn note_listed(&mut self, file: &OpenFile, is_listed: bool) {
        let mut records = self.lending.records.iter_mut().enumerate();
        let found = records.find_map(|(number, record)| {
            Some((number, record.as_mut()?)).filter(|(_, record)| record.id == file.id())
        });
        let Some((number, record)) = found else { return };
        let is_listed = is_listed && record.lists();
        if is_listed {
            record.position = *file.position.lock();
            self.thread.lend_position(number, record.position);
        }
        if record.lent.is_listed != is_listed {
            record.lent.is_listed = is_listed;
            self.thread.lend_file(number, &record.lent);
        }
        self.lending.habits.lists |= is_listed;
    }

    /// The guest has stopped: takes back what it was lent.
    pub(crate) fn take_back_files(&mut self) {
        self.lending.inlet.close();
        self.lending.gone.clear();
        if !self.lending.is_on {
            return;
        }
        let files = self.task.lendable_files();
        let Some(files) = &*files else { return };
        if !files.lent.stop(&self.task) {
            // It was ended while the guest slept.
            return self.lending.forget(&mut *self.thread);
        }
        self.lending.make_noted_changes(&self.task, &mut *self.thread);
        let closed = self.thread.take_back().map(|taken| {
            files.lent.touch();
            self.lending.take_positions(&taken);
            let limit = self.task.group.limits.lock().soft(Resource::Files);
            self.lending.take_notes(&self.task, files, &taken.notes);
            let closed = files.take_back(&taken, |record| self.lending.prepared_file(record), limit);
            self.lending.note_opened(&taken);
            // Whoever waits for the table may be about to execute what has been written.
            let (written, others) = closed.into_iter().partition(|file| file.writes_regular());
            files.settle(written);
            others
        });
        files.lent.end(&self.task);
        files.settle(closed.unwrap_or_default());
    }

    /// The guest is about to run: lends it what can be lent.
    pub(crate) fn lend_files(&mut self) {
        if !self.is_lent_to() {
            self.lending.age = self.lending.age.saturating_add(1).min(YOUNG);
            return;
        }
        let standing = (self.task.standing.now(), self.task.loans.now());
        self.lending.is_outdated |= self.lending.standing != Some(standing);
        // What has changed since the answers were left is seen the next time.
        let lends = self.standing == Some(standing.0) && self.begin_loan();
        if lends {
            self.lending.let_outdated_go(&mut *self.thread);
        } else {
            self.lending.let_go(&mut *self.thread, |_| true);
        }
        if lends != self.lending.is_on || self.lending.standing != Some(standing) {
            self.thread.set_lending(lends);
            self.lending.is_on = lends;
            self.lending.standing = Some(standing);
            // Withdrawn meanwhile: before it was set, perhaps.
            if lends && (self.task.standing.now(), self.task.loans.now()) != standing {
                self.thread.set_lending(false);
            }
        }
    }

    /// Begins to lend the table, if it is the task's turn and what is lent of it is true.
    fn begin_loan(&mut self) -> bool {
        let files = self.task.lendable_files();
        let Some(files) = &*files else { return false };
        // One reference is the task's.
        let is_shared = Arc::strong_count(files) > 1;
        if !files.lent.admits(&self.task, is_shared)
            || !self.lending.prepare(&self.task, files, &mut *self.thread)
        {
            return false;
        }
        self.lending.open_inlet(&mut *self.thread);
        self.lending.touched.is_some_and(|(_, touches)| files.lent.begin(&self.task, touches))
    }
}

impl Lending {
    fn take_positions(&mut self, taken: &TakenBack) {
        for (record, position) in self.records.iter_mut().zip(taken.positions) {
            let (Some(record), Some(position)) = (record, position) else { continue };
            if record.lent.arrived.is_some() {
                record.take_arrived(position);
                self.streams.has_taken = true;
            } else if record.may_be_at(position)
                && let Some(file) = record.file.upgrade()
            {
                *file.position.lock() = position;
                record.position = position;
                self.ahead.iter_mut().for_each(|ahead| ahead.note_use(record.id));
            }
        }
    }

    /// What the guest has made of it counts for nothing: all is lent anew the next time.
    fn forget(&mut self, thread: &mut dyn GuestThread) {
        thread.take_back();
        self.table = None;
        self.noted.forget();
    }

    /// Sees to it that what is lent is true. False if nothing may be lent. The task is the table's tenant.
    fn prepare(&mut self, task: &Arc<Task>, files: &FdTable, thread: &mut dyn GuestThread) -> bool {
        let is_watched = notify::is_active();
        let touched = Some((files.id(), files.lent.touches()));
        let is_touched = std::mem::replace(&mut self.touched, touched) != touched;
        let is_unchanged = !is_touched && !self.is_outdated && is_watched == self.is_watched;
        if self.is_on && is_unchanged && !self.streams.have_changed() {
            return true;
        }
        if self.is_outdated {
            self.is_allowed = task.hides_calls(&CALLS);
            self.ledger.is_allowed = task.hides_calls(&ledger::CALLS);
        }
        if !self.is_allowed {
            return false;
        }
        let is_same = !self.ledger.is_opened(thread)
            && !self.is_outdated
            && is_watched == self.is_watched
            && self.lend_changes(task, files, thread);
        self.is_watched = is_watched;
        if !is_same || !self.renew_records(task, thread) {
            if !self.is_on {
                // What it says of the time before says nothing.
                thread.take_back();
            }
            self.lend_table(task, files, thread);
            self.is_outdated = false;
        }
        self.lend_instance(files, thread);
        self.leave_arrived(task, thread);
        self.leave_ahead(thread);
        self.open_windows(thread);
        true
    }

    /// Gives files the windows that they should have.
    fn open_windows(&mut self, thread: &mut dyn GuestThread) {
        let wants =
            |record: &Option<Box<Record>>| record.as_ref().is_some_and(|record| record.wanted.is_some());
        while let Some(place) = self.records.iter().position(wants) {
            let used =
                |number: &usize| self.records.iter().flatten().any(|other| other.window == Some(*number));
            let free = (0..LENT_WINDOWS).find(|number| !used(number));
            let Some(record) = &mut self.records[place] else { continue };
            let Some(wanted) = record.wanted.take() else { continue };
            let (Some(length), Some(file)) = (record.lent.length, record.file.upgrade()) else { continue };
            let Some(number) = record.window.or(free) else { continue };
            let Ok(Mapping::Host(host)) = file.ops.mapping(&file, false) else { continue };
            let start = if length <= WINDOW_SIZE { 0 } else { wanted & !(PAGE - 1) };
            let size = length.saturating_sub(start).min(WINDOW_SIZE);
            let address = thread.open_window(number, host.as_fd(), start, size);
            record.lent.window = address.map(|address| LentWindow { start, length: size, address });
            record.window = address.map(|_| number);
            thread.lend_file(place, &record.lent);
        }
    }
}
