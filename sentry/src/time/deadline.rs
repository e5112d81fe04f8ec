//! A point in time to wait for.

use std::time::{Duration, Instant};

use usk_platform::host;

/// A time on `CLOCK_MONOTONIC`, in nanoseconds since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(pub u64);

/// Nanoseconds on `CLOCK_MONOTONIC`.
pub fn monotonic_now() -> u64 {
    host::clock_ns(host::Clock::Monotonic)
}

impl Deadline {
    /// The time `duration` from now; saturates in the far future.
    pub fn after(duration: Duration) -> Self {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Deadline(monotonic_now().saturating_add(nanoseconds))
    }

    /// Time left; zero once it has passed.
    pub fn remaining(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(monotonic_now()))
    }

    /// True once it has passed.
    pub fn has_passed(self) -> bool {
        monotonic_now() >= self.0
    }

    /// The same time as an [`Instant`]; `None` if it is too far away to be one.
    pub fn to_instant(self) -> Option<Instant> {
        Instant::now().checked_add(self.remaining())
    }
}
