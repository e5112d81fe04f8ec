//! `dup(2)`, `dup2(2)`, `dup3(2)`.

use usk_abi::Errno;
use usk_abi::fs::OpenFlags;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::place::descriptor_limit;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(32, "dup", &[Fd], sys_dup),
    Row::full(33, "dup2", &[Fd, Fd], sys_dup2),
    Row::full(292, "dup3", &[Fd, Fd, Flags], sys_dup3),
];

fn sys_dup(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let files = current.task.files();
    let file = files.get(arguments.i32(0))?;
    let fd = files.install(file, false, descriptor_limit(current))?;
    Ok(u64::from(fd.unsigned_abs()))
}

fn sys_dup2(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (old, new) = (arguments.i32(0), arguments.i32(1));
    if old == new {
        current.task.files().get(old)?;
        return Ok(u64::from(new.unsigned_abs()));
    }
    duplicate(current, old, new, false)
}

fn sys_dup3(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (old, new, flags) = (arguments.i32(0), arguments.i32(1), arguments.u32(2));
    if flags & !OpenFlags::CLOEXEC.bits() != 0 || old == new {
        return Err(Errno::EINVAL.into());
    }
    duplicate(current, old, new, flags != 0)
}

fn duplicate(current: &Current, old: i32, new: i32, close_on_exec: bool) -> SysResult {
    let files = current.task.files();
    if new < 0 {
        return Err(Errno::EBADF.into());
    }
    let file = files.get(old)?;
    files.install_at(new, file, close_on_exec, descriptor_limit(current))?;
    Ok(u64::from(new.unsigned_abs()))
}
