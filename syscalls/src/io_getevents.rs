//! `io_getevents(2)`, `io_pgetevents(2)`.

use std::time::Duration;

use usk_abi::aio::{AioSigset, IoEvent};
use usk_abi::time::Timespec;
use usk_abi::{Errno, PollEvents};
use usk_sentry::aio::AioContext;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::time::Deadline;
use usk_sentry::{Restart, SysError, SysResult, UserPtr};

use crate::copy::read_signal_set;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(208, "io_getevents", &[Pointer, Int, Int, Pointer, Pointer], sys_io_getevents),
    Row::full(333, "io_pgetevents", &[Pointer, Int, Int, Pointer, Pointer, Pointer], sys_io_pgetevents),
];

fn sys_io_getevents(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let deadline = read_deadline(current, arguments.pointer(4))?;
    match collect(current, arguments, deadline) {
        // Never restarted, whatever SA_RESTART says.
        Err(SysError::Restart(_)) => Err(Errno::EINTR.into()),
        other => other,
    }
}

fn sys_io_pgetevents(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let deadline = read_deadline(current, arguments.pointer(4))?;
    let set: UserPtr<AioSigset> = arguments.pointer(5);
    let set = if set.is_null() { AioSigset::default() } else { current.copy_in(set)? };
    let mask =
        read_signal_set(current, UserPtr::new(set.mask), usize::try_from(set.size).unwrap_or(usize::MAX))?;
    let collected = current.with_signal_mask(mask, |current| collect(current, arguments, deadline));
    match collected {
        Err(SysError::Restart(_)) => Err(Restart::IfNoHandler.into()),
        other => other,
    }
}

/// The end of a relative timeout, `None` without one. Unlike elsewhere, no timeout is wrong: a negative one never ends.
fn read_deadline(current: &Current, timeout: UserPtr<Timespec>) -> Result<Option<Deadline>, Errno> {
    if timeout.is_null() {
        return Ok(None);
    }
    let Timespec { seconds, nanoseconds } = timeout.read(current.space())?;
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let duration = u64::try_from(total).ok().map(Duration::from_nanos);
    Ok(duration.map(Deadline::after))
}

/// Delivers results until there are enough of them, the time is over, or a signal comes. Results are delivered as they come, since there
/// is no bound on how many pass through a context while somebody waits.
fn collect(current: &mut Current, arguments: SyscallArguments, deadline: Option<Deadline>) -> SysResult {
    let (least, most) = (arguments.i64(1), arguments.i64(2));
    let context = current.task.mm().aio.find(arguments.u64(0))?;
    let least = usize::try_from(least).map_err(|_| Errno::EINVAL)?;
    let most = usize::try_from(most).ok().filter(|most| least <= *most).ok_or(Errno::EINVAL)?;
    let mut done = 0;
    let queues = [(context.queue(), PollEvents::IN)];
    let waited = current.block(&queues, deadline, |current| {
        let to = arguments.u64(3).wrapping_add((done * size_of::<IoEvent>()) as u64);
        match deliver(current, &context, most - done, to) {
            Ok(count) => done += count,
            Err(Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        if done >= least { Ok(()) } else { Err(Errno::EAGAIN.into()) }
    });
    match waited {
        Err(SysError::Errno(Errno::ETIMEDOUT)) | Ok(()) => Ok(done as u64),
        Err(_) if done > 0 => Ok(done as u64),
        Err(error) => Err(error),
    }
}

/// Delivers what is there, `most` at most; returns how many. `EAGAIN` if there is nothing.
fn deliver(current: &mut Current, context: &AioContext, most: usize, to: u64) -> Result<usize, Errno> {
    let events = context.take(most)?;
    current
        .copy_out_array(UserPtr::<IoEvent>::new(to), &events)
        .inspect_err(|_| context.put_back(&events))?;
    Ok(events.len())
}
