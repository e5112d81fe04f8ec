//! `mseal(2)`.

use usk_abi::Errno;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(462, "mseal", &[Pointer, Uint, Flags], sys_mseal)];

fn sys_mseal(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    if arguments.u64(2) != 0 {
        return Err(Errno::EINVAL.into());
    }
    current.task.mm().seal(arguments.u64(0), arguments.u64(1))?;
    Ok(0)
}
