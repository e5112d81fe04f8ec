//! What every socket can do. Operations never wait; [`send`] and [`receive`] are the forms that do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use usk_abi::socket::{AF_INET, AF_INET6, AF_UNIX, MessageFlags, UserCredentials};
use usk_abi::{Errno, PollEvents};

use crate::net::inet::InetSocket;
use crate::net::netlink::NetlinkSocket;
use crate::net::options::SocketOptions;
use crate::net::unix::{Destination, UnixSocket};
use crate::task::{Current, Resource};
use crate::time::Deadline;
use crate::vfs::{FileOps, OpenFile};
use crate::{IoVec, Restart, Sink, Source, SysError, SysResult, UserPtr};

/// Where a message goes.
#[derive(Clone)]
pub enum Target {
    /// An AF_UNIX socket.
    Unix(Destination),
    /// For sockets of other families: a `struct sockaddr_*` as it was given.
    Address(Vec<u8>),
}

/// A message to be sent.
#[derive(Default)]
pub struct Outgoing {
    /// Where to, for sockets that take an address with each message.
    pub destination: Option<Target>,
    /// Open files to hand over (`SCM_RIGHTS`).
    pub rights: Vec<Arc<OpenFile>>,
    /// Who sends.
    pub credentials: UserCredentials,
    /// `MSG_*`
    pub flags: MessageFlags,
}

/// What a receive brought, besides the bytes in the sink.
#[derive(Default)]
pub struct Incoming {
    /// Bytes put into the sink.
    pub count: usize,
    /// Bytes the message had; more than `count` if it was cut off.
    pub full_length: usize,
    /// The sender's address as `struct sockaddr_*`; `None` if the socket reports none.
    pub source: Option<Vec<u8>>,
    /// Open files handed over.
    pub rights: Vec<Arc<OpenFile>>,
    /// The sender, if `SO_PASSCRED` is on.
    pub credentials: Option<UserCredentials>,
}

/// A socket. Methods have the errors of the calls of the same name.
pub trait Socket: FileOps {
    /// `AF_*`
    fn domain(&self) -> u16;

    /// `SOCK_*`
    fn kind(&self) -> u32;

    /// The protocol number.
    fn protocol(&self) -> i32;

    /// Its options.
    fn options(&self) -> &Mutex<SocketOptions>;

    /// Makes it take connections.
    fn listen(&self, backlog: u32, credentials: UserCredentials) -> Result<(), Errno>;

    /// True once it takes connections.
    fn is_listening(&self) -> bool;

    /// A connection that has come in: its open file and the peer's address. `EAGAIN` if there is none. `flags` may be
    /// `O_NONBLOCK`.
    fn accept(&self, flags: u32) -> Result<(Arc<OpenFile>, Vec<u8>), Errno>;

    /// Ends one or both directions. `how` is `SHUT_*`.
    fn shutdown(&self, how: i32) -> Result<(), Errno>;

    /// `getsockname(2)`: a `struct sockaddr_*`.
    fn local_address(&self) -> Result<Vec<u8>, Errno>;

    /// `getpeername(2)`: a `struct sockaddr_*`.
    fn peer_address(&self) -> Result<Vec<u8>, Errno>;

    /// Who is at the other end (`SO_PEERCRED`): nobody, where that is not known.
    fn peer_credentials(&self) -> UserCredentials {
        UserCredentials { pid: 0, uid: u32::MAX, gid: u32::MAX }
    }

    /// Sends as much as goes; returns the bytes. `EAGAIN` if nothing goes now. The message's rights go with the first
    /// part.
    fn try_send(&self, source: &mut dyn Source, message: &mut Outgoing) -> Result<usize, Errno>;

    /// Receives what there is. `EAGAIN` if there is nothing.
    fn try_receive(&self, sink: &mut dyn Sink, flags: MessageFlags) -> Result<Incoming, Errno>;

    /// Takes the pending error (`SO_ERROR`).
    fn take_error(&self) -> Option<Errno> {
        None
    }

    /// True if a receive would bring nothing but a pending error, and that is kept for who has received nothing.
    fn has_only_error(&self) -> bool {
        false
    }

    /// True if one send may be carried out in parts.
    fn is_stream(&self) -> bool;
}

/// The number of a new socket, as in the link `socket:[NUMBER]`.
pub(super) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The socket behind an open file; `ENOTSOCK` if it is none.
pub fn socket_of(file: &OpenFile) -> Result<&dyn Socket, Errno> {
    let any = file.ops.as_any();
    if let Some(socket) = any.downcast_ref::<UnixSocket>() {
        return Ok(socket);
    }
    if let Some(socket) = any.downcast_ref::<NetlinkSocket>() {
        return Ok(socket);
    }
    any.downcast_ref::<InetSocket>().map(|socket| socket as &dyn Socket).ok_or(Errno::ENOTSOCK)
}

/// How a wait on a socket ends: a timeout is `EAGAIN`, and with a timeout set an interruption is final.
fn map_wait<T>(result: SysResult<T>, has_timeout: bool) -> SysResult<T> {
    match result {
        Err(SysError::Errno(Errno::ETIMEDOUT)) => Err(Errno::EAGAIN.into()),
        Err(SysError::Restart(Restart::IfHandlerAllows)) if has_timeout => Err(Errno::EINTR.into()),
        other => other,
    }
}

/// Sends a message from guest memory and waits for room, unless `MSG_DONTWAIT` or the file is non-blocking. A stream's
/// send that is cut short returns what was sent. Does not raise `SIGPIPE`.
pub fn send(
    current: &mut Current,
    file: &OpenFile,
    ranges: &[IoVec],
    mut message: Outgoing,
) -> SysResult<usize> {
    let socket = socket_of(file)?;
    let timeout = socket.options().lock().send_timeout;
    let waits = !is_nonblocking(file, message.flags);
    let deadline = timeout.map(Deadline::after);
    let total: usize = current.source(ranges).remaining();
    let mut done = 0;
    loop {
        let attempt = |current: &mut Current, message: &mut Outgoing| {
            let mut source = current.source(&IoVec::after(ranges, done));
            socket.try_send(&mut source, message).map_err(SysError::from)
        };
        let result = match (waits, socket.wait_queue()) {
            (true, Some(queue)) => {
                let events = [(queue, PollEvents::OUT | PollEvents::WRNORM)];
                let result = current.block(&events, deadline, |current| attempt(current, &mut message));
                map_wait(result, timeout.is_some())
            }
            _ => attempt(current, &mut message),
        };
        match result {
            Ok(count) => done += count,
            Err(error) if done == 0 => return Err(error),
            Err(_) => return Ok(done),
        }
        if done >= total || !socket.is_stream() {
            return Ok(done);
        }
    }
}

/// What a stream is ready for once nothing more arrives.
const NOTHING_FOLLOWS: PollEvents = PollEvents::RDHUP.union(PollEvents::HUP).union(PollEvents::ERR);

/// Receives into guest memory and waits for something to come, unless `MSG_DONTWAIT` or the file is non-blocking. With
/// `MSG_WAITALL` a stream's receive waits for everything asked for.
pub fn receive(
    current: &mut Current,
    file: &OpenFile,
    ranges: &[IoVec],
    flags: MessageFlags,
) -> SysResult<Incoming> {
    let socket = socket_of(file)?;
    let timeout = socket.options().lock().receive_timeout;
    // The queue of errors is empty: nothing is reported there, and nobody waits for it (`inet_recv_error`).
    if flags.contains(MessageFlags::ERRQUEUE) && [AF_INET, AF_INET6].contains(&socket.domain()) {
        return Err(Errno::EAGAIN.into());
    }
    let waits = !is_nonblocking(file, flags);
    let deadline = timeout.map(Deadline::after);
    let is_whole = flags.contains(MessageFlags::WAITALL) && socket.is_stream();
    let peeks = flags.contains(MessageFlags::PEEK);
    let total: usize = current.source(ranges).remaining();
    // A look takes nothing away, and so it begins again until all is there. At what is there AF_UNIX is content to look.
    let looks_for_all = is_whole && peeks && waits && socket.domain() != AF_UNIX;
    let wants_all = is_whole && !peeks;
    let mut seen: Option<Incoming> = None;
    let mut received: Option<Incoming> = None;
    loop {
        let done = received.as_ref().map_or(0, |received| received.count);
        let mut attempt = |current: &mut Current| {
            // Asked first: what comes before the end is looked at then.
            let is_last = !looks_for_all || file.ops.poll(file).intersects(NOTHING_FOLLOWS);
            // Who has got something hears of the error the next time.
            if (done > 0 || seen.is_some()) && socket.has_only_error() {
                return Ok(seen.take().unwrap_or_default());
            }
            let mut sink = current.sink(&IoVec::after(ranges, done));
            let incoming = socket.try_receive(&mut sink, flags)?;
            if is_last || incoming.count >= total {
                return Ok(incoming);
            }
            seen = Some(incoming);
            Err(Errno::EAGAIN.into())
        };
        let result = match (waits, socket.wait_queue()) {
            (true, Some(queue)) => {
                let events = [(queue, PollEvents::IN | PollEvents::RDNORM | PollEvents::RDHUP)];
                map_wait(current.block(&events, deadline, attempt), timeout.is_some())
            }
            _ => attempt(current),
        };
        let result = result.or_else(|error| seen.take().ok_or(error));
        let at_end = match (result, &mut received) {
            (Ok(incoming), None) => {
                let at_end = incoming.count == 0 || !incoming.rights.is_empty();
                received = Some(incoming);
                at_end
            }
            (Ok(more), Some(received)) => {
                received.count += more.count;
                received.full_length += more.full_length;
                received.rights.extend(more.rights);
                more.count == 0 || !received.rights.is_empty()
            }
            (Err(error), None) => return Err(error),
            (Err(_), Some(_)) => true,
        };
        if let Some(received) = received.take_if(|received| at_end || !wants_all || received.count >= total) {
            current.note_received(file);
            return Ok(received);
        }
    }
}

/// Takes a connection and waits for one, unless the file is non-blocking. `flags` are the new file's. Returns its descriptor, itself and
/// the peer's address. `EMFILE` if none is free, and then the connection stays.
pub fn accept(
    current: &mut Current,
    file: &OpenFile,
    flags: u32,
    close_on_exec: bool,
) -> SysResult<(i32, Arc<OpenFile>, Vec<u8>)> {
    let socket = socket_of(file)?;
    let timeout = socket.options().lock().receive_timeout;
    let waits = !is_nonblocking(file, MessageFlags::empty());
    let attempt = |current: &mut Current| {
        let limit = current.task.group.limits.lock().soft(Resource::Files);
        let files = current.task.files();
        let accepted = files.install_made(close_on_exec, limit, || {
            socket.accept(flags).map(|(file, peer)| (file.clone(), (file, peer)))
        });
        let (descriptor, (file, peer)) = accepted?;
        Ok((descriptor, file, peer))
    };
    match (waits, socket.wait_queue()) {
        (true, Some(queue)) => {
            let events = [(queue, PollEvents::IN | PollEvents::RDNORM)];
            let deadline = timeout.map(Deadline::after);
            map_wait(current.block(&events, deadline, attempt), timeout.is_some())
        }
        _ => attempt(current),
    }
}

fn is_nonblocking(file: &OpenFile, flags: MessageFlags) -> bool {
    flags.contains(MessageFlags::DONTWAIT) || file.flags() & usk_abi::fcntl::O_NONBLOCK != 0
}

/// Answers `SIOCINQ` and `SIOCOUTQ`.
pub(super) fn answer_bytes(current: &mut Current, argument: u64, bytes: usize) -> SysResult {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    UserPtr::<i32>::new(argument).write(current.space(), &bytes)?;
    Ok(0)
}
