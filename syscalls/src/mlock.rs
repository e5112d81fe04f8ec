//! `mlock(2)`, `mlock2(2)`, `munlock(2)`, `mlockall(2)`, `munlockall(2)`.

use usk_abi::Errno;
use usk_abi::mm::{MLOCK_ONFAULT, MlockallFlags};
use usk_sentry::SysResult;
use usk_sentry::mm::MemoryLimits;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};

/// What all of them lack.
const ACCOUNTED: &str = "counted against the limit and faulted in, but the host may swap it";

pub(crate) const ROWS: &[Row] = &[
    Row::partial(149, "mlock", &[Pointer, Uint], sys_mlock, ACCOUNTED),
    Row::full(150, "munlock", &[Pointer, Uint], sys_munlock),
    Row::partial(151, "mlockall", &[Flags], sys_mlockall, ACCOUNTED),
    Row::full(152, "munlockall", &[], sys_munlockall),
    Row::partial(325, "mlock2", &[Pointer, Uint, Flags], sys_mlock2, ACCOUNTED),
];

fn lock(current: &mut Current, address: u64, length: u64, on_fault: bool) -> SysResult {
    let limits = MemoryLimits::of(&current.task);
    current.task.mm().lock(&mut *current.thread, address, length, on_fault, &limits)?;
    Ok(0)
}

fn sys_mlock(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    lock(current, arguments.u64(0), arguments.u64(1), false)
}

fn sys_mlock2(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = arguments.u32(2);
    if flags & !MLOCK_ONFAULT != 0 {
        return Err(Errno::EINVAL.into());
    }
    lock(current, arguments.u64(0), arguments.u64(1), flags & MLOCK_ONFAULT != 0)
}

fn sys_munlock(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    current.task.mm().unlock(arguments.u64(0), arguments.u64(1))?;
    Ok(0)
}

fn sys_mlockall(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = MlockallFlags::from_bits(arguments.u32(0)).ok_or(Errno::EINVAL)?;
    let limits = MemoryLimits::of(&current.task);
    current.task.mm().lock_all(&mut *current.thread, flags, &limits)?;
    Ok(0)
}

fn sys_munlockall(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    current.task.mm().unlock_all();
    Ok(0)
}
