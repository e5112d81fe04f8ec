//! `statfs(2)`, `fstatfs(2)`.

use usk_abi::Errno;
use usk_abi::fs::{AT_FDCWD, AtFlags, Statfs};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::{SysResult, vfs};

use crate::place::{Names, locate};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(137, "statfs", &[Path, Pointer], sys_statfs),
    Row::full(138, "fstatfs", &[Fd, Pointer], sys_fstatfs),
];

fn statistics(path: &vfs::Path) -> Result<Statfs, Errno> {
    let mut statistics = path.mount.file_system().statistics()?;
    statistics.f_flags |= path.mount.flags.statfs();
    Ok(statistics)
}

fn sys_statfs(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let names = Names::of(current);
    let path = locate(current, &names, AT_FDCWD, arguments.pointer(0), AtFlags::empty(), true)?;
    current.copy_out(arguments.pointer(1), &statistics(&path)?)?;
    Ok(0)
}

fn sys_fstatfs(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = current.task.files().get(arguments.i32(0))?;
    current.copy_out(arguments.pointer(1), &statistics(file.path())?)?;
    Ok(0)
}
