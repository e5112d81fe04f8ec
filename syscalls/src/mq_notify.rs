//! `mq_notify(2)`.

use std::sync::Arc;

use usk_abi::mqueue::NOTIFY_COOKIE_LEN;
use usk_abi::sigevent::{SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, SignalEvent};
use usk_abi::{Errno, Signal};
use usk_sentry::fs::mqueue::{Notice, Queue, Registration};
use usk_sentry::net::netlink::NetlinkSocket;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::{SysResult, UserPtr};

use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(244, "mq_notify", &[Fd, Pointer], sys_mq_notify)];

fn sys_mq_notify(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let event = arguments.pointer::<SignalEvent>(1);
    let event = if event.is_null() { None } else { Some(event.read(current.space())?) };
    let notice = event.map(|event| notice(current, event)).transpose()?;
    let file = file_of(current, arguments.i32(0))?;
    let queue = Queue::of(&file)?;
    match notice {
        None => queue.unregister(&current.task.group),
        Some(notice) => {
            let group = Arc::downgrade(&current.task.group);
            queue.register(Registration { group, table: current.task.files().id(), notice })?;
        }
    }
    Ok(0)
}

fn notice(current: &Current, event: SignalEvent) -> Result<Notice, Errno> {
    match event.notify {
        SIGEV_NONE => Ok(Notice::Silent),
        // Signal 0 is accepted, and is none.
        SIGEV_SIGNAL => match Signal::from_number(event.signal) {
            None if event.signal != 0 => Err(Errno::EINVAL),
            signal => Ok(Notice::Signal(signal, event.value)),
        },
        SIGEV_THREAD => {
            let cookie = UserPtr::<[u8; NOTIFY_COOKIE_LEN]>::new(event.value).read(current.space())?;
            let socket = file_of(current, event.signal)?;
            if NetlinkSocket::of(&socket).is_none() {
                usk_sentry::net::socket_of(&socket)?;
                return Err(Errno::EINVAL);
            }
            Ok(Notice::Socket(socket, cookie))
        }
        _ => Err(Errno::EINVAL),
    }
}
