//! `sysinfo(2)`, `getrandom(2)`.

use usk_abi::Errno;
use usk_platform::host::{self, Clock};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::{Sink, SysResult};
use zerocopy::{Immutable, IntoBytes};

use crate::table::{Argument::*, Row};
use crate::transfer::{check_ranges, single};

pub(crate) const ROWS: &[Row] = &[
    Row::partial(99, "sysinfo", &[Pointer], sys_sysinfo, "load averages are zero"),
    Row::full(318, "getrandom", &[OutBuffer, Uint, Flags], sys_getrandom),
];

/// `struct sysinfo`.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
struct SystemInformation {
    uptime_seconds: u64,
    loads: [u64; 3],
    total_memory: u64,
    free_memory: u64,
    shared_memory: u64,
    buffer_memory: u64,
    total_swap: u64,
    free_swap: u64,
    processes: u16,
    padding: [u8; 6],
    total_high: u64,
    free_high: u64,
    unit: u32,
    tail: [u8; 4],
}

fn sys_sysinfo(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let kernel = &current.task.kernel;
    let processes = u16::try_from(kernel.tasks.lock().thread_count()).unwrap_or(u16::MAX);
    let total = kernel.limits.total_memory();
    let information = SystemInformation {
        uptime_seconds: host::clock_ns(Clock::Boottime) / 1_000_000_000,
        loads: [0; 3],
        total_memory: total,
        free_memory: kernel.free_memory(),
        shared_memory: 0,
        buffer_memory: 0,
        total_swap: 0,
        free_swap: 0,
        processes,
        padding: [0; 6],
        total_high: 0,
        free_high: 0,
        unit: 1,
        tail: [0; 4],
    };
    current.copy_out(arguments.pointer(0), &information)?;
    Ok(0)
}

const GRND_NONBLOCK: u32 = 1;
const GRND_RANDOM: u32 = 2;
const GRND_INSECURE: u32 = 4;
/// Bytes made at a time.
const STEP: usize = 4096;

fn sys_getrandom(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = arguments.u32(2);
    if flags & !(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE) != 0
        || flags & (GRND_RANDOM | GRND_INSECURE) == GRND_RANDOM | GRND_INSECURE
    {
        return Err(Errno::EINVAL.into());
    }
    let ranges = single(arguments.u64(0), arguments.usize(1));
    check_ranges(&ranges)?;
    let task = current.task.clone();
    let mut sink = current.sink(&ranges);
    let mut done = 0u64;
    let mut bytes = [0u8; STEP];
    while sink.remaining() > 0 {
        let length = sink.remaining().min(STEP);
        host::fill_random(&mut bytes[..length])?;
        match sink.put(&bytes[..length]) {
            Ok(count) => {
                done += count as u64;
                if count < length {
                    break;
                }
            }
            Err(errno) if done == 0 => return Err(errno.into()),
            Err(_) => break,
        }
        if task.waiter.is_interrupted() && done >= 256 {
            break;
        }
    }
    Ok(done)
}
