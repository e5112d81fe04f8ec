//! `epoll_wait(2)`, `epoll_pwait(2)`, `epoll_pwait2(2)`.

use std::time::Duration;

use usk_abi::epoll::EpollEvent;
use usk_abi::mm::TASK_SIZE_MAX;
use usk_abi::signal::SignalSet;
use usk_abi::time::Timespec;
use usk_abi::{Errno, PollEvents};
use usk_sentry::file::epoll::Epoll;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::time::Deadline;
use usk_sentry::{SysError, SysResult, UserPtr};

use crate::copy::{read_signal_set, read_timespec};
use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(232, "epoll_wait", &[Fd, Pointer, Int, Int], sys_epoll_wait),
    Row::full(281, "epoll_pwait", &[Fd, Pointer, Int, Int, Pointer, Uint], sys_epoll_pwait),
    Row::full(441, "epoll_pwait2", &[Fd, Pointer, Int, Pointer, Pointer, Uint], sys_epoll_pwait2),
];

/// Most events that a caller may ask for (`EP_MAX_EVENTS`).
const MAX_EVENTS: usize = i32::MAX as usize / size_of::<EpollEvent>();

/// How long to wait.
#[derive(Clone, Copy)]
enum Timeout {
    Never,
    After(Duration),
}

impl Timeout {
    fn milliseconds(milliseconds: i32) -> Self {
        match u64::try_from(milliseconds) {
            Ok(milliseconds) => Timeout::After(Duration::from_millis(milliseconds)),
            Err(_) => Timeout::Never,
        }
    }
}

fn sys_epoll_wait(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    wait(current, arguments, Timeout::milliseconds(arguments.i32(3)))
}

fn sys_epoll_pwait(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let mask = read_signal_set(current, arguments.pointer::<SignalSet>(4), arguments.usize(5))?;
    let timeout = Timeout::milliseconds(arguments.i32(3));
    current.with_signal_mask(mask, |current| wait(current, arguments, timeout))
}

fn sys_epoll_pwait2(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let timeout = arguments.pointer::<Timespec>(3);
    let timeout = if timeout.is_null() {
        Timeout::Never
    } else {
        Timeout::After(Duration::from_nanos(read_timespec(current, timeout)?))
    };
    let mask = read_signal_set(current, arguments.pointer::<SignalSet>(4), arguments.usize(5))?;
    current.with_signal_mask(mask, |current| wait(current, arguments, timeout))
}

fn wait(current: &mut Current, arguments: SyscallArguments, timeout: Timeout) -> SysResult {
    let most = usize::try_from(arguments.i32(2)).ok().filter(|most| (1..=MAX_EVENTS).contains(most));
    let most = most.ok_or(Errno::EINVAL)?;
    // Of memory that is a program's nobody asks before there is something to write.
    let end = arguments.u64(1).checked_add((most * size_of::<EpollEvent>()) as u64);
    if end.is_none_or(|end| end > TASK_SIZE_MAX) {
        return Err(Errno::EFAULT.into());
    }
    let file = file_of(current, arguments.i32(0))?;
    let epoll = Epoll::of(&file).ok_or(Errno::EINVAL)?;
    let collected = match timeout {
        Timeout::After(Duration::ZERO) => epoll.collect(most).map_err(SysError::from),
        Timeout::Never | Timeout::After(_) => {
            let deadline = match timeout {
                Timeout::Never => None,
                Timeout::After(duration) => Some(Deadline::after(duration)),
            };
            let events = [(epoll.queue(), PollEvents::IN | PollEvents::RDNORM)];
            current.block(&events, deadline, |_| epoll.collect(most).map_err(SysError::from))
        }
    };
    let reports = match collected {
        Ok(reports) => reports,
        Err(SysError::Errno(Errno::EAGAIN | Errno::ETIMEDOUT)) => return Ok(0),
        // epoll_wait(2) is never restarted, whatever SA_RESTART says: signal(7).
        Err(SysError::Restart(_)) => return Err(Errno::EINTR.into()),
        Err(error) => return Err(error),
    };
    current.expect_reads();
    let events: Vec<EpollEvent> = reports.iter().map(|report| report.event).collect();
    let told = current.copy_out_some(UserPtr::<EpollEvent>::new(arguments.u64(1)), &events);
    if told < reports.len() {
        epoll.give_back(&reports[told..]);
    }
    if told == 0 { Err(Errno::EFAULT.into()) } else { Ok(told as u64) }
}
