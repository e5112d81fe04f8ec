//! `connect(2)`.

use usk_abi::socket::AF_UNSPEC;
use usk_abi::{Errno, PollEvents};
use usk_sentry::net::inet::InetSocket;
use usk_sentry::net::netlink::NetlinkSocket;
use usk_sentry::net::unix::UnixSocket;
use usk_sentry::net::{Socket, socket_of};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::time::Deadline;
use usk_sentry::vfs::OpenFile;
use usk_sentry::{Restart, SysError, SysResult};

use crate::address::{find_unix, peer_credentials, read_address};
use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(42, "connect", &[Fd, Pointer, Uint], sys_connect)];

fn sys_connect(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    socket_of(&file)?;
    let address = read_address(current, arguments.u64(1), arguments.i32(2))?;
    if let Some(socket) = NetlinkSocket::of(&file) {
        socket.connect(&address)?;
        return Ok(0);
    }
    match UnixSocket::of(&file) {
        Some(socket) if address.starts_with(&AF_UNSPEC.to_ne_bytes()) => socket.disconnect()?,
        Some(socket) => {
            let credentials = peer_credentials(current);
            connect(current, &file, socket, Errno::EAGAIN, |current, _| {
                // The name is looked up each time: another listener may have taken it over.
                let destination = find_unix(current, socket, &address)?;
                Ok(socket.connect(&destination, credentials)?)
            })?;
        }
        None => {
            let socket = InetSocket::of(&file).ok_or(Errno::ENOTSOCK)?;
            connect(current, &file, socket, Errno::EINPROGRESS, |_, waits| {
                Ok(socket.connect(&address, waits)?)
            })?;
        }
    }
    Ok(0)
}

/// Connects and waits, unless the file is non-blocking; `attempt` is told whether. `late` is the error when `SO_SNDTIMEO`
/// has passed.
fn connect(
    current: &mut Current,
    file: &OpenFile,
    socket: &dyn Socket,
    late: Errno,
    mut attempt: impl FnMut(&mut Current, bool) -> SysResult<()>,
) -> SysResult<()> {
    let timeout = socket.options().lock().send_timeout;
    let result = match socket.wait_queue() {
        Some(queue) if !file.is_nonblocking() => {
            let events = [(queue, PollEvents::OUT | PollEvents::WRNORM)];
            current.block(&events, timeout.map(Deadline::after), |current| attempt(current, true))
        }
        _ => attempt(current, false),
    };
    match result {
        Err(SysError::Errno(Errno::ETIMEDOUT)) => Err(late.into()),
        Err(SysError::Restart(Restart::IfHandlerAllows)) if timeout.is_some() => Err(Errno::EINTR.into()),
        other => other,
    }
}
