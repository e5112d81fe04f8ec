//! `rename(2)`, `renameat(2)`, `renameat2(2)`.

use usk_abi::Errno;
use usk_abi::capability::CAP_MKNOD;
use usk_abi::fs::{AT_FDCWD, RenameFlags};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::{SysResult, UserPtr};

use crate::place::{Names, read_path, start};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(82, "rename", &[Path, Path], sys_rename),
    Row::full(264, "renameat", &[Fd, Path, Fd, Path], sys_renameat),
    Row::full(316, "renameat2", &[Fd, Path, Fd, Path, Flags], sys_renameat2),
];

/// A directory descriptor and a name.
type At = (i32, UserPtr<u8>);

fn sys_rename(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (old, new) = (arguments.pointer(0), arguments.pointer(1));
    rename(current, (AT_FDCWD, old), (AT_FDCWD, new), RenameFlags::empty())
}

fn sys_renameat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let old = (arguments.i32(0), arguments.pointer(1));
    rename(current, old, (arguments.i32(2), arguments.pointer(3)), RenameFlags::empty())
}

fn sys_renameat2(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = RenameFlags::from_bits(arguments.u32(4)).ok_or(Errno::EINVAL)?;
    let replacing = RenameFlags::NOREPLACE | RenameFlags::WHITEOUT;
    if flags.contains(RenameFlags::EXCHANGE) && flags.intersects(replacing) {
        return Err(Errno::EINVAL.into());
    }
    if flags.contains(RenameFlags::WHITEOUT) && !current.task.credentials().has_capability(CAP_MKNOD) {
        return Err(Errno::EPERM.into());
    }
    let old = (arguments.i32(0), arguments.pointer(1));
    rename(current, old, (arguments.i32(2), arguments.pointer(3)), flags)
}

fn rename(current: &Current, old: At, new: At, flags: RenameFlags) -> SysResult {
    let names = Names::of(current);
    let place = |(directory, name): At| {
        let name = read_path(current, name)?;
        Ok((start(current, &names.fs, directory, &name)?, name))
    };
    let (old_start, old_name) = place(old)?;
    names.context().rename((&old_start, &old_name), || place(new), flags)?;
    Ok(0)
}
