//! What a run costs, counted where it is caused: for the receipt of `usk run --report`.
//!
//! Only what comes to the sentry is seen: a call that the stub answers, or that the host answers the stub, costs nothing here and
//! is not counted, lest counting cost more than answering. A kernel that nobody asks for a receipt looks once for each
//! trap whether there is a meter.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use usk_platform::host::{Clock, clock_ns};

/// Call numbers from here on are counted together, as the last.
const NUMBERS: usize = 512;
/// Shortest spells in the guest of a kind that tell what a hand-over takes.
const ENOUGH: u64 = 16;

/// Counters of one sandbox. All only grow.
pub struct Meter {
    calls: Box<[CallMeter]>,
    slow: Spells,
    patched: Spells,
    faults: AtomicU64,
    fault_ns: AtomicU64,
    programs: AtomicU64,
}

/// Of one call.
#[derive(Default)]
struct CallMeter {
    count: AtomicU64,
    slow: AtomicU64,
    total_ns: AtomicU64,
    slept_ns: AtomicU64,
}

/// Spells that guest threads spent outside of the sentry until they made a call of this kind.
struct Spells {
    count: AtomicU64,
    shortest_ns: AtomicU64,
}

/// What has been counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// Calls that came to the sentry, by number.
    pub calls: Vec<CallCost>,
    /// Everything else.
    pub totals: Totals,
}

/// What a call has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCost {
    /// Its number.
    pub number: u32,
    /// How often it came.
    pub count: u64,
    /// How often by a signal, or a stop of the tracee, rather than from a patched call site.
    pub slow: u64,
    /// Time in its handler, without sleep, in nanoseconds.
    pub worked_ns: u64,
    /// Time asleep in its handler, in nanoseconds.
    pub slept_ns: u64,
}

/// What is counted for all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Shortest time outside of the sentry before a call that came slowly, in nanoseconds: what the hand-over takes. 0 if
    /// there were too few to tell.
    pub slow_ns: u64,
    /// The same before a call from a patched site.
    pub patched_ns: u64,
    /// Faults that came to the sentry.
    pub faults: u64,
    /// Time spent on them, in nanoseconds.
    pub fault_ns: u64,
    /// Questions to the gofer.
    pub questions: u64,
    /// Time until they were answered, in nanoseconds. It is part of the calls' time.
    pub question_ns: u64,
    /// Processes and threads that were made, the first not included.
    pub tasks: u64,
    /// Programs that were executed, the first not included.
    pub programs: u64,
}

impl Default for Meter {
    fn default() -> Meter {
        let spells = || Spells { count: AtomicU64::new(0), shortest_ns: AtomicU64::new(u64::MAX) };
        Meter {
            calls: (0..NUMBERS).map(|_| CallMeter::default()).collect(),
            slow: spells(),
            patched: spells(),
            faults: AtomicU64::new(0),
            fault_ns: AtomicU64::new(0),
            programs: AtomicU64::new(0),
        }
    }
}

/// Where a kernel has its meter, if it has one.
pub(crate) type MeterPlace = OnceLock<Meter>;

/// The time that meters go by, in nanoseconds.
pub(crate) fn now() -> u64 {
    clock_ns(Clock::Monotonic)
}

impl Meter {
    /// A guest thread made a call after a spell outside of the sentry.
    pub(crate) fn came(&self, slowly: bool, spell_ns: u64) {
        let spells = if slowly { &self.slow } else { &self.patched };
        spells.count.fetch_add(1, Ordering::Relaxed);
        spells.shortest_ns.fetch_min(spell_ns, Ordering::Relaxed);
    }

    /// A call was carried out.
    pub(crate) fn called(&self, number: u64, slowly: bool, total_ns: u64, slept_ns: u64) {
        let index = usize::try_from(number).unwrap_or(NUMBERS).min(NUMBERS - 1);
        let Some(call) = self.calls.get(index) else { return };
        call.count.fetch_add(1, Ordering::Relaxed);
        call.slow.fetch_add(u64::from(slowly), Ordering::Relaxed);
        call.total_ns.fetch_add(total_ns, Ordering::Relaxed);
        call.slept_ns.fetch_add(slept_ns, Ordering::Relaxed);
    }

    /// A fault was dealt with.
    pub(crate) fn faulted(&self, spent_ns: u64) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        self.fault_ns.fetch_add(spent_ns, Ordering::Relaxed);
    }

    /// A program was executed.
    pub(crate) fn executed(&self) {
        self.programs.fetch_add(1, Ordering::Relaxed);
    }

    /// What has been counted up to now here.
    pub(crate) fn costs(&self) -> Costs {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let cost = |(number, call): (u32, &CallMeter)| {
            let slept_ns = read(&call.slept_ns);
            let (count, slow) = (read(&call.count), read(&call.slow));
            let worked_ns = read(&call.total_ns).saturating_sub(slept_ns);
            CallCost { number, count, slow, worked_ns, slept_ns }
        };
        let shortest = |spells: &Spells| {
            if read(&spells.count) >= ENOUGH { read(&spells.shortest_ns) } else { 0 }
        };
        let totals = Totals {
            slow_ns: shortest(&self.slow),
            patched_ns: shortest(&self.patched),
            faults: read(&self.faults),
            fault_ns: read(&self.fault_ns),
            programs: read(&self.programs),
            ..Totals::default()
        };
        Costs { calls: (0..).zip(&self.calls).map(cost).filter(|call| call.count > 0).collect(), totals }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_is_counted_by_number() {
        let meter = Meter::default();
        meter.called(1, true, 500, 200);
        meter.called(1, false, 100, 0);
        for number in [511, 512, u64::MAX] {
            meter.called(number, true, 1, 0);
        }
        let costs = meter.costs().calls;
        assert_eq!(costs[0], CallCost { number: 1, count: 2, slow: 1, worked_ns: 400, slept_ns: 200 });
        assert_eq!(costs[1], CallCost { number: 511, count: 3, slow: 3, worked_ns: 3, slept_ns: 0 });
        assert_eq!(costs.len(), 2);
    }

    #[test]
    fn a_few_spells_do_not_tell_what_a_hand_over_takes() {
        let meter = Meter::default();
        for spell_ns in 1..ENOUGH {
            meter.came(true, 5000 + spell_ns);
            meter.came(false, 3000 + spell_ns);
        }
        assert_eq!(meter.costs().totals, Totals::default());
        meter.came(true, 9000);
        let Totals { slow_ns, patched_ns, .. } = meter.costs().totals;
        assert_eq!((slow_ns, patched_ns), (5001, 0));
    }
}
