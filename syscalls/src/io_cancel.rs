//! `io_cancel(2)`.

use usk_abi::Errno;
use usk_abi::aio::Iocb;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(210, "io_cancel", &[Pointer, Pointer, Pointer], sys_io_cancel)];

/// There is nothing to cancel: what has been submitted is over. `EINVAL` is what Linux has for that too.
fn sys_io_cancel(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    current.copy_in(arguments.pointer::<Iocb>(1))?;
    Err(Errno::EINVAL.into())
}
