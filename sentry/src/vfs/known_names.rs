//! What guest threads have been told of names, so that their platform answers calls about them (tier 0).
//!
//! It holds until something changes that a walk depends on: what a name means, who may search a directory, where walks start, what
//! is mounted, or what `stat(2)` shows of a file whose attributes were told. Whoever changes such a thing holds a [`NameChange`] while
//! others get to know of the change: beginning it withdraws all that anybody was told, and nobody is told anything that was found out
//! before it began, or before it was over.
//!
//! There is one state of all names of the sandbox, and not one for each directory: answers are got back for the price of a call each,
//! and a walk passes many directories.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use usk_platform::Kick;

static STATE: Mutex<State> = Mutex::new(State { changes: 0, under_way: 0, told: Vec::new() });

struct State {
    /// Changes that have begun.
    changes: u64,
    /// Those that are not over.
    under_way: u32,
    /// Threads to which something was told that holds.
    told: Vec<Weak<dyn Kick>>,
}

/// A change of names, which is made while this is held.
pub(crate) struct NameChange(());

impl NameChange {
    /// Nothing holds any more that was told.
    pub(crate) fn begin() -> Self {
        let mut state = STATE.lock();
        state.changes += 1;
        state.under_way += 1;
        state.told.drain(..).filter_map(|thread| thread.upgrade()).for_each(|thread| thread.withdraw_names());
        NameChange(())
    }
}

impl Drop for NameChange {
    fn drop(&mut self) {
        STATE.lock().under_way -= 1;
    }
}

/// A moment at which no name was changing. Taken before a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamesAsOf(u64);

impl NamesAsOf {
    /// This one.
    pub(crate) fn now() -> Option<Self> {
        let state = STATE.lock();
        (state.under_way == 0).then_some(NamesAsOf(state.changes))
    }

    /// Tells a thread what was found out since, unless something has changed. `tell` is to return true if nothing else holds that the
    /// thread was told.
    pub(crate) fn tell(self, thread: impl FnOnce() -> Arc<dyn Kick>, tell: impl FnOnce() -> bool) {
        let mut state = STATE.lock();
        if state.changes == self.0 && tell() {
            let thread = Arc::downgrade(&thread());
            state.told.retain(|known| known.strong_count() > 0 && !known.ptr_eq(&thread));
            state.told.push(thread);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    /// Counts how often its names are withdrawn.
    #[derive(Default)]
    struct Thread(AtomicU32);

    impl Kick for Thread {
        fn kick(&self) {}

        fn kill(&self) {}

        fn withdraw_names(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn is_alive(&self) -> bool {
            true
        }

        fn cpu_time(&self) -> Duration {
            Duration::ZERO
        }
    }

    /// Whether something that was found out at `as_of` is told.
    fn is_told(as_of: NamesAsOf, thread: &Arc<Thread>) -> bool {
        let mut is_told = false;
        as_of.tell(
            || thread.clone(),
            || {
                is_told = true;
                true
            },
        );
        is_told
    }

    /// The next moment without a change: other tests make some, too.
    fn now() -> NamesAsOf {
        loop {
            if let Some(now) = NamesAsOf::now() {
                return now;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_was_found_out_before_a_change_is_not_told_after_it_began() {
        let thread = Arc::new(Thread::default());
        let before = now();
        let change = NameChange::begin();
        assert!(!is_told(before, &thread));
        assert!(NamesAsOf::now().is_none());
        drop(change);
        assert!(!is_told(before, &thread));
        while !is_told(now(), &thread) {}
    }

    #[test]
    fn a_change_withdraws_what_was_told_before_it_is_made() {
        let thread = Arc::new(Thread::default());
        while !is_told(now(), &thread) {}
        let change = NameChange::begin();
        assert_eq!(thread.0.load(Ordering::Relaxed), 1);
        drop((change, NameChange::begin()));
        assert_eq!(thread.0.load(Ordering::Relaxed), 1);
    }
}
