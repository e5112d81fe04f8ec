//! `mprotect(2)`, `pkey_mprotect(2)`.

use usk_abi::Errno;
use usk_abi::mm::Prot;
use usk_sentry::SysResult;
use usk_sentry::mm::MemoryLimits;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(10, "mprotect", &[Pointer, Uint, Flags], sys_mprotect),
    Row::full(329, "pkey_mprotect", &[Pointer, Uint, Flags, Int], sys_pkey_mprotect),
];

fn sys_mprotect(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let prot = Prot::from_bits_retain(arguments.u64(2));
    let limits = MemoryLimits::of(&current.task);
    let (address, length) = (arguments.u64(0), arguments.u64(1));
    current.task.mm().protect(&mut *current.thread, address, length, prot, &limits)?;
    Ok(0)
}

/// There are no protection keys, so the only one that can be named is none.
fn sys_pkey_mprotect(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    if arguments.i32(3) != -1 {
        return Err(Errno::EINVAL.into());
    }
    sys_mprotect(current, arguments)
}
