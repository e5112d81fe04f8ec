//! `rt_sigprocmask(2)`, `rt_sigpending(2)`, `rt_sigsuspend(2)`, `rt_sigtimedwait(2)`, `pause(2)`, `restart_syscall(2)`.

use usk_abi::Errno;
use usk_abi::signal::{SignalInfo, SignalSet};
use usk_abi::time::Timespec;
use usk_sentry::signal::wait_for_signal;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::time::Deadline;
use usk_sentry::{Restart, RestartBlock, SysError, SysResult};

use crate::copy::{SIGNAL_SET_SIZE, read_signal_set, read_timespec};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(14, "rt_sigprocmask", &[Int, Pointer, Pointer, Uint], sys_rt_sigprocmask),
    Row::full(34, "pause", &[], sys_pause),
    Row::full(127, "rt_sigpending", &[Pointer, Uint], sys_rt_sigpending),
    Row::full(128, "rt_sigtimedwait", &[Pointer, Pointer, Pointer, Uint], sys_rt_sigtimedwait),
    Row::full(130, "rt_sigsuspend", &[Pointer, Uint], sys_rt_sigsuspend),
    Row::full(219, "restart_syscall", &[], sys_restart_syscall),
];

const SIG_BLOCK: i32 = 0;
const SIG_UNBLOCK: i32 = 1;
const SIG_SETMASK: i32 = 2;

fn sys_rt_sigprocmask(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (how, old) = (arguments.i32(0), arguments.pointer::<SignalSet>(2));
    if arguments.usize(3) != SIGNAL_SET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let set = read_signal_set(current, arguments.pointer(1), arguments.usize(3))?;
    let before = current.task.blocked_signals();
    if let Some(set) = set {
        let after = match how {
            SIG_BLOCK => before.or(set),
            SIG_UNBLOCK => before.minus(set),
            SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL.into()),
        };
        current.task.set_blocked_signals(after);
    }
    if !old.is_null() {
        current.copy_out(old, &before)?;
    }
    Ok(0)
}

fn sys_rt_sigpending(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let size = arguments.usize(1);
    if size > SIGNAL_SET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let set = current.task.pending_signals().and(current.task.blocked_signals());
    let bytes = set.0.to_le_bytes();
    current.copy_out_bytes(arguments.u64(0), &bytes[..size])?;
    Ok(0)
}

fn sys_pause(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    match current.sleep(None) {
        Err(SysError::Restart(_)) => Err(Restart::IfNoHandler.into()),
        other => other.map(|()| 0),
    }
}

fn sys_rt_sigsuspend(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    if arguments.usize(1) != SIGNAL_SET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let mask = arguments.pointer::<SignalSet>(0).read(current.space())?;
    current.with_signal_mask(Some(mask), |current| match current.sleep(None) {
        Err(SysError::Restart(_)) => Err(Restart::IfNoHandler.into()),
        other => other.map(|()| 0),
    })
}

fn sys_rt_sigtimedwait(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (info_pointer, timeout) = (arguments.pointer::<SignalInfo>(1), arguments.pointer::<Timespec>(2));
    if arguments.usize(3) != SIGNAL_SET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let set = arguments.pointer::<SignalSet>(0).read(current.space())?;
    let deadline = if timeout.is_null() {
        None
    } else {
        let nanoseconds = read_timespec(current, timeout)?;
        Some(Deadline::after(std::time::Duration::from_nanos(nanoseconds)))
    };
    let (signal, info) = wait_for_signal(current, set.minus(SignalSet::UNBLOCKABLE), deadline)?;
    if !info_pointer.is_null() {
        current.copy_out(info_pointer, &info)?;
    }
    Ok(signal.number() as u64)
}

fn sys_restart_syscall(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    match current.restart_block {
        None => Err(Errno::EINTR.into()),
        Some(RestartBlock::Sleep { deadline, remaining }) => {
            crate::nanosleep::sleep_until(current, deadline, remaining)
        }
        Some(RestartBlock::Poll { fds, count, deadline }) => {
            crate::poll::poll_until(current, fds, count, deadline)
        }
        Some(RestartBlock::Futex { address, value, bitset, private, deadline }) => {
            crate::futex::wait_relative(current, address, private, value, bitset, deadline)
        }
    }
}
