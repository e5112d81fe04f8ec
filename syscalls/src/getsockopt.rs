//! `getsockopt(2)`, `setsockopt(2)`.

use usk_abi::Errno;
use usk_abi::socket::*;
use usk_sentry::net::inet::InetSocket;
use usk_sentry::net::{Socket, socket_of};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::OpenFile;
use usk_sentry::{SysResult, UserPtr};
use zerocopy::IntoBytes;

use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::partial(
        54,
        "setsockopt",
        &[Fd, Int, Int, Pointer, Uint],
        sys_setsockopt,
        "no filters, no busy polling, no network devices; time stamps are not delivered",
    ),
    Row::partial(
        55,
        "getsockopt",
        &[Fd, Int, Int, Pointer, Pointer],
        sys_getsockopt,
        "no security labels, no peer groups, no pidfd of the peer",
    ),
];

/// The longest value that is looked at.
const VALUE_MAX: usize = 128;

fn sys_setsockopt(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (level, option, length) = (arguments.i32(1), arguments.i32(2), arguments.i32(4));
    let length = usize::try_from(length).map_err(|_| Errno::EINVAL)?;
    let file = file_of(current, arguments.i32(0))?;
    let socket = socket_of(&file)?;
    let value = UserPtr::<u8>::new(arguments.u64(3)).read_array(current.space(), length.min(VALUE_MAX))?;
    if level == SOL_SOCKET {
        socket.options().lock().set(option, &value)?;
    } else {
        InetSocket::of(&file).ok_or(Errno::EOPNOTSUPP)?.set_protocol_option(level, option, &value)?;
    }
    Ok(0)
}

fn sys_getsockopt(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (level, option) = (arguments.i32(1), arguments.i32(2));
    let file = file_of(current, arguments.i32(0))?;
    socket_of(&file)?;
    let length = arguments.pointer::<i32>(4);
    let room = usize::try_from(length.read(current.space())?).map_err(|_| Errno::EINVAL)?;
    let value = value_of(&file, level, option)?;
    let count = room.min(value.len());
    UserPtr::<u8>::new(arguments.u64(3)).write_array(current.space(), &value[..count])?;
    length.write(current.space(), &i32::try_from(count).map_err(|_| Errno::EINVAL)?)?;
    Ok(0)
}

fn value_of(file: &OpenFile, level: i32, option: i32) -> Result<Vec<u8>, Errno> {
    let socket: &dyn Socket = socket_of(file)?;
    if level != SOL_SOCKET {
        return InetSocket::of(file).ok_or(Errno::EOPNOTSUPP)?.protocol_option(level, option);
    }
    let number = match option {
        SO_TYPE => socket.kind() as i32,
        SO_DOMAIN => i32::from(socket.domain()),
        SO_PROTOCOL => socket.protocol(),
        SO_ACCEPTCONN => i32::from(socket.is_listening()),
        SO_ERROR => socket.take_error().map_or(0, Errno::raw),
        SO_PEERCRED => return Ok(socket.peer_credentials().as_bytes().to_vec()),
        _ => return socket.options().lock().get(option),
    };
    Ok(number.as_bytes().to_vec())
}
