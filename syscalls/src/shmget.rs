//! `shmget(2)`.

use usk_sentry::SysResult;
use usk_sentry::ipc::GetRequest;
use usk_sentry::task::{Current, SyscallArguments};

use crate::copy::{realtime_seconds, returned_id};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(29, "shmget", &[Int, Uint, Flags], sys_shmget)];

fn sys_shmget(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let credentials = current.task.credentials();
    let request = GetRequest { key: arguments.i32(0), flags: arguments.u32(2), credentials: &credentials };
    if request.flags & usk_abi::ipc::SHM_HUGETLB != 0 {
        // There is no pool of huge pages.
        return Err(usk_abi::Errno::ENOMEM.into());
    }
    let segments = &current.task.kernel.ipc.segments;
    let id = segments.get(request, arguments.u64(1), current.task.tgid(), realtime_seconds())?;
    Ok(returned_id(id))
}
