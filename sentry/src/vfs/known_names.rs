//! What guest threads have been told of names, so that their platform answers calls about them (tier 0).
//!
//! It holds until something changes that a walk depends on: what a name means, who may search a directory, where walks start, what
//! is mounted, or what `stat(2)` shows of a file whose attributes were told. Whoever changes such a thing holds a [`NameChange`] while
//! others get to know of the change: beginning it withdraws what it may make untrue, and nobody is told anything that was found out
//! before it began, or before it was over.
//!
//! A change of one name that neither was nor becomes the name of another directory than a new one withdraws the answers whose walks
//! ended at that name, or followed it as a link, and a change of a file that is written at times those that show its attributes: both by
//! what an answer depends on ([`LookedUp`]). All other changes withdraw everything.
//! There is one state of all names of the sandbox, and not one for each directory: answers are got back for the price of a call each,
//! and a walk passes many directories. `docs/decisions/0045` has the proof.

use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use usk_platform::{Kick, LeftName, NAME_PLACES};

use crate::vfs::InodeCommon;

static STATE: Mutex<State> = Mutex::new(State::new());

struct State {
    /// Changes that have begun.
    changes: u64,
    /// Those of them that have withdrawn everything.
    sweeps: u64,
    /// Those that are not over.
    under_way: u32,
    /// Threads to which something was told that holds.
    told: Vec<Told>,
}

/// What a thread was told.
struct Told {
    thread: Weak<dyn Kick>,
    /// What the answer at each place of its table depends on; nothing, where none was left.
    places: Box<[LookedUp; NAME_PLACES]>,
}

/// What can change an answer: the name at which its walk ended, those of the links that it followed, and the file that was found there,
/// if what was told of that may change by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookedUp([Option<Mark>; MOST_LOOKED_UP]);

/// Names and files that one answer may depend on.
const MOST_LOOKED_UP: usize = 4;

/// A hash of something on which an answer depends. What has the same is withdrawn together, which does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(NonZeroU32);

impl Mark {
    /// That of a file, as long as it lives.
    pub(crate) fn of_file(file: &InodeCommon) -> Self {
        Mark::of([&std::ptr::from_ref(file).addr().to_ne_bytes()])
    }

    /// That of a name in the directory of this number, which never changes.
    pub(crate) fn of_name(directory: u64, name: &[u8]) -> Self {
        Mark::of([&directory.to_ne_bytes(), name])
    }

    fn of<const COUNT: usize>(parts: [&[u8]; COUNT]) -> Self {
        let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        let hash = parts.into_iter().flatten().fold(0x811c_9dc5, step);
        Mark(NonZeroU32::new(hash).unwrap_or(NonZeroU32::MIN))
    }
}

impl LookedUp {
    /// The same and something else. `None` if there is too much.
    pub(crate) fn with(mut self, mark: Mark) -> Option<Self> {
        let free = self.0.iter_mut().find(|known| known.is_none())?;
        *free = Some(mark);
        Some(self)
    }

    /// The same with something else in the place of the last.
    pub(crate) fn with_last(mut self, mark: Mark) -> Self {
        if let Some(last) = self.0.iter_mut().rfind(|known| known.is_some()) {
            *last = Some(mark);
        }
        self
    }

    pub(crate) fn last(&self) -> Option<Mark> {
        self.0.iter().rev().find_map(|known| *known)
    }

    fn contains(&self, mark: Mark) -> bool {
        self.0.contains(&Some(mark))
    }
}

/// A change of names, which is made while this is held.
pub(crate) struct NameChange(());

impl NameChange {
    /// Nothing holds any more that was told.
    pub(crate) fn begin() -> Self {
        STATE.lock().begin();
        NameChange(())
    }

    /// Nothing holds any more of what was told of this file, or name. A name is to mean something, or nothing, from now on; a directory
    /// only if it is a new one.
    pub(crate) fn begin_of(mark: Mark) -> Self {
        STATE.lock().begin_of(mark);
        NameChange(())
    }
}

impl Drop for NameChange {
    fn drop(&mut self) {
        STATE.lock().under_way -= 1;
    }
}

impl State {
    const fn new() -> Self {
        State { changes: 0, sweeps: 0, under_way: 0, told: Vec::new() }
    }

    fn begin(&mut self) {
        self.changes += 1;
        self.sweeps += 1;
        self.under_way += 1;
        self.told
            .drain(..)
            .filter_map(|told| told.thread.upgrade())
            .for_each(|thread| thread.withdraw_names());
    }

    fn begin_of(&mut self, mark: Mark) {
        self.changes += 1;
        self.under_way += 1;
        self.told.retain(|told| told.withdraw(mark));
    }

    /// Notes what a thread is told.
    fn note(&mut self, thread: &Arc<dyn Kick>, left: LeftName, looked_up: LookedUp) {
        let is_its = |told: &Told| told.is_of(thread);
        if left.is_first || !self.told.iter().any(is_its) {
            self.told.retain(|told| told.thread.strong_count() > 0 && !told.is_of(thread));
            let places = Box::new([LookedUp::default(); NAME_PLACES]);
            self.told.push(Told { thread: Arc::downgrade(thread), places });
        }
        let told = self.told.iter_mut().find(|told| told.is_of(thread));
        if let Some(place) = told.and_then(|told| told.places.get_mut(left.place)) {
            *place = looked_up;
        }
    }
}

impl Told {
    fn is_of(&self, thread: &Arc<dyn Kick>) -> bool {
        std::ptr::addr_eq(self.thread.as_ptr(), Arc::as_ptr(thread))
    }

    /// Withdraws the answers that depend on this. False if there is no such thread any more.
    fn withdraw(&self, mark: Mark) -> bool {
        if self.thread.strong_count() == 0 {
            return false;
        }
        for (place, looked_up) in self.places.iter().enumerate() {
            if looked_up.contains(mark)
                && let Some(thread) = self.thread.upgrade()
            {
                thread.withdraw_name(place);
            }
        }
        true
    }
}

/// A moment at which no name was changing. Taken before a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamesAsOf {
    changes: u64,
    sweeps: u64,
}

impl NamesAsOf {
    /// This one.
    pub(crate) fn now() -> Option<Self> {
        let state = STATE.lock();
        let State { changes, sweeps, under_way, .. } = *state;
        (under_way == 0).then_some(NamesAsOf { changes, sweeps })
    }

    /// True if not everything was withdrawn between the two.
    pub(crate) fn is_near(self, other: NamesAsOf) -> bool {
        self.sweeps == other.sweeps
    }

    /// Tells a thread what was found out since, unless something has changed. `tell` leaves answers, and passes on what each has
    /// looked up.
    pub(crate) fn tell(self, thread: &Arc<dyn Kick>, tell: impl FnOnce(&mut dyn FnMut(LeftName, LookedUp))) {
        let mut state = STATE.lock();
        if state.changes != self.changes {
            return;
        }
        tell(&mut |left, looked_up| state.note(thread, left, looked_up));
    }

    /// Whether a thread was told of this, since when not everything was withdrawn: it will ask again.
    pub(crate) fn was_told(thread: &Arc<dyn Kick>, mark: Mark) -> bool {
        let state = STATE.lock();
        let told = state.told.iter().find(|told| told.is_of(thread));
        told.is_some_and(|told| told.places.iter().any(|looked_up| looked_up.contains(mark)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    /// Counts how often all of its names are withdrawn, and which of them.
    #[derive(Default)]
    struct Thread {
        all: AtomicU32,
        places: Mutex<Vec<usize>>,
    }

    impl Kick for Thread {
        fn kick(&self) {}

        fn kill(&self) {}

        fn withdraw_names(&self) {
            self.all.fetch_add(1, Ordering::Relaxed);
        }

        fn withdraw_name(&self, place: usize) {
            self.places.lock().push(place);
        }

        fn is_alive(&self) -> bool {
            true
        }

        fn cpu_time(&self) -> Duration {
            Duration::ZERO
        }
    }

    fn looked_up(names: &[&[u8]]) -> LookedUp {
        names.iter().fold(LookedUp::default(), |all, name| all.with(mark(name)).unwrap())
    }

    fn mark(name: &[u8]) -> Mark {
        Mark::of_name(1, name)
    }

    /// Whether something that was found out at `as_of` is told.
    fn is_told(as_of: NamesAsOf, thread: &Arc<dyn Kick>) -> bool {
        let mut is_told = false;
        as_of.tell(thread, |note| {
            is_told = true;
            note(LeftName { place: 0, is_first: true }, looked_up(&[b"name"]));
        });
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
        for begin in [NameChange::begin, || NameChange::begin_of(mark(b"name"))] {
            let thread: Arc<dyn Kick> = Arc::new(Thread::default());
            let before = now();
            let change = begin();
            assert!(!is_told(before, &thread));
            assert!(NamesAsOf::now().is_none());
            drop(change);
            assert!(!is_told(before, &thread));
            while !is_told(now(), &thread) {}
        }
    }

    #[test]
    fn a_change_withdraws_what_was_told_before_it_is_made() {
        let thread = Arc::new(Thread::default());
        let kick: Arc<dyn Kick> = thread.clone();
        while !is_told(now(), &kick) {}
        let change = NameChange::begin();
        assert_eq!(thread.all.load(Ordering::Relaxed), 1);
        drop((change, NameChange::begin()));
        assert_eq!(thread.all.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_change_of_a_name_withdraws_what_has_looked_it_up() {
        let thread = Arc::new(Thread::default());
        let kick: Arc<dyn Kick> = thread.clone();
        let mut state = State::new();
        let mut left = |place, names: &[&[u8]], is_first| {
            state.note(&kick, LeftName { place, is_first }, looked_up(names));
        };
        left(7, &[b"forgotten"], true);
        left(0, &[b"one"], true);
        left(1, &[b"link", b"two"], false);
        left(2, &[b"replaced"], false);
        left(2, &[b"three"], false);
        let mut withdrawn_by = |name: &[u8]| {
            state.begin_of(mark(name));
            std::mem::take(&mut *thread.places.lock())
        };
        for name in [&b"four"[..], b"", b"replaced", b"forgotten"] {
            assert!(withdrawn_by(name).is_empty());
        }
        assert_eq!(withdrawn_by(b"link"), [1]);
        assert_eq!(withdrawn_by(b"two"), [1]);
        assert_eq!(withdrawn_by(b"one"), [0]);
        assert_eq!(withdrawn_by(b"three"), [2]);
        state.begin();
        assert!(state.told.is_empty() && thread.all.load(Ordering::Relaxed) == 1);
    }

    #[test]
    fn an_answer_depends_on_few_names_only() {
        let names = looked_up(&[b"a", b"b", b"c"]);
        assert_eq!(names.with_last(mark(b"d")), looked_up(&[b"a", b"b", b"d"]));
        assert!(names.with(mark(b"d")).is_some_and(|names| names.with(mark(b"e")).is_none()));
    }

    #[test]
    fn the_same_name_in_two_directories_is_two_names() {
        assert_ne!(Mark::of_name(1, b"name"), Mark::of_name(2, b"name"));
    }
}
