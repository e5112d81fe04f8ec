//! `futex_waitv(2)`, and the calls of Linux 6.7 that do one thing each: `futex_wake`, `futex_wait`, `futex_requeue`
//! (`kernel/futex/syscalls.c`; they have no manual pages).

use usk_abi::Errno;
use usk_abi::time::{CLOCK_MONOTONIC, CLOCK_REALTIME, Timespec};
use usk_sentry::futex::{self, Requeue, Word};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::time::Deadline;
use usk_sentry::{SysResult, UserPtr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::copy::read_timespec;
use crate::futex::from_realtime;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(449, "futex_waitv", &[Pointer, Uint, Flags, Pointer, Int], sys_futex_waitv),
    Row::full(454, "futex_wake", &[Pointer, Uint, Int, Flags], sys_futex_wake),
    Row::full(455, "futex_wait", &[Pointer, Uint, Uint, Flags, Pointer, Int], sys_futex_wait),
    Row::full(456, "futex_requeue", &[Pointer, Flags, Int, Int], sys_futex_requeue),
];

/// `FUTEX_WAITV_MAX`
const MAX_WORDS: u32 = 128;
/// `FUTEX2_SIZE_U32`: the only size.
const SIZE_U32: u32 = 2;
/// `FUTEX2_PRIVATE`
const PRIVATE: u32 = 128;

/// `struct futex_waitv`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct FutexWaitv {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

impl FutexWaitv {
    fn word(&self) -> Result<Word, Errno> {
        if self.reserved != 0 {
            return Err(Errno::EINVAL);
        }
        let private = is_private(self.flags)?;
        Ok(Word { address: self.address, private, expected: value_of(self.value)? })
    }
}

/// Checks the flags of a word; true for a private one.
fn is_private(flags: u32) -> Result<bool, Errno> {
    if flags & !PRIVATE == SIZE_U32 { Ok(flags & PRIVATE != 0) } else { Err(Errno::EINVAL) }
}

/// A value or bit set, which must fit the word.
fn value_of(value: u64) -> Result<u32, Errno> {
    u32::try_from(value).map_err(|_| Errno::EINVAL)
}

fn deadline(current: &Current, pointer: UserPtr<Timespec>, clock: i32) -> Result<Option<Deadline>, Errno> {
    if pointer.is_null() {
        return Ok(None);
    }
    if clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME {
        return Err(Errno::EINVAL);
    }
    let time = read_timespec(current, pointer)?;
    Ok(Some(if clock == CLOCK_REALTIME { from_realtime(time) } else { Deadline(time) }))
}

fn sys_futex_waitv(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (pointer, count) = (arguments.pointer::<FutexWaitv>(0), arguments.u32(1));
    if arguments.u32(2) != 0 || !(1..=MAX_WORDS).contains(&count) || pointer.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let deadline = deadline(current, arguments.pointer(3), arguments.i32(4))?;
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let raw = pointer.read_array(current.space(), count)?;
    let words = raw.iter().map(FutexWaitv::word).collect::<Result<Vec<_>, _>>()?;
    Ok(futex::wait_any(current, &words, deadline)? as u64)
}

fn sys_futex_wake(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let private = is_private(arguments.u32(3))?;
    let bits = value_of(arguments.u64(1))?;
    let count = arguments.u32(2);
    Ok(futex::wake(current, arguments.u64(0), private, count, bits)?.into())
}

fn sys_futex_wait(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let private = is_private(arguments.u32(3))?;
    let (expected, bits) = (value_of(arguments.u64(1))?, value_of(arguments.u64(2))?);
    let deadline = deadline(current, arguments.pointer(4), arguments.i32(5))?;
    futex::wait(current, arguments.u64(0), private, expected, bits, deadline)?;
    Ok(0)
}

fn sys_futex_requeue(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let pointer = arguments.pointer::<FutexWaitv>(0);
    if arguments.u32(1) != 0 || pointer.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let raw = pointer.read_array(current.space(), 2)?;
    let words = raw.iter().map(FutexWaitv::word).collect::<Result<Vec<_>, _>>()?;
    let [from, to] = words.as_slice() else { return Err(Errno::EINVAL.into()) };
    let count = |index| u32::try_from(arguments.i32(index)).map_err(|_| Errno::EINVAL);
    // For now both words must be of one kind.
    if from.private != to.private {
        return Err(Errno::EINVAL.into());
    }
    let request = Requeue {
        from: from.address,
        to: to.address,
        private: from.private,
        wake: count(2)?,
        requeue: count(3)?,
        expected: Some(from.expected),
    };
    Ok(futex::requeue(current, request)?.into())
}
