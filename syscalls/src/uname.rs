//! `uname(2)`, `sethostname(2)`, `setdomainname(2)`.

use std::sync::atomic::Ordering;

use usk_abi::Errno;
use usk_abi::personality::{PER_LINUX32, PER_MASK};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::{RELEASE, SysResult, VERSION};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(63, "uname", &[Pointer], sys_uname),
    Row::full(170, "sethostname", &[InBuffer, Uint], sys_sethostname),
    Row::full(171, "setdomainname", &[InBuffer, Uint], sys_setdomainname),
];

/// `__NEW_UTS_LEN`
const NAME_LENGTH: usize = 64;
const FIELD: usize = NAME_LENGTH + 1;
const CAP_SYS_ADMIN: u32 = 21;

fn sys_uname(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let names = current.task.kernel.uts.lock().clone();
    let domain = current.task.personality.load(Ordering::Relaxed) & PER_MASK;
    let machine: &[u8] = if domain == PER_LINUX32 { b"i686" } else { b"x86_64" };
    let fields: [&[u8]; 6] =
        [b"Linux", &names.host, RELEASE.as_bytes(), VERSION.as_bytes(), machine, &names.domain];
    let mut bytes = [0u8; FIELD * 6];
    for (place, field) in bytes.chunks_exact_mut(FIELD).zip(fields) {
        let length = field.len().min(NAME_LENGTH);
        place[..length].copy_from_slice(&field[..length]);
    }
    current.copy_out(arguments.pointer::<[u8; FIELD * 6]>(0), &bytes)?;
    Ok(0)
}

fn read_name(current: &Current, arguments: SyscallArguments) -> Result<Vec<u8>, Errno> {
    if !current.task.credentials().has_capability(CAP_SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let length = usize::try_from(arguments.i32(1)).map_err(|_| Errno::EINVAL)?;
    if length > NAME_LENGTH {
        return Err(Errno::EINVAL);
    }
    arguments.pointer::<u8>(0).read_array(current.space(), length)
}

fn sys_sethostname(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let name = read_name(current, arguments)?;
    current.task.kernel.uts.lock().host = name;
    Ok(0)
}

fn sys_setdomainname(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let name = read_name(current, arguments)?;
    current.task.kernel.uts.lock().domain = name;
    Ok(0)
}
