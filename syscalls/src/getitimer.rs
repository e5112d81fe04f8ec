//! `getitimer(2)`, `setitimer(2)`, `alarm(2)`.

use usk_abi::Errno;
use usk_abi::time::Timeval;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::time::{IntervalTimer, TimerSetting};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(36, "getitimer", &[Int, Pointer], sys_getitimer),
    Row::full(37, "alarm", &[Uint], sys_alarm),
    Row::full(38, "setitimer", &[Int, Pointer, Pointer], sys_setitimer),
];

const NANOSECONDS: u64 = 1_000_000_000;

fn which(number: i32) -> Result<IntervalTimer, Errno> {
    match number {
        0 => Ok(IntervalTimer::Real),
        1 => Ok(IntervalTimer::Virtual),
        2 => Ok(IntervalTimer::Profiling),
        _ => Err(Errno::EINVAL),
    }
}

/// `struct itimerval`: interval, then value.
fn encode(setting: TimerSetting) -> [Timeval; 2] {
    [Timeval::from_nanoseconds(setting.interval), Timeval::from_nanoseconds(setting.value)]
}

fn decode(value: Timeval) -> Result<u64, Errno> {
    let microseconds = u64::try_from(value.microseconds).ok().filter(|value| *value < 1_000_000);
    let seconds = u64::try_from(value.seconds).ok();
    match (seconds, microseconds) {
        (Some(seconds), Some(microseconds)) => {
            Ok(seconds.saturating_mul(NANOSECONDS).saturating_add(microseconds * 1000))
        }
        _ => Err(Errno::EINVAL),
    }
}

fn sys_getitimer(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let timer = current.task.group.timers.interval(&current.task, which(arguments.i32(0))?);
    current.copy_out_array(arguments.pointer::<Timeval>(1), &encode(timer.get()))?;
    Ok(0)
}

fn sys_setitimer(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (new, old) = (arguments.pointer::<Timeval>(1), arguments.pointer::<Timeval>(2));
    // A null pointer disarms, as Linux still has it.
    let setting = if new.is_null() {
        TimerSetting::default()
    } else {
        let values = new.read_array(current.space(), 2)?;
        TimerSetting { interval: decode(values[0])?, value: decode(values[1])? }
    };
    let timer = current.task.group.timers.interval(&current.task, which(arguments.i32(0))?);
    let previous = timer.set(setting, false)?;
    if !old.is_null() {
        current.copy_out_array(old, &encode(previous))?;
    }
    Ok(0)
}

fn sys_alarm(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let value = u64::from(arguments.u32(0)) * NANOSECONDS;
    let timer = current.task.group.timers.interval(&current.task, IntervalTimer::Real);
    let left = timer.set(TimerSetting { value, interval: 0 }, false)?.value;
    // Rounded to whole seconds, but an armed timer is never said to have none left.
    let seconds = (left + NANOSECONDS / 2) / NANOSECONDS;
    Ok(if left != 0 { seconds.max(1) } else { 0 })
}
