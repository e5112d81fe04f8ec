//! A timer that is read. timerfd_create(2).

use std::any::Any;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use usk_abi::fcntl::O_RDWR;
use usk_abi::{Errno, PollEvents};
use usk_platform::host::{self, Clock};

use crate::Sink;
use crate::time::{Deadline, Expire, TimerId, Timers};
use crate::vfs::{FileOps, OpenFile};
use crate::wait::WaitQueue;

const WIDTH: usize = size_of::<u64>();
const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);

/// A timer's setting: nanoseconds to the next expiry and between expiries; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerSetting {
    /// Time to the next expiry; 0 means disarmed.
    pub value_ns: u64,
    /// Time between expiries; 0 means once.
    pub interval_ns: u64,
}

/// The object behind `timerfd_create(2)`.
pub struct TimerFd {
    clock: Clock,
    shared: Arc<Shared>,
}

struct Shared {
    own: Weak<Shared>,
    timers: Arc<Timers>,
    state: Mutex<State>,
    queue: WaitQueue,
}

#[derive(Default)]
struct State {
    /// When it expires next, on `CLOCK_MONOTONIC`.
    next: Option<Deadline>,
    interval_ns: u64,
    expirations: u64,
    scheduled: Option<TimerId>,
    /// Number of the setting: an expiry of an older one means nothing.
    generation: u64,
}

impl State {
    /// Counts the expirations up to `now` and moves the next one past it.
    fn advance(&mut self, now: u64) {
        let Some(next) = self.next else { return };
        if now < next.0 {
            return;
        }
        let (passed, following) = match (now - next.0).checked_div(self.interval_ns) {
            None => (1, None),
            Some(more) => {
                let passed = more + 1;
                (passed, Some(Deadline(next.0.saturating_add(passed.saturating_mul(self.interval_ns)))))
            }
        };
        self.expirations = self.expirations.saturating_add(passed);
        self.next = following;
    }

    fn setting(&self, now: u64) -> TimerSetting {
        // A timer that is armed never shows zero.
        let value_ns = self.next.map_or(0, |next| next.0.saturating_sub(now).max(1));
        TimerSetting { value_ns, interval_ns: self.interval_ns }
    }
}

fn now() -> u64 {
    host::clock_ns(Clock::Monotonic)
}

impl TimerFd {
    /// An open file for a disarmed timer. `flags` may be `O_NONBLOCK`.
    pub fn open(clock: Clock, timers: &Arc<Timers>, flags: u32) -> Arc<OpenFile> {
        let shared = Arc::new_cyclic(|own| Shared {
            own: own.clone(),
            timers: timers.clone(),
            state: Mutex::default(),
            queue: WaitQueue::new(),
        });
        let ops = TimerFd { clock, shared };
        OpenFile::anonymous(Arc::new(ops), O_RDWR | flags, "anon_inode:[timerfd]")
    }

    /// The timer behind an open file, if it is one.
    pub fn of(file: &OpenFile) -> Option<&TimerFd> {
        file.ops.as_any().downcast_ref()
    }

    /// Sets the timer and returns the setting before. With `absolute`, `value_ns` is a time on the timer's clock.
    ///
    /// The clock is looked at once: a later jump of the real-time clock does not move the expiry.
    pub fn set(&self, setting: TimerSetting, absolute: bool) -> Result<TimerSetting, Errno> {
        let now = now();
        let next = match setting.value_ns {
            0 => None,
            value if absolute => {
                let remaining = value.saturating_sub(host::clock_ns(self.clock));
                Some(Deadline(now.saturating_add(remaining)))
            }
            value => Some(Deadline(now.saturating_add(value))),
        };
        let mut state = self.shared.state.lock();
        state.advance(now);
        let before = state.setting(now);
        if let Some(id) = state.scheduled.take() {
            self.shared.timers.cancel(id);
        }
        state.generation += 1;
        state.next = next;
        state.interval_ns = setting.interval_ns;
        state.expirations = 0;
        self.shared.schedule(&mut state)?;
        Ok(before)
    }

    /// The time to the next expiry and the interval.
    pub fn setting(&self) -> TimerSetting {
        let mut state = self.shared.state.lock();
        let now = now();
        state.advance(now);
        state.setting(now)
    }
}

impl Shared {
    /// Asks for a call at the next expiry, unless one is asked for. A periodic timer that has expirations to be read
    /// asks again when they are: while nobody reads it costs nothing.
    fn schedule(&self, state: &mut State) -> Result<(), Errno> {
        if let (Some(next), None, 0) = (state.next, state.scheduled, state.expirations) {
            let target: Weak<dyn Expire> = self.own.clone();
            state.scheduled = Some(self.timers.schedule(next, target, state.generation)?);
        }
        Ok(())
    }
}

impl Expire for Shared {
    fn expire(&self, generation: u64) {
        let mut state = self.state.lock();
        if state.generation != generation {
            return;
        }
        state.scheduled = None;
        state.advance(now());
        // The expiry may have been read before this call came; then the next one is not asked for yet.
        if let Err(errno) = self.schedule(&mut state) {
            tracing::error!("a periodic timer cannot go on: {errno}");
        }
        drop(state);
        self.queue.notify(READABLE);
    }
}

impl FileOps for TimerFd {
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, _offset: u64) -> Result<usize, Errno> {
        if destination.remaining() < WIDTH {
            return Err(Errno::EINVAL);
        }
        let mut state = self.shared.state.lock();
        state.advance(now());
        if state.expirations == 0 {
            return Err(Errno::EAGAIN);
        }
        let expirations = std::mem::take(&mut state.expirations);
        self.shared.schedule(&mut state)?;
        drop(state);
        destination.put(&expirations.to_ne_bytes())
    }

    fn seek(&self, _file: &OpenFile, _offset: i64, _whence: u32) -> Result<u64, Errno> {
        // Linux's noop_llseek: there is no position, and asking for one is no error.
        Ok(0)
    }

    fn poll(&self, _file: &OpenFile) -> PollEvents {
        let mut state = self.shared.state.lock();
        state.advance(now());
        if state.expirations > 0 { READABLE } else { PollEvents::empty() }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.shared.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for TimerFd {
    fn drop(&mut self) {
        if let Some(id) = self.shared.state.lock().scheduled.take() {
            self.shared.timers.cancel(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::testing::{read, read_blocking};

    const MILLISECOND: u64 = 1_000_000;

    fn open(clock: Clock) -> Arc<OpenFile> {
        TimerFd::open(clock, &Arc::new(Timers::new()), 0)
    }

    fn set(file: &OpenFile, value_ns: u64, interval_ns: u64, absolute: bool) -> TimerSetting {
        TimerFd::of(file).unwrap().set(TimerSetting { value_ns, interval_ns }, absolute).unwrap()
    }

    fn expirations(bytes: Vec<u8>) -> u64 {
        u64::from_ne_bytes(bytes.try_into().unwrap())
    }

    #[test]
    fn a_timer_expires_once_and_then_is_disarmed() {
        let file = open(Clock::Monotonic);
        assert_eq!(read(&file, 8), Err(Errno::EAGAIN));
        set(&file, MILLISECOND, 0, false);
        assert_eq!(read(&file, 7), Err(Errno::EINVAL));
        assert_eq!(expirations(read_blocking(&file, 8).unwrap()), 1);
        assert_eq!(read(&file, 8), Err(Errno::EAGAIN));
        assert_eq!(TimerFd::of(&file).unwrap().setting(), TimerSetting::default());
    }

    #[test]
    fn a_periodic_timer_counts_what_was_missed_and_goes_on() {
        let file = open(Clock::Monotonic);
        set(&file, 1, MILLISECOND, false);
        let mut total = 0;
        for _ in 0..20 {
            total += expirations(read_blocking(&file, 8).unwrap());
        }
        assert!(total >= 20);
        assert_eq!(TimerFd::of(&file).unwrap().setting().interval_ns, MILLISECOND);
    }

    #[test]
    fn an_absolute_time_in_the_past_expires_at_once() {
        let file = open(Clock::Realtime);
        let before = set(&file, 1, 0, true);
        assert_eq!(before, TimerSetting::default());
        assert_eq!(file.ops.poll(&file), READABLE);
        assert_eq!(expirations(read(&file, 8).unwrap()), 1);
    }

    #[test]
    fn a_new_setting_replaces_the_old_one_and_its_expirations() {
        let file = open(Clock::Boottime);
        set(&file, 1, 0, false);
        assert_eq!(file.ops.poll(&file), READABLE);
        set(&file, 3600 * 1000 * MILLISECOND, 5, false);
        assert_eq!(file.ops.poll(&file), PollEvents::empty());
        let before = set(&file, 0, 0, false);
        assert!(before.value_ns > 3599 * 1000 * MILLISECOND && before.interval_ns == 5);
    }
}
