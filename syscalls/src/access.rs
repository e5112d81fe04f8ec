//! `access(2)`, `faccessat(2)`, `faccessat2(2)`.

use usk_abi::Errno;
use usk_abi::fs::{AT_FDCWD, AtFlags};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::Access;
use usk_sentry::{SysResult, UserPtr};

use crate::place::{Names, at_flags, locate_and_ask};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(21, "access", &[Path, Flags], sys_access),
    Row::full(269, "faccessat", &[Fd, Path, Flags], sys_faccessat),
    Row::full(439, "faccessat2", &[Fd, Path, Flags, Flags], sys_faccessat2),
];

fn sys_access(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    check(current, AT_FDCWD, arguments.pointer(0), arguments.u32(1), AtFlags::empty())
}

fn sys_faccessat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    check(current, arguments.i32(0), arguments.pointer(1), arguments.u32(2), AtFlags::empty())
}

fn sys_faccessat2(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let allowed = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let flags = at_flags(arguments.u32(3), allowed)?;
    check(current, arguments.i32(0), arguments.pointer(1), arguments.u32(2), flags)
}

fn check(current: &mut Current, directory: i32, name: UserPtr<u8>, mode: u32, flags: AtFlags) -> SysResult {
    let wanted = Access::from_bits(mode).ok_or(Errno::EINVAL)?;
    let names =
        if flags.contains(AtFlags::EACCESS) { Names::of(current) } else { Names::of_real_user(current) };
    let follow = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
    let (path, question) = locate_and_ask(current, &names, directory, name, flags, follow)?;
    if !wanted.is_empty() {
        names.context().check_access(&path, wanted)?;
    }
    if let Some(question) = question {
        current.leave_file(&question, &path, wanted);
    }
    Ok(0)
}
