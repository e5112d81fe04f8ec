//! Times and clocks (`linux/time.h`, `linux/timerfd.h`).

#![allow(missing_docs)]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const CLOCK_REALTIME: i32 = 0;
pub const CLOCK_MONOTONIC: i32 = 1;
pub const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;
pub const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
pub const CLOCK_MONOTONIC_RAW: i32 = 4;
pub const CLOCK_REALTIME_COARSE: i32 = 5;
pub const CLOCK_MONOTONIC_COARSE: i32 = 6;
pub const CLOCK_BOOTTIME: i32 = 7;
pub const CLOCK_REALTIME_ALARM: i32 = 8;
pub const CLOCK_BOOTTIME_ALARM: i32 = 9;
pub const CLOCK_TAI: i32 = 11;

pub const TIMER_ABSTIME: u32 = 1;
/// `timerfd_settime(2)`: a jump of the real-time clock cancels reads.
pub const TFD_TIMER_CANCEL_ON_SET: u32 = 2;

const NANOSECONDS: u64 = 1_000_000_000;

/// `struct timespec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timespec {
    pub seconds: i64,
    pub nanoseconds: i64,
}

impl Timespec {
    /// The time that is `nanoseconds` after zero.
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Timespec {
            seconds: (nanoseconds / NANOSECONDS) as i64,
            nanoseconds: (nanoseconds % NANOSECONDS) as i64,
        }
    }

    /// In nanoseconds, saturating in the far future; `None` if negative or not normalised, which calls answer with
    /// `EINVAL`.
    pub const fn to_nanoseconds(self) -> Option<u64> {
        if self.seconds < 0 || self.nanoseconds < 0 || self.nanoseconds >= NANOSECONDS as i64 {
            return None;
        }
        Some((self.seconds as u64).saturating_mul(NANOSECONDS).saturating_add(self.nanoseconds as u64))
    }
}

/// `struct timeval`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timeval {
    pub seconds: i64,
    pub microseconds: i64,
}

impl Timeval {
    /// The time that is `nanoseconds` after zero, cut to microseconds.
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Timeval {
            seconds: (nanoseconds / NANOSECONDS) as i64,
            microseconds: (nanoseconds % NANOSECONDS / 1000) as i64,
        }
    }
}

/// `struct itimerspec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Itimerspec {
    pub interval: Timespec,
    pub value: Timespec,
}

/// `struct timex`: how the system's clock is disciplined (`adjtimex(2)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timex {
    /// `ADJ_*`: what to change.
    pub modes: u32,
    pub padding1: u32,
    pub offset: i64,
    pub frequency: i64,
    /// Microseconds.
    pub most_error: i64,
    pub estimated_error: i64,
    /// `STA_*`
    pub status: i32,
    pub padding2: u32,
    pub constant: i64,
    /// Microseconds.
    pub precision: i64,
    pub tolerance: i64,
    pub time: Timeval,
    /// Microseconds between ticks.
    pub tick: i64,
    /// About a signal each second, which there is none of.
    pub pulses: [i64; 8],
    /// Seconds between International Atomic Time and UTC.
    pub tai: i32,
    pub padding3: [u32; 11],
}

/// Change the clock by and by, as `adjtime(3)` does.
pub const ADJ_ADJTIME: u32 = 0x8000;
/// With [`ADJ_ADJTIME`]: the change, once.
pub const ADJ_OFFSET_SINGLESHOT: u32 = 0x0001;
/// With [`ADJ_ADJTIME`]: only look how much is left of it.
pub const ADJ_OFFSET_READONLY: u32 = 0x2000;
/// The clock is not disciplined.
pub const STA_UNSYNC: i32 = 0x0040;
/// The state of a clock that is not disciplined.
pub const TIME_ERROR: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_match_the_headers() {
        assert_eq!(size_of::<Timespec>(), size_of::<libc::timespec>());
        assert_eq!(size_of::<Timeval>(), size_of::<libc::timeval>());
        assert_eq!(size_of::<Itimerspec>(), size_of::<libc::itimerspec>());
        assert_eq!(CLOCK_TAI, libc::CLOCK_TAI);
        assert_eq!(TFD_TIMER_CANCEL_ON_SET as i32, libc::TFD_TIMER_CANCEL_ON_SET);
    }

    #[test]
    fn times_that_are_not_normalised_are_refused() {
        assert_eq!(Timespec { seconds: 1, nanoseconds: 1_000_000_000 }.to_nanoseconds(), None);
        assert_eq!(Timespec { seconds: -1, nanoseconds: 0 }.to_nanoseconds(), None);
        assert_eq!(Timespec { seconds: i64::MAX, nanoseconds: 0 }.to_nanoseconds(), Some(u64::MAX));
        assert_eq!(
            Timespec::from_nanoseconds(1_500_000_000),
            Timespec { seconds: 1, nanoseconds: 500_000_000 }
        );
    }
}
