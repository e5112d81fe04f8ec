//! Kicks of tasks that somebody waits for to leave guest code. A guest can block them, by a return through a frame of its own making; then
//! its host process is ended.

use std::time::{Duration, Instant};

use crate::task::Task;

/// Processor time that a task may use after the first kick. The longest that the host does for a guest at once, unmapping all that there is,
/// takes less.
const ENOUGH: Duration = Duration::from_secs(10);
/// Kicks in a row that may find a task where it has used no processor time since the one before: ten seconds. Whom the host throttles for its
/// use of memory rests for two (`MEMCG_MAX_HIGH_DELAY_JIFFIES`), and a page of a volume may be slow to come.
const MOST_IN_VAIN: u32 = 100;
/// Kicks in all.
const MOST: u32 = 400;

/// Whom somebody waits for. Counts kicks and not time, which passes as well while the host has stopped the whole sandbox.
#[derive(Default)]
pub(crate) struct Kicks {
    tasks: Vec<Kicked>,
}

struct Kicked {
    tid: i32,
    /// When the next kick counts.
    next: Instant,
    count: u32,
    in_vain: u32,
    /// Processor time used up to the first kick, and to the last one.
    used_first: Duration,
    used_last: Duration,
}

impl Kicks {
    /// How often to kick again. More frequent kicks are not counted.
    pub(crate) const EVERY: Duration = Duration::from_millis(100);

    /// A task has been kicked, once more as the case may be. Ends its guest if that does not help.
    pub(crate) fn note(&mut self, task: &Task) {
        let (now, tid) = (Instant::now(), task.tid());
        let next = now + Self::EVERY;
        let Some(kicked) = self.tasks.iter_mut().find(|kicked| kicked.tid == tid) else {
            let used = task.usage().user;
            let first = Kicked { tid, next, count: 1, in_vain: 0, used_first: used, used_last: used };
            return self.tasks.push(first);
        };
        if now < kicked.next {
            return;
        }
        kicked.next = next;
        if kicked.is_enough(task.usage().user) {
            tracing::warn!(tid, "a guest that cannot be interrupted is ended");
            task.end_guest();
        }
    }
}

impl Kicked {
    /// Once more, after so much processor time.
    fn is_enough(&mut self, used: Duration) -> bool {
        self.count += 1;
        self.in_vain = if used == self.used_last { self.in_vain + 1 } else { 0 };
        self.used_last = used;
        used.saturating_sub(self.used_first) > ENOUGH || self.in_vain >= MOST_IN_VAIN || self.count >= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many kicks a task is given that uses so much processor time between two of them.
    fn kicks(between: Duration) -> usize {
        let mut kicked = Kicked {
            tid: 1,
            next: Instant::now(),
            count: 1,
            in_vain: 0,
            used_first: Duration::ZERO,
            used_last: Duration::ZERO,
        };
        let mut used = Duration::ZERO;
        std::iter::repeat_with(|| {
            used += between;
            kicked.is_enough(used)
        })
        .take_while(|is_enough| !is_enough)
        .count()
    }

    #[test]
    fn who_sleeps_on_is_ended_sooner_than_who_works_or_wakes_now_and_then() {
        assert_eq!(kicks(Duration::ZERO), 99);
        assert_eq!(kicks(Duration::from_millis(100)), 100);
        assert_eq!(kicks(Duration::from_micros(1)), 398);
    }
}
