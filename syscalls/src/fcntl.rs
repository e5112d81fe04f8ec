//! `fcntl(2)`.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::capability::CAP_SYS_RESOURCE;
use usk_abi::fcntl::*;
use usk_abi::fs::lock::{F_RDLCK, F_UNLCK, F_WRLCK};
use usk_abi::fs::seek::{SEEK_CUR, SEEK_END, SEEK_SET};
use usk_abi::fs::{Flock, OpenFlags, Seals};
use usk_sentry::file::pipe::PipeEnd;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::{LockOwner, OpenFile, RecordLock, TO_THE_END, is_owner};
use usk_sentry::{SysResult, UserPtr};

use crate::place::descriptor_limit;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::partial(
    72,
    "fcntl",
    &[Fd, Int, Uint],
    sys_fcntl,
    "no leases, no directory notification, no signal-driven I/O (all EINVAL)",
)];

/// Pipe capacity that needs no privilege (`/proc/sys/fs/pipe-max-size`).
const PIPE_MAX_SIZE: usize = 1 << 20;

fn sys_fcntl(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let fd = arguments.i32(0);
    let command = arguments.i32(1);
    let files = current.task.files();
    let file = files.get(fd)?;
    let is_path = file.open_flags().contains(OpenFlags::PATH);
    if is_path && !matches!(command, F_DUPFD | F_DUPFD_CLOEXEC | F_GETFD | F_SETFD | F_GETFL | F_DUPFD_QUERY)
    {
        return Err(Errno::EBADF.into());
    }
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let limit = descriptor_limit(current);
            let minimum = arguments.i32(2);
            if minimum < 0 || u64::from(minimum.unsigned_abs()) >= limit {
                return Err(Errno::EINVAL.into());
            }
            let fd = files.install_from(minimum, file, command == F_DUPFD_CLOEXEC, limit)?;
            Ok(u64::from(fd.unsigned_abs()))
        }
        F_DUPFD_QUERY => Ok(u64::from(Arc::ptr_eq(&file, &files.get(arguments.i32(2))?))),
        F_GETFD => Ok(u64::from(files.is_close_on_exec(fd)?)),
        F_SETFD => {
            files.set_close_on_exec(fd, arguments.i32(2) & FD_CLOEXEC != 0)?;
            Ok(0)
        }
        F_GETFL => Ok(u64::from(file.flags())),
        F_SETFL => set_flags(current, &file, arguments.u32(2)),
        F_GETLK | F_OFD_GETLK => get_lock(current, &file, arguments.pointer(2), command == F_OFD_GETLK),
        F_SETLK => set_lock(current, &file, arguments.pointer(2), false, false),
        F_SETLKW => set_lock(current, &file, arguments.pointer(2), false, true),
        F_OFD_SETLK => set_lock(current, &file, arguments.pointer(2), true, false),
        F_OFD_SETLKW => set_lock(current, &file, arguments.pointer(2), true, true),
        F_GETLEASE => Ok(F_UNLCK.unsigned_abs().into()),
        F_SETPIPE_SZ => {
            let bytes = usize::try_from(arguments.u32(2)).map_err(|_| Errno::EINVAL)?;
            let pipe = PipeEnd::of(&file).ok_or(Errno::EBADF)?;
            if bytes > PIPE_MAX_SIZE && !current.task.credentials().has_capability(CAP_SYS_RESOURCE) {
                return Err(Errno::EPERM.into());
            }
            Ok(pipe.set_capacity(bytes)? as u64)
        }
        F_GETPIPE_SZ => Ok(PipeEnd::of(&file).ok_or(Errno::EBADF)?.capacity() as u64),
        F_GET_SEALS => Ok(u64::from(file.ops.seals()?.bits())),
        F_ADD_SEALS => {
            let seals = Seals::from_bits(arguments.u32(2)).ok_or(Errno::EINVAL)?;
            file.ops.seals()?;
            if !file.open_flags().is_writable() {
                return Err(Errno::EPERM.into());
            }
            file.ops.add_seals(seals)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn set_flags(current: &Current, file: &OpenFile, flags: u32) -> SysResult {
    let wanted = OpenFlags::from_bits_truncate(flags) & OpenFlags::SETTABLE;
    let before = file.open_flags();
    if wanted.contains(OpenFlags::NOATIME)
        && !before.contains(OpenFlags::NOATIME)
        && !is_owner(&file.inode().attributes()?, &current.task.credentials())
    {
        return Err(Errno::EPERM.into());
    }
    file.set_flags(((before - OpenFlags::SETTABLE) | wanted).bits());
    Ok(0)
}

/// The range that a `struct flock` means: first byte and last.
fn range(file: &OpenFile, flock: &Flock) -> Result<(u64, u64), Errno> {
    let base = match u32::try_from(flock.l_whence).map_err(|_| Errno::EINVAL)? {
        SEEK_SET => 0,
        SEEK_CUR => i64::try_from(*file.position.lock()).map_err(|_| Errno::EOVERFLOW)?,
        SEEK_END => i64::try_from(file.ops.length(file)?).map_err(|_| Errno::EOVERFLOW)?,
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(flock.l_start).ok_or(Errno::EOVERFLOW)?;
    let (first, last) = match flock.l_len {
        0 => (start, i64::MAX),
        length if length > 0 => (start, start.checked_add(length - 1).ok_or(Errno::EOVERFLOW)?),
        length => (start.checked_add(length).ok_or(Errno::EINVAL)?, start - 1),
    };
    let first = u64::try_from(first).map_err(|_| Errno::EINVAL)?;
    Ok((first, u64::try_from(last).map_err(|_| Errno::EINVAL)?))
}

fn owner(current: &Current, file: &OpenFile, of_description: bool) -> (LockOwner, i32) {
    if of_description {
        (LockOwner::Description(file.id()), -1)
    } else {
        (LockOwner::Table(current.task.files().id()), current.task.tgid())
    }
}

fn get_lock(current: &Current, file: &OpenFile, pointer: UserPtr<Flock>, of_description: bool) -> SysResult {
    let mut flock = pointer.read(current.space())?;
    if !matches!(flock.l_type, F_RDLCK | F_WRLCK) || (of_description && flock.l_pid != 0) {
        return Err(Errno::EINVAL.into());
    }
    let (start, end) = range(file, &flock)?;
    let (owner, pid) = owner(current, file, of_description);
    let wanted = RecordLock { start, end, exclusive: flock.l_type == F_WRLCK, owner, pid };
    match file.inode().common().locks().conflict(&wanted) {
        None => flock.l_type = F_UNLCK,
        Some(held) => {
            flock.l_type = if held.exclusive { F_WRLCK } else { F_RDLCK };
            flock.l_whence = 0;
            flock.l_start = i64::try_from(held.start).map_err(|_| Errno::EOVERFLOW)?;
            let length = if held.end == TO_THE_END { 0 } else { held.end - held.start + 1 };
            flock.l_len = i64::try_from(length).map_err(|_| Errno::EOVERFLOW)?;
            flock.l_pid = held.pid;
        }
    }
    pointer.write(current.space(), &flock)?;
    Ok(0)
}

fn set_lock(
    current: &mut Current,
    file: &Arc<OpenFile>,
    pointer: UserPtr<Flock>,
    of_description: bool,
    wait: bool,
) -> SysResult {
    let flock = pointer.read(current.space())?;
    if of_description && flock.l_pid != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (start, end) = range(file, &flock)?;
    let (owner, pid) = owner(current, file, of_description);
    let locks = file.inode().common().locks();
    let exclusive = match flock.l_type {
        F_UNLCK => {
            locks.unlock(owner, start, end);
            return Ok(0);
        }
        F_RDLCK => false,
        F_WRLCK => true,
        _ => return Err(Errno::EINVAL.into()),
    };
    let allowed = if exclusive { file.open_flags().is_writable() } else { file.open_flags().is_readable() };
    if !allowed {
        return Err(Errno::EBADF.into());
    }
    let wanted = RecordLock { start, end, exclusive, owner, pid };
    if wait {
        locks.lock_or_wait(current, wanted)?;
    } else if locks.lock(wanted)?.is_err() {
        return Err(Errno::EAGAIN.into());
    }
    Ok(0)
}
