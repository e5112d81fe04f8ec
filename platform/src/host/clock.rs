//! The host's clocks.

use nix::time::ClockId;

/// A clock of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// `CLOCK_REALTIME`
    Realtime,
    /// `CLOCK_MONOTONIC`
    Monotonic,
    /// `CLOCK_BOOTTIME`
    Boottime,
    /// `CLOCK_MONOTONIC_RAW`
    MonotonicRaw,
    /// `CLOCK_MONOTONIC_COARSE`
    MonotonicCoarse,
    /// `CLOCK_REALTIME_COARSE`
    RealtimeCoarse,
    /// `CLOCK_TAI`
    Tai,
}

/// The time on a clock, in nanoseconds.
pub fn clock_ns(clock: Clock) -> u64 {
    let id = match clock {
        Clock::Realtime => ClockId::CLOCK_REALTIME,
        Clock::Monotonic => ClockId::CLOCK_MONOTONIC,
        Clock::Boottime => ClockId::CLOCK_BOOTTIME,
        Clock::MonotonicRaw => ClockId::CLOCK_MONOTONIC_RAW,
        Clock::MonotonicCoarse => ClockId::CLOCK_MONOTONIC_COARSE,
        Clock::RealtimeCoarse => ClockId::CLOCK_REALTIME_COARSE,
        Clock::Tai => ClockId::CLOCK_TAI,
    };
    match nix::time::clock_gettime(id) {
        Ok(time) => (time.tv_sec() as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec() as u64),
        // These clocks exist on every Linux that the platform runs on.
        Err(_) => 0,
    }
}
