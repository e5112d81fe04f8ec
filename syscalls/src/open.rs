//! `open(2)`, `openat(2)`, `creat(2)`, `openat2(2)`.

use usk_abi::Errno;
use usk_abi::fs::{AT_FDCWD, OpenFlags, OpenHow as RawOpenHow, ResolveFlags};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::OpenHow;
use usk_sentry::{SysError, SysResult, UserPtr};
use zerocopy::FromBytes;

use crate::copy::read_versioned;
use crate::place::{Names, ask_for_found, descriptor_limit, leave_if_missing, read_path, start};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(2, "open", &[Path, Flags, Mode], sys_open),
    Row::full(85, "creat", &[Path, Mode], sys_creat),
    Row::full(257, "openat", &[Fd, Path, Flags, Mode], sys_openat),
    Row::full(437, "openat2", &[Fd, Path, Pointer, Uint], sys_openat2),
];

const OPEN_HOW_SIZE: usize = size_of::<RawOpenHow>();

fn sys_open(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let how = lenient(arguments.u32(1), arguments.u32(2));
    open(current, AT_FDCWD, arguments.pointer(0), how)
}

fn sys_creat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = OpenFlags::CREAT | OpenFlags::WRONLY | OpenFlags::TRUNC;
    open(current, AT_FDCWD, arguments.pointer(0), lenient(flags.bits(), arguments.u32(1)))
}

fn sys_openat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let how = lenient(arguments.u32(2), arguments.u32(3));
    open(current, arguments.i32(0), arguments.pointer(1), how)
}

fn sys_openat2(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let bytes =
        read_versioned(current, arguments.u64(2), arguments.usize(3), (OPEN_HOW_SIZE, OPEN_HOW_SIZE))?;
    let raw = RawOpenHow::read_from_bytes(&bytes).map_err(|_| Errno::EINVAL)?;
    let flags = u32::try_from(raw.flags).ok().and_then(OpenFlags::from_bits).ok_or(Errno::EINVAL)?;
    let resolve = ResolveFlags::from_bits(raw.resolve).ok_or(Errno::EINVAL)?;
    let mode = u32::try_from(raw.mode).ok().filter(|mode| *mode <= 0o7777).ok_or(Errno::EINVAL)?;
    let creates = flags.intersects(OpenFlags::CREAT | OpenFlags::TMPFILE_BIT);
    let path_flags = OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::PATH | OpenFlags::CLOEXEC;
    if (mode != 0 && !creates)
        || resolve.contains(ResolveFlags::BENEATH | ResolveFlags::IN_ROOT)
        || (flags.contains(OpenFlags::PATH) && !path_flags.contains(flags))
    {
        return Err(Errno::EINVAL.into());
    }
    if resolve.contains(ResolveFlags::CACHED)
        && flags.intersects(OpenFlags::TRUNC | OpenFlags::CREAT | OpenFlags::TMPFILE_BIT)
    {
        return Err(Errno::EAGAIN.into());
    }
    open(current, arguments.i32(0), arguments.pointer(1), OpenHow { flags, mode, resolve })
}

/// `open(2)` and `openat(2)` ignore flags that they do not know, and modes without a file to create.
fn lenient(flags: u32, mode: u32) -> OpenHow {
    let mut flags = OpenFlags::from_bits_truncate(flags);
    if flags.contains(OpenFlags::PATH) {
        flags &= OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::PATH | OpenFlags::CLOEXEC;
    }
    OpenHow { flags, mode: mode & 0o7777, resolve: ResolveFlags::empty() }
}

fn open(current: &mut Current, directory: i32, name: UserPtr<u8>, how: OpenHow) -> SysResult {
    let flags = how.flags;
    if flags.contains(OpenFlags::TMPFILE_BIT) {
        if !flags.contains(OpenFlags::DIRECTORY) || !flags.is_writable() || flags.contains(OpenFlags::CREAT) {
            return Err(Errno::EINVAL.into());
        }
    } else if flags.contains(OpenFlags::CREAT | OpenFlags::DIRECTORY) {
        return Err(Errno::EINVAL.into());
    }
    let name = read_path(current, name)?;
    let names = Names::of(current);
    let limit = descriptor_limit(current);
    current.task.files().check_room(limit)?;
    // Where the directory is the root, an absolute name starts there too.
    let is_own_root = how.resolve.contains(ResolveFlags::IN_ROOT);
    let start = start(current, &names.fs, directory, if is_own_root { b"" } else { &name })?;
    let opened = names.context().open(&start, &name, how, Some(current));
    let may_create = flags.intersects(OpenFlags::CREAT | OpenFlags::TMPFILE_BIT);
    if matches!(opened, Err(SysError::Errno(Errno::ENOENT))) && !may_create && how.resolve.is_empty() {
        leave_if_missing(current, &names, directory, name.clone(), !flags.contains(OpenFlags::NOFOLLOW));
    }
    let file = opened?;
    let fd = current.task.files().install(file.clone(), flags.contains(OpenFlags::CLOEXEC), limit)?;
    current.bring_along(&file);
    if how.resolve.is_empty() {
        current.prepare_next(&file, directory, &name, flags);
        if current.opens_again(&file, flags)
            && let Some((question, path)) =
                ask_for_found(current, &names, directory, name, !flags.contains(OpenFlags::NOFOLLOW))
        {
            current.prepare_again(&question, &path, flags);
        }
    }
    Ok(u64::from(fd.unsigned_abs()))
}
