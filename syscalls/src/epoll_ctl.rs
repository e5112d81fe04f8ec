//! `epoll_ctl(2)`.

use usk_abi::epoll::{EPOLL_CTL_DEL, EpollEvent};
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
    Epoll::control(&instance, operation, descriptor, &file, event)?;
    current.note_control(&instance, operation);
    Ok(0)
}
