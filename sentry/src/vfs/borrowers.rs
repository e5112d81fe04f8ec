//! To whom the attributes of a file are lent: who may show them without asking, as long as nothing changes.

use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use crate::task::Task;
use crate::vfs::{Attributes, Mark, NameChange};

/// One of them.
#[derive(Clone, Copy)]
pub enum Borrower<'a> {
    /// A task that has the file open.
    Task(&'a Arc<Task>),
    /// Those who know the file by a name, by answers that depend on this mark.
    Names(Mark),
}

/// The borrowers of one file's attributes. Where these change with everything that is known of names they may be known by a name besides
/// ([`Borrowers::recall`]).
#[derive(Default)]
pub struct Borrowers {
    who: Mutex<Who>,
}

#[derive(Default)]
struct Who {
    tasks: Vec<Weak<Task>>,
    names: Option<Mark>,
}

/// Nobody has the attributes, and nobody gets them before this is dropped.
pub struct Recall<'a> {
    _nobody: MutexGuard<'a, Who>,
    /// Not to be dropped with the lock held.
    _tasks: Vec<Arc<Task>>,
    _change: Option<NameChange>,
}

impl Borrowers {
    /// Lends what `look` returns, which holds until the next [`Borrowers::recall`].
    pub fn lend(&self, to: Borrower<'_>, look: impl FnOnce() -> Option<Attributes>) -> Option<Attributes> {
        let mut who = self.who.lock();
        let attributes = look()?;
        match to {
            Borrower::Task(task) => who.add(task),
            Borrower::Names(mark) => who.names = Some(mark),
        }
        Some(attributes)
    }

    /// Before a change, which is made while the result is held: nobody shows the attributes any more, nor are they known by a name.
    pub fn recall(&self) -> Recall<'_> {
        let recall = self.recall_lent();
        Recall { _change: Some(NameChange::begin()), ..recall }
    }

    /// The same, of a file whose attributes are known by a name only where they have been lent for that.
    pub fn recall_lent(&self) -> Recall<'_> {
        let mut nobody = self.who.lock();
        let tasks: Vec<_> = nobody.tasks.drain(..).filter_map(|task| task.upgrade()).collect();
        for task in &tasks {
            task.withdraw_loans();
        }
        let change = nobody.names.take().map(NameChange::begin_of);
        Recall { _nobody: nobody, _tasks: tasks, _change: change }
    }
}

impl Who {
    fn add(&mut self, task: &Arc<Task>) {
        if !self.tasks.iter().any(|known| known.as_ptr() == Arc::as_ptr(task)) {
            self.tasks.retain(|known| known.strong_count() > 0);
            self.tasks.push(Arc::downgrade(task));
        }
    }
}
