//! To whom the attributes of a file are lent: tasks that may show them without asking, as long as nothing changes.

use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use crate::task::Task;
use crate::vfs::{Attributes, NameChange};

/// The tasks that have a file's attributes. Below an overlay they may also be known by a name ([`NameChange`]).
#[derive(Default)]
pub struct Borrowers {
    tasks: Mutex<Vec<Weak<Task>>>,
}

/// Nobody has the attributes, and nobody gets them before this is dropped.
pub struct Recall<'a> {
    _nobody: MutexGuard<'a, Vec<Weak<Task>>>,
    /// Not to be dropped with the lock held.
    _tasks: Vec<Arc<Task>>,
    _change: Option<NameChange>,
}

impl Borrowers {
    /// Lends what `look` returns, which holds until the next [`Borrowers::recall`].
    pub fn lend(&self, task: &Arc<Task>, look: impl FnOnce() -> Option<Attributes>) -> Option<Attributes> {
        let mut tasks = self.tasks.lock();
        let attributes = look()?;
        if !tasks.iter().any(|known| known.as_ptr() == Arc::as_ptr(task)) {
            tasks.retain(|known| known.strong_count() > 0);
            tasks.push(Arc::downgrade(task));
        }
        Some(attributes)
    }

    /// Before a change, which is made while the result is held: nobody shows the attributes any more, nor are they known by a name.
    pub fn recall(&self) -> Recall<'_> {
        let recall = self.recall_lent();
        Recall { _change: Some(NameChange::begin()), ..recall }
    }

    /// The same, of a file whose attributes are never known by a name.
    pub fn recall_lent(&self) -> Recall<'_> {
        let mut nobody = self.tasks.lock();
        let tasks: Vec<_> = nobody.drain(..).filter_map(|task| task.upgrade()).collect();
        for task in &tasks {
            task.withdraw_answers();
        }
        Recall { _nobody: nobody, _tasks: tasks, _change: None }
    }
}
