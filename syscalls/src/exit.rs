//! `_exit(2)`, `exit_group(2)`.

use usk_sentry::SysResult;
use usk_sentry::task::{Current, ExitStatus, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] =
    &[Row::full(60, "exit", &[Int], sys_exit), Row::full(231, "exit_group", &[Int], sys_exit_group)];

fn sys_exit(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    current.exit_code = Some(arguments.i32(0));
    Ok(0)
}

fn sys_exit_group(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let code = arguments.i32(0);
    current.task.group.begin_exit(ExitStatus::Exited(code));
    current.exit_code = Some(code);
    Ok(0)
}
