//! `listen(2)`.

use usk_sentry::SysResult;
use usk_sentry::net::socket_of;
use usk_sentry::task::{Current, SyscallArguments};

use crate::address::peer_credentials;
use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(50, "listen", &[Fd, Int], sys_listen)];

fn sys_listen(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    let most = current.task.kernel.somaxconn.get();
    // As on Linux, a negative backlog is a large one.
    let backlog = arguments.u32(1).min(u32::try_from(most).unwrap_or(u32::MAX));
    socket_of(&file)?.listen(backlog, peer_credentials(current))?;
    Ok(0)
}
