//! `wait4(2)`, `waitid(2)`.

use usk_abi::{Errno, Signal};
use usk_sentry::task::pidfd::{PIDFD_NONBLOCK, PidFd};
use usk_sentry::task::{Current, SyscallArguments, WaitOptions, WaitTarget, Waited, wait};
use usk_sentry::{SysResult, UserPtr};

use crate::getrusage::encode_usage;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(61, "wait4", &[Int, Pointer, Flags, Pointer], sys_wait4),
    Row::full(247, "waitid", &[Int, Int, Pointer, Flags, Pointer], sys_waitid),
];

const WNOHANG: u32 = 1;
const WSTOPPED: u32 = 2;
const WEXITED: u32 = 4;
const WCONTINUED: u32 = 8;
const WNOWAIT: u32 = 0x0100_0000;
const WNOTHREAD: u32 = 0x2000_0000;
const WALL: u32 = 0x4000_0000;
const WCLONE: u32 = 0x8000_0000;

fn options(target: WaitTarget, flags: u32) -> WaitOptions {
    WaitOptions {
        target,
        exited: flags & WEXITED != 0,
        stopped: flags & WSTOPPED != 0,
        continued: flags & WCONTINUED != 0,
        no_hang: flags & WNOHANG != 0,
        keep: flags & WNOWAIT != 0,
        all: flags & WALL != 0,
        clone_only: flags & WCLONE != 0,
        this_thread_only: flags & WNOTHREAD != 0,
    }
}

fn own_process_group(current: &Current) -> i32 {
    let table = current.task.kernel.tasks.lock();
    table.process(current.task.tgid()).map_or(0, |process| process.process_group)
}

fn sys_wait4(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (pid, flags) = (arguments.i32(0), arguments.u32(2));
    if flags & !(WNOHANG | WSTOPPED | WCONTINUED | WNOTHREAD | WALL | WCLONE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = match pid {
        i32::MIN => return Err(Errno::ESRCH.into()),
        -1 => WaitTarget::Any,
        0 => WaitTarget::ProcessGroup(own_process_group(current)),
        group if group < 0 => WaitTarget::ProcessGroup(-group),
        pid => WaitTarget::Process(pid),
    };
    let Some(waited) = wait(current, options(target, flags | WEXITED))? else { return Ok(0) };
    let status = arguments.pointer::<i32>(1);
    if !status.is_null() {
        current.copy_out(status, &waited.wait_status)?;
    }
    write_usage(current, arguments.u64(3), &waited)?;
    Ok(waited.pid as u64)
}

fn write_usage(current: &mut Current, address: u64, waited: &Waited) -> Result<(), Errno> {
    if address == 0 {
        return Ok(());
    }
    current.copy_out(UserPtr::new(address), &encode_usage(waited.usage, 0))
}

/// Where `struct siginfo` has `si_pid`, `si_uid` and `si_status`; `si_signo`, `si_errno` and `si_code` are at its beginning.
const CHILD_OFFSET: u64 = 16;

const P_ALL: i32 = 0;
const P_PID: i32 = 1;
const P_PGID: i32 = 2;
const P_PIDFD: i32 = 3;

fn sys_waitid(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let waited = wait_for_id(current, arguments);
    if let Ok(Some(waited)) = &waited {
        write_usage(current, arguments.u64(4), waited)?;
    }
    // Whatever has come of it, and no more than the fields that say it.
    let info = arguments.u64(2);
    if info != 0 {
        let none = ([0; 3], [0; 3]);
        let (kind, child) = waited.as_ref().ok().and_then(Option::as_ref).map_or(none, |waited| {
            let kind = [Signal::SIGCHLD.number(), 0, waited.code];
            (kind, [waited.pid, waited.uid.cast_signed(), waited.status])
        });
        current.copy_out(UserPtr::new(info), &kind)?;
        current.copy_out(UserPtr::new(info + CHILD_OFFSET), &child)?;
    }
    waited.map(|_| 0)
}

fn wait_for_id(current: &mut Current, arguments: SyscallArguments) -> SysResult<Option<Waited>> {
    let (kind, id, flags) = (arguments.i32(0), arguments.i32(1), arguments.u32(3));
    if flags & !(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | WNOTHREAD | WALL | WCLONE) != 0
        || flags & (WEXITED | WSTOPPED | WCONTINUED) == 0
    {
        return Err(Errno::EINVAL.into());
    }
    let mut is_nonblocking = false;
    let target = match kind {
        P_ALL => WaitTarget::Any,
        P_PID if id > 0 => WaitTarget::Process(id),
        P_PGID if id > 0 => WaitTarget::ProcessGroup(id),
        P_PGID if id == 0 => WaitTarget::ProcessGroup(own_process_group(current)),
        P_PIDFD if id >= 0 => {
            let file = current.task.files().get(id)?;
            let pidfd = file.ops.as_any().downcast_ref::<PidFd>().ok_or(Errno::EBADF)?;
            is_nonblocking = file.flags() & PIDFD_NONBLOCK != 0;
            WaitTarget::Process(pidfd.group.tgid)
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let mut options = options(target, flags);
    options.no_hang |= is_nonblocking;
    match wait(current, options)? {
        None if is_nonblocking && flags & WNOHANG == 0 => Err(Errno::EAGAIN.into()),
        waited => Ok(waited),
    }
}
