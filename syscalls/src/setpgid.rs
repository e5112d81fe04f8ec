//! `setpgid(2)`, `getpgid(2)`, `getpgrp(2)`, `setsid(2)`, `getsid(2)`.

use usk_abi::Errno;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(109, "setpgid", &[Int, Int], sys_setpgid),
    Row::full(111, "getpgrp", &[], sys_getpgrp),
    Row::full(112, "setsid", &[], sys_setsid),
    Row::full(121, "getpgid", &[Int], sys_getpgid),
    Row::full(124, "getsid", &[Int], sys_getsid),
];

fn sys_setpgid(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let own_pid = current.task.tgid();
    let pid = if arguments.i32(0) == 0 { own_pid } else { arguments.i32(0) };
    let group = if arguments.i32(1) == 0 { pid } else { arguments.i32(1) };
    if group < 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut table = current.task.kernel.tasks.lock();
    let own_session = table.process(own_pid).ok_or(Errno::ESRCH)?.session;
    let process = table.process(pid).ok_or(Errno::ESRCH)?;
    if pid != own_pid {
        if process.parent != own_pid {
            return Err(Errno::ESRCH.into());
        }
        if process.session != own_session {
            return Err(Errno::EPERM.into());
        }
        if process.has_executed {
            return Err(Errno::EACCES.into());
        }
    }
    if process.session == pid {
        return Err(Errno::EPERM.into());
    }
    if group != pid {
        let exists =
            table.processes().any(|(_, other)| other.process_group == group && other.session == own_session);
        if !exists {
            return Err(Errno::EPERM.into());
        }
    }
    table.process_mut(pid).ok_or(Errno::ESRCH)?.process_group = group;
    Ok(0)
}

fn lookup(current: &Current, pid: i32, of: impl Fn(&usk_sentry::task::Process) -> i32) -> SysResult {
    let pid = if pid == 0 { current.task.tgid() } else { pid };
    let table = current.task.kernel.tasks.lock();
    let tgid = table.thread(pid).map_or(pid, |task| task.tgid());
    Ok(of(table.process(tgid).ok_or(Errno::ESRCH)?) as u64)
}

fn sys_getpgid(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    lookup(current, arguments.i32(0), |process| process.process_group)
}

fn sys_getpgrp(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    lookup(current, 0, |process| process.process_group)
}

fn sys_getsid(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    lookup(current, arguments.i32(0), |process| process.session)
}

fn sys_setsid(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    let pid = current.task.tgid();
    let mut table = current.task.kernel.tasks.lock();
    if table.processes().any(|(_, process)| process.process_group == pid) {
        return Err(Errno::EPERM.into());
    }
    let process = table.process_mut(pid).ok_or(Errno::ESRCH)?;
    process.session = pid;
    process.process_group = pid;
    Ok(pid as u64)
}
