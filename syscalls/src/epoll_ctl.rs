//! `epoll_ctl(2)`.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::epoll::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLWAKEUP, EpollEvent};
use usk_sentry::SysResult;
use usk_sentry::file::epoll::Epoll;
use usk_sentry::task::{Current, SyscallArguments};

use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(233, "epoll_ctl", &[Fd, Int, Fd, Pointer], sys_epoll_ctl)];

fn sys_epoll_ctl(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (operation, descriptor) = (arguments.i32(1), arguments.i32(2));
    let mut event = EpollEvent::default();
    if operation != EPOLL_CTL_DEL {
        event = current.copy_in(arguments.pointer::<EpollEvent>(3))?;
    }
    let instance = file_of(current, arguments.i32(0))?;
    let file = file_of(current, descriptor)?;
    // Nothing keeps a sandbox from being suspended: the flag is taken away, as from anybody without the capability.
    event.events &= !EPOLLWAKEUP;
    if file.ops.wait_queue().is_none() {
        return Err(Errno::EPERM.into());
    }
    let epoll = Epoll::of(&instance).ok_or(Errno::EINVAL)?;
    if Arc::ptr_eq(&instance, &file) {
        return Err(Errno::EINVAL.into());
    }
    match operation {
        EPOLL_CTL_ADD => epoll.add(descriptor, &file, event)?,
        EPOLL_CTL_MOD => epoll.modify(descriptor, &file, event)?,
        EPOLL_CTL_DEL => epoll.remove(descriptor, &file)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
