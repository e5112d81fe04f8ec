//! `utimensat(2)`, `utime(2)`, `utimes(2)`, `futimesat(2)`.

use usk_abi::Errno;
use usk_abi::fs::{AT_FDCWD, AtFlags, UTIME_NOW, UTIME_OMIT, Utimbuf};
use usk_abi::time::{Timespec, Timeval};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::{TimeChange, Timestamp};
use usk_sentry::{SysResult, UserPtr};

use crate::descriptor::file_of;
use crate::place::{Names, at_flags, locate};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(132, "utime", &[Path, Pointer], sys_utime),
    Row::full(235, "utimes", &[Path, Pointer], sys_utimes),
    Row::full(261, "futimesat", &[Fd, Path, Pointer], sys_futimesat),
    Row::full(280, "utimensat", &[Fd, Path, Pointer, Flags], sys_utimensat),
];

/// What becomes of the times of access and of modification.
type Changes = (TimeChange, TimeChange);

const BOTH_NOW: Changes = (TimeChange::Now, TimeChange::Now);

fn sys_utimensat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let times: UserPtr<Timespec> = arguments.pointer(2);
    let changes = if times.is_null() {
        BOTH_NOW
    } else {
        (
            from_timespec(times.read(current.space())?)?,
            from_timespec(times.element(1)?.read(current.space())?)?,
        )
    };
    if changes == (TimeChange::Keep, TimeChange::Keep) {
        return Ok(0);
    }
    let flags = at_flags(arguments.u32(3), AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH)?;
    change(current, arguments.i32(0), arguments.pointer(1), changes, flags)
}

fn sys_utime(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let times: UserPtr<Utimbuf> = arguments.pointer(1);
    let changes = if times.is_null() {
        BOTH_NOW
    } else {
        let times = times.read(current.space())?;
        let at = |seconds| TimeChange::At(Timestamp { seconds, nanoseconds: 0 });
        (at(times.actime), at(times.modtime))
    };
    change(current, AT_FDCWD, arguments.pointer(0), changes, AtFlags::empty())
}

fn sys_utimes(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let changes = read_timevals(current, arguments.pointer(1))?;
    change(current, AT_FDCWD, arguments.pointer(0), changes, AtFlags::empty())
}

fn sys_futimesat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let changes = read_timevals(current, arguments.pointer(2))?;
    change(current, arguments.i32(0), arguments.pointer(1), changes, AtFlags::empty())
}

fn from_timespec(time: Timespec) -> Result<TimeChange, Errno> {
    match time.nanoseconds {
        UTIME_NOW => Ok(TimeChange::Now),
        UTIME_OMIT => Ok(TimeChange::Keep),
        0..1_000_000_000 => {
            let nanoseconds = u32::try_from(time.nanoseconds).map_err(|_| Errno::EINVAL)?;
            Ok(TimeChange::At(Timestamp { seconds: time.seconds, nanoseconds }))
        }
        _ => Err(Errno::EINVAL),
    }
}

fn read_timevals(current: &Current, times: UserPtr<Timeval>) -> Result<Changes, Errno> {
    if times.is_null() {
        return Ok(BOTH_NOW);
    }
    let read = |index| -> Result<TimeChange, Errno> {
        let time = times.element(index)?.read(current.space())?;
        if !(0..1_000_000).contains(&time.microseconds) {
            return Err(Errno::EINVAL);
        }
        from_timespec(Timespec { seconds: time.seconds, nanoseconds: time.microseconds * 1000 })
    };
    Ok((read(0)?, read(1)?))
}

fn change(
    current: &Current,
    directory: i32,
    name: UserPtr<u8>,
    (accessed, modified): Changes,
    flags: AtFlags,
) -> SysResult {
    let names = Names::of(current);
    let path = if name.is_null() && directory != AT_FDCWD {
        // Without a name, the descriptor's own file (futimens(3)).
        if !flags.is_empty() {
            return Err(Errno::EINVAL.into());
        }
        let file = file_of(current, directory)?;
        file.path().clone()
    } else {
        let follow = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
        locate(current, &names, directory, name, flags, follow)?
    };
    names.context().change_times(&path, accessed, modified)?;
    Ok(0)
}
