//! Socket addresses: copying them in and out, and finding what they lead to.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::socket::{ADDRESS_MAX, UserCredentials};
use usk_sentry::net::unix::{Destination, UnixAddress, UnixSocket};
use usk_sentry::task::Current;
use usk_sentry::vfs::{Access, FileType, WalkOptions, check_path};
use usk_sentry::{SysResult, UserPtr};

use crate::place::Names;

/// Copies in a socket address. `EINVAL` for a length that no address has.
pub(crate) fn read_address(current: &Current, address: u64, length: i32) -> Result<Vec<u8>, Errno> {
    let length = usize::try_from(length).ok().filter(|length| *length <= ADDRESS_MAX).ok_or(Errno::EINVAL)?;
    UserPtr::<u8>::new(address).read_array(current.space(), length)
}

/// Copies a socket address out, cut off at the length that the caller has room for, and writes its whole length.
pub(crate) fn write_address(
    current: &Current,
    address: u64,
    length: UserPtr<i32>,
    bytes: &[u8],
) -> Result<(), Errno> {
    let room = usize::try_from(length.read(current.space())?).map_err(|_| Errno::EINVAL)?;
    UserPtr::<u8>::new(address).write_array(current.space(), &bytes[..room.min(bytes.len())])?;
    length.write(current.space(), &i32::try_from(bytes.len()).map_err(|_| Errno::EINVAL)?)
}

/// What an AF_UNIX address leads to. `ECONNREFUSED` if it is no socket's.
pub(crate) fn find_unix(current: &Current, socket: &UnixSocket, bytes: &[u8]) -> SysResult<Destination> {
    match UnixAddress::decode(bytes)? {
        UnixAddress::Unnamed => Err(Errno::EINVAL.into()),
        UnixAddress::Abstract(name) => Ok(socket.find_abstract(&name)?),
        UnixAddress::Path(path) => {
            let names = Names::of(current);
            let context = names.context();
            let place = context.resolve(&names.fs.cwd(), &path, WalkOptions::FOLLOW)?;
            check_path(&place, context.caller, Access::WRITE)?;
            let inode = place.inode()?;
            if inode.file_type() != FileType::Socket {
                return Err(Errno::ECONNREFUSED.into());
            }
            let special = inode.common().special.lock().clone();
            let destination = special.and_then(|object| object.downcast::<Destination>().ok());
            Ok(destination.as_deref().cloned().ok_or(Errno::ECONNREFUSED)?)
        }
    }
}

/// Makes the node of a bound socket.
pub(crate) fn bind_unix_path(current: &Current, socket: &UnixSocket, path: &[u8]) -> SysResult<()> {
    socket.bind_path(path, |destination| {
        let names = Names::of(current);
        let context = names.context();
        let place = context.make_node(&names.fs.cwd(), path, FileType::Socket, 0o777, 0)?;
        *place.inode()?.common().special.lock() = Some(Arc::new(destination));
        Ok(())
    })
}

/// Who the caller is to the other end of a connection (`SO_PEERCRED`).
pub(crate) fn peer_credentials(current: &Current) -> UserCredentials {
    let own = current.task.credentials();
    UserCredentials { pid: current.task.tgid(), uid: own.euid, gid: own.egid }
}

/// Who the caller is to the receiver of a message (`SCM_CREDENTIALS`), unless it says otherwise.
pub(crate) fn message_credentials(current: &Current) -> UserCredentials {
    let own = current.task.credentials();
    UserCredentials { pid: current.task.tgid(), uid: own.uid, gid: own.gid }
}
