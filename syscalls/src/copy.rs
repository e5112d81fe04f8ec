//! Copies that several calls make in the same way.

use usk_abi::signal::SignalSet;
use usk_abi::time::Timespec;
use usk_abi::{Errno, Signal};
use usk_platform::host;
use usk_sentry::UserPtr;
use usk_sentry::task::Current;

/// Bytes of the kernel's `sigset_t`.
pub(crate) const SIGNAL_SET_SIZE: usize = 8;
const PAGE_SIZE: usize = 4096;

/// Copies in a structure that grows with the kernel's versions (`copy_struct_from_user`): `size` is what the caller has, `known` the
/// sizes of the first and of the last known version. Missing bytes are zero; `E2BIG` if unknown bytes are not.
pub(crate) fn read_versioned(
    current: &Current,
    address: u64,
    size: usize,
    known: (usize, usize),
) -> Result<Vec<u8>, Errno> {
    let (first, last) = known;
    if size < first {
        return Err(Errno::EINVAL);
    }
    if size > PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    let mut bytes = current.copy_in_array(UserPtr::<u8>::new(address), size)?;
    bytes.resize(size.max(last), 0);
    if bytes[last..].iter().any(|byte| *byte != 0) {
        return Err(Errno::E2BIG);
    }
    bytes.truncate(last);
    Ok(bytes)
}

/// Reads an optional signal set whose size the caller states.
pub(crate) fn read_signal_set(
    current: &Current,
    pointer: UserPtr<SignalSet>,
    size: usize,
) -> Result<Option<SignalSet>, Errno> {
    if pointer.is_null() {
        return Ok(None);
    }
    if size != SIGNAL_SET_SIZE {
        return Err(Errno::EINVAL);
    }
    current.copy_in(pointer).map(Some)
}

/// A valid signal number, or `EINVAL`.
pub(crate) fn signal(number: i32) -> Result<Signal, Errno> {
    Signal::from_number(number).ok_or(Errno::EINVAL)
}

/// Reads a time in nanoseconds; `EINVAL` if it is negative or its nanoseconds are not below 1,000,000,000.
pub(crate) fn read_timespec(current: &Current, pointer: UserPtr<Timespec>) -> Result<u64, Errno> {
    pointer.read(current.space())?.to_nanoseconds().ok_or(Errno::EINVAL)
}

/// Seconds since 1970, as the times of System V objects are kept.
pub(crate) fn realtime_seconds() -> i64 {
    let nanoseconds = host::clock_ns(host::Clock::Realtime);
    i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX)
}

/// What a call returns that returns a System V identifier, a count or a value: none is negative.
pub(crate) fn returned_id(id: i32) -> u64 {
    u64::from(id.unsigned_abs())
}
