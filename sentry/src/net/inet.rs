//! Internet sockets of a sandbox without a network: they can be made, configured, bound and polled, and reach nothing.
//! Every destination is `ENETUNREACH`, the loopback interface included, which is down. socket(7), ip(7).
//!
//! Programs that make such a socket only to ask for an interface list, to probe for a free port or to keep as a spare
//! behave as on a machine whose cable is out.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::fcntl::{O_NONBLOCK, O_RDWR};
use usk_abi::socket::*;
use usk_abi::{Errno, PollEvents};
use zerocopy::FromBytes;

use crate::net::options::SocketOptions;
use crate::net::{Incoming, Outgoing, Socket};
use crate::vfs::{FileOps, OpenFile};
use crate::wait::WaitQueue;
use crate::{Sink, Source};

const IPPROTO_IP: i32 = 0;
const IPPROTO_TCP: i32 = 6;
const IPPROTO_UDP: i32 = 17;
/// Bytes of `struct sockaddr_in` and `struct sockaddr_in6`.
const INET_LENGTH: usize = 16;
const INET6_LENGTH: usize = 28;

/// Options of the protocols that are a number and change nothing where nothing is sent: levels and names as in
/// `linux/in.h`, `linux/in6.h`, `linux/tcp.h`.
const NUMBER_OPTIONS: &[(i32, i32)] = &[
    (SOL_IP, 1),    // IP_TOS
    (SOL_IP, 2),    // IP_TTL
    (SOL_IP, 10),   // IP_MTU_DISCOVER
    (SOL_IP, 11),   // IP_RECVERR
    (SOL_IP, 24),   // IP_BIND_ADDRESS_NO_PORT
    (SOL_TCP, 1),   // TCP_NODELAY
    (SOL_TCP, 3),   // TCP_CORK
    (SOL_TCP, 4),   // TCP_KEEPIDLE
    (SOL_TCP, 5),   // TCP_KEEPINTVL
    (SOL_TCP, 6),   // TCP_KEEPCNT
    (SOL_TCP, 9),   // TCP_DEFER_ACCEPT
    (SOL_TCP, 12),  // TCP_QUICKACK
    (SOL_TCP, 18),  // TCP_USER_TIMEOUT
    (SOL_TCP, 23),  // TCP_FASTOPEN
    (SOL_IPV6, 16), // IPV6_UNICAST_HOPS
    (SOL_IPV6, 25), // IPV6_RECVERR
    (SOL_IPV6, 26), // IPV6_V6ONLY
];

/// The object behind an AF_INET or AF_INET6 socket.
pub struct InetSocket {
    family: u16,
    kind: u32,
    protocol: i32,
    options: Mutex<SocketOptions>,
    protocol_options: Mutex<HashMap<(i32, i32), i32>>,
    address: Mutex<Option<Vec<u8>>>,
    is_listening: AtomicBool,
    queue: WaitQueue,
}

impl InetSocket {
    /// A new socket's open file. `EPROTONOSUPPORT` for a protocol that the type does not have, `EPERM` for a raw socket,
    /// `ESOCKTNOSUPPORT` for other types. `flags` may be `O_NONBLOCK`.
    pub fn open(family: u16, kind: u32, protocol: i32, flags: u32) -> Result<Arc<OpenFile>, Errno> {
        let protocol = match (kind, protocol) {
            (SOCK_STREAM, IPPROTO_IP | IPPROTO_TCP) => IPPROTO_TCP,
            (SOCK_DGRAM, IPPROTO_IP | IPPROTO_UDP) => IPPROTO_UDP,
            (SOCK_STREAM | SOCK_DGRAM, _) => return Err(Errno::EPROTONOSUPPORT),
            (SOCK_RAW, _) => return Err(Errno::EPERM),
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        };
        let number = crate::net::next_number();
        
        let socket = InetSocket {
            family,
            kind,
            protocol,
            options: Mutex::default(),
            protocol_options: Mutex::default(),
            address: Mutex::new(None),
            is_listening: AtomicBool::new(false),
            queue: WaitQueue::new(),
        };
        let flags = O_RDWR | (flags & O_NONBLOCK);
        Ok(OpenFile::anonymous(Arc::new(socket), flags, format!("socket:[{number}]")))
    }

    /// The Internet socket behind an open file, if it is one.
    pub fn of(file: &OpenFile) -> Option<&InetSocket> {
        file.ops.as_any().downcast_ref()
    }

    /// `setsockopt(2)` of a protocol's own option: a number that is kept, for a connection that never comes.
    pub fn set_protocol_option(&self, level: i32, option: i32, value: &[u8]) -> Result<(), Errno> {
        self.check_protocol_option(level, option)?;
        let (value, _) = i32::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
        self.protocol_options.lock().insert((level, option), value);
        Ok(())
    }

    /// `getsockopt(2)` of a protocol's own option.
    pub fn protocol_option(&self, level: i32, option: i32) -> Result<Vec<u8>, Errno> {
        self.check_protocol_option(level, option)?;
        let value = self.protocol_options.lock().get(&(level, option)).copied().unwrap_or(0);
        Ok(value.to_ne_bytes().to_vec())
    }

    fn check_protocol_option(&self, level: i32, option: i32) -> Result<(), Errno> {
        let is_level_there = match level {
            SOL_IP => true,
            SOL_IPV6 => self.family == AF_INET6,
            SOL_TCP => self.protocol == IPPROTO_TCP,
            _ => false,
        };
        if is_level_there && NUMBER_OPTIONS.contains(&(level, option)) {
            Ok(())
        } else {
            Err(Errno::ENOPROTOOPT)
        }
    }

    fn address_length(&self) -> usize {
        if self.family == AF_INET { INET_LENGTH } else { INET6_LENGTH }
    }

    fn unspecified(&self) -> Vec<u8> {
        let mut address = vec![0; self.address_length()];
        address[..2].copy_from_slice(&self.family.to_ne_bytes());
        address
    }

    /// `bind(2)`: only the unspecified address can be bound, else `EADDRNOTAVAIL`: no interface has any other.
    pub fn bind(&self, address: &[u8]) -> Result<(), Errno> {
        if address.len() < self.address_length() {
            return Err(Errno::EINVAL);
        }
        if address[..2] != self.family.to_ne_bytes() {
            return Err(Errno::EAFNOSUPPORT);
        }
        let host = if self.family == AF_INET { &address[4..8] } else { &address[8..24] };
        if host.iter().any(|byte| *byte != 0) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let mut own = self.address.lock();
        if own.is_some() {
            return Err(Errno::EINVAL);
        }
        let mut bound = self.unspecified();
        bound[2..4].copy_from_slice(&address[2..4]);
        *own = Some(bound);
        Ok(())
    }

    /// `connect(2)`: there is no way anywhere.
    pub fn connect(&self, address: &[u8]) -> Result<(), Errno> {
        let Some(family) = address.first_chunk().map(|family| u16::from_ne_bytes(*family)) else {
            return Err(Errno::EINVAL);
        };
        if family == AF_UNSPEC {
            return Ok(());
        }
        if address.len() < self.address_length() {
            return Err(Errno::EINVAL);
        }
        if family != self.family {
            return Err(Errno::EAFNOSUPPORT);
        }
        Err(Errno::ENETUNREACH)
    }
}

impl Socket for InetSocket {
    fn domain(&self) -> u16 {
        self.family
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn protocol(&self) -> i32 {
        self.protocol
    }

    fn options(&self) -> &Mutex<SocketOptions> {
        &self.options
    }

    fn listen(&self, _backlog: u32, _credentials: UserCredentials) -> Result<(), Errno> {
        if self.kind != SOCK_STREAM {
            return Err(Errno::EOPNOTSUPP);
        }
        self.is_listening.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }

    fn accept(&self, _flags: u32) -> Result<(Arc<OpenFile>, Vec<u8>), Errno> {
        match (self.kind, self.is_listening()) {
            (SOCK_STREAM, true) => Err(Errno::EAGAIN),
            (SOCK_STREAM, false) => Err(Errno::EINVAL),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn shutdown(&self, how: i32) -> Result<(), Errno> {
        if !(SHUT_RD..=SHUT_RDWR).contains(&how) {
            return Err(Errno::EINVAL);
        }
        Err(Errno::ENOTCONN)
    }

    fn local_address(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.address.lock().clone().unwrap_or_else(|| self.unspecified()))
    }

    fn peer_address(&self) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOTCONN)
    }

    fn try_send(&self, _source: &mut dyn Source, message: &mut Outgoing) -> Result<usize, Errno> {
        match self.kind {
            SOCK_STREAM => Err(Errno::EPIPE),
            _ if message.destination.is_none() => Err(Errno::EDESTADDRREQ),
            _ => Err(Errno::ENETUNREACH),
        }
    }

    fn try_receive(&self, _sink: &mut dyn Sink, _flags: MessageFlags) -> Result<Incoming, Errno> {
        if self.kind == SOCK_STREAM { Err(Errno::ENOTCONN) } else { Err(Errno::EAGAIN) }
    }

    fn is_stream(&self) -> bool {
        self.kind == SOCK_STREAM
    }
}

impl FileOps for InetSocket {
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, _offset: u64) -> Result<usize, Errno> {
        Ok(self.try_receive(destination, MessageFlags::empty())?.count)
    }

    fn write(&self, _file: &OpenFile, source: &mut dyn Source, _offset: u64) -> Result<usize, Errno> {
        self.try_send(source, &mut Outgoing::default())
    }

    fn poll(&self, _file: &OpenFile) -> PollEvents {
        let writable = PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND;
        match (self.kind, self.is_listening()) {
            (SOCK_STREAM, true) => PollEvents::empty(),
            (SOCK_STREAM, false) => writable | PollEvents::HUP,
            _ => writable,
        }
    }

    fn raises_signals(&self) -> bool {
        true
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: [u8; 4]) -> Vec<u8> {
        let mut address = vec![0; INET_LENGTH];
        address[..2].copy_from_slice(&AF_INET.to_ne_bytes());
        address[4..8].copy_from_slice(&host);
        address
    }

    #[test]
    fn a_socket_without_a_network_reaches_nothing() {
        let file = InetSocket::open(AF_INET, SOCK_STREAM, 0, 0).unwrap();
        let socket = InetSocket::of(&file).unwrap();
        assert_eq!(socket.connect(&address([127, 0, 0, 1])), Err(Errno::ENETUNREACH));
        assert_eq!(socket.connect(&[2]), Err(Errno::EINVAL));
        assert_eq!(socket.bind(&address([10, 0, 0, 1])), Err(Errno::EADDRNOTAVAIL));
        assert_eq!(socket.bind(&address([0; 4])), Ok(()));
        assert_eq!(socket.local_address().unwrap(), address([0; 4]));
        assert_eq!(InetSocket::open(AF_INET, SOCK_RAW, 1, 0).err(), Some(Errno::EPERM));
        assert_eq!(InetSocket::open(AF_INET, SOCK_STREAM, 17, 0).err(), Some(Errno::EPROTONOSUPPORT));
    }
}
