//! `connect(2)`.

use usk_abi::socket::AF_UNSPEC;
use usk_abi::{Errno, PollEvents};
use usk_sentry::net::inet::InetSocket;
use usk_sentry::net::unix::UnixSocket;
use usk_sentry::net::{Socket, socket_of};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::time::Deadline;
use usk_sentry::vfs::FileOps;
use usk_sentry::{Restart, SysError, SysResult};

use crate::address::{find_unix, peer_credentials, read_address};
use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(42, "connect", &[Fd, Pointer, Uint], sys_connect)];

fn sys_connect(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    socket_of(&file)?;
    let address = read_address(current, arguments.u64(1), arguments.i32(2))?;
    let Some(socket) = UnixSocket::of(&file) else {
        InetSocket::of(&file).ok_or(Errno::ENOTSOCK)?.connect(&address)?;
        return Ok(0);
    };
    if address.starts_with(&AF_UNSPEC.to_ne_bytes()) {
        socket.disconnect()?;
        return Ok(0);
    }
    let credentials = peer_credentials(current);
    let timeout = socket.options().lock().send_timeout;
    let attempt = |current: &mut Current| {
        // The name is looked up each time: another listener may have taken it over.
        let destination = find_unix(current, socket, &address)?;
        Ok(socket.connect(&destination, credentials)?)
    };
    let result = match socket.wait_queue() {
        Some(queue) if !file.is_nonblocking() => {
            let events = [(queue, PollEvents::OUT | PollEvents::WRNORM)];
            current.block(&events, timeout.map(Deadline::after), attempt)
        }
        _ => attempt(current),
    };
    match result {
        Err(SysError::Errno(Errno::ETIMEDOUT)) => Err(Errno::EAGAIN.into()),
        Err(SysError::Restart(Restart::IfHandlerAllows)) if timeout.is_some() => Err(Errno::EINTR.into()),
        other => other.map(|()| 0),
    }
}
