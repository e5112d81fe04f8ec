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
    queue: VecDeque<SignalInfo>,
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
        self.queue.iter()
    }

    /// Adds a signal; a standard one that is already pending is merged with it. Returns true if it was added.
    pub fn add(&mut self, signal: Signal, info: SignalInfo) -> bool {
        if !signal.is_realtime() && self.set.contains(signal) {
            return false;
        }
        self.set = self.set.with(signal);
        self.queue.push_back(info);
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
        let is_it = |info: &&mut SignalInfo| {
            info.signo == signal.number() && info.code == SI_TIMER && info.pid() == timer
        };
        match self.queue.iter_mut().find(is_it) {
            Some(info) => {
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
        let position = self.queue.iter().position(|info| info.signo == signal.number());
        let queued = position.and_then(|position| self.queue.remove(position));
        let info = queued.unwrap_or_else(|| SignalInfo::user(signal, SI_USER, 0, 0));
        if !self.queue.iter().any(|info| info.signo == signal.number()) {
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
        self.queue.retain(|info| {
            let is_kept = Signal::from_number(info.signo).is_some_and(|signal| set.contains(signal));
            if !is_kept && info.code == SI_TIMER {
                timers.push(info.pid());
            }
            is_kept
        });
        timers
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
        pending.add(Signal::SIGTTIN, SignalInfo::timer(Signal::SIGTTIN, 7, 0, 0));
        pending.add(Signal::SIGUSR1, SignalInfo::timer(Signal::SIGUSR1, 8, 0, 0));
        assert_eq!(pending.discard(SignalSet::STOPPING), [7]);
        assert_eq!(pending.take(SignalSet::of(Signal::SIGUSR1)).map(|(_, info)| info.pid()), Some(8));
        assert!(pending.discard(SignalSet::STOPPING).is_empty());
        assert_eq!(pending.set(), SignalSet::of(Signal::SIGUSR2));
        assert_eq!(pending.len(), 1);
    }
}
