//! The timer service: one thread, one ordered set of deadlines.
//!
//! Interval timers, POSIX timers, `alarm(2)` and timerfd all stand on it. It only calls back at a point in time;
//! intervals, overruns and signals are its users' affair: a periodic timer schedules its next expiry when it is
//! called.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};
use usk_abi::Errno;

use crate::time::Deadline;

/// Is called when a timer expires.
pub trait Expire: Send + Sync {
    /// The timer that was scheduled with `key` has expired. Called on the timer thread with no lock held: must not
    /// block for long. A cancellation that raced with the expiry may come too late, so users number their settings
    /// by `key` and ignore an old one.
    fn expire(&self, key: u64);
}

/// Names one scheduled expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId {
    deadline: Deadline,
    sequence: u64,
}

struct Entry {
    target: Weak<dyn Expire>,
    key: u64,
}

#[derive(Default)]
struct State {
    pending: BTreeMap<TimerId, Entry>,
    next_sequence: u64,
    running: bool,
    stopping: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The timer service of a sandbox. Its thread starts with the first timer, sleeps while there is none, and ends when
/// this is dropped.
#[derive(Default)]
pub struct Timers {
    shared: Arc<Shared>,
}

impl Timers {
    /// A service with no timers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has `target` called with `key` at `deadline`, or soon after if that has passed. The target is not kept alive:
    /// if it is gone by then, nothing happens. `EAGAIN` if the host allows no thread for the service.
    pub fn schedule(&self, deadline: Deadline, target: Weak<dyn Expire>, key: u64) -> Result<TimerId, Errno> {
        let mut state = self.shared.state.lock();
        if !state.running {
            let shared = self.shared.clone();
            std::thread::Builder::new()
                .name("timers".into())
                .stack_size(256 << 10)
                .spawn(move || shared.run())
                .map_err(|_| Errno::EAGAIN)?;
            state.running = true;
        }
        let id = TimerId { deadline, sequence: state.next_sequence };
        state.next_sequence += 1;
        let becomes_first = state.pending.first_key_value().is_none_or(|(first, _)| id < *first);
        state.pending.insert(id, Entry { target, key });
        if becomes_first {
            self.shared.changed.notify_one();
        }
        Ok(id)
    }

    /// Takes back an expiry. False if it has been called, or is about to be.
    pub fn cancel(&self, id: TimerId) -> bool {
        // The thread may now wake up for nothing once; it goes back to sleep.
        self.shared.state.lock().pending.remove(&id).is_some()
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.shared.state.lock().stopping = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock();
        while !state.stopping {
            let Some(first) = state.pending.first_entry() else {
                self.changed.wait(&mut state);
                continue;
            };
            let deadline = first.key().deadline;
            if deadline.has_passed() {
                let entry = first.remove();
                parking_lot::MutexGuard::unlocked(&mut state, || {
                    if let Some(target) = entry.target.upgrade() {
                        target.expire(entry.key);
                    }
                });
                continue;
            }
            match deadline.to_instant() {
                Some(until) => {
                    self.changed.wait_until(&mut state, until);
                }
                None => self.changed.wait(&mut state),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    struct Report(Mutex<mpsc::Sender<u64>>);

    impl Expire for Report {
        fn expire(&self, key: u64) {
            let _ = self.0.lock().send(key);
        }
    }

    fn report() -> (Arc<dyn Expire>, mpsc::Receiver<u64>) {
        let (sender, receiver) = mpsc::channel();
        (Arc::new(Report(Mutex::new(sender))), receiver)
    }

    const SOON: Duration = Duration::from_millis(5);
    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn timers_expire_in_the_order_of_their_deadlines() {
        let timers = Timers::new();
        let (target, expired) = report();
        let now = Deadline::after(SOON);
        for (offset, key) in [(3_000_000, 3), (1_000_000, 1), (2_000_000, 2)] {
            timers.schedule(Deadline(now.0 + offset), Arc::downgrade(&target), key).unwrap();
        }
        let order: Vec<u64> = (0..3).map(|_| expired.recv_timeout(PATIENCE).unwrap()).collect();
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn a_cancelled_timer_does_not_expire() {
        let timers = Timers::new();
        let (target, expired) = report();
        let deadline = Deadline::after(Duration::from_millis(200));
        let id = timers.schedule(deadline, Arc::downgrade(&target), 1).unwrap();
        timers.schedule(Deadline(deadline.0 + 1), Arc::downgrade(&target), 2).unwrap();
        assert!(timers.cancel(id));
        assert!(!timers.cancel(id));
        assert_eq!(expired.recv_timeout(PATIENCE), Ok(2));
    }

    #[test]
    fn an_earlier_timer_overtakes_a_sleeping_one() {
        let timers = Timers::new();
        let (target, expired) = report();
        timers.schedule(Deadline(u64::MAX), Arc::downgrade(&target), 1).unwrap();
        timers.schedule(Deadline::after(SOON), Arc::downgrade(&target), 2).unwrap();
        assert_eq!(expired.recv_timeout(PATIENCE), Ok(2));
    }
}
