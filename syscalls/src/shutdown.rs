//! `shutdown(2)`.

use usk_sentry::SysResult;
use usk_sentry::net::socket_of;
use usk_sentry::task::{Current, SyscallArguments};

use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(48, "shutdown", &[Fd, Int], sys_shutdown)];

fn sys_shutdown(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    socket_of(&file)?.shutdown(arguments.i32(1))?;
    Ok(0)
}
