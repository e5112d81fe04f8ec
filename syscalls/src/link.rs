//! `link(2)`, `linkat(2)`, `symlink(2)`, `symlinkat(2)`, `readlink(2)`, `readlinkat(2)`.

use usk_abi::Errno;
use usk_abi::capability::CAP_DAC_READ_SEARCH;
use usk_abi::fs::{AT_FDCWD, AtFlags, PATH_MAX};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::{self, Access, FileType, Link, WalkOptions};
use usk_sentry::{SysResult, UserPtr};

use crate::place::{Names, at_flags, locate_and_ask, read_path, read_path_or_nothing, start};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(86, "link", &[Path, Path], sys_link),
    Row::full(88, "symlink", &[Path, Path], sys_symlink),
    Row::full(89, "readlink", &[Path, OutBuffer, Int], sys_readlink),
    Row::full(265, "linkat", &[Fd, Path, Fd, Path, Flags], sys_linkat),
    Row::full(266, "symlinkat", &[Path, Fd, Path], sys_symlinkat),
    Row::full(267, "readlinkat", &[Fd, Path, OutBuffer, Int], sys_readlinkat),
];

/// A directory descriptor and a name.
type At = (i32, UserPtr<u8>);

fn sys_link(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (old, new) = (arguments.pointer(0), arguments.pointer(1));
    link(current, (AT_FDCWD, old), (AT_FDCWD, new), AtFlags::empty())
}

fn sys_linkat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = at_flags(arguments.u32(4), AtFlags::SYMLINK_FOLLOW | AtFlags::EMPTY_PATH)?;
    let old = (arguments.i32(0), arguments.pointer(1));
    link(current, old, (arguments.i32(2), arguments.pointer(3)), flags)
}

fn link(current: &Current, old: At, new: At, flags: AtFlags) -> SysResult {
    let names = Names::of(current);
    let target = find_target(current, &names, old, flags)?;
    let name = read_path(current, new.1)?;
    let start = start(current, &names.fs, new.0, &name)?;
    names.context().link(&target, &start, &name)?;
    Ok(0)
}

/// The file that gets a name. One that is named by its descriptor alone is so for its opener, and for those who search everything; who
/// allows for that has to be that for other names, too, that start there (`path_init`).
fn find_target(
    current: &Current,
    names: &Names,
    (directory, pointer): At,
    flags: AtFlags,
) -> Result<vfs::Path, Errno> {
    let may_be_empty = flags.contains(AtFlags::EMPTY_PATH);
    let name =
        if may_be_empty { read_path_or_nothing(current, pointer)? } else { read_path(current, pointer)? };
    let start = if may_be_empty && directory != AT_FDCWD && name.first() != Some(&b'/') {
        openers_place(current, directory)?
    } else {
        start(current, &names.fs, directory, &name)?
    };
    if name.is_empty() {
        return Ok(start);
    }
    let options = WalkOptions::following(flags.contains(AtFlags::SYMLINK_FOLLOW));
    names.context().resolve(&start, &name, options)
}

/// The place of a descriptor's file, for its opener and for those who search everything; `ENOENT` for others. The descriptor is looked
/// up once: another thread may give it another file at any time.
fn openers_place(current: &Current, descriptor: i32) -> Result<vfs::Path, Errno> {
    let file = current.task.files().get(descriptor)?;
    let credentials = current.task.credentials();
    let may_name = file.is_opened_as(&credentials) || credentials.has_capability(CAP_DAC_READ_SEARCH);
    if may_name { Ok(file.path().clone()) } else { Err(Errno::ENOENT) }
}

fn sys_symlink(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    symlink(current, arguments.pointer(0), (AT_FDCWD, arguments.pointer(1)))
}

fn sys_symlinkat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    symlink(current, arguments.pointer(0), (arguments.i32(1), arguments.pointer(2)))
}

fn symlink(current: &Current, target: UserPtr<u8>, at: At) -> SysResult {
    let target = read_path(current, target)?;
    let name = read_path(current, at.1)?;
    let names = Names::of(current);
    let start = start(current, &names.fs, at.0, &name)?;
    names.context().make_symlink(&start, &name, &target)?;
    Ok(0)
}

fn sys_readlink(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    read_link(current, (AT_FDCWD, arguments.pointer(0)), arguments.u64(1), arguments.i32(2))
}

fn sys_readlinkat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let at = (arguments.i32(0), arguments.pointer(1));
    read_link(current, at, arguments.u64(2), arguments.i32(3))
}

fn read_link(current: &mut Current, at: At, buffer: u64, size: i32) -> SysResult {
    let size = usize::try_from(size).ok().filter(|size| *size > 0).ok_or(Errno::EINVAL)?;
    let names = Names::of(current);
    // An empty name means the descriptor itself, which must have been opened as a link.
    let (path, question) = locate_and_ask(current, &names, at.0, at.1, AtFlags::EMPTY_PATH, false)?;
    let inode = path.inode()?;
    if inode.file_type() != FileType::Symlink {
        if let Some(question) = question {
            // Programs that look for links in each part of a path do so again and again.
            current.leave_file(&question, &path, Access::empty());
        }
        let by_descriptor = read_path_or_nothing(current, at.1)?.is_empty();
        return Err(if by_descriptor { Errno::ENOENT } else { Errno::EINVAL }.into());
    }
    let context = names.context();
    let text = match inode.read_link(context.caller)? {
        Link::Target(target) => target,
        Link::Magic(place) => place.seen_from(&context.root).display(),
    };
    // A terminating zero byte counts, as in d_path(); only a magic link can be as long.
    if text.len() >= PATH_MAX {
        return Err(Errno::ENAMETOOLONG.into());
    }
    let text = &text[..text.len().min(size)];
    current.copy_out_bytes(buffer, text)?;
    Ok(text.len() as u64)
}
