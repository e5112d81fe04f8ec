//! `close(2)`, `close_range(2)`.

use usk_abi::Errno;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(3, "close", &[Fd], sys_close),
    Row::full(436, "close_range", &[Uint, Uint, Flags], sys_close_range),
];

const CLOSE_RANGE_UNSHARE: u32 = 2;
const CLOSE_RANGE_CLOEXEC: u32 = 4;

fn sys_close(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    current.note_close(arguments.i32(0));
    current.task.files().close(arguments.i32(0))?;
    Ok(0)
}

fn sys_close_range(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (first, last, flags) = (arguments.u32(0), arguments.u32(1), arguments.u32(2));
    if flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL.into());
    }
    if flags & CLOSE_RANGE_UNSHARE != 0 {
        current.task.unshare_files();
    }
    let files = current.task.files();
    if flags & CLOSE_RANGE_CLOEXEC != 0 {
        files.set_close_on_exec_range(first, last);
    } else {
        files.close_range(first, last);
    }
    Ok(0)
}
