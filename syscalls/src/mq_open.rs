//! `mq_open(2)`. Descriptors of queues are always closed on exec.

use usk_abi::Errno;
use usk_abi::fs::{OpenFlags, PATH_MAX};
use usk_abi::mqueue::MqAttr;
use usk_sentry::fs::mqueue::OpenQueue;
use usk_sentry::task::{Current, Resource, SyscallArguments};
use usk_sentry::{SysResult, UserPtr};

use crate::descriptor::{fd_result, install};
use crate::place::{Names, descriptor_limit};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(240, "mq_open", &[Path, Flags, Mode, Pointer], sys_mq_open)];

fn sys_mq_open(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let attributes = arguments.pointer::<MqAttr>(3);
    let attributes = if attributes.is_null() { None } else { Some(current.copy_in(attributes)?) };
    let name = read_name(current, arguments.pointer(0))?;
    let (flags, mode) = (OpenFlags::from_bits_truncate(arguments.u32(1)), arguments.u32(2) & 0o7777);
    current.task.files().check_room(descriptor_limit(current))?;
    let limit = current.task.group.limits.lock().soft(Resource::MessageQueue);
    let size = attributes.map(|attributes| (attributes.max_messages, attributes.message_size));
    let names = Names::of(current);
    let wanted = OpenQueue { name: &name, flags, mode, size, limit };
    let file = current.task.kernel.ipc.queues.open(&names.context(), wanted)?;
    fd_result(install(current, file, true)?)
}

/// Copies in the name of a queue.
pub(crate) fn read_name(current: &Current, pointer: UserPtr<u8>) -> Result<Vec<u8>, Errno> {
    current.copy_in_string(pointer.address(), PATH_MAX, Errno::ENAMETOOLONG)
}
