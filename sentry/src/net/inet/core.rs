//! The part of an Internet socket that other sockets refer to, and what TCP and UDP have in common: addresses and ports.
//!
//! No two sockets' locks are held at one time. Order: [`Core::state`] → the table of ports, options.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::Errno;
use usk_abi::socket::{AF_INET, AF_INET6, AF_UNSPEC, SO_REUSEADDR, SO_REUSEPORT};

use crate::net::budget::Budget;
use crate::net::endpoint::Endpoint;
use crate::net::inet::address::{any, decode, encode, family_of, is_own, loopback_like};
use crate::net::inet::options::ProtocolOptions;
use crate::net::inet::ports::{Claim, Lease, Ports};
use crate::net::next_number;
use crate::net::options::SocketOptions;

/// Ports below this are for those with `CAP_NET_BIND_SERVICE` (`/proc/sys/net/ipv4/ip_unprivileged_port_start`).
const FIRST_UNPRIVILEGED: u16 = 1024;

/// What the Internet sockets of one sandbox share.
#[derive(Default)]
pub struct InetNamespace {
    pub(super) tcp: Arc<Ports>,
    pub(super) udp: Arc<Ports>,
    /// What all sockets hold together.
    pub(super) memory: Arc<Budget>,
    /// All sockets, by number.
    pub(super) sockets: Mutex<HashMap<u64, Weak<Core>>>,
}

impl InetNamespace {
    /// One without sockets.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
}

/// See the module.
pub(in crate::net) struct Core {
    pub(super) family: u16,
    pub(super) is_stream: bool,
    pub(super) number: u64,
    /// Whose it is.
    pub(super) uid: u32,
    pub(super) namespace: Arc<InetNamespace>,
    pub(super) own: Weak<Core>,
    pub(super) endpoint: Endpoint,
    pub(super) options: Mutex<ProtocolOptions>,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// Its address, once it has a port.
    pub(super) local: Option<SocketAddr>,
    /// The other end's.
    pub(super) remote: Option<SocketAddr>,
    /// The port. An accepted socket shares its listener's.
    pub(super) lease: Option<Arc<Lease>>,
    /// What `bind(2)` gave it and disconnecting leaves.
    pub(super) bound: Option<SocketAddr>,
    pub(super) role: Role,
    /// The other end has said that nothing more comes.
    pub(super) has_fin: bool,
    /// A connection was reset before this end knew that it had come to be.
    pub(super) was_reset_early: bool,
}

#[derive(Default)]
pub(super) enum Role {
    /// Neither connected nor listening. A datagram socket is that for life.
    #[default]
    Idle,
    /// Waits for room in a listener's backlog.
    Connecting,
    /// A connection that nobody waited for was refused, and nobody has been told.
    Failed,
    /// Takes connections.
    Listening { backlog: usize, pending: VecDeque<Arc<Core>>, waiting: VecDeque<Weak<Core>> },
    /// Has a connection. `is_told` once `connect(2)` has said so.
    Connected { peer: Arc<Core>, is_told: bool },
    /// Had one, which was reset.
    Reset,
    /// Its open file is gone.
    Closed,
}

impl Core {
    pub(super) fn new(
        namespace: &Arc<InetNamespace>,
        family: u16,
        is_stream: bool,
        uid: u32,
        options: SocketOptions,
        protocol_options: ProtocolOptions,
    ) -> Arc<Self> {
        let core = Arc::new_cyclic(|own| Core {
            family,
            is_stream,
            number: next_number(),
            uid,
            namespace: namespace.clone(),
            own: own.clone(),
            endpoint: Endpoint::within(&namespace.memory, options),
            options: Mutex::new(protocol_options),
            state: Mutex::default(),
        });
        namespace.sockets.lock().insert(core.number, core.own.clone());
        core
    }

    fn ports(&self) -> &Arc<Ports> {
        if self.is_stream { &self.namespace.tcp } else { &self.namespace.udp }
    }

    /// `SO_REUSEADDR` and `SO_REUSEPORT`.
    pub(super) fn reuse(&self) -> (bool, bool) {
        let options = self.endpoint.options.lock();
        (options.is_on(SO_REUSEADDR), options.is_on(SO_REUSEPORT))
    }

    /// Claims a port for a socket that has none.
    pub(super) fn claim(&self, address: SocketAddr) -> Result<(SocketAddr, Arc<Lease>), Errno> {
        let is_v6_only = self.options.lock().is_v6_only;
        let (reuses_address, reuses_port) = self.reuse();
        let claim = Claim {
            ip: address.ip(),
            is_dual: address.ip() == any(AF_INET6) && !is_v6_only,
            reuses_address,
            reuses_port,
            uid: self.uid,
            is_listening: false,
            remote: None,
        };
        let lease = self.ports().claim(address.port(), claim, &self.own)?;
        Ok((SocketAddr::new(address.ip(), lease.port()), Arc::new(lease)))
    }

    /// `bind(2)`. `EADDRNOTAVAIL` for an address that the loopback interface does not have, `EACCES` for a port that takes
    /// privileges, `EINVAL` if it has a port.
    pub(super) fn bind(&self, address: &[u8], is_privileged: bool) -> Result<(), Errno> {
        let mut bytes = address.to_vec();
        // As on Linux, the family of the unspecified IPv4 address need not be told.
        if self.family == AF_INET && family_of(&bytes) == Ok(AF_UNSPEC) && bytes.get(4..8) == Some(&[0; 4]) {
            bytes.splice(..2, AF_INET.to_ne_bytes());
        }
        let address = decode(&bytes, self.family)?;
        if self.family == AF_INET6 && address.is_ipv4() && self.options.lock().is_v6_only {
            return Err(Errno::EINVAL);
        }
        if !is_own(address.ip()) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        if (1..FIRST_UNPRIVILEGED).contains(&address.port()) && !is_privileged {
            return Err(Errno::EACCES);
        }
        let mut state = self.state.lock();
        if state.lease.is_some() || !matches!(state.role, Role::Idle) {
            return Err(Errno::EINVAL);
        }
        let (local, lease) = self.claim(address)?;
        (state.local, state.bound, state.lease) = (Some(local), Some(local), Some(lease));
        Ok(())
    }

    /// Sees to it that the socket has a port. `EADDRNOTAVAIL` if there is none.
    pub(super) fn bind_automatically(&self, state: &mut State) -> Result<(), Errno> {
        if state.lease.is_none() {
            let unused = |_| Errno::EADDRNOTAVAIL;
            let (local, lease) = self.claim(SocketAddr::new(any(self.family), 0)).map_err(unused)?;
            (state.local, state.lease) = (Some(local), Some(lease));
        }
        Ok(())
    }

    /// The address from which this socket, which has `local`, reaches `destination`. `ENETUNREACH` if it cannot.
    pub(super) fn source_for(&self, local: SocketAddr, destination: SocketAddr) -> Result<SocketAddr, Errno> {
        if self.family == AF_INET6 && destination.is_ipv4() && self.options.lock().is_v6_only {
            return Err(Errno::ENETUNREACH);
        }
        if local.ip().is_unspecified() {
            return Ok(SocketAddr::new(loopback_like(destination.ip()), local.port()));
        }
        if local.is_ipv4() != destination.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        Ok(local)
    }

    /// Takes back what connecting set: the other end's address, and this one's as far as `bind(2)` did not give it.
    pub(super) fn forget_remote(&self, state: &mut State) {
        state.remote = None;
        state.local = state.bound;
        state.has_fin = false;
        state.was_reset_early = false;
        match (state.bound, &state.lease) {
            (Some(bound), Some(lease)) => lease.update(|claim| {
                claim.ip = bound.ip();
                claim.remote = None;
            }),
            _ => state.lease = None,
        }
    }

    /// `getsockname(2)`.
    pub(super) fn local_address(&self) -> Vec<u8> {
        let local = self.state.lock().local;
        encode(local.unwrap_or(SocketAddr::new(any(self.family), 0)), self.family)
    }

    /// `getpeername(2)`. `ENOTCONN` if it is not connected.
    pub(super) fn peer_address(&self) -> Result<Vec<u8>, Errno> {
        if self.is_stream && !self.is_established() {
            return Err(Errno::ENOTCONN);
        }
        let remote = self.state.lock().remote.ok_or(Errno::ENOTCONN)?;
        Ok(encode(remote, self.family))
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.namespace.sockets.lock().remove(&self.number);
    }
}
