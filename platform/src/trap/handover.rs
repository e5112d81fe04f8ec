//! Who may have to be interrupted: one word between a sentry thread that runs a guest thread and its kickers.
//!
//! A kick must reach a guest thread that is running, or about to, and cost nothing where the next `run` can see it.
//! So the word says whether the guest thread runs, and whether somebody has kicked; only a kicker that finds it
//! running sends the host signal. The signal is sent after the word was changed, so the trap that it causes may come
//! one run later; never is a kick lost, and a superfluous [`Trap::Interrupted`](crate::Trap::Interrupted) is allowed.

mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, Ordering};
}
mod word;

pub(super) use word::Handover;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kick_of_a_parked_thread_is_seen_by_its_next_run_only() {
        let handover = Handover::new();
        assert!(!handover.kick());
        assert!(!handover.kick());
        assert!(!handover.begin());
        assert!(handover.begin());
    }

    #[test]
    fn the_first_kick_of_a_running_thread_sends_the_signal() {
        let handover = Handover::new();
        assert!(handover.begin());
        assert!(handover.kick());
        assert!(!handover.kick());
        handover.end();
        assert!(handover.begin());
    }
}

#[cfg(test)]
mod model;
