//! `NETLINK_ROUTE` sockets, as far as they list interfaces, addresses and routes: what `getifaddrs(3)`, `ip address` and
//! `ip route` ask.
//! netlink(7), rtnetlink(7).
//!
//! A request is answered within the call that sends it: the answer lies in the socket's own inbox then. Nothing ever
//! changes, so that groups can be joined and are silent.

mod routes;

use std::any::Any;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use usk_abi::fcntl::{O_NONBLOCK, O_RDWR};
use usk_abi::socket::*;
use usk_abi::{Errno, PollEvents};
use zerocopy::FromBytes;

use crate::net::endpoint::{Endpoint, take_bytes};
use crate::net::inbox::Bound;
use crate::net::interface::{HARDWARE, INDEX, MTU, NAME, QUEUE_LENGTH};
use crate::net::message::Message;
use crate::net::options::SocketOptions;
use crate::net::{Incoming, Outgoing, Socket, Target, interface, next_number};
use crate::task::Current;
use crate::vfs::{FileOps, OpenFile};
use crate::wait::WaitQueue;
use crate::{Sink, Source, SysResult};

/// The protocol of interfaces, addresses and routes.
const NETLINK_ROUTE: i32 = 0;
/// Bytes of `struct sockaddr_nl`, `struct nlmsghdr`, `struct ifinfomsg` and `struct rtattr`.
const ADDRESS_LENGTH: usize = 12;
const HEADER_LENGTH: usize = 16;
const LINK_LENGTH: usize = 16;
const ATTRIBUTE_LENGTH: usize = 4;
/// Messages and attributes are aligned to this many bytes.
const ALIGNMENT: usize = 4;
/// Longest list of requests that is looked at.
const REQUESTS_MAX: usize = 4096;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Kinds below this carry no request.
const NLMSG_MIN_TYPE: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_MULTI: u16 = 2;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_BROADCAST: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFLA_OPERSTATE: u16 = 16;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;

/// `IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_LOWER_UP`
const LINK_FLAGS: u32 = 0x1_0049;
/// `IFA_F_PERMANENT`
const PERMANENT: u8 = 0x80;
/// `RT_SCOPE_HOST`
const SCOPE_HOST: u8 = 254;

/// The object behind an AF_NETLINK socket.
pub struct NetlinkSocket {
    kind: u32,
    number: u64,
    endpoint: Endpoint,
    /// Its port, once it has one, and the groups it has joined.
    address: Mutex<Option<(u32, u32)>>,
}

/// What is looked at of `struct nlmsghdr`.
#[derive(Clone, Copy)]
struct Request {
    kind: u16,
    flags: u16,
    sequence: u32,
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    u16::read_from_prefix(bytes.get(offset..)?).ok().map(|(value, _)| value)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    u32::read_from_prefix(bytes.get(offset..)?).ok().map(|(value, _)| value)
}

/// The port and the groups of a `struct sockaddr_nl`. `EINVAL` if it is none.
fn decode(bytes: &[u8]) -> Result<(u32, u32), Errno> {
    if bytes.len() < ADDRESS_LENGTH || u16_at(bytes, 0) != Some(AF_NETLINK) {
        return Err(Errno::EINVAL);
    }
    u32_at(bytes, 4).zip(u32_at(bytes, 8)).ok_or(Errno::EINVAL)
}

fn encode((port, groups): (u32, u32)) -> Vec<u8> {
    let mut bytes = AF_NETLINK.to_ne_bytes().to_vec();
    bytes.extend([0; 2]);
    bytes.extend(port.to_ne_bytes());
    bytes.extend(groups.to_ne_bytes());
    bytes
}

fn attribute(into: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = (ATTRIBUTE_LENGTH + value.len()) as u16;
    into.extend(length.to_ne_bytes());
    into.extend(kind.to_ne_bytes());
    into.extend(value);
    into.resize(into.len().next_multiple_of(ALIGNMENT), 0);
}

/// `struct ifinfomsg` of the loopback interface.
fn link() -> Vec<u8> {
    let mut body = vec![0, 0];
    body.extend(HARDWARE.to_ne_bytes());
    body.extend(INDEX.to_ne_bytes());
    body.extend(LINK_FLAGS.to_ne_bytes());
    body.extend(0u32.to_ne_bytes());
    attribute(&mut body, IFLA_IFNAME, NAME);
    attribute(&mut body, IFLA_TXQLEN, &QUEUE_LENGTH.to_ne_bytes());
    attribute(&mut body, IFLA_OPERSTATE, &[0]);
    attribute(&mut body, IFLA_MTU, &MTU.to_ne_bytes());
    attribute(&mut body, IFLA_ADDRESS, &[0; 6]);
    attribute(&mut body, IFLA_BROADCAST, &[0; 6]);
    body
}

/// `struct ifaddrmsg` of one of its addresses.
fn address(family: u16, prefix_length: u8, octets: &[u8]) -> Vec<u8> {
    let mut body = vec![family as u8, prefix_length, PERMANENT, SCOPE_HOST];
    body.extend(INDEX.to_ne_bytes());
    attribute(&mut body, IFA_ADDRESS, octets);
    if family == AF_INET {
        attribute(&mut body, IFA_LOCAL, octets);
        attribute(&mut body, IFA_LABEL, NAME);
    }
    // `struct ifa_cacheinfo`: preferred and valid for ever, made and changed at the start.
    let lifetimes: Vec<u8> = [u32::MAX, u32::MAX, 0, 0].iter().flat_map(|time| time.to_ne_bytes()).collect();
    attribute(&mut body, IFA_CACHEINFO, &lifetimes);
    attribute(&mut body, IFA_FLAGS, &u32::from(PERMANENT).to_ne_bytes());
    body
}

/// The addresses of a family; of all families for 0.
fn addresses(family: u8) -> Vec<Vec<u8>> {
    let is_asked = |known: u16| family == 0 || u16::from(family) == known;
    let mut all = Vec::new();
    if is_asked(AF_INET) {
        all.push(address(AF_INET, 8, &Ipv4Addr::LOCALHOST.octets()));
    }
    if is_asked(AF_INET6) {
        all.push(address(AF_INET6, 128, &Ipv6Addr::LOCALHOST.octets()));
    }
    all
}

/// True if a request for one interface asks for the loopback, by its index or by its name.
fn asks_for_loopback(body: &[u8]) -> bool {
    match u32_at(body, 4) {
        Some(0) => {}
        index => return index == Some(INDEX as u32),
    }
    let attributes = body.get(LINK_LENGTH..).unwrap_or_default();
    find_attribute(attributes, IFLA_IFNAME).is_some_and(|name| name.starts_with(NAME))
}

/// The value of the first attribute of a kind.
fn find_attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let length = usize::from(length);
        let value = attributes.get(ATTRIBUTE_LENGTH..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    None
}

impl NetlinkSocket {
    /// A new socket's open file. `ESOCKTNOSUPPORT` for a type, `EPROTONOSUPPORT` for a protocol that there is not.
    pub fn open(kind: u32, protocol: i32, flags: u32) -> Result<Arc<OpenFile>, Errno> {
        if !matches!(kind, SOCK_RAW | SOCK_DGRAM) {
            return Err(Errno::ESOCKTNOSUPPORT);
        }
        if protocol != NETLINK_ROUTE {
            return Err(Errno::EPROTONOSUPPORT);
        }
        let number = next_number();
        let socket = NetlinkSocket { kind, number, endpoint: Endpoint::default(), address: Mutex::new(None) };
        let flags = O_RDWR | (flags & O_NONBLOCK);
        Ok(OpenFile::anonymous(Arc::new(socket), flags, format!("socket:[{number}]")))
    }

    /// The netlink socket behind an open file, if it is one.
    pub fn of(file: &OpenFile) -> Option<&NetlinkSocket> {
        file.ops.as_any().downcast_ref()
    }

    /// `bind(2)`: gives it a port, one of its own for 0. `EINVAL` if it has another.
    pub fn bind(&self, address: &[u8]) -> Result<(), Errno> {
        let (port, groups) = decode(address)?;
        let mut own = self.address.lock();
        match *own {
            Some((known, _)) if port != known => return Err(Errno::EINVAL),
            _ => *own = Some((if port == 0 { self.number as u32 } else { port }, groups)),
        }
        Ok(())
    }

    /// `connect(2)`: the kernel is the only one to talk to. `ECONNREFUSED` for another port.
    pub fn connect(&self, address: &[u8]) -> Result<(), Errno> {
        let (port, groups) = decode(address)?;
        if port != 0 || groups != 0 { Err(Errno::ECONNREFUSED) } else { Ok(()) }
    }

    /// Puts a message of the kernel's into its inbox, unless that is full.
    pub(crate) fn deliver(&self, bytes: Vec<u8>) {
        let limit = self.endpoint.options.lock().receive_buffer as usize;
        let source = Some(encode((0, 0)));
        self.endpoint.inbox.offer(Message { bytes, source, ..Message::default() }, limit);
        self.endpoint.notify_readable();
    }

    /// The port, which is given to it now if it has none.
    fn port(&self) -> u32 {
        self.address.lock().get_or_insert((self.number as u32, 0)).0
    }

    fn message(&self, into: &mut Vec<u8>, kind: u16, flags: u16, request: Request, body: &[u8]) {
        into.extend(((HEADER_LENGTH + body.len()) as u32).to_ne_bytes());
        into.extend(kind.to_ne_bytes());
        into.extend(flags.to_ne_bytes());
        into.extend(request.sequence.to_ne_bytes());
        into.extend(self.port().to_ne_bytes());
        into.extend(body);
        into.resize(into.len().next_multiple_of(ALIGNMENT), 0);
    }

    /// Answers one message, `whole` with its header.
    fn answer(&self, request: Request, whole: &[u8]) -> Vec<u8> {
        let body = whole.get(HEADER_LENGTH..).unwrap_or_default();
        let family = body.first().copied().unwrap_or(0);
        let is_dump = request.flags & NLM_F_DUMP == NLM_F_DUMP;
        let found = match request.kind {
            RTM_GETLINK if is_dump => Ok((RTM_NEWLINK, vec![link()])),
            RTM_GETLINK if asks_for_loopback(body) => Ok((RTM_NEWLINK, vec![link()])),
            RTM_GETLINK => Err(Errno::ENODEV),
            RTM_GETADDR if is_dump => Ok((RTM_NEWADDR, addresses(family))),
            RTM_GETROUTE if is_dump => Ok((RTM_NEWROUTE, routes::list(family))),
            RTM_GETROUTE => routes::look_up(body).map(|route| (RTM_NEWROUTE, vec![route])),
            _ => Err(Errno::EOPNOTSUPP),
        };
        let mut answer = Vec::new();
        match found {
            Ok((kind, bodies)) => {
                let flags = if is_dump { NLM_F_MULTI } else { 0 };
                for body in bodies {
                    self.message(&mut answer, kind, flags, request, &body);
                }
                if is_dump {
                    self.message(&mut answer, NLMSG_DONE, NLM_F_MULTI, request, &0i32.to_ne_bytes());
                } else if request.flags & NLM_F_ACK != 0 {
                    self.error(&mut answer, request, 0, whole);
                }
            }
            Err(errno) => self.error(&mut answer, request, -errno.raw(), whole),
        }
        answer
    }

    /// `struct nlmsgerr`: the number and the request's header.
    fn error(&self, into: &mut Vec<u8>, request: Request, number: i32, whole: &[u8]) {
        let mut body = number.to_ne_bytes().to_vec();
        body.extend(whole.get(..HEADER_LENGTH).unwrap_or_default());
        self.message(into, NLMSG_ERROR, 0, request, &body);
    }
}

impl Socket for NetlinkSocket {
    fn domain(&self) -> u16 {
        AF_NETLINK
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn protocol(&self) -> i32 {
        NETLINK_ROUTE
    }

    fn options(&self) -> &Mutex<SocketOptions> {
        &self.endpoint.options
    }

    fn listen(&self, _backlog: u32, _credentials: UserCredentials) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn is_listening(&self) -> bool {
        false
    }

    fn accept(&self, _flags: u32) -> Result<(Arc<OpenFile>, Vec<u8>), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn shutdown(&self, _how: i32) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local_address(&self) -> Result<Vec<u8>, Errno> {
        Ok(encode(self.address.lock().unwrap_or_default()))
    }

    fn peer_address(&self) -> Result<Vec<u8>, Errno> {
        Ok(encode((0, 0)))
    }

    fn try_send(&self, source: &mut dyn Source, message: &mut Outgoing) -> Result<usize, Errno> {
        if let Some(Target::Address(address)) = &message.destination {
            self.connect(address)?;
        }
        let length = source.remaining();
        if length > REQUESTS_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let bytes = take_bytes(source, length, true)?;
        let mut rest = bytes.as_slice();
        while let Some(length) = u32_at(rest, 0)
            && let length = length as usize
            && length >= HEADER_LENGTH
            && let Some(whole) = rest.get(..length)
            && let (Some(kind), Some(flags), Some(sequence)) =
                (u16_at(whole, 4), u16_at(whole, 6), u32_at(whole, 8))
        {
            if flags & NLM_F_REQUEST != 0 && kind >= NLMSG_MIN_TYPE {
                let bytes = self.answer(Request { kind, flags, sequence }, whole);
                let limit = self.endpoint.options.lock().receive_buffer as usize;
                let source = Some(encode((0, 0)));
                self.endpoint.inbox.offer(Message { bytes, source, ..Message::default() }, limit);
            }
            rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        }
        self.endpoint.notify_readable();
        Ok(length)
    }

    fn try_receive(&self, sink: &mut dyn Sink, flags: MessageFlags) -> Result<Incoming, Errno> {
        if flags.contains(MessageFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let incoming = self.endpoint.inbox.receive_message(sink, flags, Bound::Messages(usize::MAX))?;
        Ok(Incoming { credentials: None, ..incoming })
    }

    fn is_stream(&self) -> bool {
        false
    }
}

impl FileOps for NetlinkSocket {
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, _offset: u64) -> Result<usize, Errno> {
        Ok(self.try_receive(destination, MessageFlags::empty())?.count)
    }

    fn write(&self, _file: &OpenFile, source: &mut dyn Source, _offset: u64) -> Result<usize, Errno> {
        self.try_send(source, &mut Outgoing::default())
    }

    fn poll(&self, _file: &OpenFile) -> PollEvents {
        let mut events = PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND;
        events.set(PollEvents::IN | PollEvents::RDNORM, !self.endpoint.inbox.is_empty());
        events
    }

    fn raises_signals(&self) -> bool {
        true
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.endpoint.queue)
    }

    fn ioctl(&self, current: &mut Current, _file: &OpenFile, command: u32, argument: u64) -> SysResult {
        interface::ioctl(current, command, argument).unwrap_or(Err(Errno::ENOTTY.into()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
