//! `flock(2)`.

use usk_abi::Errno;
use usk_abi::fs::lock::{LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN};
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(73, "flock", &[Fd, Flags], sys_flock)];

fn sys_flock(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let operation = arguments.u32(1);
    let exclusive = match operation & !LOCK_NB {
        LOCK_SH => Some(false),
        LOCK_EX => Some(true),
        LOCK_UN => None,
        _ => return Err(Errno::EINVAL.into()),
    };
    let file = file_of(current, arguments.i32(0))?;
    let locks = file.inode().common().locks();
    current.task.files().touch();
    // What it maps holds the lock, and is to be let go of at once.
    current.task.mm().withdraw_memory();
    match exclusive {
        None => locks.unlock_whole(file.id()),
        Some(exclusive) if operation & LOCK_NB != 0 => locks.lock_whole(file.id(), exclusive)?,
        Some(exclusive) => locks.lock_whole_or_wait(current, file.id(), exclusive)?,
    }
    Ok(0)
}
