//! `msgget(2)`.

use usk_sentry::SysResult;
use usk_sentry::ipc::GetRequest;
use usk_sentry::task::{Current, SyscallArguments};

use crate::copy::{realtime_seconds, returned_id};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(68, "msgget", &[Int, Flags], sys_msgget)];

fn sys_msgget(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let credentials = current.task.credentials();
    let request = GetRequest { key: arguments.i32(0), flags: arguments.u32(1), credentials: &credentials };
    Ok(returned_id(current.task.kernel.ipc.messages.get(request, realtime_seconds())?))
}
