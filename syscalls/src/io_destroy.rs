//! `io_destroy(2)`.

use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(207, "io_destroy", &[Pointer], sys_io_destroy)];

fn sys_io_destroy(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let mm = current.task.mm();
    let context = mm.aio.remove(arguments.u64(0))?;
    mm.unmap(&mut *current.thread, context.ring, context.ring_length)?;
    Ok(0)
}
