//! `madvise(2)`.

use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::partial(
    28,
    "madvise",
    &[Pointer, Uint, Int],
    sys_madvise,
    "MADV_COLLAPSE fails with EINVAL; MADV_HWPOISON and MADV_SOFT_OFFLINE with EPERM",
)];

fn sys_madvise(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (address, length, advice) = (arguments.u64(0), arguments.u64(1), arguments.i32(2));
    current.task.mm().advise(&mut *current.thread, address, length, advice)?;
    current.lend_memory();
    Ok(0)
}
