//! `chdir(2)`, `fchdir(2)`, `chroot(2)`, `getcwd(2)`.

use usk_abi::Errno;
use usk_abi::capability::CAP_SYS_CHROOT;
use usk_abi::fs::PATH_MAX;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::{Access, WalkOptions};

use crate::place::{Names, read_path};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(79, "getcwd", &[OutBuffer, Uint], sys_getcwd),
    Row::full(80, "chdir", &[Path], sys_chdir),
    Row::full(81, "fchdir", &[Fd], sys_fchdir),
    Row::full(161, "chroot", &[Path], sys_chroot),
];

fn sys_getcwd(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let fs = current.task.fs();
    let seen = fs.cwd().seen_from(&fs.root());
    if seen.is_deleted {
        return Err(Errno::ENOENT.into());
    }
    let mut name = if seen.is_reachable { Vec::new() } else { b"(unreachable)".to_vec() };
    name.extend_from_slice(&seen.name);
    name.push(0);
    if name.len() > PATH_MAX {
        return Err(Errno::ENAMETOOLONG.into());
    }
    if name.len() > arguments.usize(1) {
        return Err(Errno::ERANGE.into());
    }
    current.copy_out_bytes(arguments.u64(0), &name)?;
    Ok(name.len() as u64)
}

fn sys_chdir(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let name = read_path(current, arguments.pointer(0))?;
    let names = Names::of(current);
    let context = names.context();
    let path = context.resolve(&context.cwd, &name, WalkOptions::DIRECTORY)?;
    context.check_access(&path, Access::EXECUTE)?;
    names.fs.set_cwd(path);
    Ok(0)
}

fn sys_fchdir(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = current.task.files().get(arguments.i32(0))?;
    let path = file.path().clone();
    if !path.dentry.is_directory() {
        return Err(Errno::ENOTDIR.into());
    }
    let names = Names::of(current);
    names.context().check_access(&path, Access::EXECUTE)?;
    names.fs.set_cwd(path);
    Ok(0)
}

fn sys_chroot(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let name = read_path(current, arguments.pointer(0))?;
    let names = Names::of(current);
    let context = names.context();
    let path = context.resolve(&context.cwd, &name, WalkOptions::DIRECTORY)?;
    context.check_access(&path, Access::EXECUTE)?;
    if !context.caller.credentials.has_capability(CAP_SYS_CHROOT) {
        return Err(Errno::EPERM.into());
    }
    names.fs.set_root(path);
    Ok(0)
}
