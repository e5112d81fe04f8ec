//! Sockets between processes of one sandbox. unix(7).
//!
//! A [`UnixSocket`] is the object behind an open file; what other sockets refer to is its [`Core`]. A sender
//! puts messages into the receiver's inbox. Who finds an inbox full leaves a note there and is notified on its own
//! queue, so that every wait of a socket is on the socket's own queue.

mod address;
mod core;
mod namespace;

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use usk_abi::fcntl::{O_NONBLOCK, O_RDWR};
use usk_abi::socket::{AF_UNIX, MessageFlags, SIOCINQ, SIOCOUTQ, UserCredentials};
use usk_abi::{Errno, PollEvents};

pub use self::address::UnixAddress;
pub use self::core::UnixKind;
use self::core::{Core, Role};
pub use self::namespace::UnixNamespace;
use crate::net::endpoint::{RECEIVE_ENDED, SEND_ENDED, take_bytes};
use crate::net::inbox::Bound;
use crate::net::message::{MESSAGE_OVERHEAD, Message, Rights, STREAM_PART};
use crate::net::options::SocketOptions;
use crate::net::socket::answer_bytes;
use crate::net::{Incoming, Outgoing, Socket, Target, interface, next_number};
use crate::task::{Current, Task};
use crate::vfs::{Arrivals, FileOps, Front, OpenFile};
use crate::wait::WaitQueue;
use crate::{Sink, Source, SysError, SysResult};

/// A socket that a name leads to: what the inode of a bound socket holds, and what a message is sent to.
#[derive(Clone)]
pub struct Destination {
    core: Weak<Core>,
}

impl Destination {
    fn get(&self) -> Result<Arc<Core>, Errno> {
        self.core.upgrade().ok_or(Errno::ECONNREFUSED)
    }
}

/// The object behind an AF_UNIX socket's open file.
pub struct UnixSocket {
    core: Arc<Core>,
}

impl UnixSocket {
    /// A new socket's open file. `flags` may be `O_NONBLOCK`.
    pub fn open(kind: UnixKind, namespace: &Arc<UnixNamespace>, flags: u32) -> Arc<OpenFile> {
        Self::open_core(Core::new(kind, namespace), flags)
    }

    /// Two sockets connected with each other.
    pub fn pair(
        kind: UnixKind,
        namespace: &Arc<UnixNamespace>,
        flags: u32,
        credentials: UserCredentials,
    ) -> (Arc<OpenFile>, Arc<OpenFile>) {
        let (first, second) = (Core::new(kind, namespace), Core::new(kind, namespace));
        Core::join(&first, &second, credentials);
        (Self::open_core(first, flags), Self::open_core(second, flags))
    }

    fn open_core(core: Arc<Core>, flags: u32) -> Arc<OpenFile> {
        let number = next_number();
        let flags = O_RDWR | (flags & O_NONBLOCK);
        OpenFile::anonymous(Arc::new(UnixSocket { core }), flags, format!("socket:[{number}]"))
    }

    /// The AF_UNIX socket behind an open file, if it is one.
    pub fn of(file: &OpenFile) -> Option<&UnixSocket> {
        file.ops.as_any().downcast_ref()
    }

    /// Gives it an abstract name, or an automatic one without `name`. `EINVAL` if it has an address, `EADDRINUSE` if the
    /// name is taken.
    pub fn bind_abstract(&self, name: Option<&[u8]>) -> Result<(), Errno> {
        self.core.bind_abstract(name)
    }

    /// Gives it a file's name. `make_node` creates the node that holds the [`Destination`]; its error is passed on, with
    /// `EEXIST` as `EADDRINUSE`. `EINVAL` if the socket has an address.
    pub fn bind_path(
        &self,
        path: &[u8],
        make_node: impl FnOnce(Destination) -> SysResult<()>,
    ) -> SysResult<()> {
        if self.core.address() != UnixAddress::Unnamed {
            return Err(Errno::EINVAL.into());
        }
        make_node(self.destination()).map_err(|error| match error {
            SysError::Errno(Errno::EEXIST) => Errno::EADDRINUSE.into(),
            other => other,
        })?;
        let mut state = self.core.state.lock();
        if state.address != UnixAddress::Unnamed {
            return Err(Errno::EINVAL.into());
        }
        state.address = UnixAddress::Path(path.to_vec());
        Ok(())
    }

    /// What leads to this socket.
    pub fn destination(&self) -> Destination {
        Destination { core: Arc::downgrade(&self.core) }
    }

    /// What an abstract name of this socket's name space leads to. `ECONNREFUSED` if nothing.
    pub fn find_abstract(&self, name: &[u8]) -> Result<Destination, Errno> {
        Ok(Destination { core: Arc::downgrade(&self.core.namespace.find(self.core.kind, name)?) })
    }

    /// Connects. `EAGAIN` if the listener's backlog is full: then the socket's queue is notified (`OUT`) later.
    pub fn connect(&self, destination: &Destination, credentials: UserCredentials) -> Result<(), Errno> {
        self.core.connect(&destination.get()?, credentials)
    }

    /// Takes a datagram socket's default destination away (`connect(2)` with `AF_UNSPEC`).
    pub fn disconnect(&self) -> Result<(), Errno> {
        if self.core.kind.is_connected_kind() {
            return Err(Errno::EINVAL);
        }
        self.core.set_peer(None);
        Ok(())
    }

    fn message(&self, bytes: Vec<u8>, outgoing: &mut Outgoing) -> Result<Message, Errno> {
        let address = self.core.address();
        let source = (address != UnixAddress::Unnamed).then(|| address.encode());
        let files = std::mem::take(&mut outgoing.rights);
        let rights = Rights::new(files, &self.core.namespace.in_flight).map_err(|(errno, files)| {
            outgoing.rights = files;
            errno
        })?;
        Ok(Message { bytes, consumed: 0, source, credentials: outgoing.credentials, rights })
    }

    /// Sends over a connection.
    fn send_connected(&self, source: &mut dyn Source, outgoing: &mut Outgoing) -> Result<usize, Errno> {
        let core = &self.core;
        let peer = match &core.state.lock().role {
            Role::Connected { peer } => peer.clone(),
            _ => return Err(Errno::ENOTCONN),
        };
        if outgoing.destination.is_some() {
            return Err(Errno::EISCONN);
        }
        if let Some(errno) = core.endpoint.take_error() {
            return Err(errno);
        }
        if core.endpoint.has_ended(SEND_ENDED) || peer.endpoint.has_ended(RECEIVE_ENDED) {
            return Err(Errno::EPIPE);
        }
        let is_stream = core.kind == UnixKind::Stream;
        let wanted = source.remaining();
        if is_stream && wanted == 0 {
            return Ok(0);
        }
        let bound = core.bound_of_sender();
        let Bound::Bytes(limit) = bound else { return Err(Errno::EOPNOTSUPP) };
        if !is_stream && wanted + MESSAGE_OVERHEAD > limit {
            return Err(Errno::EMSGSIZE);
        }
        let room =
            peer.endpoint.inbox.room(&core.endpoint.queue, bound, wanted).map_err(closed_is_broken_pipe)?;
        // Whatever others hold, one message goes into an empty inbox.
        if !is_stream && room < wanted && !peer.endpoint.inbox.is_empty() {
            peer.endpoint.inbox.wait_for_room(&core.endpoint.queue);
            // It may have been emptied in between: look again before waiting.
            if peer.endpoint.inbox.room(&core.endpoint.queue, bound, wanted).map_err(closed_is_broken_pipe)?
                < wanted
            {
                return Err(Errno::EAGAIN);
            }
        }
        let length = if is_stream { wanted.min(room).min(STREAM_PART) } else { wanted };
        let bytes = take_bytes(source, length, !is_stream)?;
        let length = bytes.len();
        let message = self.message(bytes, outgoing)?;
        peer.endpoint.inbox.push(message).map_err(|_| Errno::EPIPE)?;
        peer.endpoint.notify_readable();
        Ok(length)
    }

    /// Sends a datagram.
    fn send_datagram(&self, source: &mut dyn Source, outgoing: &mut Outgoing) -> Result<usize, Errno> {
        let core = &self.core;
        if core.endpoint.has_ended(SEND_ENDED) {
            return Err(Errno::EPIPE);
        }
        let peer = core.peer();
        let target = match (&outgoing.destination, &peer) {
            (Some(Target::Unix(destination)), _) => destination.get()?,
            (Some(Target::Address(_)), _) => return Err(Errno::EINVAL),
            (None, Some(peer)) => peer.clone(),
            (None, None) => return Err(Errno::ENOTCONN),
        };
        if target.kind != core.kind {
            return Err(Errno::EPROTOTYPE);
        }
        let wanted = source.remaining();
        if wanted > core.endpoint.options.lock().send_buffer as usize - 32 {
            return Err(Errno::EMSGSIZE);
        }
        if !target.accepts_from(core) {
            return Err(Errno::EPERM);
        }
        if target.endpoint.has_ended(RECEIVE_ENDED) && !matches!(target.state.lock().role, Role::Closed) {
            return Err(Errno::EPIPE);
        }
        if core.endpoint.options.lock().passes_credentials {
            core.bind_abstract(None)?;
        }
        let refused = |errno| {
            // A default destination that is gone is forgotten.
            if errno == Errno::ECONNREFUSED && outgoing.destination.is_none() {
                core.set_peer(None);
            }
            errno
        };
        target.endpoint.inbox.room(&core.endpoint.queue, core.bound_of_sender(), wanted).map_err(refused)?;
        let bytes = take_bytes(source, wanted, true)?;
        let message = self.message(bytes, outgoing)?;
        target.endpoint.inbox.push(message).map_err(|_| Errno::ECONNREFUSED)?;
        target.endpoint.notify_readable();
        Ok(wanted)
    }

    /// A receiver that is told who sends is not given at once what two have sent.
    fn separates_senders(&self) -> bool {
        self.core.endpoint.options.lock().passes_credentials
    }

    fn can_send(&self) -> bool {
        let bound = self.core.bound_of_sender();
        match &self.core.state.lock().role {
            Role::Listening { .. } => false,
            Role::Connected { peer } => peer.endpoint.inbox.is_writable(&self.core.endpoint.queue, bound),
            Role::Idle | Role::Closed => true,
        }
    }

    fn has_pending_connection(&self) -> bool {
        matches!(&self.core.state.lock().role, Role::Listening { pending, .. } if !pending.is_empty())
    }
}

fn closed_is_broken_pipe(errno: Errno) -> Errno {
    if errno == Errno::ECONNREFUSED { Errno::EPIPE } else { errno }
}

impl Socket for UnixSocket {
    fn domain(&self) -> u16 {
        AF_UNIX
    }

    fn kind(&self) -> u32 {
        self.core.kind.number()
    }

    fn protocol(&self) -> i32 {
        0
    }

    fn options(&self) -> &Mutex<SocketOptions> {
        &self.core.endpoint.options
    }

    fn listen(&self, backlog: u32, credentials: UserCredentials) -> Result<(), Errno> {
        self.core.listen(backlog as usize, credentials)
    }

    fn is_listening(&self) -> bool {
        matches!(self.core.state.lock().role, Role::Listening { .. })
    }

    fn accept(&self, flags: u32) -> Result<(Arc<OpenFile>, Vec<u8>), Errno> {
        let accepted = self.core.accept()?;
        let address = accepted.peer().map(|peer| peer.address()).unwrap_or_default().encode();
        Ok((Self::open_core(accepted, flags), address))
    }

    fn shutdown(&self, how: i32) -> Result<(), Errno> {
        self.core.shutdown(how)
    }

    fn local_address(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.core.address().encode())
    }

    fn peer_address(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.core.peer().ok_or(Errno::ENOTCONN)?.address().encode())
    }

    fn peer_credentials(&self) -> UserCredentials {
        let nobody = UserCredentials { pid: 0, uid: u32::MAX, gid: u32::MAX };
        self.core.state.lock().peer_credentials.unwrap_or(nobody)
    }

    fn try_send(&self, source: &mut dyn Source, message: &mut Outgoing) -> Result<usize, Errno> {
        if message.flags.contains(MessageFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.core.kind.is_connected_kind() {
            self.send_connected(source, message)
        } else {
            self.send_datagram(source, message)
        }
    }

    fn try_receive(&self, sink: &mut dyn Sink, flags: MessageFlags) -> Result<Incoming, Errno> {
        let core = &self.core;
        if flags.contains(MessageFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if core.kind.is_connected_kind() && core.peer().is_none() {
            let stream = core.kind == UnixKind::Stream;
            return Err(if stream { Errno::EINVAL } else { Errno::ENOTCONN });
        }
        let passes_credentials = self.separates_senders();
        let bound = core.bound_of_inbox();
        // What ended is read before the inbox is: a sender that queues and then ends is not missed.
        let ended = core.endpoint.has_ended(RECEIVE_ENDED);
        let is_stream = core.kind == UnixKind::Stream;
        let received = if is_stream {
            core.endpoint.inbox.receive_bytes(sink, flags, passes_credentials, bound)
        } else {
            core.endpoint.inbox.receive_message(sink, flags, bound)
        };
        match received {
            Err(Errno::EAGAIN) => match core.endpoint.take_error() {
                Some(errno) => Err(errno),
                None if ended
                    && (core.kind.is_connected_kind() || core.endpoint.has_ended(RECEIVE_ENDED)) =>
                {
                    Ok(Incoming::default())
                }
                None => Err(Errno::EAGAIN),
            },
            Err(errno) => Err(errno),
            Ok(mut incoming) => {
                if !passes_credentials {
                    incoming.credentials = None;
                }
                Ok(incoming)
            }
        }
    }

    fn take_error(&self) -> Option<Errno> {
        self.core.endpoint.take_error()
    }

    fn is_stream(&self) -> bool {
        self.core.kind == UnixKind::Stream
    }
}

impl FileOps for UnixSocket {
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, _offset: u64) -> Result<usize, Errno> {
        if destination.remaining() == 0 {
            return Ok(0);
        }
        Ok(self.try_receive(destination, MessageFlags::empty())?.count)
    }

    fn write(&self, _file: &OpenFile, source: &mut dyn Source, _offset: u64) -> Result<usize, Errno> {
        // For writers without a task at hand (sendfile, splice): receivers with SO_PASSCRED see who made the connection.
        let credentials = self.core.peer().and_then(|peer| peer.state.lock().peer_credentials);
        let mut message = Outgoing { credentials: credentials.unwrap_or_default(), ..Outgoing::default() };
        self.try_send(source, &mut message)
    }

    fn write_is_all_or_wait(&self) -> bool {
        self.is_stream()
    }

    fn poll(&self, _file: &OpenFile) -> PollEvents {
        let core = &self.core;
        let mut events = PollEvents::empty();
        events.set(PollEvents::ERR, core.endpoint.has_error());
        let (receive_ended, send_ended) =
            (core.endpoint.has_ended(RECEIVE_ENDED), core.endpoint.has_ended(SEND_ENDED));
        let connected_kind = core.kind.is_connected_kind();
        let unconnected = connected_kind && matches!(core.state.lock().role, Role::Idle);
        events.set(PollEvents::HUP, (receive_ended && send_ended) || unconnected);
        events.set(PollEvents::RDHUP, receive_ended);
        let readable = receive_ended || !core.endpoint.inbox.is_empty() || self.has_pending_connection();
        events.set(PollEvents::IN | PollEvents::RDNORM, readable);
        events.set(PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND, self.can_send());
        events
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
        let bytes = match command {
            SIOCINQ if self.is_listening() => return Err(Errno::EINVAL.into()),
            SIOCINQ if self.core.kind == UnixKind::Datagram => self.core.endpoint.inbox.first_length(),
            SIOCINQ => self.core.endpoint.inbox.bytes(),
            SIOCOUTQ => self.core.peer().map_or(0, |peer| {
                peer.endpoint.inbox.settle();
                peer.endpoint.inbox.bytes()
            }),
            _ => return Err(Errno::ENOTTY.into()),
        };
        answer_bytes(current, argument, bytes)
    }

    fn arrivals(&self) -> Option<&dyn Arrivals> {
        self.is_stream().then_some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Arrivals for UnixSocket {
    fn renew(&self, reader: &Arc<Task>) -> Option<Range<u64>> {
        if self.separates_senders() { None } else { self.core.endpoint.inbox.renew(reader) }
    }

    fn leave(&self, reader: &Arc<Task>, most: usize) -> Option<Front> {
        if self.separates_senders() { None } else { self.core.endpoint.inbox.leave(reader, most) }
    }

    fn is_socket(&self) -> bool {
        true
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        self.core.close();
    }
}

#[cfg(test)]
mod tests;
