//! The part of an AF_UNIX socket that other sockets refer to: its state, its inbox, its wait queue.
//!
//! No two sockets' locks are held at one time: a connection is made in steps, each of which leaves both in a state that
//! close and shutdown understand.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use usk_abi::Errno;
use usk_abi::socket::{SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, UserCredentials};

use crate::net::endpoint::{Endpoint, RECEIVE_ENDED, SEND_ENDED, directions};
use crate::net::inbox::Bound;
use crate::net::options::SocketOptions;
use crate::net::unix::UnixAddress;
use crate::net::unix::namespace::UnixNamespace;

/// Datagrams that wait in one inbox (`/proc/sys/net/unix/max_dgram_qlen`).
const MAX_DATAGRAMS: usize = 10;

/// `SOCK_STREAM`, `SOCK_DGRAM` or `SOCK_SEQPACKET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnixKind {
    /// Bytes over a connection.
    Stream,
    /// Messages, each to an address.
    Datagram,
    /// Messages over a connection.
    SequencedPacket,
}

impl UnixKind {
    /// The kind for a `SOCK_*` number. `SOCK_RAW` is a datagram socket, as on Linux.
    pub fn from_number(number: u32) -> Result<Self, Errno> {
        match number {
            SOCK_STREAM => Ok(UnixKind::Stream),
            SOCK_DGRAM | usk_abi::socket::SOCK_RAW => Ok(UnixKind::Datagram),
            SOCK_SEQPACKET => Ok(UnixKind::SequencedPacket),
            _ => Err(Errno::ESOCKTNOSUPPORT),
        }
    }

    /// Its `SOCK_*` number.
    pub fn number(self) -> u32 {
        match self {
            UnixKind::Stream => SOCK_STREAM,
            UnixKind::Datagram => SOCK_DGRAM,
            UnixKind::SequencedPacket => SOCK_SEQPACKET,
        }
    }

    /// True if messages go over a connection.
    pub fn is_connected_kind(self) -> bool {
        self != UnixKind::Datagram
    }
}

/// See the module.
pub(in crate::net) struct Core {
    pub(super) kind: UnixKind,
    pub(super) namespace: Arc<UnixNamespace>,
    pub(super) own: Weak<Core>,
    pub(super) endpoint: Endpoint,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) address: UnixAddress,
    pub(super) role: Role,
    pub(super) peer_credentials: Option<UserCredentials>,
}

#[derive(Default)]
pub(super) enum Role {
    /// Neither connected nor listening.
    #[default]
    Idle,
    /// Takes connections.
    Listening { backlog: usize, pending: VecDeque<Arc<Core>>, credentials: UserCredentials },
    /// Connected; for a datagram socket, has a default destination.
    Connected { peer: Arc<Core> },
    /// Its open file is gone.
    Closed,
}

impl Core {
    pub(super) fn new(kind: UnixKind, namespace: &Arc<UnixNamespace>) -> Arc<Self> {
        Arc::new_cyclic(|own| Core {
            kind,
            namespace: namespace.clone(),
            own: own.clone(),
            endpoint: Endpoint::within(&namespace.memory, SocketOptions::default()),
            state: Mutex::default(),
        })
    }

    /// Connects two new sockets with each other (`socketpair(2)`).
    pub(super) fn join(first: &Arc<Core>, second: &Arc<Core>, credentials: UserCredentials) {
        for (own, peer) in [(first, second), (second, first)] {
            let mut state = own.state.lock();
            state.role = Role::Connected { peer: peer.clone() };
            state.peer_credentials = Some(credentials);
        }
    }

    pub(super) fn address(&self) -> UnixAddress {
        self.state.lock().address.clone()
    }

    pub(super) fn peer(&self) -> Option<Arc<Core>> {
        match &self.state.lock().role {
            Role::Connected { peer } => Some(peer.clone()),
            _ => None,
        }
    }

    /// How much `sender` may queue in another socket's inbox.
    pub(super) fn bound_of_sender(&self) -> Bound {
        match self.kind {
            UnixKind::Datagram => Bound::Messages(MAX_DATAGRAMS),
            _ => Bound::Bytes(self.endpoint.options.lock().send_buffer as usize),
        }
    }

    /// The bound that this socket's senders obey.
    pub(super) fn bound_of_inbox(&self) -> Bound {
        match self.peer() {
            Some(peer) if self.kind.is_connected_kind() => peer.bound_of_sender(),
            _ => Bound::Messages(MAX_DATAGRAMS),
        }
    }

    /// Gives the socket an abstract name; an automatic one without `name`. `EINVAL` if it has an address.
    pub(super) fn bind_abstract(&self, name: Option<&[u8]>) -> Result<(), Errno> {
        let own = self.own.upgrade().ok_or(Errno::EINVAL)?;
        let mut state = self.state.lock();
        if state.address != UnixAddress::Unnamed {
            // An automatic bind of a socket that has a name is no error.
            return if name.is_none() { Ok(()) } else { Err(Errno::EINVAL) };
        }
        let name = match name {
            Some(name) => {
                self.namespace.bind(name, &own)?;
                name.to_vec()
            }
            None => self.namespace.bind_automatic(&own)?,
        };
        state.address = UnixAddress::Abstract(name);
        Ok(())
    }

    pub(super) fn listen(&self, backlog: usize, own_credentials: UserCredentials) -> Result<(), Errno> {
        if !self.kind.is_connected_kind() {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut state = self.state.lock();
        if state.address == UnixAddress::Unnamed {
            return Err(Errno::EINVAL);
        }
        match &mut state.role {
            Role::Idle => {
                state.role =
                    Role::Listening { backlog, pending: VecDeque::new(), credentials: own_credentials };
                state.peer_credentials = Some(own_credentials);
            }
            Role::Listening { backlog: old, credentials, .. } => {
                *old = backlog;
                *credentials = own_credentials;
            }
            Role::Connected { .. } | Role::Closed => return Err(Errno::EINVAL),
        }
        drop(state);
        // A larger backlog may let those in who wait.
        self.endpoint.inbox.wake_senders();
        Ok(())
    }

    /// Takes a connection. `EAGAIN` if there is none.
    pub(super) fn accept(&self) -> Result<Arc<Core>, Errno> {
        if !self.kind.is_connected_kind() {
            return Err(Errno::EOPNOTSUPP);
        }
        let accepted = match &mut self.state.lock().role {
            Role::Listening { pending, .. } => pending.pop_front(),
            _ => return Err(Errno::EINVAL),
        };
        match accepted {
            Some(accepted) => {
                self.endpoint.inbox.wake_senders();
                Ok(accepted)
            }
            None if self.endpoint.has_ended(RECEIVE_ENDED) => Err(Errno::EINVAL),
            None => Err(Errno::EAGAIN),
        }
    }

    /// Connects to `target`. For sockets that have connections, `target` must listen: `ECONNREFUSED` if not, `EAGAIN` if
    /// its backlog is full (this socket is notified later).
    pub(super) fn connect(&self, target: &Arc<Core>, credentials: UserCredentials) -> Result<(), Errno> {
        if target.kind != self.kind {
            return Err(Errno::EPROTOTYPE);
        }
        let own = self.own.upgrade().ok_or(Errno::EINVAL)?;
        if !self.kind.is_connected_kind() {
            if !target.accepts_from(&own) {
                return Err(Errno::EPERM);
            }
            self.set_peer(Some(target.clone()));
            return Ok(());
        }
        match &self.state.lock().role {
            Role::Idle => {}
            Role::Connected { .. } => return Err(Errno::EISCONN),
            Role::Listening { .. } | Role::Closed => return Err(Errno::EINVAL),
        }
        let (accepted, listener_credentials) = target.take_in(&own, credentials)?;
        let mut state = self.state.lock();
        if !matches!(state.role, Role::Idle) {
            // Another thread connected this socket in the meantime.
            drop(state);
            accepted.close();
            return Err(Errno::EISCONN);
        }
        state.role = Role::Connected { peer: accepted };
        state.peer_credentials = Some(listener_credentials);
        drop(state);
        target.endpoint.notify_readable();
        self.endpoint.notify_writable();
        Ok(())
    }

    /// The listener's half of a connection: queues a socket that is connected to `client`.
    fn take_in(
        &self,
        client: &Arc<Core>,
        credentials: UserCredentials,
    ) -> Result<(Arc<Core>, UserCredentials), Errno> {
        let accepted = Core::new(self.kind, &self.namespace);
        *accepted.endpoint.options.lock() = self.endpoint.options.lock().clone();
        let mut state = self.state.lock();
        let address = state.address.clone();
        let Role::Listening { backlog, pending, credentials: listener_credentials } = &mut state.role else {
            return Err(Errno::ECONNREFUSED);
        };
        if self.endpoint.has_ended(RECEIVE_ENDED) {
            return Err(Errno::ECONNREFUSED);
        }
        if pending.len() > *backlog {
            self.endpoint.inbox.wait_for_room(&client.endpoint.queue);
            return Err(Errno::EAGAIN);
        }
        {
            let mut new = accepted.state.lock();
            new.address = address;
            new.role = Role::Connected { peer: client.clone() };
            new.peer_credentials = Some(credentials);
        }
        pending.push_back(accepted.clone());
        Ok((accepted, *listener_credentials))
    }

    /// True if a datagram from `sender` is welcome: a connected socket takes them from its peer only.
    pub(super) fn accepts_from(&self, sender: &Arc<Core>) -> bool {
        self.peer().is_none_or(|peer| Arc::ptr_eq(&peer, sender))
    }

    /// Sets or takes away a datagram socket's default destination.
    pub(super) fn set_peer(&self, peer: Option<Arc<Core>>) {
        let old = {
            let mut state = self.state.lock();
            if matches!(state.role, Role::Closed) {
                return;
            }
            let role = peer.map_or(Role::Idle, |peer| Role::Connected { peer });
            std::mem::replace(&mut state.role, role)
        };
        drop(old);
        self.endpoint.notify_writable();
    }

    /// `shutdown(2)`.
    pub(super) fn shutdown(&self, how: i32) -> Result<(), Errno> {
        let directions = directions(how)?;
        self.endpoint.end(directions);
        if self.kind.is_connected_kind()
            && let Some(peer) = self.peer()
        {
            peer.endpoint.end(reverse(directions));
        }
        Ok(())
    }

    /// The open file is gone: lets go of the name, the peer and whatever is queued.
    pub(super) fn close(&self) {
        let (role, address) = {
            let mut state = self.state.lock();
            (std::mem::replace(&mut state.role, Role::Closed), state.address.clone())
        };
        // An accepted socket has its listener's address but not its name.
        if let UnixAddress::Abstract(name) = &address
            && self.namespace.find(self.kind, name).is_ok_and(|named| std::ptr::eq(&*named, self))
        {
            self.namespace.unbind(self.kind, name);
        }
        self.endpoint.end(RECEIVE_ENDED | SEND_ENDED);
        let had_unread = self.endpoint.inbox.close();
        match role {
            Role::Connected { peer } if self.kind.is_connected_kind() => {
                if had_unread {
                    peer.endpoint.set_error(Errno::ECONNRESET);
                }
                peer.endpoint.end(RECEIVE_ENDED | SEND_ENDED);
            }
            Role::Listening { pending, .. } => {
                for connection in pending {
                    if let Some(client) = connection.peer() {
                        client.endpoint.set_error(Errno::ECONNRESET);
                    }
                    connection.close();
                }
            }
            _ => {}
        }
    }
}

fn reverse(directions: u8) -> u8 {
    let mut reversed = 0;
    if directions & RECEIVE_ENDED != 0 {
        reversed |= SEND_ENDED;
    }
    if directions & SEND_ENDED != 0 {
        reversed |= RECEIVE_ENDED;
    }
    reversed
}
