//! What is to be done when a thread ends: `set_tid_address(2)`, `set_robust_list(2)`.
//!
//! A guest thread may say so without asking ([`Left`]). What it has left is its last word: whoever sets something here takes
//! over first what the thread has.
//!
//! [`Left`]: usk_platform::Left

use std::sync::atomic::{AtomicU64, Ordering};

use usk_platform::Left;

use super::{Current, Task};

/// What the sentry knows. 0 is nothing.
#[derive(Debug, Default)]
pub(crate) struct LastWords {
    tid_address: AtomicU64,
    robust_list: AtomicU64,
}

impl LastWords {
    /// For a task whose thread does not run yet (`CLONE_CHILD_CLEARTID`).
    pub(super) fn set_tid_address(&self, address: u64) {
        self.tid_address.store(address, Ordering::Relaxed);
    }
}

impl Task {
    fn left(&self) -> Left {
        self.runner.load().as_ref().map(|runner| runner.kicker.left()).unwrap_or_default()
    }

    /// Guest address that is zeroed and woken when the task ends; 0 is none.
    pub fn tid_address(&self) -> u64 {
        self.left().tid_address.unwrap_or_else(|| self.last_words.tid_address.load(Ordering::Relaxed))
    }

    /// Head of the robust futex list; 0 is none.
    pub fn robust_list(&self) -> u64 {
        self.left().robust_list.unwrap_or_else(|| self.last_words.robust_list.load(Ordering::Relaxed))
    }
}

impl Current {
    /// `set_tid_address(2)`
    pub fn set_tid_address(&mut self, address: u64) {
        self.take_over_left();
        self.task.last_words.tid_address.store(address, Ordering::Relaxed);
    }

    /// `set_robust_list(2)`
    pub fn set_robust_list(&mut self, head: u64) {
        self.take_over_left();
        self.task.last_words.robust_list.store(head, Ordering::Relaxed);
    }

    /// A new program begins, which has said nothing.
    pub(super) fn forget_last_words(&mut self) {
        self.set_tid_address(0);
        self.set_robust_list(0);
    }

    /// Others who look meanwhile find the same in either place.
    fn take_over_left(&mut self) {
        let Left { tid_address, robust_list } = self.thread.left();
        let words = &self.task.last_words;
        for (word, left) in [(&words.tid_address, tid_address), (&words.robust_list, robust_list)] {
            if let Some(left) = left {
                word.store(left, Ordering::Relaxed);
            }
        }
        self.thread.forget_left();
    }
}
