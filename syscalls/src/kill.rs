//! `kill(2)`, `tkill(2)`, `tgkill(2)`, `rt_sigqueueinfo(2)`, `rt_tgsigqueueinfo(2)`, `pidfd_send_signal(2)`.

use std::sync::Arc;

use usk_abi::signal::{SignalInfo, code};
use usk_abi::{Errno, Signal};
use usk_sentry::fs::synthetic::SyntheticInode;
use usk_sentry::task::pidfd::{self, PidFd};
use usk_sentry::task::{Current, INIT_PID, Resource, SyscallArguments, Task, ThreadGroup};
use usk_sentry::vfs::OpenFile;
use usk_sentry::{Kernel, SysResult, UserPtr};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(62, "kill", &[Int, Signal], sys_kill),
    Row::full(129, "rt_sigqueueinfo", &[Int, Signal, Pointer], sys_rt_sigqueueinfo),
    Row::full(200, "tkill", &[Int, Signal], sys_tkill),
    Row::full(234, "tgkill", &[Int, Int, Signal], sys_tgkill),
    Row::full(297, "rt_tgsigqueueinfo", &[Int, Int, Signal, Pointer], sys_rt_tgsigqueueinfo),
    Row::full(424, "pidfd_send_signal", &[Fd, Signal, Pointer, Flags], sys_pidfd_send_signal),
    Row::full(434, "pidfd_open", &[Int, Flags], sys_pidfd_open),
];

const CAP_KILL: u32 = 5;

/// A signal number or zero, which only checks.
fn optional_signal(number: i32) -> Result<Option<Signal>, Errno> {
    if number == 0 { Ok(None) } else { crate::copy::signal(number).map(Some) }
}

/// `EPERM` unless the caller's user is the target's, or it has CAP_KILL, or it continues a process of its own session.
fn check_permission(current: &Current, group: &ThreadGroup, signal: Option<Signal>) -> Result<(), Errno> {
    let own = current.task.credentials();
    if std::ptr::eq(group, &*current.task.group) || own.has_capability(CAP_KILL) {
        return Ok(());
    }
    let Some((uid, suid)) = users_of(current, group) else { return Ok(()) };
    if [own.euid, own.uid].iter().any(|own| [uid, suid].contains(own)) {
        return Ok(());
    }
    if signal == Some(Signal::SIGCONT) {
        let table = current.task.kernel.tasks.lock();
        let session = |pid| table.process(pid).map(|process| process.session);
        if session(current.task.tgid()) == session(group.tgid) {
            return Ok(());
        }
    }
    Err(Errno::EPERM)
}

/// The real and the saved user of a process, which a zombie has as well. None if it has been waited for.
fn users_of(current: &Current, group: &ThreadGroup) -> Option<(u32, u32)> {
    if let Some(thread) = group.any_thread() {
        let credentials = thread.credentials();
        return Some((credentials.uid, credentials.suid));
    }
    let table = current.task.kernel.tasks.lock();
    let zombie = table.process(group.tgid)?.zombie.as_ref()?;
    Some((zombie.uid, zombie.suid))
}

/// The process that a process's or a thread's number stands for (`pid_task` with `PIDTYPE_PID`).
fn find_process(kernel: &Kernel, pid: i32) -> Result<Arc<ThreadGroup>, Errno> {
    kernel.find_group(pid).or_else(|_| kernel.find_task(pid).map(|task| task.group.clone()))
}

fn from_user(current: &Current, signal: Signal, code: i32) -> SignalInfo {
    SignalInfo::user(signal, code, current.task.tgid(), current.task.credentials().uid)
}

fn sys_kill(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (pid, number) = (arguments.i32(0), arguments.i32(1));
    let kernel = current.task.kernel.clone();
    if pid == i32::MIN {
        return Err(Errno::ESRCH.into());
    }
    if pid > 0 {
        send_to_process(current, &find_process(&kernel, pid)?, number)?;
        return Ok(0);
    }
    let own_pid = current.task.tgid();
    let members: Vec<Arc<ThreadGroup>> = {
        let table = kernel.tasks.lock();
        let own_group = table.process(own_pid).map(|process| process.process_group);
        let wanted = if pid == 0 { own_group } else { Some(-pid) };
        table
            .processes()
            .filter(|(other, process)| match pid {
                -1 => *other != own_pid && *other > INIT_PID,
                _ => Some(process.process_group) == wanted,
            })
            .map(|(_, process)| process.group.clone())
            .collect()
    };
    // Success if any got it; else the last error (kill_pgrp), and nobody there is ESRCH. Of all processes those do not count that the
    // caller has no right to signal (kill_something_info).
    let mut result = Err(Errno::ESRCH);
    for group in members {
        match send_to_process(current, &group, number) {
            Ok(()) => result = Ok(0),
            Err(Errno::EPERM) if pid == -1 && result == Err(Errno::ESRCH) => result = Ok(0),
            Err(errno) => result = result.or(Err(errno)),
        }
    }
    Ok(result?)
}

/// Whether there is such a process comes before whether there is such a signal.
fn send_to_process(current: &Current, group: &Arc<ThreadGroup>, number: i32) -> Result<(), Errno> {
    let signal = optional_signal(number)?;
    check_permission(current, group, signal)?;
    match signal {
        Some(signal) => current.task.kernel.signal_group(group, from_user(current, signal, code::SI_USER)),
        None => Ok(()),
    }
}

fn sys_tkill(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let tid = arguments.i32(0);
    if tid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    send_to_thread(current, None, tid, arguments.i32(1), |signal| from_user(current, signal, code::SI_TKILL))
}

fn sys_tgkill(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (tgid, tid) = (arguments.i32(0), arguments.i32(1));
    if tgid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    send_to_thread(current, Some(tgid), tid, arguments.i32(2), |signal| {
        from_user(current, signal, code::SI_TKILL)
    })
}

/// A thread's process, and the thread itself unless it is the leader of a process that goes on without it, or of a zombie.
fn find_thread(
    current: &Current,
    tgid: Option<i32>,
    tid: i32,
) -> Result<(Arc<ThreadGroup>, Option<Arc<Task>>), Errno> {
    let kernel = &current.task.kernel;
    let (group, task) = match kernel.find_task(tid) {
        Ok(task) => (task.group.clone(), Some(task)),
        Err(_) => (kernel.find_group(tid)?, None),
    };
    if tgid.is_some_and(|tgid| tgid != group.tgid) { Err(Errno::ESRCH) } else { Ok((group, task)) }
}

/// Sends it what `info` makes of the signal; a thread that has ended gets nothing.
fn send_to_thread(
    current: &Current,
    tgid: Option<i32>,
    tid: i32,
    number: i32,
    info: impl FnOnce(Signal) -> SignalInfo,
) -> SysResult {
    let (group, task) = find_thread(current, tgid, tid)?;
    let signal = optional_signal(number)?;
    check_permission(current, &group, signal)?;
    if let (Some(signal), Some(task)) = (signal, task) {
        current.task.kernel.signal_task(&task, info(signal))?;
    }
    Ok(0)
}

/// Reads the information that the caller made up. Only the kernel may claim codes from zero up, and SI_TKILL, unless the signal
/// goes to the caller itself.
fn read_info(current: &Current, address: u64, number: i32, to_self: bool) -> Result<SignalInfo, Errno> {
    let mut info: SignalInfo = UserPtr::new(address).read(current.space())?;
    info.signo = number;
    if (info.code >= 0 || info.code == code::SI_TKILL) && !to_self {
        return Err(Errno::EPERM);
    }
    Ok(info)
}

fn sys_rt_sigqueueinfo(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (pid, number) = (arguments.i32(0), arguments.i32(1));
    let info = read_info(current, arguments.u64(2), number, pid == current.task.tid())?;
    let group = find_process(&current.task.kernel, pid)?;
    let signal = optional_signal(number)?;
    check_permission(current, &group, signal)?;
    if signal.is_some() {
        current.task.kernel.signal_group(&group, info)?;
    }
    Ok(0)
}

fn sys_rt_tgsigqueueinfo(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (tgid, tid, number) = (arguments.i32(0), arguments.i32(1), arguments.i32(2));
    if tgid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let info = read_info(current, arguments.u64(3), number, tid == current.task.tid())?;
    send_to_thread(current, Some(tgid), tid, number, |_| info)
}

/// The process that a descriptor stands for: a pidfd, or an open directory `/proc/PID`.
fn process_of(file: &OpenFile) -> Option<Arc<ThreadGroup>> {
    if let Some(pidfd) = file.ops.as_any().downcast_ref::<PidFd>() {
        return Some(pidfd.group.clone());
    }
    file.inode().as_any().downcast_ref::<SyntheticInode>()?.process()
}

fn sys_pidfd_send_signal(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let number = arguments.i32(1);
    if arguments.u32(3) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = current.task.files().get(arguments.i32(0))?;
    let group = process_of(&file).ok_or(Errno::EBADF)?;
    let signal = optional_signal(number)?;
    let info = match (arguments.u64(2), signal) {
        (0, Some(signal)) => from_user(current, signal, code::SI_USER),
        (0, None) => SignalInfo::new(Signal::SIGCONT, 0),
        (address, _) => {
            let asked: SignalInfo = UserPtr::new(address).read(current.space())?;
            if asked.signo != number {
                return Err(Errno::EINVAL.into());
            }
            read_info(current, address, number, group.tgid == current.task.tid())?
        }
    };
    if group.any_thread().is_none() && current.task.kernel.find_group(group.tgid).is_err() {
        return Err(Errno::ESRCH.into());
    }
    check_permission(current, &group, signal)?;
    if signal.is_some() {
        current.task.kernel.signal_group(&group, info)?;
    }
    Ok(0)
}

fn sys_pidfd_open(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (pid, flags) = (arguments.i32(0), arguments.u32(1));
    if flags & !pidfd::PIDFD_NONBLOCK != 0 || pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let kernel = &current.task.kernel;
    let group = match kernel.find_group(pid) {
        Ok(group) => group,
        // A thread that is not a leader is no process.
        Err(_) if kernel.find_task(pid).is_ok() => return Err(Errno::EINVAL.into()),
        Err(errno) => return Err(errno.into()),
    };
    let limit = current.task.group.limits.lock().soft(Resource::Files);
    let fd = current.task.files().install(pidfd::open(group, flags), true, limit)?;
    Ok(fd as u64)
}
