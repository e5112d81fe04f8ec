//! Streams: connections and what goes over them. tcp(7).
//!
//! There are no packets: a sender puts bytes into the other end's inbox, and what would be a FIN or an RST is a call of
//! [`Core::finish`] or [`Core::reset`] on the other end. Errors and their order are those of `net/ipv4/tcp.c` and
//! `net/ipv4/af_inet.c`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use usk_abi::socket::{AF_UNSPEC, MessageFlags};
use usk_abi::{Errno, PollEvents};

use crate::net::Incoming;
use crate::net::endpoint::{RECEIVE_ENDED, SEND_ENDED, directions, take_bytes};
use crate::net::inbox::Bound;
use crate::net::inet::address::{decode, family_of, route};
use crate::net::inet::core::{Core, Role, State};
use crate::net::message::STREAM_PART;
use crate::{Discard, Sink, Source};

/// `TCP_*`: the states of a connection, as `/proc/net/tcp` and `TCP_INFO` tell them.
pub(super) mod connection_state {
    pub(in crate::net) const ESTABLISHED: u8 = 1;
    pub(in crate::net) const SYN_SENT: u8 = 2;
    pub(in crate::net) const FIN_WAIT2: u8 = 5;
    pub(in crate::net) const CLOSE: u8 = 7;
    pub(in crate::net) const CLOSE_WAIT: u8 = 8;
    pub(in crate::net) const LISTEN: u8 = 10;
}
use connection_state::*;

impl Core {
    /// `listen(2)`. A socket without a port gets one. `EADDRINUSE` if another who shares its port listens.
    pub(super) fn listen(&self, backlog: usize) -> Result<(), Errno> {
        let mut state = self.state.lock();
        match &mut state.role {
            Role::Idle => {
                self.bind_automatically(&mut state)?;
                let (reuses_address, reuses_port) = self.reuse();
                let lease = state.lease.as_ref().ok_or(Errno::EINVAL)?;
                lease.listen(reuses_address, reuses_port)?;
                state.role = Role::Listening { backlog, pending: VecDeque::new(), waiting: VecDeque::new() };
            }
            Role::Listening { backlog: old, .. } => *old = backlog,
            _ => return Err(Errno::EINVAL),
        }
        drop(state);
        self.admit();
        self.endpoint.queue.notify(PollEvents::HUP);
        Ok(())
    }

    /// Takes a connection. `EAGAIN` if there is none.
    pub(super) fn accept(&self) -> Result<Arc<Core>, Errno> {
        let accepted = match &mut self.state.lock().role {
            Role::Listening { pending, .. } => pending.pop_front(),
            _ => return Err(Errno::EINVAL),
        };
        let accepted = accepted.ok_or(Errno::EAGAIN)?;
        self.admit();
        Ok(accepted)
    }

    /// Lets those in who wait for room in the backlog.
    fn admit(&self) {
        loop {
            let next = match &mut self.state.lock().role {
                Role::Listening { backlog, pending, waiting } if pending.len() <= *backlog => {
                    waiting.pop_front()
                }
                _ => None,
            };
            let Some(next) = next else { return };
            if let Some(client) = next.upgrade() {
                client.try_connection();
            }
        }
    }

    /// `connect(2)`. With `waits`, `EAGAIN` while the listener's backlog is full, and the socket's queue is notified
    /// later; without, `EINPROGRESS` as on Linux, where even the loopback does not answer within the call.
    pub(super) fn connect(&self, address: &[u8], waits: bool) -> Result<(), Errno> {
        if family_of(address)? == AF_UNSPEC {
            return self.disconnect();
        }
        let destination = decode(address, self.family)?;
        let mut state = self.state.lock();
        match &mut state.role {
            Role::Idle => {}
            Role::Connecting => return Err(if waits { Errno::EAGAIN } else { Errno::EALREADY }),
            Role::Connected { is_told, .. } => {
                return if std::mem::replace(is_told, true) { Err(Errno::EISCONN) } else { Ok(()) };
            }
            Role::Failed => {
                state.role = Role::Idle;
                self.forget_remote(&mut state);
                self.endpoint.begin_anew();
                return Err(self.endpoint.take_error().unwrap_or(Errno::ECONNABORTED));
            }
            Role::Listening { .. } | Role::Reset | Role::Closed => return Err(Errno::EISCONN),
        }
        let destination = route(destination)?;
        self.bind_automatically(&mut state)?;
        let local = state.local.ok_or(Errno::EADDRNOTAVAIL)?;
        let source = self.source_for(local, destination).inspect_err(|_| self.forget_remote(&mut state))?;
        if let Some(lease) = &state.lease {
            lease.update(|claim| claim.ip = source.ip());
        }
        (state.local, state.remote) = (Some(source), Some(destination));
        state.role = Role::Connecting;
        drop(state);
        self.endpoint.begin_anew();
        self.endpoint.take_error();
        self.try_connection();
        let mut state = self.state.lock();
        match &mut state.role {
            _ if !waits => Err(Errno::EINPROGRESS),
            Role::Connected { is_told, .. } => {
                *is_told = true;
                Ok(())
            }
            Role::Failed => {
                state.role = Role::Idle;
                self.forget_remote(&mut state);
                self.endpoint.begin_anew();
                Err(self.endpoint.take_error().unwrap_or(Errno::ECONNABORTED))
            }
            _ => Err(Errno::EAGAIN),
        }
    }

    /// Goes on with a connection that has begun: it comes to be, is refused, or waits in the listener's queue.
    fn try_connection(&self) {
        let (source, destination) = match &*self.state.lock() {
            State { role: Role::Connecting, local: Some(local), remote: Some(remote), .. } => {
                (*local, *remote)
            }
            _ => return,
        };
        let Some(own) = self.own.upgrade() else { return };
        let listener = self.namespace.tcp.listener(destination, source);
        match listener.ok_or(Errno::ECONNREFUSED).and_then(|listener| listener.take_in(&own)) {
            Ok((listener, accepted)) => {
                let mut state = self.state.lock();
                if !matches!(state.role, Role::Connecting) {
                    // It was closed in the meantime.
                    drop(state);
                    accepted.reset();
                    return;
                }
                state.role = Role::Connected { peer: accepted, is_told: false };
                let was_reset_early = state.was_reset_early;
                drop(state);
                self.endpoint.options.lock().grow_send_buffer();
                if was_reset_early {
                    self.reset();
                }
                listener.endpoint.notify_readable();
                self.endpoint.notify_writable();
            }
            Err(Errno::EAGAIN) => {}
            Err(errno) => self.refuse(errno),
        }
    }

    /// A connection that has begun does not come to be.
    fn refuse(&self, errno: Errno) {
        let mut state = self.state.lock();
        if matches!(state.role, Role::Connecting) {
            state.role = Role::Failed;
            drop(state);
            self.endpoint.set_error(errno);
            self.endpoint.end(RECEIVE_ENDED | SEND_ENDED);
        }
    }

    /// The listener's half of a connection: queues a socket that is connected to `client`. `EAGAIN` if there is no room,
    /// and then `client` is remembered.
    fn take_in(self: Arc<Self>, client: &Arc<Core>) -> Result<(Arc<Self>, Arc<Core>), Errno> {
        let (client_local, client_remote) = {
            let state = client.state.lock();
            (state.local, state.remote)
        };
        let mut options = self.endpoint.options.lock().clone();
        options.grow_send_buffer();
        let protocol_options = self.options.lock().clone();
        let accepted = Core::new(&self.namespace, self.family, true, self.uid, options, protocol_options);
        let mut state = self.state.lock();
        let lease = state.lease.clone();
        let Role::Listening { backlog, pending, waiting } = &mut state.role else {
            return Err(Errno::ECONNREFUSED);
        };
        if pending.len() > *backlog {
            waiting.retain(|known| known.strong_count() > 0);
            let client = Arc::downgrade(client);
            if !waiting.iter().any(|known| known.ptr_eq(&client)) {
                waiting.push_back(client);
            }
            return Err(Errno::EAGAIN);
        }
        *accepted.state.lock() = State {
            local: client_remote,
            remote: client_local,
            bound: client_remote,
            lease,
            role: Role::Connected { peer: client.clone(), is_told: true },
            ..State::default()
        };
        pending.push_back(accepted.clone());
        drop(state);
        Ok((self, accepted))
    }

    /// `connect(2)` with `AF_UNSPEC`: an end to whatever there is, after which the socket can be used again.
    fn disconnect(&self) -> Result<(), Errno> {
        let role = {
            let mut state = self.state.lock();
            if matches!(state.role, Role::Closed) {
                return Err(Errno::EINVAL);
            }
            let role = std::mem::take(&mut state.role);
            self.forget_remote(&mut state);
            if let Some(lease) = &state.lease {
                lease.update(|claim| claim.is_listening = false);
            }
            role
        };
        self.endpoint.inbox.clear();
        self.endpoint.take_error();
        if matches!(role, Role::Connected { .. }) {
            self.endpoint.set_error(Errno::ECONNRESET);
        }
        end_role(role, true);
        self.endpoint.begin_anew();
        self.endpoint.queue.notify(PollEvents::HUP | PollEvents::OUT | PollEvents::IN);
        Ok(())
    }

    /// True while there is a connection, be it in one direction only.
    pub(super) fn is_established(&self) -> bool {
        matches!(self.connection_state(), ESTABLISHED | CLOSE_WAIT | FIN_WAIT2)
    }

    /// `TCP_*`
    pub(super) fn connection_state(&self) -> u8 {
        let state = self.state.lock();
        match (&state.role, state.has_fin, self.endpoint.has_ended(SEND_ENDED)) {
            (Role::Connecting, ..) => SYN_SENT,
            (Role::Listening { .. }, ..) => LISTEN,
            (Role::Connected { .. }, false, false) => ESTABLISHED,
            (Role::Connected { .. }, true, false) => CLOSE_WAIT,
            (Role::Connected { .. }, false, true) => FIN_WAIT2,
            _ => CLOSE,
        }
    }

    /// The other end sends nothing more (a FIN).
    fn finish(&self) {
        self.state.lock().has_fin = true;
        self.endpoint.end(RECEIVE_ENDED);
    }

    /// The other end knows no connection (an RST). One who had been told that nothing comes is told of a broken pipe.
    fn reset(&self) {
        let (old, has_fin) = {
            let mut state = self.state.lock();
            match state.role {
                Role::Connected { .. } => {}
                Role::Connecting => {
                    state.was_reset_early = true;
                    return;
                }
                _ => return,
            }
            (std::mem::replace(&mut state.role, Role::Reset), state.has_fin)
        };
        drop(old);
        match (has_fin, self.endpoint.has_ended(SEND_ENDED)) {
            // Both have said that nothing more comes: there is nothing to lose.
            (true, true) => {}
            (true, false) => self.endpoint.set_error(Errno::EPIPE),
            (false, _) => self.endpoint.set_error(Errno::ECONNRESET),
        }
        self.endpoint.end(RECEIVE_ENDED | SEND_ENDED);
        self.endpoint.queue.notify(PollEvents::ERR);
    }

    /// `shutdown(2)`. What comes in after `SHUT_RD` can still be read, as on Linux; a listener takes no connections then.
    pub(super) fn shutdown_stream(&self, how: i32) -> Result<(), Errno> {
        let directions = directions(how)?;
        let stops = directions & RECEIVE_ENDED != 0;
        match self.connection_state() {
            LISTEN if stops => return self.disconnect(),
            LISTEN => return Ok(()),
            SYN_SENT => return self.disconnect(),
            CLOSE => return Err(Errno::ENOTCONN),
            _ => {}
        }
        let peer = match &self.state.lock().role {
            Role::Connected { peer, .. } => peer.clone(),
            _ => return Err(Errno::ENOTCONN),
        };
        let sends_fin = directions & SEND_ENDED != 0 && !self.endpoint.has_ended(SEND_ENDED);
        self.endpoint.end(directions);
        if sends_fin {
            peer.finish();
        }
        Ok(())
    }

    /// The open file of a stream is gone. Data that nobody read, and `SO_LINGER` with no time, reset the connection.
    pub(super) fn close_stream(&self) {
        let (role, lease) = {
            let mut state = self.state.lock();
            (std::mem::replace(&mut state.role, Role::Closed), state.lease.take())
        };
        if let (Role::Listening { .. }, Some(lease)) = (&role, &lease) {
            lease.update(|claim| claim.is_listening = false);
        }
        drop(lease);
        let has_finished = self.endpoint.has_ended(SEND_ENDED);
        self.endpoint.end(RECEIVE_ENDED | SEND_ENDED);
        let had_unread = self.endpoint.inbox.close();
        let resets = had_unread || self.endpoint.options.lock().lingers_not_at_all();
        match role {
            Role::Connected { peer, .. } if !resets && has_finished => drop(peer),
            role => end_role(role, resets),
        }
    }

    /// Sends over a connection.
    pub(super) fn send_stream(&self, source: &mut dyn Source, flags: MessageFlags) -> Result<usize, Errno> {
        if flags.contains(MessageFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let peer = match &self.state.lock().role {
            Role::Connected { peer, .. } => Some(peer.clone()),
            Role::Connecting => return Err(Errno::EAGAIN),
            _ => None,
        };
        if let Some(errno) = self.endpoint.take_error() {
            return Err(errno);
        }
        let peer = peer.filter(|_| !self.endpoint.has_ended(SEND_ENDED)).ok_or(Errno::EPIPE)?;
        let wanted = source.remaining().min(STREAM_PART);
        if wanted == 0 {
            return Ok(0);
        }
        let room = match peer.endpoint.inbox.room(&self.endpoint.queue, self.bound_towards(&peer), wanted) {
            // Its open file is gone: what arrives there is answered with a reset, and so is lost.
            Err(Errno::ECONNREFUSED) => {
                let sent = take_bytes(source, wanted, false)?.len();
                self.reset();
                return Ok(sent);
            }
            room => room?,
        };
        let bytes = take_bytes(source, wanted.min(room), false)?;
        let sent = bytes.len();
        if peer.endpoint.inbox.append(bytes) {
            peer.endpoint.notify_readable();
        } else {
            self.reset();
        }
        Ok(sent)
    }

    /// What may be under way: as much as this end keeps and the other end takes.
    fn bound_towards(&self, peer: &Core) -> Bound {
        let send_buffer = self.endpoint.options.lock().send_buffer as usize;
        Bound::Bytes(send_buffer + peer.endpoint.options.lock().receive_buffer as usize)
    }

    /// Receives what there is.
    pub(super) fn receive_stream(&self, sink: &mut dyn Sink, flags: MessageFlags) -> Result<Incoming, Errno> {
        if flags.contains(MessageFlags::OOB) {
            return Err(Errno::EINVAL);
        }
        let (bound, has_fin, is_closed) = {
            let state = self.state.lock();
            match &state.role {
                Role::Listening { .. } => return Err(Errno::ENOTCONN),
                Role::Connecting => return Err(Errno::EAGAIN),
                Role::Connected { peer, .. } => (Some(peer.clone()), state.has_fin, false),
                _ => (None, state.has_fin, true),
            }
        };
        let bound = bound.map_or(Bound::Bytes(0), |peer| peer.bound_towards(self));
        // What ended is read before the inbox is: a sender that queues and then ends is not missed.
        let has_ended = self.endpoint.has_ended(RECEIVE_ENDED);
        if sink.remaining() == 0 && !is_closed {
            return Ok(Incoming::default());
        }
        let received = if flags.contains(MessageFlags::TRUNC) {
            let mut discard = Discard::new(sink.remaining());
            self.endpoint.inbox.receive_bytes(&mut discard, flags, false, bound)
        } else {
            self.endpoint.inbox.receive_bytes(sink, flags, false, bound)
        };
        match received {
            Err(Errno::EAGAIN) if has_fin => Ok(Incoming::default()),
            Err(Errno::EAGAIN) => match self.endpoint.take_error() {
                Some(errno) => Err(errno),
                None if has_ended => Ok(Incoming::default()),
                None if is_closed => Err(Errno::ENOTCONN),
                None => Err(Errno::EAGAIN),
            },
            Err(errno) => Err(errno),
            Ok(incoming) => Ok(Incoming { credentials: None, ..incoming }),
        }
    }

    /// `tcp_poll`
    pub(super) fn poll_stream(&self) -> PollEvents {
        let mut events = PollEvents::empty();
        let peer = match &self.state.lock().role {
            Role::Listening { pending, .. } => {
                events.set(PollEvents::IN | PollEvents::RDNORM, !pending.is_empty());
                return events;
            }
            Role::Connecting => return events,
            Role::Connected { peer, .. } => Some(peer.clone()),
            _ => None,
        };
        let (receive_ended, send_ended) =
            (self.endpoint.has_ended(RECEIVE_ENDED), self.endpoint.has_ended(SEND_ENDED));
        events.set(PollEvents::ERR, self.endpoint.has_error());
        events.set(PollEvents::HUP, (receive_ended && send_ended) || peer.is_none());
        events.set(PollEvents::RDHUP, receive_ended);
        let readable = receive_ended || !self.endpoint.inbox.is_empty();
        events.set(PollEvents::IN | PollEvents::RDNORM, readable);
        let writable = send_ended
            || peer.is_none_or(|peer| {
                peer.endpoint.inbox.is_writable(&self.endpoint.queue, self.bound_towards(&peer))
            });
        events.set(PollEvents::OUT | PollEvents::WRNORM, writable);
        events
    }

    /// The port that this end has, and the other end's, for `/proc/net/tcp`.
    pub(super) fn ends(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let state = self.state.lock();
        (state.local, state.remote)
    }
}

/// Tells the other ends of what a socket was. Called with no lock held.
fn end_role(role: Role, resets: bool) {
    match role {
        Role::Connected { peer, .. } if resets => peer.reset(),
        Role::Connected { peer, .. } => peer.finish(),
        Role::Listening { pending, waiting, .. } => {
            for connection in pending {
                connection.endpoint.inbox.close();
                let role = std::mem::replace(&mut connection.state.lock().role, Role::Closed);
                end_role(role, true);
            }
            for client in waiting.iter().filter_map(std::sync::Weak::upgrade) {
                client.try_connection();
            }
        }
        _ => {}
    }
}
