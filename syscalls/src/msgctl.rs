//! `msgctl(2)`.

use usk_abi::Errno;
use usk_abi::ipc::{MsgInfo, MsqidDs, command};
use usk_sentry::SysResult;
use usk_sentry::ipc::IpcObjects;
use usk_sentry::task::{Current, SyscallArguments};

use crate::copy::{realtime_seconds, returned_id};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(71, "msgctl", &[Int, Int, Pointer], sys_msgctl)];

fn sys_msgctl(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (id, command, buffer) = (arguments.i32(0), arguments.i32(1), arguments.pointer::<MsqidDs>(2));
    if id < 0 || command < 0 {
        return Err(Errno::EINVAL.into());
    }
    let credentials = current.task.credentials();
    let queues = &current.task.kernel.ipc.messages;
    let result = match command {
        command::IPC_STAT => {
            buffer.write(current.space(), &queues.status(id, &credentials)?)?;
            0
        }
        command::MSG_STAT | command::MSG_STAT_ANY => {
            let (found, shown) = queues.status_at(id, &credentials, command == command::MSG_STAT_ANY)?;
            buffer.write(current.space(), &shown)?;
            found
        }
        command::IPC_SET => {
            let new = buffer.read(current.space())?;
            queues.set(id, &credentials, &new.perm, new.max_bytes, realtime_seconds())?;
            0
        }
        command::IPC_RMID => {
            queues.remove(id, &credentials)?;
            0
        }
        command::IPC_INFO | command::MSG_INFO => {
            let (used, messages, bytes, highest) = queues.usage();
            let wants_usage = command == command::MSG_INFO;
            let limits = &current.task.kernel.ipc.limits;
            let (largest, most) = (limits.msgmnb.as_shown(), limits.msgmni.as_shown());
            let pool = i32::try_from(i64::from(most) * i64::from(largest) / 1024).unwrap_or(i32::MAX);
            let info = MsgInfo {
                msgpool: if wants_usage { used } else { pool },
                msgmap: if wants_usage { messages } else { largest },
                msgmax: limits.msgmax.as_shown(),
                msgmnb: largest,
                msgmni: most,
                msgssz: 16,
                msgtql: if wants_usage { i32::try_from(bytes).unwrap_or(i32::MAX) } else { largest },
                msgseg: 0xffff,
                padding: 0,
            };
            arguments.pointer(2).write(current.space(), &info)?;
            highest
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    Ok(returned_id(result))
}
