//! `brk(2)`.

use usk_sentry::SysResult;
use usk_sentry::mm::MemoryLimits;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(12, "brk", &[Pointer], sys_brk)];

fn sys_brk(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let limits = MemoryLimits::of(&current.task);
    Ok(current.task.mm().set_brk(&mut *current.thread, arguments.u64(0), &limits))
}
