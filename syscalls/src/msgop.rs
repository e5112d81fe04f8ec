//! `msgsnd(2)`, `msgrcv(2)`.

use usk_abi::ipc::{IPC_NOWAIT, MSG_COPY, MSG_EXCEPT, MSG_NOERROR};
use usk_abi::{Errno, PollEvents};
use usk_sentry::ipc::{Message, MessageSelector};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::{Restart, SysError, SysResult};

use crate::copy::realtime_seconds;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(69, "msgsnd", &[Int, Pointer, Uint, Flags], sys_msgsnd),
    Row::full(70, "msgrcv", &[Int, Pointer, Uint, Int, Flags], sys_msgrcv),
];

/// `mtext` follows `mtype`.
const TEXT_OFFSET: u64 = 8;

fn sys_msgsnd(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (id, buffer, length) = (arguments.i32(0), arguments.pointer::<i64>(1), arguments.u64(2));
    let kind = buffer.read(current.space())?;
    let most = current.task.kernel.ipc.limits.msgmax.count();
    let length = usize::try_from(length).ok().filter(|&length| length <= most).ok_or(Errno::EINVAL)?;
    if id < 0 || kind < 1 {
        return Err(Errno::EINVAL.into());
    }
    let text = buffer.cast::<u8>().byte_offset(TEXT_OFFSET)?.read_array(current.space(), length)?;
    let message = Message { kind, text };
    let task = current.task.clone();
    let queue = task.kernel.ipc.messages.open(id, &task.credentials(), 0o222)?;
    let pid = task.tgid();
    if arguments.u32(3) & IPC_NOWAIT != 0 {
        queue.send(&message, pid, realtime_seconds())?;
        return Ok(0);
    }
    let sent = current.block(&[(queue.queue(), PollEvents::OUT)], None, |_| {
        Ok(queue.send(&message, pid, realtime_seconds())?)
    });
    sent.map_err(without_restart)?;
    Ok(0)
}

fn sys_msgrcv(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (id, buffer, kind) = (arguments.i32(0), arguments.pointer::<i64>(1), arguments.i64(3));
    let flags = arguments.u32(4);
    let limit = usize::try_from(arguments.i64(2)).map_err(|_| Errno::EINVAL)?;
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let selector = selector(kind, flags)?;
    let task = current.task.clone();
    let queue = task.kernel.ipc.messages.open(id, &task.credentials(), 0o444)?;
    let pid = task.tgid();
    let may_cut = flags & MSG_NOERROR != 0;
    let receive = || queue.receive(selector, limit, may_cut, pid, realtime_seconds());
    let message = if flags & IPC_NOWAIT != 0 {
        receive().map_err(|error| if error == Errno::EAGAIN { Errno::ENOMSG } else { error })?
    } else {
        let received = current.block(&[(queue.queue(), PollEvents::IN)], None, |_| Ok(receive()?));
        received.map_err(without_restart)?
    };
    // A message whose copy-out faults is lost, as on Linux.
    buffer.write(current.space(), &message.kind)?;
    let text = buffer.cast::<u8>().byte_offset(TEXT_OFFSET)?;
    text.write_array(current.space(), &message.text)?;
    Ok(message.text.len() as u64)
}

fn selector(kind: i64, flags: u32) -> Result<MessageSelector, Errno> {
    if flags & MSG_COPY != 0 {
        if flags & MSG_EXCEPT != 0 || flags & IPC_NOWAIT == 0 {
            return Err(Errno::EINVAL);
        }
        return usize::try_from(kind).map(MessageSelector::CopyAt).map_err(|_| Errno::ENOMSG);
    }
    Ok(match kind {
        0 => MessageSelector::Any,
        1.. if flags & MSG_EXCEPT != 0 => MessageSelector::Except(kind),
        1.. => MessageSelector::Kind(kind),
        _ => MessageSelector::UpTo(kind.saturating_neg()),
    })
}

/// Interrupted by a handler, these calls fail with `EINTR` whatever `SA_RESTART` says.
fn without_restart(error: SysError) -> SysError {
    match error {
        SysError::Restart(_) => Restart::IfNoHandler.into(),
        error => error,
    }
}
