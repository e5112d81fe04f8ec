//! `mq_getsetattr(2)`.

use usk_abi::Errno;
use usk_abi::fcntl::O_NONBLOCK;
use usk_abi::mqueue::MqAttr;
use usk_sentry::SysResult;
use usk_sentry::fs::mqueue::Queue;
use usk_sentry::task::{Current, SyscallArguments};

use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] =
    &[Row::full(245, "mq_getsetattr", &[Fd, Pointer, Pointer], sys_mq_getsetattr)];

fn sys_mq_getsetattr(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    const ALL: i64 = O_NONBLOCK as i64;
    let (new, old) = (arguments.pointer::<MqAttr>(1), arguments.pointer::<MqAttr>(2));
    let new = if new.is_null() { None } else { Some(new.read(current.space())?.flags) };
    if new.is_some_and(|flags| flags & !ALL != 0) {
        return Err(Errno::EINVAL.into());
    }
    let file = file_of(current, arguments.i32(0))?;
    let (max_messages, message_size, messages) = Queue::of(&file)?.measures();
    let before = file.flags();
    if let Some(flags) = new {
        let nonblocking = if flags & ALL != 0 { O_NONBLOCK } else { 0 };
        file.set_flags((before & !O_NONBLOCK) | nonblocking);
    }
    if !old.is_null() {
        // All three are bounded far below what a word holds.
        let shown = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let attributes = MqAttr {
            flags: i64::from(before & O_NONBLOCK),
            max_messages: shown(max_messages),
            message_size: shown(message_size),
            messages: shown(messages),
            ..MqAttr::default()
        };
        old.write(current.space(), &attributes)?;
    }
    Ok(0)
}
