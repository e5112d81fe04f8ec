//! Changes of an epoll instance that the platform notes while the guest runs, and that are made when it stops.
//!
//! Nobody can tell when they are made, as long as nobody else reaches the instance: it is in this table alone, and no other
//! instance watches it. So only its own task waits there, by a call, before which they are made, in their order; and they
//! are such as succeed. The guest can forge what is noted: it says no more than calls could have done.

use std::sync::Arc;

use usk_abi::epoll::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EpollEvent};
use usk_platform::{GuestThread, NotedChange};

use super::Lending;
use crate::file::epoll::{Epoll, Watchable};
use crate::task::{Current, Task};
use crate::vfs::{FdTable, OpenFile};

/// The instance of which changes are noted.
#[derive(Default)]
pub(super) struct Noted {
    /// The number of its file. The first of which something was modified or removed by a call: many are only added to.
    instance: Option<u64>,
    /// Its record's.
    place: Option<usize>,
    /// What the descriptors were found to be.
    found: Watchable,
    /// In which table, in which state, and in which state of the instance.
    found_in: Option<(u64, u64, u64)>,
}

impl Noted {
    /// What is watched is looked at anew the next time.
    pub(super) fn forget(&mut self) {
        self.found_in = None;
    }

    /// Whether changes of this file are noted.
    pub(super) fn is_about(&self, file: &OpenFile) -> bool {
        self.instance == Some(file.id())
    }

    /// Makes the changes. The table is as it was when it was lent.
    fn make(&mut self, changes: &[NotedChange], files: &FdTable, instance: &Arc<OpenFile>) {
        for (index, change) in changes.iter().enumerate() {
            let descriptor = i32::from(change.descriptor);
            let is_watchable =
                self.found.watchable.checked_shr(change.descriptor.into()).unwrap_or(0) & 1 == 1;
            let removed = NotedChange { operation: EPOLL_CTL_DEL, event: EpollEvent::default(), ..*change };
            let is_undone = change.operation == EPOLL_CTL_MOD && changes.get(index + 1) == Some(&removed);
            if !is_watchable || is_undone {
                continue;
            }
            let Ok(file) = files.get(descriptor) else { continue };
            if Epoll::control(instance, change.operation, descriptor, &file, change.event).is_err() {
                continue;
            }
            match change.operation {
                EPOLL_CTL_ADD => self.found.watched |= 1 << descriptor,
                EPOLL_CTL_DEL => self.found.watched &= !(1 << descriptor),
                _ => {}
            }
        }
    }
}

impl Current {
    /// A change of an epoll instance has come to the sentry.
    pub fn note_control(&mut self, instance: &OpenFile, operation: i32) {
        if operation != EPOLL_CTL_ADD {
            self.lending.noted.instance.get_or_insert(instance.id());
        }
    }
}

impl Lending {
    /// The guest has stopped: makes the changes that have been noted. To be done before the descriptors are taken back.
    pub(super) fn make_noted_changes(&mut self, task: &Task, thread: &mut dyn GuestThread) {
        let Some(place) = self.noted.place else { return };
        let Some(Some(record)) = self.records.get(place) else { return };
        if record.lent.watchable == 0 {
            return;
        }
        let changes = thread.noted();
        if changes.is_empty() {
            return;
        }
        let files = task.lendable_files();
        let (Some(files), Some(instance)) = (&*files, record.file.upgrade()) else { return };
        self.noted.make(&changes, files, &instance);
        self.noted.found_in =
            Epoll::of(&instance).map(|epoll| (files.id(), files.version(), epoll.version()));
        thread.lend_watched(self.noted.found.watched);
    }

    /// Sees to it that what is lent of an instance is true. The records are.
    pub(super) fn lend_instance(&mut self, files: &FdTable, thread: &mut dyn GuestThread) {
        let Some(id) = self.noted.instance else { return };
        let mut records = self.records.iter_mut().enumerate();
        let found = records.find_map(|(number, record)| {
            Some((number, record.as_mut()?)).filter(|(_, record)| record.id == id)
        });
        // Its flags are lent as long as nobody else reaches it.
        let Some((place, record)) = found.filter(|(_, record)| record.lent.flags.is_some()) else {
            self.noted = Noted::default();
            return;
        };
        let Some(file) = record.file.upgrade() else { return };
        let Some(epoll) = Epoll::of(&file) else { return };
        let noted = &mut self.noted;
        let found_in = Some((files.id(), files.version(), epoll.version()));
        if noted.found_in != found_in {
            files.look_at_first(|slots| {
                let open = slots.iter().filter_map(|(number, file, _)| Some((number.try_into().ok()?, file)));
                noted.found = epoll.watchable(open);
            });
            noted.found_in = found_in;
            thread.lend_watched(noted.found.watched);
        }
        if record.lent.watchable != noted.found.watchable {
            record.lent.watchable = noted.found.watchable;
            thread.lend_file(place, &record.lent);
        }
        noted.place = Some(place);
    }
}
