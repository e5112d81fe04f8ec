//! `poll(2)`, `ppoll(2)`.

use std::mem::offset_of;
use std::time::Duration;

use usk_abi::poll::PollFd;
use usk_abi::signal::SignalSet;
use usk_abi::time::Timespec;
use usk_abi::{Errno, PollEvents};
use usk_sentry::file::poll::{self, Polled};
use usk_sentry::task::{Current, Resource, SyscallArguments};
use usk_sentry::time::Deadline;
use usk_sentry::vfs::MAX_DESCRIPTORS;
use usk_sentry::{Restart, RestartBlock, SysError, SysResult, UserPtr};

use crate::copy::{read_signal_set, read_timespec};
use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(7, "poll", &[Pointer, Uint, Int], sys_poll),
    Row::full(271, "ppoll", &[Pointer, Uint, Pointer, Pointer, Uint], sys_ppoll),
];

fn sys_poll(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (fds, count, timeout) = (arguments.u64(0), arguments.u32(1), arguments.i32(2));
    let timeout = u64::try_from(timeout).ok();
    poll_until(current, fds, count, timeout.map(|timeout| Deadline::after(Duration::from_millis(timeout))))
}

/// `poll(2)` with a point in time; also what `restart_syscall(2)` continues.
pub(crate) fn poll_until(
    current: &mut Current,
    fds: u64,
    count: u32,
    deadline: Option<Deadline>,
) -> SysResult {
    match wait(current, fds, count, deadline) {
        Err(SysError::Restart(_)) => Err(Restart::Block(RestartBlock::Poll { fds, count, deadline }).into()),
        other => other,
    }
}

fn sys_ppoll(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (fds, count) = (arguments.u64(0), arguments.u32(1));
    let deadline = read_deadline(current, arguments.pointer(2))?;
    let mask = read_signal_set(current, arguments.pointer::<SignalSet>(3), arguments.usize(4))?;
    let result = current.with_signal_mask(mask, |current| wait(current, fds, count, deadline));
    write_remaining(current, arguments.pointer(2), deadline);
    result
}

/// The end of a relative timeout; `None` without one.
pub(crate) fn read_deadline(
    current: &Current,
    timeout: UserPtr<Timespec>,
) -> Result<Option<Deadline>, Errno> {
    if timeout.is_null() {
        return Ok(None);
    }
    Ok(Some(Deadline::after(Duration::from_nanos(read_timespec(current, timeout)?))))
}

/// Writes the time left back. As on Linux, a timeout that cannot be written is no error.
pub(crate) fn write_remaining(current: &mut Current, timeout: UserPtr<Timespec>, deadline: Option<Deadline>) {
    if let Some(deadline) = deadline {
        let nanoseconds = u64::try_from(deadline.remaining().as_nanos()).unwrap_or(u64::MAX);
        let _ = current.copy_out(timeout, &Timespec::from_nanoseconds(nanoseconds));
    }
}

fn wait(current: &mut Current, address: u64, count: u32, deadline: Option<Deadline>) -> SysResult {
    let limit = current.task.group.limits.lock().soft(Resource::Files).min(MAX_DESCRIPTORS);
    if u64::from(count) > limit {
        return Err(Errno::EINVAL.into());
    }
    let array = UserPtr::<PollFd>::new(address);
    let mut fds: Vec<PollFd> = current.copy_in_array(array, count as usize)?;
    let before: Vec<u16> = fds.iter().map(|request| request.ready).collect();
    // Negative descriptors are passed over.
    let (mut polled, mut indices) = (Vec::new(), Vec::new());
    for (index, request) in fds.iter_mut().enumerate() {
        request.ready = 0;
        if request.descriptor >= 0 {
            let interest = PollEvents::from_bits_truncate(u32::from(request.events));
            polled.push(Polled::new(file_of(current, request.descriptor).ok(), interest));
            indices.push(index);
        }
    }
    let ready = poll::wait(current, &mut polled, deadline)?;
    for (polled, index) in polled.iter().zip(indices) {
        fds[index].ready = polled.ready.bits() as u16;
    }
    tell(current, array, &before, &fds)?;
    Ok(ready as u64)
}

/// Writes what has come: no more of the array, for others may have changed the rest meanwhile. `before` is what was there.
fn tell(current: &mut Current, array: UserPtr<PollFd>, before: &[u16], fds: &[PollFd]) -> Result<(), Errno> {
    let address = array.address();
    if !current.is_writable(address, size_of_val(fds) as u64) {
        return current.copy_out_array(array, fds);
    }
    for (index, (request, before)) in fds.iter().zip(before).enumerate() {
        if request.ready != *before {
            let place = address + (index * size_of::<PollFd>() + offset_of!(PollFd, ready)) as u64;
            current.copy_out(UserPtr::new(place), &request.ready)?;
        }
    }
    Ok(())
}
