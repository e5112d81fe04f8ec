//! `mremap(2)`.

use usk_abi::Errno;
use usk_abi::mm::MremapFlags;
use usk_sentry::SysResult;
use usk_sentry::mm::MemoryLimits;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] =
    &[Row::full(25, "mremap", &[Pointer, Uint, Uint, Flags, Pointer], sys_mremap)];

fn sys_mremap(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = MremapFlags::from_bits(arguments.u64(3)).ok_or(Errno::EINVAL)?;
    let limits = MemoryLimits::of(&current.task);
    let moved = current.task.mm().remap(
        &mut *current.thread,
        arguments.u64(0),
        arguments.u64(1),
        arguments.u64(2),
        flags,
        arguments.u64(4),
        &limits,
    )?;
    Ok(moved)
}
