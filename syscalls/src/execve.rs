//! `execve(2)`, `execveat(2)`.

use std::sync::atomic::Ordering;

use usk_abi::Errno;
use usk_sentry::SysResult;
use usk_sentry::loader::Arguments;
use usk_sentry::task::{Current, ProgramRequest, Resource, SyscallArguments, execute, find_program};
use usk_sentry::vfs::WalkOptions;

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(59, "execve", &[Path, Pointer, Pointer], sys_execve),
    Row::full(322, "execveat", &[Fd, Path, Pointer, Pointer, Flags], sys_execveat),
];

const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EMPTY_PATH: u32 = 0x1000;
/// `PATH_MAX`, with the NUL.
const PATH_MAX: usize = 4096;
/// `personality(2)`: no address-space randomisation.
const ADDR_NO_RANDOMIZE: u32 = 0x0004_0000;

fn sys_execve(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    run(current, AT_FDCWD, arguments.u64(0), arguments.u64(1), arguments.u64(2), 0)
}

fn sys_execveat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = arguments.u32(4);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    run(current, arguments.i32(0), arguments.u64(1), arguments.u64(2), arguments.u64(3), flags)
}

fn run(current: &mut Current, directory: i32, name: u64, argv: u64, envp: u64, flags: u32) -> SysResult {
    let task = current.task.clone();
    let name = current.copy_in_string(name, PATH_MAX, Errno::ENAMETOOLONG)?;
    if name.is_empty() && flags & AT_EMPTY_PATH == 0 {
        return Err(Errno::ENOENT.into());
    }
    let stack_limit = task.group.limits.lock().soft(Resource::Stack);
    let strings = Arguments::read(current.space(), argv.into(), envp.into(), stack_limit)?;
    let credentials = task.credentials();
    let fs = task.fs();
    let names = fs.names(&credentials, Some(&task));
    let start = match directory {
        AT_FDCWD => names.cwd.clone(),
        _ if name.starts_with(b"/") => names.cwd.clone(),
        fd => task.files().get(fd)?.path().clone(),
    };
    let shown_name = if directory == AT_FDCWD || name.starts_with(b"/") {
        name.clone()
    } else if name.is_empty() {
        format!("/dev/fd/{directory}").into_bytes()
    } else {
        [format!("/dev/fd/{directory}/").as_bytes(), &name].concat()
    };
    let is_by_descriptor = directory != AT_FDCWD && !name.starts_with(b"/");
    let request = ProgramRequest {
        is_unreachable: is_by_descriptor && task.files().is_close_on_exec(directory).unwrap_or(false),
        start: &start,
        name: &name,
        options: WalkOptions::following(flags & AT_SYMLINK_NOFOLLOW == 0),
        shown_name,
        arguments: strings,
        stack_limit,
        randomize: task.personality.load(Ordering::Relaxed) & ADDR_NO_RANDOMIZE == 0,
        no_new_privs: task.no_new_privs(),
    };
    let request = find_program(&names, request)?;
    execute(current, request)
}
