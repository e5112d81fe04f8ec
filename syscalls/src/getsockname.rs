//! `getsockname(2)`.

use usk_sentry::SysResult;
use usk_sentry::net::socket_of;
use usk_sentry::task::{Current, SyscallArguments};

use crate::address::write_address;
use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(51, "getsockname", &[Fd, Pointer, Pointer], sys_getsockname)];

fn sys_getsockname(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    let address = socket_of(&file)?.local_address()?;
    write_address(current, arguments.u64(1), arguments.pointer(2), &address)?;
    Ok(0)
}
