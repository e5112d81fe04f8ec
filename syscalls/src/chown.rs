//! `chown(2)`, `fchown(2)`, `lchown(2)`, `fchownat(2)`.

use usk_abi::fs::{AT_FDCWD, AtFlags};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::{SysResult, UserPtr};

use crate::descriptor::file_of;
use crate::place::{Names, at_flags, locate};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(92, "chown", &[Path, Int, Int], sys_chown),
    Row::full(93, "fchown", &[Fd, Int, Int], sys_fchown),
    Row::full(94, "lchown", &[Path, Int, Int], sys_lchown),
    Row::full(260, "fchownat", &[Fd, Path, Int, Int, Flags], sys_fchownat),
];

/// New owner and group; -1 leaves one alone.
type Owner = (Option<u32>, Option<u32>);

fn owner(arguments: SyscallArguments, index: usize) -> Owner {
    let known = |id: u32| (id != u32::MAX).then_some(id);
    (known(arguments.u32(index)), known(arguments.u32(index + 1)))
}

fn sys_chown(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    change(current, AT_FDCWD, arguments.pointer(0), owner(arguments, 1), AtFlags::empty())
}

fn sys_lchown(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    change(current, AT_FDCWD, arguments.pointer(0), owner(arguments, 1), AtFlags::SYMLINK_NOFOLLOW)
}

fn sys_fchown(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    let (uid, gid) = owner(arguments, 1);
    Names::of(current).context().change_owner(file.path(), uid, gid)?;
    Ok(0)
}

fn sys_fchownat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = at_flags(arguments.u32(4), AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH)?;
    change(current, arguments.i32(0), arguments.pointer(1), owner(arguments, 2), flags)
}

fn change(
    current: &Current,
    directory: i32,
    name: UserPtr<u8>,
    (uid, gid): Owner,
    flags: AtFlags,
) -> SysResult {
    let names = Names::of(current);
    let follow = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
    let path = locate(current, &names, directory, name, flags, follow)?;
    names.context().change_owner(&path, uid, gid)?;
    Ok(0)
}
