//! `seccomp(2)`.

use usk_abi::Errno;
use usk_abi::capability::CAP_SYS_ADMIN;
use usk_abi::seccomp::*;
use usk_sentry::seccomp::{Notifier, Program, add_filter, set_strict};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::{SysResult, UserPtr};

use crate::descriptor::install;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::partial(
    317,
    "seccomp",
    &[Uint, Flags, Pointer],
    sys_seccomp,
    "no SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV; nothing is logged",
)];

fn sys_seccomp(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (operation, flags, pointer) = (arguments.u32(0), arguments.u32(1), arguments.u64(2));
    match operation {
        SECCOMP_SET_MODE_STRICT if flags == 0 && pointer == 0 => {
            set_strict(&current.task)?;
            Ok(0)
        }
        SECCOMP_SET_MODE_FILTER => set_filter(current, flags, pointer),
        SECCOMP_GET_NOTIF_SIZES if flags == 0 => {
            let sizes = SeccompNotifSizes {
                notification: size_of::<SeccompNotif>() as u16,
                response: size_of::<SeccompNotifResponse>() as u16,
                data: size_of::<SeccompData>() as u16,
            };
            UserPtr::new(pointer).write(current.space(), &sizes)?;
            Ok(0)
        }
        SECCOMP_GET_ACTION_AVAIL if flags == 0 => is_available(current, UserPtr::new(pointer)),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Lays the filter that the `struct sock_fprog` at `pointer` describes on the caller.
pub(crate) fn set_filter(current: &Current, flags: u32, pointer: u64) -> SysResult {
    let flags = SeccompFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let (listens, all_threads) =
        (flags.contains(SeccompFlags::NEW_LISTENER), flags.contains(SeccompFlags::TSYNC));
    if flags.contains(SeccompFlags::WAIT_KILLABLE_RECV)
        // A thread's number and a descriptor cannot be told apart.
        || (listens && all_threads && !flags.contains(SeccompFlags::TSYNC_ESRCH))
    {
        return Err(Errno::EINVAL.into());
    }
    let description: SockProgram = UserPtr::new(pointer).read(current.space())?;
    let length = usize::from(description.length);
    if !(1..=BPF_MAXINSNS).contains(&length) {
        return Err(Errno::EINVAL.into());
    }
    if !current.task.no_new_privs() && !current.task.credentials().has_capability(CAP_SYS_ADMIN) {
        return Err(Errno::EACCES.into());
    }
    let instructions = UserPtr::<SockFilter>::new(description.filter).read_array(current.space(), length)?;
    let program = Program::new(instructions)?;
    // The descriptor first: a filter cannot be taken back.
    let (notifier, fd) = if listens {
        let (notifier, file) = Notifier::open()?;
        (Some(notifier), Some(install(current, file, true)?))
    } else {
        (None, None)
    };
    let added = add_filter(&current.task, program, all_threads, notifier);
    if let (Err(_), Some(fd)) = (&added, fd) {
        let _ = current.task.files().close(fd);
    }
    match added {
        Ok(()) => Ok(fd.map_or(0, |fd| u64::from(fd.unsigned_abs()))),
        Err(Err(errno)) => Err(errno.into()),
        Err(Ok(_)) if flags.contains(SeccompFlags::TSYNC_ESRCH) => Err(Errno::ESRCH.into()),
        Err(Ok(tid)) => Ok(u64::from(tid.unsigned_abs())),
    }
}

fn is_available(current: &Current, pointer: UserPtr<u32>) -> SysResult {
    match pointer.read(current.space())? {
        SECCOMP_RET_KILL_PROCESS
        | SECCOMP_RET_KILL_THREAD
        | SECCOMP_RET_TRAP
        | SECCOMP_RET_ERRNO
        | SECCOMP_RET_TRACE
        | SECCOMP_RET_USER_NOTIF
        | SECCOMP_RET_LOG
        | SECCOMP_RET_ALLOW => Ok(0),
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}
