//! Datagrams. udp(7).
//!
//! A sender never waits: what the receiver has no room for is lost.

use std::net::SocketAddr;

use usk_abi::socket::{AF_INET, AF_UNSPEC, MessageFlags};
use usk_abi::{Errno, PollEvents};

use crate::net::endpoint::{RECEIVE_ENDED, SEND_ENDED, directions, take_bytes};
use crate::net::inbox::Bound;
use crate::net::inet::address::{decode, encode, family_of, route};
use crate::net::inet::core::{Core, Role};
use crate::net::message::Message;
use crate::net::{Incoming, Outgoing, Target};
use crate::{Sink, Source};

/// Most bytes of a datagram: what fits into an IPv4 packet with its header and UDP's.
const DATAGRAM_MAX: usize = 65_507;

impl Core {
    /// Decodes a destination: an AF_INET6 socket takes IPv4 addresses in their own form too.
    fn decode_destination(&self, address: &[u8]) -> Result<SocketAddr, Errno> {
        let family = if family_of(address)? == AF_INET { AF_INET } else { self.family };
        decode(address, family)
    }

    /// `connect(2)`: sets where datagrams go and from where they are taken; `AF_UNSPEC` takes that back.
    pub(super) fn connect_datagram(&self, address: &[u8]) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if family_of(address)? == AF_UNSPEC {
            self.forget_remote(&mut state);
            return Ok(());
        }
        let destination = route(self.decode_destination(address)?)?;
        let had_port = state.lease.is_some();
        self.bind_automatically(&mut state)?;
        let local = state.bound.or(state.local).ok_or(Errno::EADDRNOTAVAIL)?;
        let source = match self.source_for(local, destination) {
            Ok(source) => source,
            Err(errno) => {
                if !had_port {
                    self.forget_remote(&mut state);
                }
                return Err(errno);
            }
        };
        if let Some(lease) = &state.lease {
            lease.update(|claim| {
                claim.ip = source.ip();
                claim.remote = Some(destination);
            });
        }
        (state.local, state.remote) = (Some(source), Some(destination));
        drop(state);
        self.endpoint.notify_writable();
        Ok(())
    }

    /// Sends a datagram. Where nobody receives, a connected sender learns of it from its next call.
    pub(super) fn send_datagram(&self, source: &mut dyn Source, outgoing: &Outgoing) -> Result<usize, Errno> {
        let length = source.remaining();
        if length > DATAGRAM_MAX {
            return Err(Errno::EMSGSIZE);
        }
        if outgoing.flags.contains(MessageFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let given = match &outgoing.destination {
            Some(Target::Address(address)) => Some(self.decode_destination(address)?),
            Some(Target::Unix(_)) => return Err(Errno::EINVAL),
            None => None,
        };
        if given.is_some_and(|given| given.port() == 0) {
            return Err(Errno::EINVAL);
        }
        let (local, destination, is_connected) = {
            let mut state = self.state.lock();
            let destination = given.or(state.remote).ok_or(Errno::EDESTADDRREQ)?;
            let destination = route(destination)?;
            self.bind_automatically(&mut state)?;
            (state.local.ok_or(Errno::EAGAIN)?, destination, given.is_none())
        };
        let from = self.source_for(local, destination)?;
        if self.endpoint.has_ended(SEND_ENDED) {
            return Err(Errno::EPIPE);
        }
        if let Some(errno) = self.endpoint.take_error() {
            return Err(errno);
        }
        let bytes = take_bytes(source, length, true)?;
        match self.namespace.udp.receiver(destination, from) {
            Some(receiver) => {
                let message =
                    Message { bytes, source: Some(encode(from, receiver.family)), ..Message::default() };
                let limit = receiver.endpoint.options.lock().receive_buffer as usize;
                receiver.endpoint.inbox.offer(message, limit);
                receiver.endpoint.notify_readable();
            }
            None if is_connected => {
                self.endpoint.set_error(Errno::ECONNREFUSED);
                self.endpoint.queue.notify(PollEvents::ERR | PollEvents::IN | PollEvents::OUT);
            }
            None => {}
        }
        Ok(length)
    }

    /// Receives a datagram.
    pub(super) fn receive_datagram(
        &self,
        sink: &mut dyn Sink,
        flags: MessageFlags,
    ) -> Result<Incoming, Errno> {
        if flags.contains(MessageFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if let Some(errno) = self.endpoint.take_error() {
            return Err(errno);
        }
        let has_ended = self.endpoint.has_ended(RECEIVE_ENDED);
        match self.endpoint.inbox.receive_message(sink, flags, Bound::Messages(usize::MAX)) {
            Err(Errno::EAGAIN) if has_ended => Ok(Incoming::default()),
            received => Ok(Incoming { credentials: None, ..received? }),
        }
    }

    /// `shutdown(2)`. `ENOTCONN` without a default destination, and as on Linux the directions end nevertheless.
    pub(super) fn shutdown_datagram(&self, how: i32) -> Result<(), Errno> {
        self.endpoint.end(directions(how)?);
        if self.state.lock().remote.is_some() { Ok(()) } else { Err(Errno::ENOTCONN) }
    }

    /// The open file of a datagram socket is gone.
    pub(super) fn close_datagram(&self) {
        let lease = {
            let mut state = self.state.lock();
            state.role = Role::Closed;
            state.lease.take()
        };
        drop(lease);
        self.endpoint.inbox.close();
    }

    /// `datagram_poll`
    pub(super) fn poll_datagram(&self) -> PollEvents {
        let mut events = PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND;
        let receive_ended = self.endpoint.has_ended(RECEIVE_ENDED);
        events.set(PollEvents::ERR, self.endpoint.has_error());
        events.set(PollEvents::HUP, self.endpoint.has_ended(RECEIVE_ENDED | SEND_ENDED));
        events.set(PollEvents::RDHUP, receive_ended);
        let readable = receive_ended || !self.endpoint.inbox.is_empty();
        events.set(PollEvents::IN | PollEvents::RDNORM, readable);
        events
    }
}
