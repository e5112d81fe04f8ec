//! `pkey_alloc(2)`, `pkey_free(2)`: as on a processor without protection keys. The guest shares its host process with the
//! platform's stub, which must be able to rely on the access that its mappings have.

use usk_abi::Errno;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(330, "pkey_alloc", &[Flags, Flags], sys_pkey_alloc),
    Row::full(331, "pkey_free", &[Int], sys_pkey_free),
];

/// `PKEY_DISABLE_ACCESS | PKEY_DISABLE_WRITE`
const ACCESS_RIGHTS: u64 = 3;

fn sys_pkey_alloc(_current: &mut Current, arguments: SyscallArguments) -> SysResult {
    if arguments.u64(0) != 0 || arguments.u64(1) & !ACCESS_RIGHTS != 0 {
        return Err(Errno::EINVAL.into());
    }
    Err(Errno::ENOSPC.into())
}

fn sys_pkey_free(_current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    Err(Errno::EINVAL.into())
}
