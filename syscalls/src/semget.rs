//! `semget(2)`.

use usk_sentry::SysResult;
use usk_sentry::ipc::GetRequest;
use usk_sentry::task::{Current, SyscallArguments};

use crate::copy::{realtime_seconds, returned_id};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(64, "semget", &[Int, Int, Flags], sys_semget)];

fn sys_semget(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let credentials = current.task.credentials();
    let request = GetRequest { key: arguments.i32(0), flags: arguments.u32(2), credentials: &credentials };
    let semaphores = &current.task.kernel.ipc.semaphores;
    Ok(returned_id(semaphores.get(request, arguments.i32(1), realtime_seconds())?))
}
