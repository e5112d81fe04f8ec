//! `sendto(2)`, `sendmsg(2)`, `sendmmsg(2)` (and so send(2), which the C library makes of the first).

use usk_abi::capability::{CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN};
use usk_abi::socket::*;
use usk_abi::{Errno, Signal};
use usk_sentry::net::unix::UnixSocket;
use usk_sentry::net::{Outgoing, Target, socket, socket_of};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::OpenFile;
use usk_sentry::{IoVec, SysError, SysResult, UserPtr};
use zerocopy::FromBytes;

use crate::address::{find_unix, message_credentials, read_address};
use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};
use crate::transfer::{raise, read_iovecs, single};

pub(crate) const ROWS: &[Row] = &[
    Row::full(44, "sendto", &[Fd, InBuffer, Uint, Flags, Pointer, Uint], sys_sendto),
    Row::full(46, "sendmsg", &[Fd, Pointer, Flags], sys_sendmsg),
    Row::full(307, "sendmmsg", &[Fd, Pointer, Uint, Flags], sys_sendmmsg),
];

/// Most bytes of control messages (`/proc/sys/net/core/optmem_max`).
const CONTROL_MAX: u64 = 131_072;

fn sys_sendto(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    socket_of(&file)?;
    let mut message = outgoing(current, MessageFlags::from_bits_truncate(arguments.u32(3)));
    if arguments.u64(4) != 0 {
        let address = read_address(current, arguments.u64(4), arguments.i32(5))?;
        set_destination(current, &file, &mut message, address)?;
    }
    let ranges = single(arguments.u64(1), arguments.usize(2));
    send_outgoing(current, &file, &ranges, message)
}

fn sys_sendmsg(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    socket_of(&file)?;
    let header = arguments.pointer::<MessageHeader>(1).read(current.space())?;
    send_message(current, &file, &header, arguments.u32(2))
}

fn sys_sendmmsg(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    socket_of(&file)?;
    let array = arguments.pointer::<MultipleMessageHeader>(1);
    let count = (arguments.u32(2) as usize).min(UIO_MAXIOV);
    let mut sent = 0;
    while sent < count {
        let result = array.element(sent).map_err(SysError::from).and_then(|element| {
            let mut message = element.read(current.space())?;
            let length = send_message(current, &file, &message.header, arguments.u32(3))?;
            message.length = u32::try_from(length).unwrap_or(u32::MAX);
            Ok(element.write(current.space(), &message)?)
        });
        match result {
            Ok(()) => sent += 1,
            Err(error) if sent == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(sent as u64)
}

fn outgoing(current: &Current, flags: MessageFlags) -> Outgoing {
    Outgoing { flags, credentials: message_credentials(current), ..Outgoing::default() }
}

/// Sets where a message goes.
fn set_destination(
    current: &Current,
    file: &OpenFile,
    message: &mut Outgoing,
    address: Vec<u8>,
) -> SysResult<()> {
    message.destination = Some(match UnixSocket::of(file) {
        Some(socket) => Target::Unix(find_unix(current, socket, &address)?),
        None => Target::Address(address),
    });
    Ok(())
}

fn send_message(current: &mut Current, file: &OpenFile, header: &MessageHeader, flags: u32) -> SysResult {
    let mut message = outgoing(current, MessageFlags::from_bits_truncate(flags));
    let name_length = i32::try_from(header.name_length).map_err(|_| Errno::EINVAL)?;
    if header.vector_length > UIO_MAXIOV as u64 {
        return Err(Errno::EMSGSIZE.into());
    }
    let ranges = read_iovecs(current, UserPtr::new(header.vector), header.vector_length)?;
    if header.control_length > CONTROL_MAX {
        return Err(Errno::ENOBUFS.into());
    }
    if header.control_length > 0 {
        let length = usize::try_from(header.control_length).map_err(|_| Errno::ENOBUFS)?;
        let control = UserPtr::<u8>::new(header.control).read_array(current.space(), length)?;
        read_control(current, &control, &mut message)?;
    }
    if header.name != 0 && name_length > 0 {
        let address = read_address(current, header.name, name_length.min(ADDRESS_MAX as i32))?;
        set_destination(current, file, &mut message, address)?;
    }
    send_outgoing(current, file, &ranges, message)
}

/// A message without an address or control messages: also what `write(2)` sends.
pub(crate) fn send(
    current: &mut Current,
    file: &OpenFile,
    ranges: &[IoVec],
    flags: MessageFlags,
) -> SysResult {
    let message = outgoing(current, flags);
    send_outgoing(current, file, ranges, message)
}

fn send_outgoing(current: &mut Current, file: &OpenFile, ranges: &[IoVec], message: Outgoing) -> SysResult {
    let socket = socket_of(file)?;
    let raises = socket.is_stream() && !message.flags.contains(MessageFlags::NOSIGNAL);
    match socket::send(current, file, ranges, message) {
        Err(SysError::Errno(Errno::EPIPE)) if raises => {
            raise(current, Signal::SIGPIPE);
            Err(Errno::EPIPE.into())
        }
        result => result.map(|count| count as u64),
    }
}

/// Decodes control messages (`cmsg(3)`).
fn read_control(current: &Current, mut control: &[u8], message: &mut Outgoing) -> Result<(), Errno> {
    const HEADER: usize = size_of::<ControlHeader>();
    while control.len() >= HEADER {
        let (header, _) = ControlHeader::read_from_prefix(control).map_err(|_| Errno::EINVAL)?;
        let length = usize::try_from(header.length).map_err(|_| Errno::EINVAL)?;
        if length < HEADER || length > control.len() {
            return Err(Errno::EINVAL);
        }
        let data = &control[HEADER..length];
        if header.level == SOL_SOCKET {
            match header.kind {
                SCM_RIGHTS => read_rights(current, data, message)?,
                SCM_CREDENTIALS => message.credentials = read_credentials(current, data)?,
                _ => return Err(Errno::EINVAL),
            }
        }
        control = control.get(length.next_multiple_of(CONTROL_ALIGNMENT)..).unwrap_or_default();
    }
    Ok(())
}

fn read_rights(current: &Current, data: &[u8], message: &mut Outgoing) -> Result<(), Errno> {
    for descriptor in data.chunks_exact(size_of::<i32>()) {
        let descriptor = i32::read_from_bytes(descriptor).map_err(|_| Errno::EINVAL)?;
        if message.rights.len() == SCM_MAX_FD {
            return Err(Errno::EINVAL);
        }
        // Places (`O_PATH`) too: `fget_raw`.
        message.rights.push(current.task.files().get(descriptor)?);
    }
    Ok(())
}

/// Credentials that the sender claims: they must be its own, unless it may take on any.
fn read_credentials(current: &Current, data: &[u8]) -> Result<UserCredentials, Errno> {
    let claimed = UserCredentials::read_from_bytes(data).map_err(|_| Errno::EINVAL)?;
    let own = current.task.credentials();
    let is_own_pid = claimed.pid == current.task.tgid() || own.has_capability(CAP_SYS_ADMIN);
    let is_own_uid = [own.uid, own.euid, own.suid].contains(&claimed.uid) || own.has_capability(CAP_SETUID);
    let is_own_gid = [own.gid, own.egid, own.sgid].contains(&claimed.gid) || own.has_capability(CAP_SETGID);
    if !(is_own_pid && is_own_uid && is_own_gid) {
        return Err(Errno::EPERM);
    }
    if claimed.pid != current.task.tgid() {
        current.task.kernel.find_group(claimed.pid)?;
    }
    Ok(claimed)
}
