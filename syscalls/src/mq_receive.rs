//! `mq_timedreceive(2)`, which `mq_receive(3)` is.

use usk_abi::{Errno, PollEvents};
use usk_sentry::SysResult;
use usk_sentry::fs::mqueue::Queue;
use usk_sentry::task::{Current, SyscallArguments};

use crate::descriptor::file_of;
use crate::mq_send::read_deadline;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] =
    &[Row::full(243, "mq_timedreceive", &[Fd, OutBuffer, Uint, Pointer, Pointer], sys_mq_timedreceive)];

fn sys_mq_timedreceive(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (buffer, length) = (arguments.pointer::<u8>(1), arguments.usize(2));
    let priority_pointer = arguments.pointer::<u32>(3);
    let deadline = read_deadline(current, arguments.pointer(4))?;
    let file = file_of(current, arguments.i32(0))?;
    let queue = Queue::of(&file)?;
    if !file.open_flags().is_readable() {
        return Err(Errno::EBADF.into());
    }
    if length < queue.message_size() {
        return Err(Errno::EMSGSIZE.into());
    }
    let (text, priority) = if file.is_nonblocking() {
        queue.receive()?
    } else {
        let _receiving = queue.receiving();
        current.block(&[(queue.queue(), PollEvents::IN)], deadline, |_| Ok(queue.receive()?))?
    };
    // A message whose copy-out faults is lost, as on Linux.
    if !priority_pointer.is_null() {
        priority_pointer.write(current.space(), &priority)?;
    }
    buffer.write_array(current.space(), &text)?;
    Ok(text.len() as u64)
}
