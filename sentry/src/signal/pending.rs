//! A set of pending signals with their information.

use std::collections::VecDeque;

use usk_abi::signal::code::{SI_KERNEL, SI_TIMER, SI_USER};
use usk_abi::signal::{SignalInfo, SignalSet};
use usk_abi::{Errno, Signal};

/// Signals that have been sent and not yet delivered. A standard signal is pending once at most; real-time signals queue. One that found
/// the queue full may be pending without information.
#[derive(Debug, Default)]
pub struct PendingSignals {
    set: SignalSet,
    queue: VecDeque<Queued>,
}

#[derive(Debug)]
struct Queued {
    info: SignalInfo,
    /// A POSIX timer has sent it. What a program queues (`rt_sigqueueinfo(2)`) may only look so.
    is_timers: bool,
}

impl Queued {
    fn is_of_timer(&self, signal: Signal, timer: i32) -> bool {
        self.is_timers && self.info.signo == signal.number() && self.info.pid() == timer
    }
}

impl PendingSignals {
    /// The signals that are pending.
    pub fn set(&self) -> SignalSet {
        self.set
    }

    /// Count of queued signals.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True if no signal is pending.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The queued ones, in the order in which they were sent.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &SignalInfo> {
        self.queue.iter().map(|queued| &queued.info)
    }

    /// Adds a signal; a standard one that is already pending is merged with it. Returns true if it was added.
    pub fn add(&mut self, signal: Signal, info: SignalInfo) -> bool {
        self.push(signal, Queued { info, is_timers: false })
    }

    /// As [`PendingSignals::add`], for a POSIX timer's: it may be taken back, and counts the expiries that follow.
    pub(crate) fn add_of_timer(&mut self, signal: Signal, info: SignalInfo) -> bool {
        self.push(signal, Queued { info, is_timers: true })
    }

    fn push(&mut self, signal: Signal, queued: Queued) -> bool {
        if !signal.is_realtime() && self.set.contains(signal) {
            return false;
        }
        self.set = self.set.with(signal);
        self.queue.push_back(queued);
        true
    }

    /// As [`PendingSignals::add`], while fewer than `limit` (`RLIMIT_SIGPENDING`) are queued; standard signals of the kernel's and of
    /// `kill(2)`, which are few, are exempt. At the limit the signal is pending without its information, but a real-time one with
    /// information that matters is `EAGAIN` (`__send_signal_locked`).
    pub(crate) fn add_within(&mut self, limit: u64, signal: Signal, info: SignalInfo) -> Result<(), Errno> {
        let is_full = u64::try_from(self.len()).unwrap_or(u64::MAX) >= limit;
        let is_exempt = !signal.is_realtime() && info.code >= 0;
        if !is_full || is_exempt {
            self.add(signal, info);
        } else if signal.is_realtime() && !matches!(info.code, SI_USER | SI_KERNEL) {
            return Err(Errno::EAGAIN);
        } else {
            self.set = self.set.with(signal);
        }
        Ok(())
    }

    /// A POSIX timer has expired again, so often, while its signal is still pending: counts overruns. False if it is not pending.
    pub fn count_overruns(&mut self, signal: Signal, timer: i32, count: i32) -> bool {
        match self.queue.iter_mut().find(|queued| queued.is_of_timer(signal, timer)) {
            Some(Queued { info, .. }) => {
                *info = info.with_overrun((info.uid() as i32).saturating_add(count));
                true
            }
            None => false,
        }
    }

    /// Takes the next signal that is in `wanted`: those that faults raise first, then the lowest number, and within a number the oldest
    /// (`next_signal`).
    pub fn take(&mut self, wanted: SignalSet) -> Option<(Signal, SignalInfo)> {
        let open = self.set.and(wanted);
        let signal = open.and(SignalSet::SYNCHRONOUS).first().or(open.first())?;
        let position = self.queue.iter().position(|queued| queued.info.signo == signal.number());
        let queued = position.and_then(|position| self.queue.remove(position));
        let info = queued.map_or_else(|| SignalInfo::user(signal, SI_USER, 0, 0), |queued| queued.info);
        if !self.iter().any(|info| info.signo == signal.number()) {
            self.set = self.set.without(signal);
        }
        Some((signal, info))
    }

    /// Forgets all signals in `unwanted`. Returns the POSIX timers whose signals were among them, to be told when no lock is held
    /// (`ProcessTimers::note_discarded`).
    #[must_use]
    pub fn discard(&mut self, unwanted: SignalSet) -> Vec<i32> {
        if self.set.and(unwanted).is_empty() {
            return Vec::new();
        }
        self.set = self.set.minus(unwanted);
        let set = self.set;
        let mut timers = Vec::new();
        self.queue.retain(|Queued { info, is_timers }| {
            let is_kept = Signal::from_number(info.signo).is_some_and(|signal| set.contains(signal));
            if !is_kept && *is_timers {
                timers.push(info.pid());
            }
            is_kept
        });
        timers
    }

    /// Takes back what a POSIX timer has sent: the timer is deleted, or set anew (`posixtimer_deliver_signal`).
    pub(crate) fn retract_timer(&mut self, signal: Signal, timer: i32) {
        if self.set.contains(signal) {
            self.retract(|queued| queued.is_of_timer(signal, timer));
        }
    }

    /// Takes back all that POSIX timers have sent, and what looks so (`flush_itimer_signals`).
    pub(crate) fn retract_timers(&mut self) {
        self.retract(|queued| queued.info.code == SI_TIMER);
    }

    fn retract(&mut self, is_gone: impl Fn(&Queued) -> bool) {
        let (mut gone, mut left) = (SignalSet::EMPTY, SignalSet::EMPTY);
        self.queue.retain(|queued| {
            let is_gone = is_gone(queued);
            if let Some(signal) = Signal::from_number(queued.info.signo) {
                let set = if is_gone { &mut gone } else { &mut left };
                *set = set.with(signal);
            }
            !is_gone
        });
        self.set = self.set.minus(gone.minus(left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(signal: Signal, code: i32) -> SignalInfo {
        SignalInfo::new(signal, code)
    }

    #[test]
    fn standard_signals_merge_and_realtime_signals_queue_in_order() {
        let mut pending = PendingSignals::default();
        let realtime = Signal::from_number(40).unwrap();
        assert!(pending.add(Signal::SIGUSR1, info(Signal::SIGUSR1, 1)));
        assert!(!pending.add(Signal::SIGUSR1, info(Signal::SIGUSR1, 2)));
        assert!(pending.add(realtime, info(realtime, 1)));
        assert!(pending.add(realtime, info(realtime, 2)));
        let all = SignalSet(u64::MAX);
        assert_eq!(pending.take(all).map(|(s, i)| (s, i.code)), Some((Signal::SIGUSR1, 1)));
        assert_eq!(pending.take(all).map(|(s, i)| (s, i.code)), Some((realtime, 1)));
        assert!(pending.set().contains(realtime));
        assert_eq!(pending.take(all).map(|(s, i)| (s, i.code)), Some((realtime, 2)));
        assert_eq!(pending.take(all), None);
    }

    #[test]
    fn signals_beyond_the_limit_are_pending_without_information() {
        let mut pending = PendingSignals::default();
        let realtime = Signal::from_number(40).unwrap();
        assert_eq!(pending.add_within(0, realtime, info(realtime, SI_TIMER)), Err(Errno::EAGAIN));
        assert!(pending.is_empty());
        let sent = SignalInfo::user(realtime, SI_USER, 7, 7);
        assert_eq!(pending.add_within(0, realtime, sent), Ok(()));
        assert!(!pending.is_empty());
        assert_eq!(pending.len(), 0);
        let all = SignalSet(u64::MAX);
        assert_eq!(pending.take(all).map(|(s, i)| (s, i.code, i.pid())), Some((realtime, SI_USER, 0)));
        assert!(pending.is_empty());
    }

    #[test]
    fn discarded_signals_are_gone() {
        let mut pending = PendingSignals::default();
        pending.add(Signal::SIGTSTP, info(Signal::SIGTSTP, 0));
        pending.add(Signal::SIGUSR2, info(Signal::SIGUSR2, 0));
        pending.add_of_timer(Signal::SIGTTIN, SignalInfo::timer(Signal::SIGTTIN, 7, 0, 0));
        pending.add_of_timer(Signal::SIGUSR1, SignalInfo::timer(Signal::SIGUSR1, 8, 0, 0));
        assert_eq!(pending.discard(SignalSet::STOPPING), [7]);
        assert_eq!(pending.take(SignalSet::of(Signal::SIGUSR1)).map(|(_, info)| info.pid()), Some(8));
        assert!(pending.discard(SignalSet::STOPPING).is_empty());
        assert_eq!(pending.set(), SignalSet::of(Signal::SIGUSR2));
        assert_eq!(pending.len(), 1);
    }

    #[test]
    fn what_a_timer_has_sent_is_taken_back_and_what_looks_so_stays() {
        let mut pending = PendingSignals::default();
        let realtime = Signal::from_number(40).unwrap();
        let of_timer = |id| SignalInfo::timer(realtime, id, 0, 0);
        pending.add_of_timer(realtime, of_timer(7));
        pending.add_of_timer(realtime, of_timer(8));
        pending.retract_timer(realtime, 7);
        assert!(pending.set().contains(realtime));
        pending.retract_timer(realtime, 8);
        assert!(pending.is_empty());
        assert_eq!(pending.len(), 0);
        pending.add(realtime, of_timer(7));
        pending.retract_timer(realtime, 7);
        assert!(!pending.count_overruns(realtime, 7, 1));
        assert_eq!(pending.len(), 1);
        pending.add(Signal::SIGUSR1, info(Signal::SIGUSR1, 0));
        pending.retract_timers();
        assert_eq!((pending.set(), pending.len()), (SignalSet::of(Signal::SIGUSR1), 1));
    }
}
