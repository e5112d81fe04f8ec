//! Waiting: queues on objects, and the one object that a blocked task sleeps on.
//!
//! A file object owns a [`WaitQueue`] and notifies it when its readiness changes. Whoever waits has registered a
//! [`Notify`]: a task's [`Waiter`], or an epoll instance. Code that blocks uses `Current::block`, never a loop of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use usk_abi::PollEvents;

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
    target: Arc<dyn Notify>,
}

#[derive(Default)]
struct Entries {
    next_id: u64,
    list: Vec<Entry>,
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
        self.push(Entry { id: 0, key, interest, once: false, target })
    }

    /// Registers who sleeps until it is told, and looks at the object again before it comes back. So from then on nobody waits
    /// here, though it may take 100 µs until it runs (`autoremove_wake_function` in `kernel/sched/wait.c`).
    pub fn add_sleeper(&self, target: Arc<dyn Notify>, interest: PollEvents) -> WaitToken {
        self.push(Entry { id: 0, key: 0, interest, once: true, target })
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
        entries.list.retain(|entry| entry.id != token.0);
        self.length.store(entries.list.len(), Ordering::SeqCst);
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
    loop {
        if let Some(result) = attempt(context) {
            return result;
        }
        waiter.arm();
        let tokens: Vec<_> =
            queues.iter().map(|(queue, events)| queue.add_sleeper(waiter.clone(), *events)).collect();
        let result = attempt(context).or_else(|| sleep(context));
        for ((queue, _), token) in queues.iter().zip(tokens) {
            queue.remove(token);
        }
        if let Some(result) = result {
            return result;
        }
    }
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
    notified: Mutex<bool>,
    condition: Condvar,
    interrupted: AtomicBool,
}

impl Waiter {
    /// A waiter that nothing has happened to yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Forgets notifications that came so far. Done before registering on queues and checking the condition.
    pub fn arm(&self) {
        *self.notified.lock() = false;
    }

    /// Wakes the sleeper, or keeps the next sleep from beginning.
    pub fn wake(&self) {
        *self.notified.lock() = true;
        self.condition.notify_all();
    }

    /// Says whether a deliverable signal is pending (Linux's `TIF_SIGPENDING`), and wakes the sleeper if so.
    pub fn set_interrupted(&self, interrupted: bool) {
        self.interrupted.store(interrupted, Ordering::SeqCst);
        if interrupted {
            let _guard = self.notified.lock();
            self.condition.notify_all();
        }
    }

    /// True while a deliverable signal is pending.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// Sleeps until woken, interrupted (unless `uninterruptible`), or the deadline.
    pub fn wait(&self, deadline: Option<Deadline>, uninterruptible: bool) -> Wake {
        let until: Option<Instant> = deadline.and_then(Deadline::to_instant);
        let mut notified = self.notified.lock();
        loop {
            if *notified {
                *notified = false;
                return Wake::Notified;
            }
            if !uninterruptible && self.is_interrupted() {
                return Wake::Interrupted;
            }
            match until {
                None => self.condition.wait(&mut notified),
                Some(until) => {
                    if Instant::now() >= until {
                        return Wake::TimedOut;
                    }
                    self.condition.wait_until(&mut notified, until);
                }
            }
        }
    }
}

impl Notify for Waiter {
    fn notify(&self, _key: u64, _events: PollEvents) {
        *self.notified.lock() = true;
    }

    fn wake_sleeper(&self) {
        self.condition.notify_all();
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
        assert!(!*sleeper.notified.lock() && !*watcher.notified.lock());
        queue.notify(PollEvents::IN);
        assert!(*sleeper.notified.lock() && *watcher.notified.lock());
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
        assert!(!*watcher.notified.lock());
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
}
