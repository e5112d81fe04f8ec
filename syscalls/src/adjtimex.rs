//! `adjtimex(2)`, `clock_adjtime(2)`.

use usk_abi::Errno;
use usk_abi::time::*;
use usk_platform::host::{self, Clock};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::{SysResult, UserPtr};

use crate::clock_gettime::guest_clock;
use crate::table::{Argument::*, Row};

/// The clock is the host's.
const MISSING: &str = "changes nothing: EPERM; the clock is reported as not synchronised";

pub(crate) const ROWS: &[Row] = &[
    Row::partial(159, "adjtimex", &[Pointer], sys_adjtimex, MISSING),
    Row::partial(305, "clock_adjtime", &[Int, Pointer], sys_clock_adjtime, MISSING),
];

/// What Linux has before anybody has told it how good its clock is, in microseconds (`NTP_PHASE_LIMIT`).
const UNKNOWN_ERROR: i64 = 16_000_000;
/// `MAXFREQ_SCALED`
const TOLERANCE: i64 = 32_768_000;
/// `MAXTC` is the most; this is the first value.
const CONSTANT: i64 = 2;
/// Microseconds between ticks at 100 a second (`USER_TICK_USEC`).
const TICK_US: i64 = 10_000;

fn sys_adjtimex(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    adjust(current, arguments.pointer(0))
}

fn sys_clock_adjtime(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let timex = arguments.pointer(1);
    current.copy_in::<Timex>(timex)?;
    guest_clock(&current.task, arguments.i32(0))?;
    if arguments.i32(0) == CLOCK_REALTIME { adjust(current, timex) } else { Err(Errno::EOPNOTSUPP.into()) }
}

/// Tells how the clock is kept.
fn adjust(current: &mut Current, pointer: UserPtr<Timex>) -> SysResult {
    let asked = current.copy_in(pointer)?.modes;
    check(asked)?;
    let now_us = i64::try_from(host::clock_ns(Clock::Realtime) / 1000).unwrap_or(i64::MAX);
    let timex = Timex {
        modes: asked,
        most_error: UNKNOWN_ERROR,
        estimated_error: UNKNOWN_ERROR,
        status: STA_UNSYNC,
        constant: CONSTANT,
        precision: 1,
        tolerance: TOLERANCE,
        time: Timeval { seconds: now_us / 1_000_000, microseconds: now_us % 1_000_000 },
        tick: TICK_US,
        ..Timex::default()
    };
    current.copy_out(pointer, &timex)?;
    Ok(TIME_ERROR)
}

/// `EINVAL` for modes that do not go together (`timekeeping_validate_timex`), `EPERM` for a change.
fn check(modes: u32) -> Result<(), Errno> {
    if modes & ADJ_ADJTIME == 0 {
        return if modes == 0 { Ok(()) } else { Err(Errno::EPERM) };
    }
    if modes & ADJ_OFFSET_SINGLESHOT == 0 {
        return Err(Errno::EINVAL);
    }
    if modes & ADJ_OFFSET_READONLY == 0 { Err(Errno::EPERM) } else { Ok(()) }
}
