//! `msync(2)`.

use usk_abi::Errno;
use usk_abi::mm::MsyncFlags;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(26, "msync", &[Pointer, Uint, Flags], sys_msync)];

fn sys_msync(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = MsyncFlags::from_bits(arguments.u32(2)).ok_or(Errno::EINVAL)?;
    current.task.mm().sync(arguments.u64(0), arguments.u64(1), flags)?;
    Ok(0)
}
