//! `bind(2)`.

use usk_abi::Errno;
use usk_abi::capability::CAP_NET_BIND_SERVICE;
use usk_sentry::SysResult;
use usk_sentry::net::inet::InetSocket;
use usk_sentry::net::netlink::NetlinkSocket;
use usk_sentry::net::socket_of;
use usk_sentry::net::unix::{UnixAddress, UnixSocket};
use usk_sentry::task::{Current, SyscallArguments};

use crate::address::{bind_unix_path, read_address};
use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(49, "bind", &[Fd, Pointer, Uint], sys_bind)];

fn sys_bind(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    socket_of(&file)?;
    let address = read_address(current, arguments.u64(1), arguments.i32(2))?;
    if let Some(socket) = UnixSocket::of(&file) {
        match UnixAddress::decode(&address)? {
            UnixAddress::Unnamed => socket.bind_abstract(None)?,
            UnixAddress::Abstract(name) => socket.bind_abstract(Some(&name))?,
            UnixAddress::Path(path) => bind_unix_path(current, socket, &path)?,
        }
    } else if let Some(socket) = NetlinkSocket::of(&file) {
        socket.bind(&address)?;
    } else {
        let is_privileged = current.task.credentials().has_capability(CAP_NET_BIND_SERVICE);
        InetSocket::of(&file).ok_or(Errno::ENOTSOCK)?.bind(&address, is_privileged)?;
    }
    Ok(0)
}
