//! Which of several tasks that share a descriptor table is lent it: one that has lately used it alone.
//!
//! To take a table back from a guest that runs costs tens of microseconds, as much as several calls. So a tenant that is disturbed
//! again within [`QUIET_NS`] is none any more, and the next one has to use the table alone for twice as many calls. One that is
//! disturbed less often stays. Either way there is at most one such disturbance for each of these spans, and a few at first.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Disturbances that are further apart do not count: a per cent or two.
const QUIET_NS: u64 = 4_000_000;
/// Uses in a row after which a task is lent the table, at first, and at most.
const FEWEST: u32 = 16;
const MOST: u32 = 1024;

/// Who has used the table. All of it is a guess: of updates that meet, one may be lost.
pub(super) struct Turns {
    /// Who was the last, and above that how often in a row.
    last: AtomicU64,
    /// Uses in a row that are asked for.
    patience: AtomicU32,
    /// When a tenant was last disturbed.
    disturbed_ns: AtomicU64,
}

impl Default for Turns {
    fn default() -> Self {
        Turns {
            last: AtomicU64::default(),
            patience: AtomicU32::new(FEWEST),
            disturbed_ns: AtomicU64::default(),
        }
    }
}

fn pack(user: u32, uses: u32) -> u64 {
    u64::from(uses) << 32 | u64::from(user)
}

impl Turns {
    fn last(&self) -> (u32, u32) {
        let word = self.last.load(Ordering::Relaxed);
        (word as u32, (word >> 32) as u32)
    }

    /// A task uses the table. Who did before.
    pub(super) fn note_use(&self, user: u32) -> u32 {
        let (last, uses) = self.last();
        let uses_now = if last == user { (uses + 1).min(MOST) } else { 1 };
        if (last, uses) != (user, uses_now) {
            self.last.store(pack(user, uses_now), Ordering::Relaxed);
        }
        last
    }

    /// Whether it is a task's turn.
    pub(super) fn is_of(&self, user: u32) -> bool {
        let (last, uses) = self.last();
        last == user && uses >= self.patience.load(Ordering::Relaxed)
    }

    /// `user` has disturbed the tenant, now. True if the tenant is to be none any more.
    pub(super) fn disturb(&self, user: u32, now_ns: u64) -> bool {
        self.last.store(pack(user, 1), Ordering::Relaxed);
        let is_soon = now_ns.saturating_sub(self.disturbed_ns.swap(now_ns, Ordering::Relaxed)) < QUIET_NS;
        let patience = self.patience.load(Ordering::Relaxed);
        let patience = if is_soon { patience * 2 } else { patience / 2 }.clamp(FEWEST, MOST);
        self.patience.store(patience, Ordering::Relaxed);
        is_soon
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn use_often(turns: &Turns, user: u32, uses: u32) {
        (0..uses).for_each(|_| {
            turns.note_use(user);
        });
    }

    #[test]
    fn it_is_the_turn_of_who_has_used_the_table_alone_for_a_while() {
        let turns = Turns::default();
        use_often(&turns, 7, FEWEST - 1);
        assert!(!turns.is_of(7));
        turns.note_use(8);
        assert_eq!(turns.note_use(7), 8);
        use_often(&turns, 7, FEWEST - 2);
        assert!(!turns.is_of(7));
        turns.note_use(7);
        assert!(turns.is_of(7) && !turns.is_of(8));
    }

    #[test]
    fn who_is_disturbed_often_has_to_wait_longer_each_time_and_who_is_not_less() {
        let turns = Turns::default();
        let mut now = 10 * QUIET_NS;
        assert!(!turns.disturb(8, now));
        let mut needed = FEWEST;
        while needed < MOST {
            now += QUIET_NS - 1;
            assert!(turns.disturb(8, now));
            needed *= 2;
            use_often(&turns, 7, needed - 1);
            assert!(!turns.is_of(7));
            turns.note_use(7);
            assert!(turns.is_of(7));
        }
        now += 1;
        assert!(turns.disturb(8, now));
        use_often(&turns, 7, MOST);
        assert!(turns.is_of(7), "no more than that is ever asked for");
        now += QUIET_NS;
        assert!(!turns.disturb(8, now));
        use_often(&turns, 7, MOST / 2);
        assert!(turns.is_of(7));
    }
}
