//! `futex(2)`, `set_robust_list(2)`, `get_robust_list(2)`, `set_tid_address(2)`.

use usk_abi::Errno;
use usk_abi::time::Timespec;
use usk_platform::host::{self, Clock};
use usk_sentry::futex::{self, MATCH_ANY, Requeue};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::time::Deadline;
use usk_sentry::{Restart, RestartBlock, SysError, SysResult, UserPtr};

use crate::copy::read_timespec;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::partial(
        202,
        "futex",
        &[Pointer, Int, Uint, Pointer, Pointer, Uint],
        sys_futex,
        "the owner of a priority-inheriting futex is not given its waiters' priority; to wake waiters of one otherwise is no error if it is private",
    ),
    Row::full(218, "set_tid_address", &[Pointer], sys_set_tid_address),
    Row::full(273, "set_robust_list", &[Pointer, Uint], sys_set_robust_list),
    Row::full(274, "get_robust_list", &[Int, Pointer, Pointer], sys_get_robust_list),
];

const FUTEX_WAIT: u32 = 0;
const FUTEX_WAKE: u32 = 1;
const FUTEX_REQUEUE: u32 = 3;
const FUTEX_CMP_REQUEUE: u32 = 4;
const FUTEX_WAKE_OP: u32 = 5;
const FUTEX_LOCK_PI: u32 = 6;
const FUTEX_UNLOCK_PI: u32 = 7;
const FUTEX_TRYLOCK_PI: u32 = 8;
const FUTEX_WAIT_BITSET: u32 = 9;
const FUTEX_WAKE_BITSET: u32 = 10;
const FUTEX_WAIT_REQUEUE_PI: u32 = 11;
const FUTEX_CMP_REQUEUE_PI: u32 = 12;
const FUTEX_LOCK_PI2: u32 = 13;
const FUTEX_PRIVATE_FLAG: u32 = 128;
const FUTEX_CLOCK_REALTIME: u32 = 256;
/// Bytes of `struct robust_list_head`.
const ROBUST_LIST_HEAD_SIZE: usize = 24;

fn sys_futex(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (address, word, value) = (arguments.u64(0), arguments.u32(1), arguments.u32(2));
    let (timeout, second, bitset) = (arguments.pointer::<Timespec>(3), arguments.u64(4), arguments.u32(5));
    let private = word & FUTEX_PRIVATE_FLAG != 0;
    let realtime = word & FUTEX_CLOCK_REALTIME != 0;
    let command = word & !(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);
    let has_clock = matches!(command, FUTEX_WAIT_BITSET | FUTEX_WAIT_REQUEUE_PI | FUTEX_LOCK_PI2);
    if realtime && !has_clock {
        return Err(Errno::ENOSYS.into());
    }
    // The fourth register is a count for the operations that requeue or wake twice.
    let second_count = arguments.u32(3);
    match command {
        FUTEX_WAIT | FUTEX_WAIT_BITSET => {
            let time = if timeout.is_null() { None } else { Some(read_timespec(current, timeout)?) };
            let is_relative = command == FUTEX_WAIT;
            let bitset = if is_relative { MATCH_ANY } else { bitset };
            match time {
                None => {
                    futex::wait(current, address, private, value, bitset, None)?;
                    Ok(0)
                }
                Some(time) if is_relative => {
                    let deadline = Deadline::after(std::time::Duration::from_nanos(time));
                    wait_relative(current, address, private, value, bitset, deadline)
                }
                Some(time) => {
                    let deadline = if realtime { from_realtime(time) } else { Deadline(time) };
                    wait_absolute(current, address, private, value, bitset, deadline)
                }
            }
        }
        FUTEX_WAKE => Ok(futex::wake(current, address, private, at_least_one(value), MATCH_ANY)?.into()),
        FUTEX_WAKE_BITSET => Ok(futex::wake(current, address, private, at_least_one(value), bitset)?.into()),
        FUTEX_REQUEUE | FUTEX_CMP_REQUEUE => {
            if value > i32::MAX as u32 || second_count > i32::MAX as u32 {
                return Err(Errno::EINVAL.into());
            }
            let expected = (command == FUTEX_CMP_REQUEUE).then_some(bitset);
            let request =
                Requeue { from: address, to: second, private, wake: value, requeue: second_count, expected };
            Ok(futex::requeue(current, request)?.into())
        }
        FUTEX_WAKE_OP => {
            let counts = (at_least_one(value), at_least_one(second_count));
            Ok(futex::wake_op(current, (address, second), private, counts, bitset)?.into())
        }
        FUTEX_LOCK_PI | FUTEX_LOCK_PI2 => {
            // The older one's clock is the real-time clock, whatever its flags.
            let deadline = absolute(current, timeout, realtime || command == FUTEX_LOCK_PI)?;
            futex::lock_pi(current, address, private, deadline, false)?;
            Ok(0)
        }
        FUTEX_TRYLOCK_PI => {
            futex::lock_pi(current, address, private, None, true)?;
            Ok(0)
        }
        FUTEX_UNLOCK_PI => {
            futex::unlock_pi(current, address, private)?;
            Ok(0)
        }
        FUTEX_WAIT_REQUEUE_PI => {
            let deadline = absolute(current, timeout, realtime)?;
            futex::wait_requeue_pi(current, (address, second), private, value, deadline)?;
            Ok(0)
        }
        FUTEX_CMP_REQUEUE_PI => {
            if value != 1 || second_count > i32::MAX.unsigned_abs() {
                return Err(Errno::EINVAL.into());
            }
            Ok(futex::cmp_requeue_pi(current, (address, second), private, second_count, bitset)?.into())
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// How many the kernel wakes if it is asked to wake `count`: it looks at the number, an `int`, after having woken one
/// (`futex_wake`).
fn at_least_one(count: u32) -> u32 {
    count.cast_signed().max(1).unsigned_abs()
}

/// A wait with an absolute timeout: a handler ends it, whatever its flags say. Without one it is made again.
fn wait_absolute(
    current: &mut Current,
    address: u64,
    private: bool,
    value: u32,
    bitset: u32,
    deadline: Deadline,
) -> SysResult {
    match futex::wait(current, address, private, value, bitset, Some(deadline)) {
        Err(SysError::Restart(_)) => Err(Restart::IfNoHandler.into()),
        other => other.map(|()| 0),
    }
}

/// The deadline of a wait whose time is absolute; `None` waits for ever.
fn absolute(
    current: &Current,
    timeout: UserPtr<Timespec>,
    realtime: bool,
) -> Result<Option<Deadline>, Errno> {
    if timeout.is_null() {
        return Ok(None);
    }
    let time = read_timespec(current, timeout)?;
    Ok(Some(if realtime { from_realtime(time) } else { Deadline(time) }))
}

/// A time on `CLOCK_REALTIME` as a time on `CLOCK_MONOTONIC`, as the clocks stand now.
pub(crate) fn from_realtime(time: u64) -> Deadline {
    let left = time.saturating_sub(host::clock_ns(Clock::Realtime));
    Deadline::after(std::time::Duration::from_nanos(left))
}

/// A wait with a relative timeout: after a signal without handler it goes on with the time that is left.
pub(crate) fn wait_relative(
    current: &mut Current,
    address: u64,
    private: bool,
    value: u32,
    bitset: u32,
    deadline: Deadline,
) -> SysResult {
    match futex::wait(current, address, private, value, bitset, Some(deadline)) {
        Err(SysError::Restart(_)) => {
            Err(Restart::Block(RestartBlock::Futex { address, value, bitset, private, deadline }).into())
        }
        other => other.map(|()| 0),
    }
}

fn sys_set_tid_address(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    current.set_tid_address(arguments.u64(0));
    Ok(current.task.tid() as u64)
}

fn sys_set_robust_list(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    if arguments.usize(1) != ROBUST_LIST_HEAD_SIZE {
        return Err(Errno::EINVAL.into());
    }
    current.set_robust_list(arguments.u64(0));
    Ok(0)
}

fn sys_get_robust_list(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let head = match arguments.i32(0) {
        0 => current.task.robust_list(),
        tid => {
            let task = current.task.kernel.find_task(tid)?;
            let own = current.task.credentials();
            if own.euid != 0 && own.euid != task.credentials().uid {
                return Err(Errno::EPERM.into());
            }
            task.robust_list()
        }
    };
    UserPtr::<u64>::new(arguments.u64(2)).write(current.space(), &(ROBUST_LIST_HEAD_SIZE as u64))?;
    UserPtr::<u64>::new(arguments.u64(1)).write(current.space(), &head)?;
    Ok(0)
}
