//! Waiting: queues on objects, and the one object that a blocked task sleeps on.
//!
//! A file object owns a [`WaitQueue`] and notifies it when its readiness changes. Whoever waits has registered a
//! [`Notify`]: a task's [`Waiter`], or an epoll instance. Code that blocks uses `Current::block`, never a loop of its own.
//!
//! Who sleeps on one queue alone, that of something that a guest thread writes to by itself, may be its *listener*: it is woken by that
//! thread's [`Bell`] as well, without a sentry thread between.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};
use usk_abi::PollEvents;
use usk_platform::Bell;
use usk_platform::host::wake_word;

use crate::time::Deadline;

/// Is told that something has happened on a queue.
pub trait Notify: Send + Sync {
    /// `events` have become true on the queue where `key` was registered. Called with the queue's lock held: must not
    /// touch that queue, nor the object that owns it.
    fn notify(&self, key: u64, events: PollEvents);

    /// Wakes who sleeps until then. Called after `notify`, as a rule when the lock has been let go: a sleeper leaves the queue first
    /// thing, and would find it locked by somebody who has just lost the processor to it. It may come when the registration has ended.
    fn wake_sleeper(&self) {}
}

struct Entry {
    id: u64,
    key: u64,
    interest: PollEvents,
    /// The registration ends when its target is told.
    once: bool,
    /// What its target listens for.
    bell: Option<Arc<dyn Bell>>,
    target: Arc<dyn Notify>,
}

#[derive(Default)]
struct Entries {
    next_id: u64,
    list: Vec<Entry>,
    /// Of the guest thread that was the last to write by itself.
    bell: Option<Weak<dyn Bell>>,
}

/// Who waits on a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Nobody.
    Nobody,
    /// Somebody who listens for the bell, and nobody else.
    Listener,
    /// Somebody who wants to be told.
    Others,
}

/// Who waits for an object, in the order of arrival.
#[derive(Default)]
pub struct WaitQueue {
    /// Count of entries, so that notifying an empty queue takes no lock.
    length: AtomicUsize,
    entries: Mutex<Entries>,
}

/// Names one registration on one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitToken(u64);

impl WaitQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers `target` for `interest` (errors and hang-ups are always reported).
    pub fn add(&self, target: Arc<dyn Notify>, key: u64, interest: PollEvents) -> WaitToken {
        self.push(Entry { id: 0, key, interest, once: false, bell: None, target })
    }

    /// Registers who sleeps until it is told, and looks at the object again before it comes back. So from then on nobody waits
    /// here, though it may take 100 µs until it runs (`autoremove_wake_function` in `kernel/sched/wait.c`).
    pub fn add_sleeper(&self, target: Arc<dyn Notify>, interest: PollEvents) -> WaitToken {
        self.push(Entry { id: 0, key: 0, interest, once: true, bell: None, target })
    }

    /// As [`WaitQueue::add_sleeper`], for a target that sleeps on this queue only. Returns the bell that it is to listen for, and how
    /// often that had been rung; with that it may not be told of what the bell's thread leaves.
    fn add_listener(
        &self,
        target: Arc<Waiter>,
        interest: PollEvents,
    ) -> (WaitToken, Option<(Arc<dyn Bell>, u32)>) {
        let bell = match interest.intersects(PollEvents::IN) {
            true => self.entries.lock().bell.as_ref().and_then(Weak::upgrade),
            false => None,
        };
        let listening = bell.clone().map(|bell| {
            let times_rung = bell.times_rung();
            (bell, times_rung)
        });
        (self.push(Entry { id: 0, key: 0, interest, once: true, bell, target }), listening)
    }

    /// From now on who sleeps listens for this bell.
    pub(crate) fn set_bell(&self, bell: &Arc<dyn Bell>) {
        self.entries.lock().bell = Some(Arc::downgrade(bell));
    }

    /// Whether anybody waits who must be told, whatever bell is rung.
    pub(crate) fn must_tell(&self) -> bool {
        self.has_waiters()
            && !matches!(self.entries.lock().list.as_slice(), [] | [Entry { bell: Some(_), .. }])
    }

    /// Who waits, for whom `bell` would be rung.
    pub(crate) fn audience(&self, bell: Option<&Arc<dyn Bell>>) -> Audience {
        if !self.has_waiters() {
            return Audience::Nobody;
        }
        let entries = self.entries.lock();
        match entries.list.as_slice() {
            [] => Audience::Nobody,
            [Entry { bell: Some(listens), .. }] if bell.is_some_and(|bell| Arc::ptr_eq(bell, listens)) => {
                Audience::Listener
            }
            _ => Audience::Others,
        }
    }

    fn push(&self, mut entry: Entry) -> WaitToken {
        let mut entries = self.entries.lock();
        let id = entries.next_id;
        entries.next_id += 1;
        entry.id = id;
        entry.interest |= PollEvents::ERR | PollEvents::HUP;
        entries.list.push(entry);
        self.length.store(entries.list.len(), Ordering::SeqCst);
        WaitToken(id)
    }

    /// Changes what a registration is for.
    pub fn change(&self, token: WaitToken, interest: PollEvents) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.list.iter_mut().find(|entry| entry.id == token.0) {
            entry.interest = interest | PollEvents::ERR | PollEvents::HUP;
        }
    }

    /// Ends a registration, if it has not ended by itself. After that its target is not called any more.
    pub fn remove(&self, token: WaitToken) {
        let mut entries = self.entries.lock();
        let place = entries.list.iter().position(|entry| entry.id == token.0);
        let removed = place.map(|place| entries.list.remove(place));
        self.length.store(entries.list.len(), Ordering::SeqCst);
        drop(entries);
        // Its bell may be the last that holds on to an address space.
        drop(removed);
    }

    /// Whether anybody is registered.
    pub fn has_waiters(&self) -> bool {
        self.length.load(Ordering::SeqCst) > 0
    }

    /// Tells everybody who is interested in any of `events`, so that nobody who leaves has to pass on what it was told.
    pub fn notify(&self, events: PollEvents) {
        if !self.has_waiters() {
            return;
        }
        let mut first: Option<Arc<dyn Notify>> = None;
        let mut entries = self.entries.lock();
        entries.list.retain(|entry| {
            if !entry.interest.intersects(events) {
                return true;
            }
            entry.target.notify(entry.key, events);
            match first {
                None => first = Some(Arc::clone(&entry.target)),
                Some(_) => entry.target.wake_sleeper(),
            }
            !entry.once
        });
        self.length.store(entries.list.len(), Ordering::SeqCst);
        drop(entries);
        if let Some(first) = first {
            first.wake_sleeper();
        }
    }
}

/// Waits until `attempt` has a result. While it has none, `waiter` is registered on the queues, it is made once more, and `sleep` waits
/// for the waiter to be told; what that returns instead is the result. Both are given `context`.
pub(crate) fn wait_for<C, T>(
    context: &mut C,
    waiter: &Arc<Waiter>,
    queues: &[(&WaitQueue, PollEvents)],
    mut attempt: impl FnMut(&mut C) -> Option<T>,
    mut sleep: impl FnMut(&mut C) -> Option<T>,
) -> T {
    // The bell is its thread's, and may be rung for who waits for something else: who has been woken in vain has to be told.
    let mut may_listen = true;
    loop {
        if let Some(result) = attempt(context) {
            return result;
        }
        waiter.arm();
        let look = || attempt(context).or_else(|| sleep(context));
        let result = match queues {
            [queue] if std::mem::take(&mut may_listen) => as_listener(waiter, *queue, look),
            _ => as_sleeper(waiter, queues, look),
        };
        if let Some(result) = result {
            return result;
        }
    }
}

/// What `look` returns while the waiter is registered on the queue, and listens if there is a bell.
fn as_listener<T>(
    waiter: &Arc<Waiter>,
    (queue, events): (&WaitQueue, PollEvents),
    look: impl FnOnce() -> T,
) -> T {
    let (token, bell) = queue.add_listener(waiter.clone(), events);
    let listens = bell.is_some();
    if listens {
        waiter.listen(bell);
    }
    let result = look();
    if listens {
        waiter.listen(None);
    }
    queue.remove(token);
    result
}

/// What `look` returns while the waiter is registered on the queues.
fn as_sleeper<T>(waiter: &Arc<Waiter>, queues: &[(&WaitQueue, PollEvents)], look: impl FnOnce() -> T) -> T {
    let tokens: Vec<_> =
        queues.iter().map(|(queue, events)| queue.add_sleeper(waiter.clone(), *events)).collect();
    let result = look();
    for ((queue, _), token) in queues.iter().zip(tokens) {
        queue.remove(token);
    }
    result
}

/// Why [`Waiter::wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A queue notified it.
    Notified,
    /// The deadline has passed.
    TimedOut,
    /// A signal wants attention.
    Interrupted,
}

/// What a task sleeps on. Each task has one; a notification that comes before the sleep is kept.
#[derive(Default)]
pub struct Waiter {
    state: Mutex<WaiterState>,
    condition: Condvar,
    interrupted: AtomicBool,
    /// What a listener sleeps on besides the bell: how often one has been woken otherwise.
    turn: AtomicU32,
}

#[derive(Default)]
struct WaiterState {
    notified: bool,
    /// What the task listens for, and how often that had been rung when it looked last.
    listening: Option<(Arc<dyn Bell>, u32)>,
}

impl WaiterState {
    /// Whether the task listens for a bell that has been rung since it looked.
    fn was_rung_for(&self) -> bool {
        self.listening.as_ref().is_some_and(|(bell, times_rung)| bell.times_rung() != *times_rung)
    }
}

impl Waiter {
    /// A waiter that nothing has happened to yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Forgets notifications that came so far. Done before registering on queues and checking the condition.
    pub fn arm(&self) {
        self.state.lock().notified = false;
    }

    /// Has the next sleep end when the bell is rung, too. Only the task's own thread says so.
    fn listen(&self, listening: Option<(Arc<dyn Bell>, u32)>) {
        let before = std::mem::replace(&mut self.state.lock().listening, listening);
        // Not under the lock: it may be the last that holds on to an address space.
        drop(before);
    }

    /// Wakes the sleeper, or keeps the next sleep from beginning.
    pub fn wake(&self) {
        self.state.lock().notified = true;
        self.end_sleep();
    }

    /// Says whether a deliverable signal is pending (Linux's `TIF_SIGPENDING`), and wakes the sleeper if so.
    pub fn set_interrupted(&self, interrupted: bool) {
        self.interrupted.store(interrupted, Ordering::SeqCst);
        if interrupted {
            self.end_sleep();
        }
    }

    /// Has the sleeper look at what has been written down for it.
    fn end_sleep(&self) {
        // Under the lock: whatever the sleeper has seen is not so any more.
        let listens = self.state.lock().listening.is_some();
        if listens {
            self.turn.fetch_add(1, Ordering::SeqCst);
            wake_word(&self.turn);
        }
        self.condition.notify_all();
    }

    /// True while a deliverable signal is pending.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// Sleeps until woken, interrupted (unless `uninterruptible`), or the deadline.
    pub fn wait(&self, deadline: Option<Deadline>, uninterruptible: bool) -> Wake {
        let until: Option<Instant> = deadline.and_then(Deadline::to_instant);
        let mut state = self.state.lock();
        loop {
            // What came before a signal or the deadline is told before either.
            if std::mem::take(&mut state.notified) || state.was_rung_for() {
                return Wake::Notified;
            }
            if !uninterruptible && self.is_interrupted() {
                return Wake::Interrupted;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Wake::TimedOut;
            }
            if let Some((bell, times_rung)) = state.listening.clone() {
                let turn = self.turn.load(Ordering::SeqCst);
                MutexGuard::unlocked(&mut state, || bell.wait(times_rung, &self.turn, turn, left));
                continue;
            }
            match until {
                None => self.condition.wait(&mut state),
                Some(until) => _ = self.condition.wait_until(&mut state, until),
            }
        }
    }
}

impl Notify for Waiter {
    fn notify(&self, _key: u64, _events: PollEvents) {
        self.state.lock().notified = true;
    }

    fn wake_sleeper(&self) {
        self.end_sleep();
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Bells without guests.

    use std::time::Duration;

    use usk_platform::host::{SharedMapping, create_memfd, wait_for_two};

    use super::*;
    use crate::vfs::OpenFile;

    /// A bell in memory of its own.
    pub(crate) struct TestBell(SharedMapping);

    impl TestBell {
        pub(crate) fn new() -> Arc<TestBell> {
            let file = create_memfd(c"bell", 4096).unwrap();
            Arc::new(TestBell(SharedMapping::new(&file, 4096).unwrap()))
        }

        pub(crate) fn ring(&self) {
            self.0.word(0).fetch_add(1, Ordering::SeqCst);
            self.0.wake(0);
        }
    }

    impl Bell for TestBell {
        fn times_rung(&self) -> u32 {
            self.0.load_u32(0)
        }

        fn wait(&self, times_rung: u32, other: &AtomicU32, value: u32, timeout: Option<Duration>) {
            wait_for_two((self.0.word(0), times_rung), (other, value), timeout);
        }
    }

    /// Somebody who waits for a file, as its listener if there is a bell.
    pub(crate) struct Registration(Arc<OpenFile>, WaitToken);

    impl Registration {
        pub(crate) fn new(file: &Arc<OpenFile>, interest: PollEvents) -> Registration {
            let queue = file.ops.wait_queue().expect("a file that can wait");
            Registration(Arc::clone(file), queue.add_listener(Waiter::new(), interest).0)
        }
    }

    impl Drop for Registration {
        fn drop(&mut self) {
            self.0.ops.wait_queue().expect("as before").remove(self.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sleeper {
        queue: Arc<WaitQueue>,
        times: AtomicUsize,
    }

    impl Notify for Sleeper {
        fn notify(&self, _key: u64, _events: PollEvents) {
            assert!(self.queue.entries.try_lock().is_none(), "the queue is locked");
        }

        fn wake_sleeper(&self) {
            assert!(self.queue.entries.try_lock().is_some(), "the queue is free");
            self.times.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_sleeper_is_woken_when_the_queue_is_free() {
        let queue = Arc::new(WaitQueue::new());
        let sleeper = Arc::new(Sleeper { queue: Arc::clone(&queue), times: AtomicUsize::new(0) });
        let token = queue.add(sleeper.clone(), 0, PollEvents::IN);
        queue.notify(PollEvents::OUT);
        assert_eq!(sleeper.times.load(Ordering::Relaxed), 0);
        queue.notify(PollEvents::IN);
        assert_eq!(sleeper.times.load(Ordering::Relaxed), 1);
        queue.remove(token);
        queue.notify(PollEvents::IN);
        assert_eq!(sleeper.times.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_sleeper_that_has_been_told_waits_no_more() {
        let queue = WaitQueue::new();
        let (sleeper, watcher) = (Waiter::new(), Waiter::new());
        let token = queue.add_sleeper(sleeper.clone(), PollEvents::IN);
        let watch = queue.add(watcher.clone(), 0, PollEvents::IN);
        queue.notify(PollEvents::OUT);
        assert!(!sleeper.state.lock().notified && !watcher.state.lock().notified);
        queue.notify(PollEvents::IN);
        assert!(sleeper.state.lock().notified && watcher.state.lock().notified);
        queue.remove(watch);
        // The sleeper has not run yet.
        assert!(!queue.has_waiters());
        queue.remove(token);
        assert!(!queue.has_waiters());
    }

    #[test]
    fn who_is_told_and_leaves_tells_nobody_what_did_not_happen() {
        let (queue, watcher) = (WaitQueue::new(), Waiter::new());
        queue.add(watcher.clone(), 0, PollEvents::HUP);
        let is_interrupted = |_: &mut ()| {
            queue.notify(PollEvents::IN);
            Some(())
        };
        let queues = [(&queue, PollEvents::IN | PollEvents::HUP)];
        wait_for(&mut (), &Waiter::new(), &queues, |()| None, is_interrupted);
        assert!(!watcher.state.lock().notified);
    }

    #[test]
    fn a_notification_before_the_sleep_is_kept() {
        let queue = WaitQueue::new();
        let waiter = Waiter::new();
        waiter.arm();
        queue.add(waiter.clone(), 0, PollEvents::IN);
        queue.notify(PollEvents::IN);
        assert_eq!(waiter.wait(None, true), Wake::Notified);
    }

    /// A listener, whose first look finds nothing, and what wakes it. Returns why its sleep ended.
    fn listen(
        deadline: Option<Deadline>,
        uninterruptible: bool,
        wakes: impl Fn(&testing::TestBell, &WaitQueue, &Waiter) + Sync,
    ) -> Wake {
        let (queue, waiter) = (WaitQueue::new(), Waiter::new());
        let bell = testing::TestBell::new();
        queue.set_bell(&(Arc::clone(&bell) as Arc<dyn Bell>));
        let is_registered = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                is_registered.wait();
                wakes(&bell, &queue, &waiter);
            });
            let mut looks = 0;
            let look = |(): &mut ()| {
                looks += 1;
                if looks == 2 {
                    assert_eq!(
                        queue.audience(Some(&(Arc::clone(&bell) as Arc<dyn Bell>))),
                        Audience::Listener
                    );
                    is_registered.wait();
                }
                None
            };
            wait_for(&mut (), &waiter, &[(&queue, PollEvents::IN)], look, |()| {
                Some(waiter.wait(deadline, uninterruptible))
            })
        })
    }

    #[test]
    fn a_listeners_sleep_is_ended_by_the_bell_and_by_all_that_ends_others() {
        for _ in 0..200 {
            assert_eq!(listen(None, true, |bell, _, _| bell.ring()), Wake::Notified);
            assert_eq!(listen(None, true, |_, queue, _| queue.notify(PollEvents::HUP)), Wake::Notified);
            assert_eq!(listen(None, true, |_, _, waiter| waiter.wake()), Wake::Notified);
            assert_eq!(listen(None, false, |_, _, waiter| waiter.set_interrupted(true)), Wake::Interrupted);
            let rung_first = |bell: &testing::TestBell, _: &WaitQueue, waiter: &Waiter| {
                bell.ring();
                waiter.set_interrupted(true);
            };
            assert_eq!(listen(None, false, rung_first), Wake::Notified);
        }
        let soon = Deadline::after(std::time::Duration::from_millis(1));
        assert_eq!(listen(Some(soon), true, |_, _, _| ()), Wake::TimedOut);
    }

    #[test]
    fn nobody_listens_for_a_thread_that_has_ended() {
        let queue = WaitQueue::new();
        let bell: Arc<dyn Bell> = testing::TestBell::new();
        queue.set_bell(&bell);
        drop(bell);
        let (token, listening) = queue.add_listener(Waiter::new(), PollEvents::IN);
        assert!(listening.is_none() && queue.must_tell());
        queue.remove(token);
    }
}
