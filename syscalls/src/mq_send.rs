//! `mq_timedsend(2)`, which `mq_send(3)` is.

use std::time::Duration;

use usk_abi::mqueue::MQ_PRIO_MAX;
use usk_abi::time::Timespec;
use usk_abi::{Errno, PollEvents};
use usk_platform::host::{self, Clock};
use usk_sentry::fs::mqueue::Queue;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::time::Deadline;
use usk_sentry::{SysResult, UserPtr};

use crate::copy::read_timespec;
use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] =
    &[Row::full(242, "mq_timedsend", &[Fd, InBuffer, Uint, Uint, Pointer], sys_mq_timedsend)];

fn sys_mq_timedsend(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (buffer, length, priority) = (arguments.pointer::<u8>(1), arguments.usize(2), arguments.u32(3));
    let deadline = read_deadline(current, arguments.pointer(4))?;
    if priority >= MQ_PRIO_MAX {
        return Err(Errno::EINVAL.into());
    }
    let file = file_of(current, arguments.i32(0))?;
    let queue = Queue::of(&file)?;
    if !file.open_flags().is_writable() {
        return Err(Errno::EBADF.into());
    }
    if length > queue.message_size() {
        return Err(Errno::EMSGSIZE.into());
    }
    let mut text = buffer.read_array(current.space(), length)?;
    let told = if file.is_nonblocking() {
        queue.send(&mut text, priority)?
    } else {
        let room = [(queue.queue(), PollEvents::OUT)];
        current.block(&room, deadline, |_| Ok(queue.send(&mut text, priority)?))?
    };
    if let Some(told) = told {
        told.fire(&current.task);
    }
    Ok(0)
}

/// The time on `CLOCK_REALTIME` until which a call waits; null is for ever.
pub(crate) fn read_deadline(
    current: &Current,
    pointer: UserPtr<Timespec>,
) -> Result<Option<Deadline>, Errno> {
    if pointer.is_null() {
        return Ok(None);
    }
    let time = read_timespec(current, pointer)?;
    let left = time.saturating_sub(host::clock_ns(Clock::Realtime));
    Ok(Some(Deadline::after(Duration::from_nanos(left))))
}
