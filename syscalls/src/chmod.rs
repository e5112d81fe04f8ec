//! `chmod(2)`, `fchmod(2)`, `fchmodat(2)`, `fchmodat2(2)`, `umask(2)`.

use usk_abi::fs::{AT_FDCWD, AtFlags};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::{SysResult, UserPtr};

use crate::descriptor::file_of;
use crate::place::{Names, at_flags, locate};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(90, "chmod", &[Path, Mode], sys_chmod),
    Row::full(91, "fchmod", &[Fd, Mode], sys_fchmod),
    Row::full(95, "umask", &[Mode], sys_umask),
    Row::full(268, "fchmodat", &[Fd, Path, Mode], sys_fchmodat),
    Row::full(452, "fchmodat2", &[Fd, Path, Mode, Flags], sys_fchmodat2),
];

fn sys_chmod(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    change(current, AT_FDCWD, arguments.pointer(0), arguments.u16(1), AtFlags::empty())
}

fn sys_fchmod(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    Names::of(current).context().change_permissions(file.path(), arguments.u16(1).into())?;
    Ok(0)
}

fn sys_fchmodat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    change(current, arguments.i32(0), arguments.pointer(1), arguments.u16(2), AtFlags::empty())
}

fn sys_fchmodat2(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = at_flags(arguments.u32(3), AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH)?;
    change(current, arguments.i32(0), arguments.pointer(1), arguments.u16(2), flags)
}

fn change(current: &Current, directory: i32, name: UserPtr<u8>, mode: u16, flags: AtFlags) -> SysResult {
    let names = Names::of(current);
    let follow = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
    let path = locate(current, &names, directory, name, flags, follow)?;
    names.context().change_permissions(&path, mode.into())?;
    Ok(0)
}

fn sys_umask(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    Ok(current.task.fs().set_umask(arguments.u32(0)).into())
}
