//! `getpid(2)`, `getppid(2)`, `gettid(2)`.

use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::Row;

pub(crate) const ROWS: &[Row] = &[
    Row::full(39, "getpid", &[], sys_getpid),
    Row::full(110, "getppid", &[], sys_getppid),
    Row::full(186, "gettid", &[], sys_gettid),
];

fn sys_getpid(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    Ok(current.task.tgid() as u64)
}

fn sys_gettid(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    Ok(current.task.tid() as u64)
}

fn sys_getppid(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    let table = current.task.kernel.tasks.lock();
    Ok(table.process(current.task.tgid()).map_or(0, |process| process.parent) as u64)
}
