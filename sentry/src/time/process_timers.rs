//! The timers of a process that send signals: `setitimer(2)`, `alarm(2)` and `timer_create(2)`.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use usk_abi::signal::{SignalInfo, code};
use usk_abi::{Errno, Signal};
use usk_platform::host;

use crate::kernel::Kernel;
use crate::signal::{PendingSignals, send_of_timer, send_to_group};
use crate::task::{Resource, Task, ThreadGroup, UNLIMITED};
use crate::time::{Deadline, Expire, TimerId};

/// Most POSIX timers of a process.
const TIMER_LIMIT: usize = 4096;
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// A timer on processor time looks at the clock at least this often, since several threads may use the processor at once.
const CPU_TIMER_STEP: Duration = Duration::from_millis(4);
/// A timer whose signal nobody wants expires no more often than this, as at an interval below a tick on Linux (`posix_timer_fn` before
/// 6.13).
const UNWANTED_STEP: Duration = Duration::from_millis(4);

/// What a timer counts.
#[derive(Clone)]
pub enum TimerClock {
    /// A clock of the host: real or monotonic time, in nanoseconds.
    Host(host::Clock),
    /// Processor time of a thread group, user and system.
    Process(Weak<ThreadGroup>),
    /// User time of a thread group (`ITIMER_VIRTUAL`).
    ProcessUser(Weak<ThreadGroup>),
    /// Processor time of a thread.
    Thread(Weak<Task>),
}

impl TimerClock {
    /// The clock's time in nanoseconds. The clock of something that has ended stands still at the end of time.
    pub fn now(&self) -> u64 {
        let cpu = |time: Option<Duration>| {
            time.map_or(u64::MAX, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
        };
        match self {
            TimerClock::Host(clock) => host::clock_ns(*clock),
            TimerClock::Process(group) => cpu(group.upgrade().map(|group| group.cpu_time())),
            TimerClock::ProcessUser(group) => cpu(group.upgrade().map(|group| group.usage().user)),
            TimerClock::Thread(task) => cpu(task.upgrade().map(|task| task.usage().total())),
        }
    }

    fn counts_processor_time(&self) -> bool {
        !matches!(self, TimerClock::Host(_))
    }
}

/// What happens when a timer expires.
#[derive(Clone)]
pub enum TimerAction {
    /// Nothing (`SIGEV_NONE`).
    Nothing,
    /// An interval timer's plain signal to the group.
    Interval(Weak<ThreadGroup>, Signal),
    /// `RLIMIT_CPU`: SIGXCPU once a second beyond the soft limit, SIGKILL at the hard one.
    ProcessorLimit(Weak<ThreadGroup>),
    /// `SIGEV_SIGNAL`: a signal with `si_value` to the group.
    Group(Weak<ThreadGroup>, Signal, u64),
    /// `SIGEV_THREAD_ID`: the same to one thread.
    Thread(Weak<Task>, Signal, u64),
}

impl TimerAction {
    /// Whether a signal that is pending counts the expiries that follow, and what it counts is known when it is taken.
    fn counts_overruns(&self) -> bool {
        matches!(self, TimerAction::Group(..) | TimerAction::Thread(..))
    }
}

/// What stands for an expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// A signal that was pending already.
    Counted,
    /// A new one.
    Sent,
    /// Nothing: it is ignored, or there is nobody to take it. Or it was taken at once.
    Nothing,
}

/// What a timer is set to, in nanoseconds of its clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerSetting {
    /// Time to the next expiry; 0 is disarmed.
    pub value: u64,
    /// Time between expiries; 0 is once.
    pub interval: u64,
}

struct State {
    /// When it expires, on its clock; `None` is disarmed.
    expiry: Option<u64>,
    interval: u64,
    /// Numbers the settings, so that an expiry that was scheduled under an older one is passed over.
    generation: u64,
    scheduled: Option<TimerId>,
    /// Nothing is scheduled until the signal that counts the expiries is taken (`REQUEUE_PENDING`).
    awaits_delivery: bool,
    last_overrun: i32,
}

impl State {
    /// Moves the next expiry past `now`; returns how many have passed.
    fn advance(&mut self, now: u64) -> u64 {
        let Some(expiry) = self.expiry.filter(|&expiry| now >= expiry) else { return 0 };
        let Some(missed) = (now - expiry).checked_div(self.interval) else {
            self.expiry = None;
            return 1;
        };
        let passed = missed.saturating_add(1);
        self.expiry = Some(expiry.saturating_add(self.interval.saturating_mul(passed)));
        passed
    }

    /// Time to the next expiry that is not counted yet; 0 if there is none. `is_told` says that the service will tell of one that has
    /// passed (`common_timer_get`).
    fn left(&self, now: u64, is_told: bool) -> u64 {
        let Some(expiry) = self.expiry else { return 0 };
        if expiry > now {
            return expiry - now;
        }
        if is_told {
            return 1;
        }
        (now - expiry).checked_rem(self.interval).map_or(0, |since| self.interval - since)
    }

    /// The overrun count of a signal that is taken now and stands for `overrun` so far: the service may not have told of the
    /// latest expiries yet, and will not (`posixtimer_rearm`).
    fn note_delivery(&mut self, overrun: i32, now: u64) -> i32 {
        let missed = if self.interval == 0 { 0 } else { self.advance(now) };
        self.last_overrun = overrun.saturating_add(overrun_count(missed));
        self.last_overrun
    }
}

/// A count of expiries as `si_overrun` tells it, which ends at `DELAYTIMER_MAX`.
fn overrun_count(expiries: u64) -> i32 {
    i32::try_from(expiries).unwrap_or(i32::MAX)
}

/// A timer that sends a signal.
pub struct SignalTimer {
    id: i32,
    clock: TimerClock,
    action: TimerAction,
    kernel: Weak<Kernel>,
    own: Weak<SignalTimer>,
    state: Mutex<State>,
}

impl SignalTimer {
    fn new(kernel: &Arc<Kernel>, id: i32, clock: TimerClock, action: TimerAction) -> Arc<Self> {
        Arc::new_cyclic(|own| SignalTimer {
            id,
            clock,
            action,
            kernel: Arc::downgrade(kernel),
            own: own.clone(),
            state: Mutex::new(State {
                expiry: None,
                interval: 0,
                generation: 0,
                scheduled: None,
                awaits_delivery: false,
                last_overrun: 0,
            }),
        })
    }

    /// What it is set to now, as time left.
    pub fn get(&self) -> TimerSetting {
        self.setting(&self.state.lock())
    }

    fn setting(&self, state: &State) -> TimerSetting {
        let is_told = !state.awaits_delivery && self.tells();
        TimerSetting { value: state.left(self.clock.now(), is_told), interval: state.interval }
    }

    /// Whether anybody is told of an expiry.
    fn tells(&self) -> bool {
        !matches!(self.action, TimerAction::Nothing)
    }

    /// Sets it. `absolute` takes `value` as a time on the clock. Returns what it was set to before. What the timer has sent and nobody has
    /// taken is taken back, as on Linux since 6.13.
    pub fn set(&self, new: TimerSetting, absolute: bool) -> Result<TimerSetting, Errno> {
        let kernel = self.kernel.upgrade().ok_or(Errno::EINVAL)?;
        let mut state = self.state.lock();
        let old = self.setting(&state);
        Self::end_setting(&mut state, &kernel);
        // Before the new setting can expire.
        self.retract();
        state.interval = new.interval;
        state.last_overrun = 0;
        state.expiry = match (new.value, absolute) {
            (0, _) => None,
            (value, true) => Some(value),
            (value, false) => Some(self.clock.now().saturating_add(value)),
        };
        self.schedule(&mut state, &kernel, Duration::ZERO)?;
        Ok(old)
    }

    /// Disarms it, and leaves to the caller what it has sent.
    fn stop(&self) {
        let Some(kernel) = self.kernel.upgrade() else { return };
        let mut state = self.state.lock();
        Self::end_setting(&mut state, &kernel);
        state.expiry = None;
    }

    /// Whatever has been scheduled passes over.
    fn end_setting(state: &mut State, kernel: &Kernel) {
        if let Some(scheduled) = state.scheduled.take() {
            kernel.timers.cancel(scheduled);
        }
        state.generation += 1;
        state.awaits_delivery = false;
    }

    /// Takes back what it has sent and nobody has taken.
    fn retract(&self) {
        self.look_at_pending(|pending, signal| pending.retract_timer(signal, self.id));
    }

    /// Looks at the signals among which its own would be, if that is one that can be told from others and somebody is there to take it.
    fn look_at_pending<R>(&self, look: impl FnOnce(&mut PendingSignals, Signal) -> R) -> Option<R> {
        match &self.action {
            TimerAction::Group(group, signal, _) => {
                let group = group.upgrade()?;
                let mut state = group.state.lock();
                Some(look(&mut state.pending, *signal))
            }
            TimerAction::Thread(task, signal, _) => {
                let task = task.upgrade()?;
                let _state = task.group.state.lock();
                let mut signals = task.signals.lock();
                Some(look(&mut signals.pending, *signal))
            }
            _ => None,
        }
    }

    /// `timer_getoverrun(2)`: expiries that the last delivered signal stood for, beyond the first.
    pub fn last_overrun(&self) -> i32 {
        self.state.lock().last_overrun
    }

    /// Has the service call at the next expiry, and not before `least` has passed.
    fn schedule(&self, state: &mut State, kernel: &Kernel, least: Duration) -> Result<(), Errno> {
        let Some(expiry) = state.expiry.filter(|_| self.tells()) else { return Ok(()) };
        let left = Duration::from_nanos(expiry.saturating_sub(self.clock.now()));
        let step = if self.clock.counts_processor_time() { CPU_TIMER_STEP } else { Duration::ZERO };
        let wait = left.max(step).max(least);
        let target: Weak<dyn Expire> = self.own.clone();
        state.scheduled = Some(kernel.timers.schedule(Deadline::after(wait), target, state.generation)?);
        Ok(())
    }

    /// Goes on, not before `least` has passed, if it waits for its signal to be taken: that has happened, or will not.
    fn wait_no_more(&self, state: &mut State, least: Duration) {
        let Some(kernel) = self.kernel.upgrade() else { return };
        if std::mem::take(&mut state.awaits_delivery) {
            // Without a thread for the service this timer stops; the service has one, since it has called.
            let _ = self.schedule(state, &kernel, least);
        }
    }

    /// Counts so many expiries in the signal that is pending. False if there is none.
    fn count(&self, more: i32) -> bool {
        self.look_at_pending(|pending, signal| pending.count_overruns(signal, self.id, more)).unwrap_or(false)
    }

    /// Counts an expiry, and `overrun` more, in the signal that is pending, or else sends one.
    fn tell(&self, overrun: i32, send: impl FnOnce()) -> Told {
        if self.count(overrun.saturating_add(1)) {
            return Told::Counted;
        }
        send();
        if self.count(0) { Told::Sent } else { Told::Nothing }
    }

    /// Sends what stands for one expiry, and for so many more that have not been told.
    fn send(&self, overrun: i32) -> Told {
        match &self.action {
            TimerAction::Nothing => Told::Nothing,
            TimerAction::Interval(group, signal) => {
                let Some(group) = group.upgrade() else { return Told::Nothing };
                let _ = send_to_group(&group, SignalInfo::kernel(*signal));
                Told::Sent
            }
            TimerAction::ProcessorLimit(group) => {
                let Some(group) = group.upgrade() else { return Told::Nothing };
                let hard = group.limits.lock().0[Resource::Cpu as usize].hard;
                let is_over = hard != UNLIMITED && group.cpu_time().as_secs() >= hard;
                let signal = if is_over { Signal::SIGKILL } else { Signal::SIGXCPU };
                let _ = send_to_group(&group, SignalInfo::kernel(signal));
                Told::Sent
            }
            TimerAction::Group(group, signal, value) => {
                let Some(group) = group.upgrade() else { return Told::Nothing };
                self.tell(overrun, || {
                    send_of_timer(&group, None, SignalInfo::timer(*signal, self.id, overrun, *value));
                })
            }
            TimerAction::Thread(task, signal, value) => {
                let Some(task) = task.upgrade() else { return Told::Nothing };
                self.tell(overrun, || {
                    let info = SignalInfo::timer(*signal, self.id, overrun, *value);
                    send_of_timer(&task.group, Some(&task), info);
                })
            }
        }
    }
}

impl Expire for SignalTimer {
    fn expire(&self, key: u64) {
        let Some(kernel) = self.kernel.upgrade() else { return };
        let passed = {
            let mut state = self.state.lock();
            if state.generation != key {
                return;
            }
            state.scheduled = None;
            let passed = state.advance(self.clock.now());
            // Whoever takes the signal that is about to be sent finds that already.
            state.awaits_delivery = passed > 0 && self.action.counts_overruns();
            if !state.awaits_delivery {
                // Without a thread for the service this timer stops; the service has one, since it is calling.
                let _ = self.schedule(&mut state, &kernel, Duration::ZERO);
            }
            passed
        };
        let Some(missed) = passed.checked_sub(1) else { return };
        let least = match self.send(overrun_count(missed)) {
            // It has not been taken from one expiry to the next: what follows is counted when it is (`posixtimer_rearm`).
            Told::Counted => return,
            Told::Sent => Duration::ZERO,
            Told::Nothing => UNWANTED_STEP,
        };
        let mut state = self.state.lock();
        if state.generation == key {
            self.wait_no_more(&mut state, least);
        } else {
            // It has been set anew or deleted before this was sent. Nothing that it has sent since is lost: that would be by this thread.
            self.retract();
        }
    }
}

/// Which of the three interval timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalTimer {
    /// `ITIMER_REAL`: real time, SIGALRM.
    Real,
    /// `ITIMER_VIRTUAL`: user time, SIGVTALRM.
    Virtual,
    /// `ITIMER_PROF`: user and system time, SIGPROF.
    Profiling,
}

#[derive(Default)]
struct Timers {
    interval: [Option<Arc<SignalTimer>>; 3],
    processor_limit: Option<Arc<SignalTimer>>,
    posix: BTreeMap<i32, Arc<SignalTimer>>,
    /// Where the search for the next number begins: one that was deleted comes again last, as a signal of it may be under way.
    next: i32,
}

/// The timers of a thread group.
#[derive(Default)]
pub struct ProcessTimers {
    timers: Mutex<Timers>,
}

impl ProcessTimers {
    /// An interval timer; it is made when first asked for.
    pub fn interval(&self, task: &Task, which: IntervalTimer) -> Arc<SignalTimer> {
        let group = Arc::downgrade(&task.group);
        let (index, clock, signal) = match which {
            IntervalTimer::Real => (0, TimerClock::Host(host::Clock::Monotonic), Signal::SIGALRM),
            IntervalTimer::Virtual => (1, TimerClock::ProcessUser(group.clone()), Signal::SIGVTALRM),
            IntervalTimer::Profiling => (2, TimerClock::Process(group.clone()), Signal::SIGPROF),
        };
        let make = || SignalTimer::new(&task.kernel, -1, clock, TimerAction::Interval(group, signal));
        self.timers.lock().interval[index].get_or_insert_with(make).clone()
    }

    /// Watches `RLIMIT_CPU` of `group`, whose timers these are, as it is set now.
    pub fn watch_processor_limit(&self, kernel: &Arc<Kernel>, group: &Arc<ThreadGroup>) -> Result<(), Errno> {
        let soft = group.limits.lock().soft(Resource::Cpu);
        let setting = if soft == UNLIMITED {
            TimerSetting::default()
        } else {
            // A limit of no time at all is reached at once.
            TimerSetting { value: soft.saturating_mul(SECOND).max(1), interval: SECOND }
        };
        let timer = {
            let mut timers = self.timers.lock();
            if soft == UNLIMITED && timers.processor_limit.is_none() {
                return Ok(());
            }
            let group = Arc::downgrade(group);
            let clock = TimerClock::Process(group.clone());
            let make = || SignalTimer::new(kernel, -1, clock, TimerAction::ProcessorLimit(group));
            timers.processor_limit.get_or_insert_with(make).clone()
        };
        timer.set(setting, true).map(drop)
    }

    /// Makes a POSIX timer; returns its identifier. A signal without an explicit value carries the identifier, so the action
    /// is made from it. `EAGAIN` if there are too many: each keeps room for its signal, of which `signal_limit` may be queued.
    pub fn create(
        &self,
        kernel: &Arc<Kernel>,
        clock: TimerClock,
        signal_limit: u64,
        action: impl FnOnce(i32) -> TimerAction,
    ) -> Result<i32, Errno> {
        let mut timers = self.timers.lock();
        let limit = usize::try_from(signal_limit).unwrap_or(TIMER_LIMIT).min(TIMER_LIMIT);
        if timers.posix.len() >= limit {
            return Err(Errno::EAGAIN);
        }
        let mut numbers = (timers.next..=i32::MAX).chain(0..timers.next);
        let id = numbers.find(|id| !timers.posix.contains_key(id)).ok_or(Errno::EAGAIN)?;
        timers.next = id.checked_add(1).unwrap_or(0);
        timers.posix.insert(id, SignalTimer::new(kernel, id, clock, action(id)));
        Ok(id)
    }

    /// A POSIX timer by its identifier; `EINVAL` if there is none.
    pub fn get(&self, id: i32) -> Result<Arc<SignalTimer>, Errno> {
        self.timers.lock().posix.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// Deletes a POSIX timer; `EINVAL` if there is none.
    pub fn delete(&self, id: i32) -> Result<(), Errno> {
        let timer = self.timers.lock().posix.remove(&id).ok_or(Errno::EINVAL)?;
        timer.set(TimerSetting::default(), false).map(drop)
    }

    /// A signal of these timers has been taken from the queue: what it says now. Other signals stay as they are.
    pub(crate) fn note_delivery(&self, info: SignalInfo) -> SignalInfo {
        if info.code != code::SI_TIMER {
            return info;
        }
        let Ok(timer) = self.get(info.pid()) else { return info };
        let now = timer.clock.now();
        let mut state = timer.state.lock();
        let overrun = state.note_delivery(info.uid() as i32, now);
        timer.wait_no_more(&mut state, Duration::ZERO);
        info.with_overrun(overrun)
    }

    /// Signals of these timers are not pending any more, and have not been taken.
    pub(crate) fn note_discarded(&self, timers: &[i32]) {
        for timer in timers.iter().filter_map(|id| self.get(*id).ok()) {
            timer.wait_no_more(&mut timer.state.lock(), Duration::ZERO);
        }
    }

    /// Deletes POSIX timers of `group`, whose timers these are, and what they have sent; `execve(2)` does that and keeps the interval timers.
    pub fn clear_posix(&self, group: &ThreadGroup) {
        let timers = std::mem::take(&mut self.timers.lock().posix);
        timers.values().for_each(|timer| timer.stop());
        // All at once: to look for each timer's signal among those of all others would take long.
        group.state.lock().retract_timers();
    }

    /// Stops everything; the end of a process does that.
    pub(crate) fn clear(&self, group: &ThreadGroup) {
        self.clear_posix(group);
        let (interval, limit) = {
            let mut timers = self.timers.lock();
            (std::mem::take(&mut timers.interval), timers.processor_limit.take())
        };
        for timer in interval.into_iter().flatten().chain(limit) {
            let _ = timer.set(TimerSetting::default(), false);
        }
    }
}

// Codes other than SI_TIMER are never counted as overruns.
const _: () = assert!(code::SI_TIMER == -2);

#[cfg(test)]
mod tests {
    use super::{State, overrun_count};

    fn state(expiry: u64, interval: u64) -> State {
        State {
            expiry: Some(expiry),
            interval,
            generation: 0,
            scheduled: None,
            awaits_delivery: false,
            last_overrun: 0,
        }
    }

    #[test]
    fn what_is_left_is_the_time_to_the_next_expiry_that_somebody_is_told_of() {
        for (interval, now, told, untold) in [
            (0, 99, 1, 1),
            (0, 100, 1, 0),
            (10, 99, 1, 1),
            (10, 100, 1, 10),
            (10, 109, 1, 1),
            (10, 135, 1, 5),
        ] {
            let state = state(100, interval);
            assert_eq!((state.left(now, true), state.left(now, false)), (told, untold), "{interval} {now}");
        }
    }

    #[test]
    fn a_late_timer_counts_the_expiries_it_missed_and_goes_on_behind_them() {
        for (interval, now, passed, next) in [
            (0, 99, 0, Some(100)),
            (0, 100, 1, None),
            (10, 100, 1, Some(110)),
            (10, 109, 1, Some(110)),
            (10, 135, 4, Some(140)),
        ] {
            let mut state = state(100, interval);
            assert_eq!((state.advance(now), state.expiry), (passed, next), "{interval} {now}");
            assert_eq!(state.advance(now), 0);
        }
    }

    #[test]
    fn a_signal_stands_for_what_expired_until_it_is_taken() {
        let mut periodic = state(100, 10);
        assert_eq!(periodic.note_delivery(7, 135), 11);
        assert_eq!((periodic.last_overrun, periodic.expiry), (11, Some(140)));
        // The next expiry of a timer that was set anew is a signal of its own.
        let mut once = state(100, 0);
        assert_eq!((once.note_delivery(7, 135), once.expiry), (7, Some(100)));
    }

    #[test]
    fn overruns_are_counted_up_to_the_largest_number() {
        assert_eq!(overrun_count(u64::MAX), i32::MAX);
        assert_eq!(state(1, 1).note_delivery(i32::MAX, 5), i32::MAX);
    }
}
