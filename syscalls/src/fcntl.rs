//! `fcntl(2)`.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::capability::CAP_SYS_RESOURCE;
use usk_abi::fcntl::*;
use usk_abi::fs::lock::{F_RDLCK, F_UNLCK, F_WRLCK};
use usk_abi::fs::seek::{SEEK_CUR, SEEK_END, SEEK_SET};
use usk_abi::fs::{Flock, OpenFlags, Seals};
use usk_sentry::file::async_io::{Owner, set_async};
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
    "no leases, no directory notification (EINVAL)",
)];

/// Pipe capacity that needs no privilege (`/proc/sys/fs/pipe-max-size`).
const PIPE_MAX_SIZE: usize = 1 << 20;

fn sys_fcntl(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let fd = arguments.i32(0);
    let command = arguments.i32(1);
    let file = current.task.files().get(fd)?;
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
            let fd = current.task.files().install_from(minimum, file, command == F_DUPFD_CLOEXEC, limit)?;
            Ok(u64::from(fd.unsigned_abs()))
        }
        F_DUPFD_QUERY => Ok(u64::from(Arc::ptr_eq(&file, &current.task.files().get(arguments.i32(2))?))),
        F_GETFD => Ok(u64::from(current.task.files().is_close_on_exec(fd)?)),
        F_SETFD => {
            current.task.files().set_close_on_exec(fd, arguments.i32(2) & FD_CLOEXEC != 0)?;
            Ok(0)
        }
        F_GETFL => Ok(u64::from(file.flags())),
        F_SETFL => set_flags(current, &file, fd, arguments.u32(2)),
        F_SETOWN => set_owner(current, &file, arguments.i32(2)),
        F_GETOWN => get_owner(&file),
        F_SETOWN_EX => set_owner_ex(current, &file, arguments.pointer(2)),
        F_GETOWN_EX => get_owner_ex(current, &file, arguments.pointer(2)),
        F_SETSIG => {
            let signal = match arguments.i32(2) {
                0 => None,
                number => Some(crate::copy::signal(number)?),
            };
            file.owner().set_signal(signal);
            Ok(0)
        }
        F_GETSIG => {
            let signal = file.owner_if_any().and_then(|owner| owner.signal());
            Ok(signal.map_or(0, |signal| u64::from(signal.number().unsigned_abs())))
        }
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

fn set_flags(current: &Current, file: &OpenFile, fd: i32, flags: u32) -> SysResult {
    let wanted = OpenFlags::from_bits_truncate(flags) & OpenFlags::SETTABLE;
    let before = file.open_flags();
    if wanted.contains(OpenFlags::NOATIME)
        && !before.contains(OpenFlags::NOATIME)
        && !is_owner(&file.inode().attributes()?, &current.task.credentials())
    {
        return Err(Errno::EPERM.into());
    }
    let is_async = wanted.contains(OpenFlags::ASYNC);
    if is_async != before.contains(OpenFlags::ASYNC) && file.ops.raises_signals() {
        set_async(file, fd, is_async);
    }
    file.set_flags(((before - OpenFlags::SETTABLE) | wanted).bits());
    current.task.files().touch();
    Ok(0)
}

/// The owner of this kind and number. `ESRCH` if there is none; number zero is nobody.
fn find_owner(current: &Current, kind: i32, id: i32) -> Result<Option<Owner>, Errno> {
    if !matches!(kind, F_OWNER_TID | F_OWNER_PID | F_OWNER_PGRP) {
        return Err(Errno::EINVAL);
    }
    if id == 0 {
        return Ok(None);
    }
    let kernel = &current.task.kernel;
    let owner = match kind {
        F_OWNER_TID => Owner::Thread(Arc::downgrade(&kernel.find_task(id)?)),
        F_OWNER_PID => Owner::Process(Arc::downgrade(&kernel.find_group(id)?)),
        _ => {
            kernel.tasks.lock().process_group(id).next().ok_or(Errno::ESRCH)?;
            Owner::ProcessGroup(id)
        }
    };
    Ok(Some(owner))
}

/// Kind and number of a file's owner; zero if there is none (any more).
fn owner_of(file: &OpenFile) -> (i32, i32) {
    let owner = file.owner_if_any().and_then(|owner| owner.owner());
    match owner {
        Some(Owner::Thread(task)) => (F_OWNER_TID, task.upgrade().map_or(0, |task| task.tid())),
        Some(Owner::Process(group)) => (F_OWNER_PID, group.upgrade().map_or(0, |group| group.tgid)),
        Some(Owner::ProcessGroup(number)) => (F_OWNER_PGRP, number),
        None => (F_OWNER_TID, 0),
    }
}

fn set_owner(current: &Current, file: &OpenFile, id: i32) -> SysResult {
    let kind = if id < 0 { F_OWNER_PGRP } else { F_OWNER_PID };
    let owner = find_owner(current, kind, id.checked_abs().ok_or(Errno::EINVAL)?)?;
    file.owner().set(current, owner);
    Ok(0)
}

fn get_owner(file: &OpenFile) -> SysResult {
    let (kind, id) = owner_of(file);
    let signed = if kind == F_OWNER_PGRP { -i64::from(id) } else { i64::from(id) };
    Ok(signed.cast_unsigned())
}

fn set_owner_ex(current: &Current, file: &OpenFile, pointer: UserPtr<[i32; 2]>) -> SysResult {
    let [kind, id] = pointer.read(current.space())?;
    let owner = find_owner(current, kind, id)?;
    file.owner().set(current, owner);
    Ok(0)
}

fn get_owner_ex(current: &Current, file: &OpenFile, pointer: UserPtr<[i32; 2]>) -> SysResult {
    let (kind, id) = owner_of(file);
    pointer.write(current.space(), &[kind, id])?;
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
    current.task.files().touch();
    if of_description {
        // As in `flock(2)`.
        current.task.mm().withdraw_memory();
    } else {
        current.note_missed(file);
    }
    let exclusive = match flock.l_type {
        F_UNLCK => {
            locks.unlock(owner, start, end)?;
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
