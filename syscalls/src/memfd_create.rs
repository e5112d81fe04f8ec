//! `memfd_create(2)`.

use usk_abi::Errno;
use usk_abi::fs::{MemfdFlags, Seals};
use usk_sentry::fs::tmpfs::memory_file;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::{SysResult, read_c_string};

use crate::place::descriptor_limit;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] =
    &[Row::partial(319, "memfd_create", &[Path, Flags], sys_memfd_create, "no huge pages (EINVAL)")];

/// Bytes of a name: `NAME_MAX` without `memfd:`.
const NAME_LIMIT: usize = 249;

fn sys_memfd_create(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = MemfdFlags::from_bits(arguments.u32(1)).ok_or(Errno::EINVAL)?;
    if flags.contains(MemfdFlags::HUGETLB) || flags.contains(MemfdFlags::EXEC | MemfdFlags::NOEXEC_SEAL) {
        return Err(Errno::EINVAL.into());
    }
    let name = read_c_string(current.space(), arguments.u64(0), NAME_LIMIT + 1, Errno::EINVAL)?;
    let not_executable = flags.contains(MemfdFlags::NOEXEC_SEAL);
    let seals = match (not_executable, flags.contains(MemfdFlags::ALLOW_SEALING)) {
        (true, _) => Seals::EXEC,
        (false, true) => Seals::empty(),
        (false, false) => Seals::SEAL,
    };
    let permissions = if not_executable { 0o666 } else { 0o777 };
    let file = memory_file(&name, &current.task.credentials(), permissions, seals)?;
    let close_on_exec = flags.contains(MemfdFlags::CLOEXEC);
    let fd = current.task.files().install(file, close_on_exec, descriptor_limit(current))?;
    Ok(u64::from(fd.unsigned_abs()))
}
