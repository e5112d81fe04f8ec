//! `fsync(2)`, `fdatasync(2)`, `sync(2)`, `syncfs(2)`, `sync_file_range(2)`, `posix_fadvise(2)`, `readahead(2)`.

use usk_abi::Errno;
use usk_abi::fs::OpenFlags;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::FileType;

use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(74, "fsync", &[Fd], sys_fsync),
    Row::full(75, "fdatasync", &[Fd], sys_fdatasync),
    Row::full(162, "sync", &[], sys_sync),
    Row::partial(187, "readahead", &[Fd, Int, Uint], sys_readahead, "reads nothing ahead"),
    Row::partial(221, "fadvise64", &[Fd, Int, Int, Int], sys_fadvise64, "advice is checked and not used"),
    Row::full(277, "sync_file_range", &[Fd, Int, Int, Flags], sys_sync_file_range),
    Row::full(306, "syncfs", &[Fd], sys_syncfs),
];

const ADVICE_LAST: i32 = 5;
const SYNC_FILE_RANGE_ALL: u32 = 7;

fn sync(current: &Current, fd: i32, data_only: bool) -> SysResult {
    let file = file_of(current, fd)?;
    file.ops.sync(&file, data_only)?;
    Ok(0)
}

fn sys_fsync(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    sync(current, arguments.i32(0), false)
}

fn sys_fdatasync(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    sync(current, arguments.i32(0), true)
}

fn sys_sync(current: &mut Current, _: SyscallArguments) -> SysResult {
    for mount in current.task.fs().namespace().mounts() {
        // sync(2) reports no errors.
        let _ = mount.file_system().sync();
    }
    Ok(0)
}

fn sys_syncfs(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    file.path().mount.file_system().sync()?;
    Ok(0)
}

fn sys_sync_file_range(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = current.task.files().get(arguments.i32(0))?;
    let end = arguments.i64(1).checked_add(arguments.i64(2));
    if arguments.u32(3) & !SYNC_FILE_RANGE_ALL != 0
        || arguments.i64(1) < 0
        || arguments.i64(2) < 0
        || end.is_none()
    {
        return Err(Errno::EINVAL.into());
    }
    match file.inode().file_type() {
        FileType::Regular | FileType::BlockDevice | FileType::Directory | FileType::Symlink => {}
        _ => return Err(Errno::ESPIPE.into()),
    }
    if file.open_flags().contains(OpenFlags::PATH) {
        return Err(Errno::EBADF.into());
    }
    file.ops.sync(&file, true)?;
    Ok(0)
}

fn sys_fadvise64(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    if file.inode().file_type() == FileType::Fifo {
        return Err(Errno::ESPIPE.into());
    }
    if arguments.i64(2) < 0 || !(0..=ADVICE_LAST).contains(&arguments.i32(3)) {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

fn sys_readahead(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = current.task.files().get(arguments.i32(0))?;
    file.check_readable()?;
    if !matches!(file.inode().file_type(), FileType::Regular | FileType::BlockDevice) {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}
