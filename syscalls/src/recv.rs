//! `recvfrom(2)`, `recvmsg(2)`, `recvmmsg(2)` (and so recv(2), which the C library makes of the first).

use std::sync::Arc;
use std::time::Duration;

use usk_abi::Errno;
use usk_abi::socket::*;
use usk_abi::time::Timespec;
use usk_sentry::net::{Incoming, socket, socket_of};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::time::Deadline;
use usk_sentry::vfs::OpenFile;
use usk_sentry::{SysError, SysResult, UserPtr};
use zerocopy::IntoBytes;

use crate::address::write_address;
use crate::copy::read_timespec;
use crate::descriptor::{file_of, install};
use crate::table::{Argument::*, Row};
use crate::transfer::{read_iovecs, single};

pub(crate) const ROWS: &[Row] = &[
    Row::full(45, "recvfrom", &[Fd, OutBuffer, Uint, Flags, Pointer, Pointer], sys_recvfrom),
    Row::full(47, "recvmsg", &[Fd, Pointer, Flags], sys_recvmsg),
    Row::full(299, "recvmmsg", &[Fd, Pointer, Uint, Flags, Pointer], sys_recvmmsg),
];

fn sys_recvfrom(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    let flags = MessageFlags::from_bits_truncate(arguments.u32(3));
    let ranges = single(arguments.u64(1), arguments.usize(2));
    let incoming = socket::receive(current, &file, &ranges, flags)?;
    if arguments.u64(4) != 0 {
        let source = incoming.source.as_deref().unwrap_or_default();
        write_address(current, arguments.u64(4), arguments.pointer(5), source)?;
    }
    Ok(returned_length(&incoming, flags))
}

fn returned_length(incoming: &Incoming, flags: MessageFlags) -> u64 {
    let length = if flags.contains(MessageFlags::TRUNC) { incoming.full_length } else { incoming.count };
    length as u64
}

fn sys_recvmsg(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    socket_of(&file)?;
    let pointer = arguments.pointer::<MessageHeader>(1);
    let flags = MessageFlags::from_bits_truncate(arguments.u32(2));
    let mut header = pointer.read(current.space())?;
    let length = receive_message(current, &file, &mut header, flags)?;
    pointer.write(current.space(), &header)?;
    Ok(length)
}

fn sys_recvmmsg(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    socket_of(&file)?;
    let array = arguments.pointer::<MultipleMessageHeader>(1);
    let count = (arguments.u32(2) as usize).min(UIO_MAXIOV);
    let mut flags = MessageFlags::from_bits_truncate(arguments.u32(3));
    let timeout = arguments.pointer::<Timespec>(4);
    let deadline = match timeout.is_null() {
        true => None,
        false => Some(Deadline::after(Duration::from_nanos(read_timespec(current, timeout)?))),
    };
    let mut received = 0;
    while received < count {
        let result = array.element(received).map_err(SysError::from).and_then(|element| {
            let mut message = element.read(current.space())?;
            let length = receive_message(current, &file, &mut message.header, flags)?;
            message.length = u32::try_from(length).unwrap_or(u32::MAX);
            Ok(element.write(current.space(), &message)?)
        });
        match result {
            Ok(()) => received += 1,
            Err(error) if received == 0 => return Err(error),
            Err(_) => break,
        }
        if flags.contains(MessageFlags::WAITFORONE) {
            flags |= MessageFlags::DONTWAIT;
        }
        // The timeout is looked at between messages only: recvmmsg(2), BUGS.
        if deadline.is_some_and(Deadline::has_passed) {
            break;
        }
    }
    crate::poll::write_remaining(current, timeout, deadline);
    Ok(received as u64)
}

fn receive_message(
    current: &mut Current,
    file: &OpenFile,
    header: &mut MessageHeader,
    flags: MessageFlags,
) -> SysResult {
    let name_room = i32::try_from(header.name_length).map_err(|_| Errno::EINVAL)?;
    if header.vector_length > UIO_MAXIOV as u64 {
        return Err(Errno::EMSGSIZE.into());
    }
    let ranges = read_iovecs(current, UserPtr::new(header.vector), header.vector_length)?;
    let mut incoming = socket::receive(current, file, &ranges, flags)?;
    header.flags = (flags & MessageFlags::CMSG_CLOEXEC).bits();
    if incoming.full_length > incoming.count {
        header.flags |= MessageFlags::TRUNC.bits();
    }
    if header.name != 0 {
        let source = incoming.source.as_deref().unwrap_or_default();
        let count = source.len().min(name_room as usize);
        UserPtr::<u8>::new(header.name).write_array(current.space(), &source[..count])?;
        header.name_length = source.len() as u32;
    }
    let mut control = ControlWriter::new(header);
    let result = control.write(current, &mut incoming, flags);
    (header.control_length, header.flags) = (control.written, control.flags);
    result?;
    Ok(returned_length(&incoming, flags))
}

/// Writes control messages behind one another.
struct ControlWriter {
    address: u64,
    room: u64,
    written: u64,
    flags: u32,
}

const HEADER: u64 = size_of::<ControlHeader>() as u64;
const DESCRIPTOR: u64 = size_of::<i32>() as u64;

impl ControlWriter {
    fn new(header: &MessageHeader) -> Self {
        let room = if header.control == 0 { 0 } else { header.control_length };
        ControlWriter { address: header.control, room, written: 0, flags: header.flags }
    }

    fn write(
        &mut self,
        current: &Current,
        incoming: &mut Incoming,
        flags: MessageFlags,
    ) -> Result<(), Errno> {
        if let Some(credentials) = incoming.credentials {
            self.put(current, SCM_CREDENTIALS, credentials.as_bytes())?;
        }
        let rights = std::mem::take(&mut incoming.rights);
        if !rights.is_empty() {
            self.put_rights(current, rights, flags.contains(MessageFlags::CMSG_CLOEXEC))?;
        }
        Ok(())
    }

    /// Puts one control message; what does not fit is cut off (`MSG_CTRUNC`).
    fn put(&mut self, current: &Current, kind: i32, data: &[u8]) -> Result<(), Errno> {
        if self.room < HEADER {
            self.flags |= MessageFlags::CTRUNC.bits();
            return Ok(());
        }
        let mut length = HEADER + data.len() as u64;
        if length > self.room {
            self.flags |= MessageFlags::CTRUNC.bits();
            length = self.room;
        }
        let header = ControlHeader { length, level: SOL_SOCKET, kind };
        let at = UserPtr::<ControlHeader>::new(self.address);
        at.write(current.space(), &header)?;
        let data = &data[..(length - HEADER) as usize];
        at.byte_offset(HEADER)?.cast::<u8>().write_array(current.space(), data)?;
        self.advance(length)
    }

    fn advance(&mut self, length: u64) -> Result<(), Errno> {
        let space = length.next_multiple_of(CONTROL_ALIGNMENT as u64).min(self.room);
        self.address = self.address.checked_add(space).ok_or(Errno::EFAULT)?;
        self.room -= space;
        self.written += space;
        Ok(())
    }

    /// Installs as many of the files as the caller has room for and may open; the others are closed (`MSG_CTRUNC`). If
    /// their numbers cannot be written, all are taken back.
    fn put_rights(
        &mut self,
        current: &Current,
        rights: Vec<Arc<OpenFile>>,
        close_on_exec: bool,
    ) -> Result<(), Errno> {
        let room = self.room.saturating_sub(HEADER) / DESCRIPTOR;
        let mut descriptors = Vec::new();
        let count = rights.len();
        for file in rights.into_iter().take(usize::try_from(room).unwrap_or(usize::MAX)) {
            match install(current, file, close_on_exec) {
                Ok(descriptor) => descriptors.push(descriptor),
                Err(_) => break,
            }
        }
        if descriptors.len() < count {
            self.flags |= MessageFlags::CTRUNC.bits();
        }
        if descriptors.is_empty() {
            return Ok(());
        }
        self.put(current, SCM_RIGHTS, descriptors.as_bytes()).inspect_err(|_| {
            for descriptor in &descriptors {
                let _ = current.task.files().close(*descriptor);
            }
        })
    }
}
