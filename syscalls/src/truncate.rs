//! `truncate(2)`, `ftruncate(2)`, `fallocate(2)`.

use usk_abi::Errno;
use usk_abi::fs::{AT_FDCWD, AtFlags, FallocateMode};
use usk_abi::inotify::InotifyMask;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::{Access, FileType, drop_privileges};

use crate::descriptor::file_of;
use crate::place::{Names, locate};
use crate::table::{Argument::*, Row};
use crate::transfer::check_size_limit;

pub(crate) const ROWS: &[Row] = &[
    Row::full(76, "truncate", &[Path, Int], sys_truncate),
    Row::full(77, "ftruncate", &[Fd, Int], sys_ftruncate),
    Row::partial(
        285,
        "fallocate",
        &[Fd, Flags, Int, Int],
        sys_fallocate,
        "only allocation and holes, as on tmpfs; other modes are EOPNOTSUPP",
    ),
];

fn sys_truncate(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let length = u64::try_from(arguments.i64(1)).map_err(|_| Errno::EINVAL)?;
    let names = Names::of(current);
    let path = locate(current, &names, AT_FDCWD, arguments.pointer(0), AtFlags::empty(), true)?;
    if path.inode()?.file_type() == FileType::Regular {
        names.context().check_access(&path, Access::WRITE)?;
        check_size_limit(current, path.inode()?, length)?;
    }
    names.context().truncate(&path, length)?;
    Ok(0)
}

fn sys_ftruncate(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let length = u64::try_from(arguments.i64(1)).map_err(|_| Errno::EINVAL)?;
    let file = file_of(current, arguments.i32(0))?;
    if !file.open_flags().is_writable() || file.inode().file_type() != FileType::Regular {
        return Err(Errno::EINVAL.into());
    }
    check_size_limit(current, file.inode(), length)?;
    Names::of(current).context().set_size(file.path(), length)?;
    Ok(0)
}

fn sys_fallocate(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    let offset = u64::try_from(arguments.i64(2)).map_err(|_| Errno::EINVAL)?;
    let length = u64::try_from(arguments.i64(3)).ok().filter(|length| *length > 0).ok_or(Errno::EINVAL)?;
    let mode = FallocateMode::from_bits(arguments.u32(1)).ok_or(Errno::EOPNOTSUPP)?;
    if mode.contains(FallocateMode::PUNCH_HOLE) && !mode.contains(FallocateMode::KEEP_SIZE) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    file.check_writable()?;
    match file.inode().file_type() {
        FileType::Regular => {}
        FileType::Fifo => return Err(Errno::ESPIPE.into()),
        FileType::Directory => return Err(Errno::EISDIR.into()),
        _ => return Err(Errno::ENODEV.into()),
    }
    let end = offset.checked_add(length).filter(|end| i64::try_from(*end).is_ok()).ok_or(Errno::EFBIG)?;
    if !mode.contains(FallocateMode::KEEP_SIZE) {
        check_size_limit(current, file.inode(), end)?;
    }
    drop_privileges(file.inode(), &current.task.credentials())?;
    file.ops.allocate(&file, mode, offset, length)?;
    file.happened(InotifyMask::MODIFY);
    Ok(0)
}
