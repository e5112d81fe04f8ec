//! `mkdir(2)`, `mkdirat(2)`, `rmdir(2)`, `unlink(2)`, `unlinkat(2)`, `mknod(2)`, `mknodat(2)`.

use usk_abi::Errno;
use usk_abi::fs::{AT_FDCWD, AtFlags, S_IFMT};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::FileType;
use usk_sentry::{SysResult, UserPtr};

use crate::place::{Names, at_flags, leave_if_missing, read_path, start};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(83, "mkdir", &[Path, Mode], sys_mkdir),
    Row::full(84, "rmdir", &[Path], sys_rmdir),
    Row::full(87, "unlink", &[Path], sys_unlink),
    Row::full(133, "mknod", &[Path, Mode, Uint], sys_mknod),
    Row::full(258, "mkdirat", &[Fd, Path, Mode], sys_mkdirat),
    Row::full(259, "mknodat", &[Fd, Path, Mode, Uint], sys_mknodat),
    Row::full(263, "unlinkat", &[Fd, Path, Flags], sys_unlinkat),
];

fn sys_mkdir(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    make_directory(current, AT_FDCWD, arguments.pointer(0), arguments.u16(1))
}

fn sys_mkdirat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    make_directory(current, arguments.i32(0), arguments.pointer(1), arguments.u16(2))
}

fn make_directory(current: &Current, directory: i32, name: UserPtr<u8>, mode: u16) -> SysResult {
    let name = read_path(current, name)?;
    let names = Names::of(current);
    let start = start(current, &names.fs, directory, &name)?;
    names.context().make_directory(&start, &name, mode.into())?;
    Ok(0)
}

fn sys_rmdir(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    remove(current, AT_FDCWD, arguments.pointer(0), true)
}

fn sys_unlink(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    remove(current, AT_FDCWD, arguments.pointer(0), false)
}

fn sys_unlinkat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = at_flags(arguments.u32(2), AtFlags::REMOVEDIR)?;
    remove(current, arguments.i32(0), arguments.pointer(1), flags.contains(AtFlags::REMOVEDIR))
}

fn remove(current: &mut Current, directory: i32, name: UserPtr<u8>, is_directory: bool) -> SysResult {
    let name = read_path(current, name)?;
    let names = Names::of(current);
    let start = start(current, &names.fs, directory, &name)?;
    if is_directory {
        names.context().remove_directory(&start, &name)?;
    } else {
        let removed = names.context().unlink(&start, &name)?;
        if removed.is_some_and(|mark| current.asks_again(mark)) {
            leave_if_missing(current, &names, directory, name, true);
        }
    }
    Ok(0)
}

fn sys_mknod(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    make_node(current, AT_FDCWD, arguments.pointer(0), arguments.u16(1), arguments.u32(2))
}

fn sys_mknodat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    make_node(current, arguments.i32(0), arguments.pointer(1), arguments.u16(2), arguments.u32(3))
}

fn make_node(
    current: &Current,
    directory: i32,
    name: UserPtr<u8>,
    mode: u16,
    special_device: u32,
) -> SysResult {
    let mode = u32::from(mode);
    let file_type = match mode & S_IFMT {
        0 => FileType::Regular,
        _ => FileType::from_mode(mode).ok_or(Errno::EINVAL)?,
    };
    let device = match file_type {
        FileType::Directory => return Err(Errno::EPERM.into()),
        FileType::Symlink => return Err(Errno::EINVAL.into()),
        FileType::CharacterDevice | FileType::BlockDevice => special_device.into(),
        _ => 0,
    };
    let name = read_path(current, name)?;
    let names = Names::of(current);
    let start = start(current, &names.fs, directory, &name)?;
    names.context().make_node(&start, &name, file_type, mode, device)?;
    Ok(0)
}
