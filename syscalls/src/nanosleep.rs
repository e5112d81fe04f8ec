//! `nanosleep(2)`, `clock_nanosleep(2)`.

use std::time::Duration;

use usk_abi::Errno;
use usk_abi::time::{CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_TAI, TIMER_ABSTIME, Timespec};
use usk_platform::host::{self, Clock};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::time::Deadline;
use usk_sentry::{Restart, RestartBlock, SysError, SysResult, UserPtr};

use crate::clock_gettime::{GuestClock, guest_clock};
use crate::copy::read_timespec;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(35, "nanosleep", &[Pointer, Pointer], sys_nanosleep),
    Row::partial(
        230,
        "clock_nanosleep",
        &[Int, Int, Pointer, Pointer],
        sys_clock_nanosleep,
        "clocks of processor time are slept on in steps",
    ),
];

/// Step of a sleep on processor time.
const CPU_STEP: Duration = Duration::from_millis(4);

fn sys_nanosleep(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let time = read_timespec(current, arguments.pointer(0))?;
    sleep_until(current, Deadline::after(Duration::from_nanos(time)), arguments.u64(1))
}

fn sys_clock_nanosleep(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (clock, flags) = (arguments.i32(0), arguments.u32(1));
    let clock = match clock {
        CLOCK_REALTIME | CLOCK_TAI => GuestClock::Host(Clock::Realtime),
        CLOCK_MONOTONIC => GuestClock::Host(Clock::Monotonic),
        CLOCK_BOOTTIME => GuestClock::Host(Clock::Boottime),
        other => match guest_clock(&current.task, other)? {
            // Coarse and raw clocks cannot be slept on; nor can a thread sleep on its own processor time.
            GuestClock::Host(_) | GuestClock::OwnThread => return Err(Errno::EOPNOTSUPP.into()),
            clock => clock,
        },
    };
    let time = read_timespec(current, arguments.pointer::<Timespec>(2))?;
    let absolute = flags & TIMER_ABSTIME != 0;
    match clock {
        GuestClock::Host(clock) => {
            if !absolute {
                return sleep_until(current, Deadline::after(Duration::from_nanos(time)), arguments.u64(3));
            }
            let left = time.saturating_sub(host::clock_ns(clock));
            match current.sleep(Some(Deadline::after(Duration::from_nanos(left)))) {
                Err(SysError::Restart(_)) => Err(Restart::IfNoHandler.into()),
                other => other.map(|()| 0),
            }
        }
        clock => {
            let until = if absolute { time } else { clock.now(&current.task).saturating_add(time) };
            while clock.now(&current.task) < until {
                if let Err(SysError::Restart(_)) = current.sleep(Some(Deadline::after(CPU_STEP))) {
                    return Err(Restart::IfNoHandler.into());
                }
            }
            Ok(0)
        }
    }
}

/// Sleeps until the deadline. When interrupted, writes the time left to `remaining` (0: nowhere), and goes on by
/// `restart_syscall(2)` if no handler runs.
pub(crate) fn sleep_until(current: &mut Current, deadline: Deadline, remaining: u64) -> SysResult {
    match current.sleep(Some(deadline)) {
        Err(SysError::Restart(_)) => {
            let left = deadline.remaining();
            if left.is_zero() {
                return Ok(0);
            }
            if remaining != 0 {
                let nanoseconds = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
                UserPtr::new(remaining).write(current.space(), &Timespec::from_nanoseconds(nanoseconds))?;
            }
            Err(Restart::Block(RestartBlock::Sleep { deadline, remaining }).into())
        }
        other => other.map(|()| 0),
    }
}
