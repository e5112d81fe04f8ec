//! `inotify_add_watch(2)`, `inotify_rm_watch(2)`.

use usk_abi::Errno;
use usk_abi::fs::{AT_FDCWD, ResolveFlags};
use usk_abi::inotify::InotifyMask;
use usk_sentry::SysResult;
use usk_sentry::file::inotify::Inotify;
use usk_sentry::task::{Current, SyscallArguments, WatchAnnounced};
use usk_sentry::vfs::{Access, WalkOptions, check_path};

use crate::descriptor::{fd_result, file_of};
use crate::place::{Names, read_path, start};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(254, "inotify_add_watch", &[Fd, Path, Flags], sys_inotify_add_watch),
    Row::full(255, "inotify_rm_watch", &[Fd, Int], sys_inotify_rm_watch),
];

fn sys_inotify_add_watch(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let mask = InotifyMask::from_bits(arguments.u32(2)).filter(|mask| !mask.is_empty());
    let mask = mask.ok_or(Errno::EINVAL)?;
    let file = file_of(current, arguments.i32(0))?;
    if mask.contains(InotifyMask::MASK_ADD | InotifyMask::MASK_CREATE) {
        return Err(Errno::EINVAL.into());
    }
    let inotify = Inotify::of(&file).ok_or(Errno::EINVAL)?;
    let name = read_path(current, arguments.pointer(1))?;
    if name.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let names = Names::of(current);
    let start = start(current, &names.fs, AT_FDCWD, &name)?;
    let options = WalkOptions {
        follow: !mask.contains(InotifyMask::DONT_FOLLOW),
        directory: mask.contains(InotifyMask::ONLYDIR),
        resolve: ResolveFlags::empty(),
    };
    let context = names.context();
    let path = context.resolve(&start, &name, options)?;
    check_path(&path, context.caller, Access::READ)?;
    let _announced = WatchAnnounced::new(&current.task.kernel);
    fd_result(inotify.watch(&path, mask)?)
}

fn sys_inotify_rm_watch(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    Inotify::of(&file).ok_or(Errno::EINVAL)?.unwatch(arguments.i32(1))?;
    Ok(0)
}
