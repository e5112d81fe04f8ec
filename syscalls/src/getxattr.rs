//! `getxattr(2)`, `setxattr(2)`, `listxattr(2)`, `removexattr(2)` and their `l` and `f` forms.

use usk_abi::Errno;
use usk_abi::fs::{
    AT_FDCWD, AtFlags, XATTR_CREATE, XATTR_LIST_MAX, XATTR_NAME_MAX, XATTR_REPLACE, XATTR_SIZE_MAX,
};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::{SysResult, UserPtr, read_c_string, vfs};

use crate::descriptor::file_of;
use crate::place::{Names, locate};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(188, "setxattr", &[Path, Path, InBuffer, Uint, Flags], sys_setxattr),
    Row::full(189, "lsetxattr", &[Path, Path, InBuffer, Uint, Flags], sys_lsetxattr),
    Row::full(190, "fsetxattr", &[Fd, Path, InBuffer, Uint, Flags], sys_fsetxattr),
    Row::full(191, "getxattr", &[Path, Path, OutBuffer, Uint], sys_getxattr),
    Row::full(192, "lgetxattr", &[Path, Path, OutBuffer, Uint], sys_lgetxattr),
    Row::full(193, "fgetxattr", &[Fd, Path, OutBuffer, Uint], sys_fgetxattr),
    Row::full(194, "listxattr", &[Path, OutBuffer, Uint], sys_listxattr),
    Row::full(195, "llistxattr", &[Path, OutBuffer, Uint], sys_llistxattr),
    Row::full(196, "flistxattr", &[Fd, OutBuffer, Uint], sys_flistxattr),
    Row::full(197, "removexattr", &[Path, Path], sys_removexattr),
    Row::full(198, "lremovexattr", &[Path, Path], sys_lremovexattr),
    Row::full(199, "fremovexattr", &[Fd, Path], sys_fremovexattr),
];

/// How the first argument names the file.
#[derive(Clone, Copy)]
enum By {
    Name { follow: bool },
    Descriptor,
}

fn place(current: &Current, names: &Names, arguments: SyscallArguments, by: By) -> Result<vfs::Path, Errno> {
    match by {
        By::Name { follow } => {
            locate(current, names, AT_FDCWD, arguments.pointer(0), AtFlags::empty(), follow)
        }
        By::Descriptor => {
            let file = file_of(current, arguments.i32(0))?;
            Ok(file.path().clone())
        }
    }
}

fn read_name(current: &Current, pointer: UserPtr<u8>) -> Result<Vec<u8>, Errno> {
    let name = read_c_string(current.space(), pointer.address(), XATTR_NAME_MAX + 1, Errno::ERANGE)?;
    if name.is_empty() { Err(Errno::ERANGE) } else { Ok(name) }
}

/// Copies a value out, or only says how long it is if there is no room at all.
fn give(current: &mut Current, buffer: u64, size: usize, value: &[u8]) -> SysResult {
    if size > 0 {
        if value.len() > size {
            return Err(Errno::ERANGE.into());
        }
        current.copy_out_bytes(buffer, value)?;
    }
    Ok(value.len() as u64)
}

fn set(current: &Current, arguments: SyscallArguments, by: By) -> SysResult {
    let flags = arguments.u32(4);
    if flags & !(XATTR_CREATE | XATTR_REPLACE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let name = read_name(current, arguments.pointer(1))?;
    let size = arguments.usize(3);
    if size > XATTR_SIZE_MAX {
        return Err(Errno::E2BIG.into());
    }
    let value = arguments.pointer::<u8>(2).read_array(current.space(), size)?;
    let names = Names::of(current);
    let path = place(current, &names, arguments, by)?;
    names.context().set_xattr(&path, &name, &value, flags)?;
    Ok(0)
}

fn get(current: &mut Current, arguments: SyscallArguments, by: By) -> SysResult {
    let names = Names::of(current);
    let path = place(current, &names, arguments, by)?;
    let name = read_name(current, arguments.pointer(1))?;
    let value = names.context().get_xattr(&path, &name)?;
    give(current, arguments.u64(2), arguments.usize(3), &value)
}

fn list(current: &mut Current, arguments: SyscallArguments, by: By) -> SysResult {
    let names = Names::of(current);
    let path = place(current, &names, arguments, by)?;
    let list = names.context().list_xattr(&path)?;
    if list.len() > XATTR_LIST_MAX {
        return Err(Errno::E2BIG.into());
    }
    give(current, arguments.u64(1), arguments.usize(2), &list)
}

fn remove(current: &Current, arguments: SyscallArguments, by: By) -> SysResult {
    let names = Names::of(current);
    let path = place(current, &names, arguments, by)?;
    let name = read_name(current, arguments.pointer(1))?;
    names.context().remove_xattr(&path, &name)?;
    Ok(0)
}

const FOLLOW: By = By::Name { follow: true };
const NO_FOLLOW: By = By::Name { follow: false };

fn sys_setxattr(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    set(current, arguments, FOLLOW)
}

fn sys_lsetxattr(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    set(current, arguments, NO_FOLLOW)
}

fn sys_fsetxattr(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    set(current, arguments, By::Descriptor)
}

fn sys_getxattr(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    get(current, arguments, FOLLOW)
}

fn sys_lgetxattr(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    get(current, arguments, NO_FOLLOW)
}

fn sys_fgetxattr(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    get(current, arguments, By::Descriptor)
}

fn sys_listxattr(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    list(current, arguments, FOLLOW)
}

fn sys_llistxattr(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    list(current, arguments, NO_FOLLOW)
}

fn sys_flistxattr(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    list(current, arguments, By::Descriptor)
}

fn sys_removexattr(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    remove(current, arguments, FOLLOW)
}

fn sys_lremovexattr(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    remove(current, arguments, NO_FOLLOW)
}

fn sys_fremovexattr(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    remove(current, arguments, By::Descriptor)
}
