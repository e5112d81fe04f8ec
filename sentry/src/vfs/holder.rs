//! The task that holds a file: to whose guest thread it is lent to write and to lock without calling. There is one at most, as long as
//! nobody else can reach the file; what it has noted and not told yet is brought in before anybody else looks.

use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use crate::task::Task;

/// See the module.
#[derive(Default)]
pub struct Holder {
    task: Mutex<Option<Weak<Task>>>,
}

/// Nobody holds the file, nor gets to before this is dropped.
pub struct Released<'a> {
    _nobody: MutexGuard<'a, Option<Weak<Task>>>,
    /// Not to be dropped with the lock held.
    _task: Option<Arc<Task>>,
}

impl Holder {
    /// Lets `task` hold the file, under the terms of `look`, until the next [`Holder::release`].
    pub(crate) fn hold<T>(&self, task: &Arc<Task>, look: impl FnOnce() -> Option<T>) -> Option<T> {
        let mut holder = self.task.lock();
        let terms = look();
        *holder = terms.as_ref().map(|_| Arc::downgrade(task));
        terms
    }

    /// Whether `task` holds it still.
    pub(crate) fn is(&self, task: &Arc<Task>) -> bool {
        self.task.lock().as_ref().is_some_and(|holder| holder.as_ptr() == Arc::as_ptr(task))
    }

    /// Before a look: what its holder has done can be seen. Waits for it to leave guest code; so none of the locks may be held that
    /// it takes on its way out: [`FdTable`](crate::vfs::FdTable), positions, file contents, [`FileLocks`](crate::vfs::FileLocks).
    pub fn settle(&self) {
        let holder = self.task.lock().as_ref().and_then(Weak::upgrade);
        if let Some(task) = holder {
            task.bring_in_files();
        }
    }

    /// Makes a change as [`Holder::release`] has it.
    pub fn change<T>(&self, make: impl FnOnce() -> T) -> T {
        let _released = self.release();
        make()
    }

    /// Before a change of what it was lent for, its attributes and the count of its names included, which is made while the result is
    /// held: its holder has to ask. Waits as [`Holder::settle`] does.
    pub fn release(&self) -> Released<'_> {
        let mut holder = self.task.lock();
        let task = holder.take().and_then(|task| task.upgrade());
        if let Some(task) = &task {
            drop(task.borrow_files());
        }
        Released { _nobody: holder, _task: task }
    }
}
