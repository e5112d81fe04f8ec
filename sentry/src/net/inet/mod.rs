//! Internet sockets, between processes of one sandbox: its only interface is the loopback. ip(7), tcp(7), udp(7).
//!
//! Nothing here reaches the host: every other destination is `ENETUNREACH`. An [`InetSocket`] is the object behind an
//! open file; what other sockets refer to is its `Core`.

mod address;
mod core;
mod options;
mod ports;
pub mod proc;
mod tcp;
mod udp;

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use usk_abi::fcntl::{O_NONBLOCK, O_RDWR};
use usk_abi::socket::*;
use usk_abi::{Errno, PollEvents};

pub use self::core::InetNamespace;
use self::core::{Core, Role};
use self::options::{ProtocolOptions, TCP_INFO, tcp_info};
use crate::net::options::SocketOptions;
use crate::net::socket::answer_bytes;
use crate::net::{Incoming, Outgoing, Socket, interface};
use crate::task::{Current, Task};
use crate::vfs::{Arrivals, FileOps, Front, OpenFile};
use crate::wait::WaitQueue;
use crate::{Sink, Source, SysResult};

const IPPROTO_IP: i32 = 0;
const IPPROTO_TCP: i32 = 6;
const IPPROTO_UDP: i32 = 17;

/// The object behind an AF_INET or AF_INET6 socket.
pub struct InetSocket {
    core: Arc<Core>,
}

impl InetSocket {
    /// A new socket's open file. `EPROTONOSUPPORT` for a protocol that the type does not have, `EPERM` for a raw socket,
    /// `ESOCKTNOSUPPORT` for other types. `flags` may be `O_NONBLOCK`; `uid` is whose socket it is.
    pub fn open(
        namespace: &Arc<InetNamespace>,
        family: u16,
        kind: u32,
        protocol: i32,
        flags: u32,
        uid: u32,
    ) -> Result<Arc<OpenFile>, Errno> {
        let (is_stream, options) = match (kind, protocol) {
            (SOCK_STREAM, IPPROTO_IP | IPPROTO_TCP) => (true, SocketOptions::tcp()),
            (SOCK_DGRAM, IPPROTO_IP | IPPROTO_UDP) => (false, SocketOptions::default()),
            (SOCK_STREAM | SOCK_DGRAM, _) => return Err(Errno::EPROTONOSUPPORT),
            (SOCK_RAW, _) => return Err(Errno::EPERM),
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        };
        let core = Core::new(namespace, family, is_stream, uid, options, ProtocolOptions::default());
        Ok(Self::open_core(core, flags))
    }

    fn open_core(core: Arc<Core>, flags: u32) -> Arc<OpenFile> {
        let number = core.number;
        let flags = O_RDWR | (flags & O_NONBLOCK);
        OpenFile::anonymous(Arc::new(InetSocket { core }), flags, format!("socket:[{number}]"))
    }

    /// The Internet socket behind an open file, if it is one.
    pub fn of(file: &OpenFile) -> Option<&InetSocket> {
        file.ops.as_any().downcast_ref()
    }

    /// `setsockopt(2)` of a protocol's own option.
    pub fn set_protocol_option(&self, level: i32, option: i32, value: &[u8]) -> Result<(), Errno> {
        self.check_level(level)?;
        let has_port = self.core.state.lock().lease.is_some();
        self.core.options.lock().set((level, option), value, has_port)
    }

    /// `getsockopt(2)` of a protocol's own option.
    pub fn protocol_option(&self, level: i32, option: i32) -> Result<Vec<u8>, Errno> {
        self.check_level(level)?;
        if (level, option) == TCP_INFO {
            return Ok(tcp_info(self.core.connection_state()));
        }
        let value = self.core.options.lock().get((level, option))?;
        Ok(value.to_ne_bytes().to_vec())
    }

    fn check_level(&self, level: i32) -> Result<(), Errno> {
        let is_there = match level {
            SOL_IP => true,
            SOL_IPV6 => self.core.family == AF_INET6,
            SOL_TCP => self.core.is_stream,
            _ => false,
        };
        if is_there { Ok(()) } else { Err(Errno::ENOPROTOOPT) }
    }

    /// `bind(2)`. `is_privileged` callers may have ports below 1024.
    pub fn bind(&self, address: &[u8], is_privileged: bool) -> Result<(), Errno> {
        self.core.bind(address, is_privileged)
    }

    /// `connect(2)`. With `waits`, `EAGAIN` while a listener's backlog is full: the socket's queue is notified (`OUT`)
    /// later. Without, a stream's connection is `EINPROGRESS`.
    pub fn connect(&self, address: &[u8], waits: bool) -> Result<(), Errno> {
        if self.core.is_stream {
            self.core.connect(address, waits)
        } else {
            self.core.connect_datagram(address)
        }
    }
}

impl Socket for InetSocket {
    fn domain(&self) -> u16 {
        self.core.family
    }

    fn kind(&self) -> u32 {
        if self.core.is_stream { SOCK_STREAM } else { SOCK_DGRAM }
    }

    fn protocol(&self) -> i32 {
        if self.core.is_stream { IPPROTO_TCP } else { IPPROTO_UDP }
    }

    fn options(&self) -> &Mutex<SocketOptions> {
        &self.core.endpoint.options
    }

    fn listen(&self, backlog: u32, _credentials: UserCredentials) -> Result<(), Errno> {
        if self.core.is_stream { self.core.listen(backlog as usize) } else { Err(Errno::EOPNOTSUPP) }
    }

    fn is_listening(&self) -> bool {
        matches!(self.core.state.lock().role, Role::Listening { .. })
    }

    fn accept(&self, flags: u32) -> Result<(Arc<OpenFile>, Vec<u8>), Errno> {
        if !self.core.is_stream {
            return Err(Errno::EOPNOTSUPP);
        }
        let accepted = self.core.accept()?;
        let remote = accepted.ends().1.ok_or(Errno::ECONNABORTED)?;
        let address = address::encode(remote, accepted.family);
        Ok((Self::open_core(accepted, flags), address))
    }

    fn shutdown(&self, how: i32) -> Result<(), Errno> {
        if self.core.is_stream { self.core.shutdown_stream(how) } else { self.core.shutdown_datagram(how) }
    }

    fn local_address(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.core.local_address())
    }

    fn peer_address(&self) -> Result<Vec<u8>, Errno> {
        self.core.peer_address()
    }

    fn try_send(&self, source: &mut dyn Source, message: &mut Outgoing) -> Result<usize, Errno> {
        if self.core.is_stream {
            self.core.send_stream(source, message.flags)
        } else {
            self.core.send_datagram(source, message)
        }
    }

    fn try_receive(&self, sink: &mut dyn Sink, flags: MessageFlags) -> Result<Incoming, Errno> {
        if self.core.is_stream {
            self.core.receive_stream(sink, flags)
        } else {
            self.core.receive_datagram(sink, flags)
        }
    }

    fn take_error(&self) -> Option<Errno> {
        self.core.endpoint.take_error()
    }

    fn has_only_error(&self) -> bool {
        let endpoint = &self.core.endpoint;
        self.core.is_stream && endpoint.has_error() && endpoint.inbox.is_empty()
    }

    fn is_stream(&self) -> bool {
        self.core.is_stream
    }
}

impl FileOps for InetSocket {
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, _offset: u64) -> Result<usize, Errno> {
        Ok(self.try_receive(destination, MessageFlags::empty())?.count)
    }

    fn write(&self, _file: &OpenFile, source: &mut dyn Source, _offset: u64) -> Result<usize, Errno> {
        self.try_send(source, &mut Outgoing::default())
    }

    fn write_is_all_or_wait(&self) -> bool {
        self.core.is_stream
    }

    fn poll(&self, _file: &OpenFile) -> PollEvents {
        if self.core.is_stream { self.core.poll_stream() } else { self.core.poll_datagram() }
    }

    fn raises_signals(&self) -> bool {
        true
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.core.endpoint.queue)
    }

    fn ioctl(&self, current: &mut Current, _file: &OpenFile, command: u32, argument: u64) -> SysResult {
        if let Some(answer) = interface::ioctl(current, command, argument) {
            return answer;
        }
        let inbox = &self.core.endpoint.inbox;
        let bytes = match command {
            SIOCINQ | SIOCOUTQ if self.is_listening() => return Err(Errno::EINVAL.into()),
            SIOCINQ if self.core.is_stream => inbox.bytes(),
            SIOCINQ => inbox.first_length(),
            // What has been sent has arrived, if not been received.
            SIOCOUTQ => 0,
            _ => return Err(Errno::ENOTTY.into()),
        };
        answer_bytes(current, argument, bytes)
    }

    fn arrivals(&self) -> Option<&dyn Arrivals> {
        self.core.is_stream.then_some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Arrivals for InetSocket {
    fn renew(&self, reader: &Arc<Task>) -> Option<Range<u64>> {
        self.core.endpoint.inbox.renew(reader)
    }

    fn leave(&self, reader: &Arc<Task>, most: usize) -> Option<Front> {
        self.core.endpoint.inbox.leave(reader, most)
    }

    fn is_socket(&self) -> bool {
        true
    }
}

impl Drop for InetSocket {
    fn drop(&mut self) {
        if self.core.is_stream { self.core.close_stream() } else { self.core.close_datagram() }
    }
}

#[cfg(test)]
mod tests;
