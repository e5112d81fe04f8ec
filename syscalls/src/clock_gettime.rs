//! `clock_gettime(2)`, `clock_getres(2)`, `clock_settime(2)`, `gettimeofday(2)`, `settimeofday(2)`, `time(2)`.

use std::sync::Arc;
use std::time::Duration;

use usk_abi::Errno;
use usk_abi::time::{
    CLOCK_BOOTTIME, CLOCK_BOOTTIME_ALARM, CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC_RAW,
    CLOCK_PROCESS_CPUTIME_ID, CLOCK_REALTIME, CLOCK_REALTIME_ALARM, CLOCK_REALTIME_COARSE, CLOCK_TAI,
    CLOCK_THREAD_CPUTIME_ID, Timespec, Timeval,
};
use usk_platform::host::{self, Clock};
use usk_sentry::task::{Current, SyscallArguments, Task, ThreadGroup};
use usk_sentry::time::TimerClock;
use usk_sentry::{SysResult, UserPtr};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(96, "gettimeofday", &[Pointer, Pointer], sys_gettimeofday),
    Row::full(164, "settimeofday", &[Pointer, Pointer], sys_refuse_to_set),
    Row::full(201, "time", &[Pointer], sys_time),
    Row::full(227, "clock_settime", &[Int, Pointer], sys_clock_settime),
    Row::full(228, "clock_gettime", &[Int, Pointer], sys_clock_gettime),
    Row::full(229, "clock_getres", &[Int, Pointer], sys_clock_getres),
];

/// Resolution of the precise clocks, and of the coarse ones (`CONFIG_HZ` 250).
const FINE_NS: u64 = 1;
const COARSE_NS: u64 = 4_000_000;

/// A clock as a guest names it.
pub(crate) enum GuestClock {
    /// A clock of the host.
    Host(Clock),
    /// Processor time of the calling thread.
    OwnThread,
    /// Processor time of a process.
    Process(Arc<ThreadGroup>),
    /// User time of a process.
    ProcessUser(Arc<ThreadGroup>),
    /// Processor time of a thread.
    Thread(Arc<Task>),
}

impl GuestClock {
    /// The time in nanoseconds.
    pub(crate) fn now(&self, own: &Task) -> u64 {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        match self {
            GuestClock::Host(clock) => host::clock_ns(*clock),
            GuestClock::OwnThread => nanoseconds(own.usage().total()),
            GuestClock::Process(group) => nanoseconds(group.cpu_time()),
            GuestClock::ProcessUser(group) => nanoseconds(group.usage().user),
            GuestClock::Thread(task) => nanoseconds(task.usage().total()),
        }
    }

    /// The same clock for a timer.
    pub(crate) fn for_timer(&self, own: &Arc<Task>) -> TimerClock {
        match self {
            GuestClock::Host(clock) => TimerClock::Host(*clock),
            GuestClock::OwnThread => TimerClock::Thread(Arc::downgrade(own)),
            GuestClock::Process(group) => TimerClock::Process(Arc::downgrade(group)),
            GuestClock::ProcessUser(group) => TimerClock::ProcessUser(Arc::downgrade(group)),
            GuestClock::Thread(task) => TimerClock::Thread(Arc::downgrade(task)),
        }
    }
}

/// Decodes a clock identifier, those of other processes (`clock_getcpuclockid(3)`) included. `EINVAL` if there is no such clock.
pub(crate) fn guest_clock(task: &Arc<Task>, id: i32) -> Result<GuestClock, Errno> {
    Ok(match id {
        CLOCK_REALTIME | CLOCK_REALTIME_COARSE | CLOCK_REALTIME_ALARM | CLOCK_TAI => {
            GuestClock::Host(Clock::Realtime)
        }
        CLOCK_MONOTONIC | CLOCK_MONOTONIC_COARSE | CLOCK_MONOTONIC_RAW => GuestClock::Host(Clock::Monotonic),
        CLOCK_BOOTTIME | CLOCK_BOOTTIME_ALARM => GuestClock::Host(Clock::Boottime),
        CLOCK_PROCESS_CPUTIME_ID => GuestClock::Process(task.group.clone()),
        CLOCK_THREAD_CPUTIME_ID => GuestClock::OwnThread,
        id if id < 0 => dynamic_clock(task, id)?,
        _ => return Err(Errno::EINVAL),
    })
}

/// `include/linux/posix-timers_types.h`: the complement of the identifier above three bits that say which clock and whether it is a
/// thread's.
fn dynamic_clock(task: &Arc<Task>, id: i32) -> Result<GuestClock, Errno> {
    const PER_THREAD: i32 = 4;
    let (pid, which) = (!(id >> 3), id & 3);
    if which == 3 {
        return Err(Errno::EINVAL);
    }
    let invalid = |_| Errno::EINVAL;
    if id & PER_THREAD != 0 {
        let thread = if pid == 0 { task.clone() } else { task.kernel.find_task(pid).map_err(invalid)? };
        if thread.tgid() != task.tgid() {
            return Err(Errno::EINVAL);
        }
        return Ok(GuestClock::Thread(thread));
    }
    let group = if pid == 0 { task.group.clone() } else { task.kernel.find_group(pid).map_err(invalid)? };
    Ok(if which == 1 { GuestClock::ProcessUser(group) } else { GuestClock::Process(group) })
}

fn sys_clock_gettime(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    // Nothing waits on these, but they are not what it would wait on instead.
    let now = match arguments.i32(0) {
        CLOCK_MONOTONIC_RAW => host::clock_ns(Clock::MonotonicRaw),
        CLOCK_MONOTONIC_COARSE => host::clock_ns(Clock::MonotonicCoarse),
        CLOCK_REALTIME_COARSE => host::clock_ns(Clock::RealtimeCoarse),
        CLOCK_TAI => host::clock_ns(Clock::Tai),
        id => guest_clock(&current.task, id)?.now(&current.task),
    };
    current.copy_out(arguments.pointer::<Timespec>(1), &Timespec::from_nanoseconds(now))?;
    Ok(0)
}

fn sys_clock_getres(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let id = arguments.i32(0);
    guest_clock(&current.task, id)?;
    let coarse = matches!(id, CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE);
    let pointer = arguments.pointer::<Timespec>(1);
    if !pointer.is_null() {
        let resolution = if coarse { COARSE_NS } else { FINE_NS };
        current.copy_out(pointer, &Timespec::from_nanoseconds(resolution))?;
    }
    Ok(0)
}

/// The clocks are the host's; nobody in the sandbox may set them.
fn sys_clock_settime(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    guest_clock(&current.task, arguments.i32(0))?;
    arguments.pointer::<Timespec>(1).read(current.space())?.to_nanoseconds().ok_or(Errno::EINVAL)?;
    if arguments.i32(0) != CLOCK_REALTIME { Err(Errno::EINVAL.into()) } else { Err(Errno::EPERM.into()) }
}

fn sys_refuse_to_set(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (time, zone) = (arguments.pointer::<Timeval>(0), arguments.pointer::<[i32; 2]>(1));
    if !time.is_null() {
        time.read(current.space())?;
    }
    if !zone.is_null() {
        zone.read(current.space())?;
    }
    Err(Errno::EPERM.into())
}

fn sys_gettimeofday(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (time, zone) = (arguments.pointer::<Timeval>(0), arguments.pointer::<[i32; 2]>(1));
    if !time.is_null() {
        current.copy_out(time, &Timeval::from_nanoseconds(host::clock_ns(Clock::Realtime)))?;
    }
    if !zone.is_null() {
        current.copy_out(zone, &[0, 0])?;
    }
    Ok(0)
}

fn sys_time(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let seconds = host::clock_ns(Clock::Realtime) / 1_000_000_000;
    if arguments.u64(0) != 0 {
        current.copy_out(UserPtr::<u64>::new(arguments.u64(0)), &seconds)?;
    }
    Ok(seconds)
}
