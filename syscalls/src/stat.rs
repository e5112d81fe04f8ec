//! `stat(2)`, `lstat(2)`, `fstat(2)`, `newfstatat(2)`, `statx(2)`.

use usk_abi::Errno;
use usk_abi::fs::{
    AT_FDCWD, AtFlags, STATX_ATTR_MOUNT_ROOT, Stat, Statx, StatxMask, StatxTimestamp, split_device,
};
use usk_sentry::task::{Current, NameQuestion, SyscallArguments};
use usk_sentry::vfs::{self, Access, Attributes, Timestamp};
use usk_sentry::{SysResult, UserPtr};

use crate::place::{Names, at_flags, locate_and_ask};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(4, "stat", &[Path, Pointer], sys_stat),
    Row::full(5, "fstat", &[Fd, Pointer], sys_fstat),
    Row::full(6, "lstat", &[Path, Pointer], sys_lstat),
    Row::full(262, "newfstatat", &[Fd, Path, Pointer, Flags], sys_newfstatat),
    Row::full(332, "statx", &[Fd, Path, Flags, Flags, Pointer], sys_statx),
];

fn sys_stat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    stat(current, AT_FDCWD, arguments.pointer(0), AtFlags::empty(), arguments.pointer(1))
}

fn sys_lstat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    stat(current, AT_FDCWD, arguments.pointer(0), AtFlags::SYMLINK_NOFOLLOW, arguments.pointer(1))
}

fn sys_fstat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = current.task.files().get(arguments.i32(0))?;
    current.copy_out(arguments.pointer(1), &file.inode().attributes()?.to_stat())?;
    Ok(0)
}

fn sys_newfstatat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let allowed = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    let flags = at_flags(arguments.u32(3), allowed)?;
    stat(current, arguments.i32(0), arguments.pointer(1), flags, arguments.pointer(2))
}

fn stat(
    current: &mut Current,
    directory: i32,
    name: UserPtr<u8>,
    flags: AtFlags,
    buffer: UserPtr<Stat>,
) -> SysResult {
    let names = Names::of(current);
    let follow = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
    let (path, question) = locate_and_ask(current, &names, directory, name, flags, follow)?;
    current.copy_out(buffer, &path.inode()?.attributes()?.to_stat())?;
    leave(current, question.as_ref(), &path);
    Ok(0)
}

/// Leaves with the guest what it has asked about, and what it will probably ask about next.
fn leave(current: &mut Current, question: Option<&NameQuestion>, path: &vfs::Path) {
    if let Some(question) = question {
        current.leave_file(question, path, Access::empty());
        current.leave_next(question, path);
    }
}

fn sys_statx(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let sync = AtFlags::STATX_FORCE_SYNC | AtFlags::STATX_DONT_SYNC;
    let allowed = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH | sync;
    let flags = at_flags(arguments.u32(2), allowed)?;
    let mask = arguments.u32(3);
    if flags.contains(sync) || mask & StatxMask::RESERVED.bits() != 0 {
        return Err(Errno::EINVAL.into());
    }
    let names = Names::of(current);
    let follow = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
    let (directory, name) = (arguments.i32(0), arguments.pointer(1));
    let (path, question) = locate_and_ask(current, &names, directory, name, flags, follow)?;
    let mut statx = to_statx(&path.inode()?.attributes()?);
    statx.stx_mask |= StatxMask::MNT_ID.bits();
    statx.stx_mnt_id = path.mount.id;
    statx.stx_attributes_mask = STATX_ATTR_MOUNT_ROOT;
    if path.is_mount_root() {
        statx.stx_attributes |= STATX_ATTR_MOUNT_ROOT;
    }
    current.copy_out(arguments.pointer(4), &statx)?;
    leave(current, question.as_ref(), &path);
    Ok(0)
}

fn to_statx(attributes: &Attributes) -> Statx {
    let time =
        |time: Timestamp| StatxTimestamp { tv_sec: time.seconds, tv_nsec: time.nanoseconds, __reserved: 0 };
    let (rdev_major, rdev_minor) = split_device(attributes.special_device);
    let (dev_major, dev_minor) = split_device(attributes.device);
    let mut mask = StatxMask::BASIC_STATS;
    if attributes.born.is_some() {
        mask |= StatxMask::BTIME;
    }
    Statx {
        stx_mask: mask.bits(),
        stx_blksize: attributes.block_size,
        stx_nlink: attributes.links,
        stx_uid: attributes.uid,
        stx_gid: attributes.gid,
        stx_mode: u16::try_from(attributes.mode & 0xffff).unwrap_or_default(),
        stx_ino: attributes.inode,
        stx_size: attributes.size,
        stx_blocks: attributes.blocks,
        stx_atime: time(attributes.accessed),
        stx_btime: attributes.born.map(time).unwrap_or_default(),
        stx_ctime: time(attributes.changed),
        stx_mtime: time(attributes.modified),
        stx_rdev_major: rdev_major,
        stx_rdev_minor: rdev_minor,
        stx_dev_major: dev_major,
        stx_dev_minor: dev_minor,
        ..Statx::default()
    }
}
