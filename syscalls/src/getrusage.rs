//! `getrusage(2)`, `times(2)`.

use usk_abi::Errno;
use usk_abi::time::Timeval;
use usk_platform::host::{self, Clock};
use usk_sentry::task::{Current, SyscallArguments, Usage};
use usk_sentry::{SysResult, UserPtr};
use zerocopy::{Immutable, IntoBytes};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::partial(98, "getrusage", &[Int, Pointer], sys_getrusage, "faults and block operations are zero"),
    Row::full(100, "times", &[Pointer], sys_times),
];

const RUSAGE_SELF: i32 = 0;
const RUSAGE_CHILDREN: i32 = -1;
const RUSAGE_THREAD: i32 = 1;

/// `struct rusage`.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct ResourceUsage {
    user: Timeval,
    system: Timeval,
    max_rss_kib: u64,
    unused: [u64; 11],
    voluntary_switches: u64,
    involuntary_switches: u64,
}

fn timeval(time: std::time::Duration) -> Timeval {
    Timeval::from_nanoseconds(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// The structure for a usage and a largest resident size in KiB.
pub(crate) fn encode_usage(usage: Usage, max_rss_kib: u64) -> ResourceUsage {
    ResourceUsage {
        user: timeval(usage.user),
        system: timeval(usage.system),
        max_rss_kib,
        unused: [0; 11],
        voluntary_switches: usage.voluntary_switches,
        involuntary_switches: 0,
    }
}

fn children_usage(current: &Current) -> Usage {
    let table = current.task.kernel.tasks.lock();
    table.process(current.task.tgid()).map(|process| process.children_usage).unwrap_or_default()
}

fn sys_getrusage(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let peak = current.task.mm().memory_use().resident / 1024;
    let usage = match arguments.i32(0) {
        RUSAGE_SELF => encode_usage(current.task.group.usage(), peak),
        RUSAGE_THREAD => encode_usage(current.task.usage(), peak),
        RUSAGE_CHILDREN => encode_usage(children_usage(current), 0),
        _ => return Err(Errno::EINVAL.into()),
    };
    current.copy_out(UserPtr::new(arguments.u64(1)), &usage)?;
    Ok(0)
}

fn sys_times(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let ticks = |time: std::time::Duration| u64::try_from(time.as_millis() / 10).unwrap_or(u64::MAX);
    let (own, children) = (current.task.group.usage(), children_usage(current));
    let values = [ticks(own.user), ticks(own.system), ticks(children.user), ticks(children.system)];
    let pointer = arguments.pointer::<u64>(0);
    if !pointer.is_null() {
        current.copy_out_array(pointer, &values)?;
    }
    Ok(host::clock_ns(Clock::Boottime) / 10_000_000)
}
