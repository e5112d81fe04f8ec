//! `timerfd_create(2)`, `timerfd_settime(2)`, `timerfd_gettime(2)`.

use usk_abi::Errno;
use usk_abi::fcntl::{O_CLOEXEC, O_NONBLOCK};
use usk_abi::time::{
    CLOCK_BOOTTIME, CLOCK_BOOTTIME_ALARM, CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_REALTIME_ALARM, Itimerspec,
    TFD_TIMER_CANCEL_ON_SET, TIMER_ABSTIME, Timespec,
};
use usk_platform::host::Clock;
use usk_sentry::SysResult;
use usk_sentry::file::timerfd::{TimerFd, TimerSetting};
use usk_sentry::task::{Current, SyscallArguments};

use crate::descriptor::{fd_result, file_of, install};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(283, "timerfd_create", &[Int, Flags], sys_timerfd_create),
    Row::partial(
        286,
        "timerfd_settime",
        &[Fd, Flags, Pointer, Pointer],
        sys_timerfd_settime,
        "jumps of the real-time clock neither move nor cancel a timer",
    ),
    Row::full(287, "timerfd_gettime", &[Fd, Pointer], sys_timerfd_gettime),
];

fn sys_timerfd_create(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (clock, flags) = (arguments.i32(0), arguments.u32(1));
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let clock = match clock {
        CLOCK_REALTIME => Clock::Realtime,
        CLOCK_MONOTONIC => Clock::Monotonic,
        CLOCK_BOOTTIME => Clock::Boottime,
        // These wake a sleeping machine, which takes CAP_WAKE_ALARM over it. Nobody in a sandbox has that.
        CLOCK_REALTIME_ALARM | CLOCK_BOOTTIME_ALARM => return Err(Errno::EPERM.into()),
        _ => return Err(Errno::EINVAL.into()),
    };
    let file = TimerFd::open(clock, &current.task.kernel.timers, flags & O_NONBLOCK);
    fd_result(install(current, file, flags & O_CLOEXEC != 0)?)
}

fn to_guest(setting: TimerSetting) -> Itimerspec {
    Itimerspec {
        interval: Timespec::from_nanoseconds(setting.interval_ns),
        value: Timespec::from_nanoseconds(setting.value_ns),
    }
}

fn sys_timerfd_settime(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (fd, flags) = (arguments.i32(0), arguments.u32(1));
    let new = arguments.pointer::<Itimerspec>(2).read(current.space())?;
    let (value_ns, interval_ns) = (new.value.to_nanoseconds(), new.interval.to_nanoseconds());
    let (Some(value_ns), Some(interval_ns)) = (value_ns, interval_ns) else {
        return Err(Errno::EINVAL.into());
    };
    if flags & !(TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = file_of(current, fd)?;
    let timer = TimerFd::of(&file).ok_or(Errno::EINVAL)?;
    let old = timer.set(TimerSetting { value_ns, interval_ns }, flags & TIMER_ABSTIME != 0)?;
    let address = arguments.pointer::<Itimerspec>(3);
    if !address.is_null() {
        address.write(current.space(), &to_guest(old))?;
    }
    Ok(0)
}

fn sys_timerfd_gettime(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    let setting = TimerFd::of(&file).ok_or(Errno::EINVAL)?.setting();
    arguments.pointer::<Itimerspec>(1).write(current.space(), &to_guest(setting))?;
    Ok(0)
}
