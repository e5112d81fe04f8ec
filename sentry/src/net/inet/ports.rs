//! The ports of one protocol: who has which, and who gets what comes to one.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::Errno;

use crate::net::inet::core::Core;

/// Where ports are given out from (`/proc/sys/net/ipv4/ip_local_port_range`).
const FIRST_EPHEMERAL: u16 = 32_768;
const LAST_EPHEMERAL: u16 = 60_999;

/// What a socket asks for with a port.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// The address, or the one that stands for all of its family.
    pub(super) ip: IpAddr,
    /// True for `::` without `IPV6_V6ONLY`, which stands for all IPv4 addresses too.
    pub(super) is_dual: bool,
    /// `SO_REUSEADDR`
    pub(super) reuses_address: bool,
    /// `SO_REUSEPORT`
    pub(super) reuses_port: bool,
    /// Whose socket it is: ports are shared among those of one user.
    pub(super) uid: u32,
    /// It takes connections.
    pub(super) is_listening: bool,
    /// The only one that it takes datagrams from.
    pub(super) remote: Option<SocketAddr>,
}

impl Claim {
    fn covers(&self, ip: IpAddr) -> bool {
        self.ip == ip
            || (self.ip.is_unspecified()
                && (self.ip.is_ipv4() == ip.is_ipv4() || (self.is_dual && ip.is_ipv4())))
    }

    /// True if this cannot have the port that `other` has already. `net/ipv4/inet_connection_sock.c`, `inet_csk_bind_conflict`.
    fn conflicts_with(&self, other: &Claim) -> bool {
        let overlap = self.covers(other.ip) || other.covers(self.ip);
        let share_address = self.reuses_address && other.reuses_address && !other.is_listening;
        let share_port = self.reuses_port && other.reuses_port && self.uid == other.uid;
        overlap && !share_address && !share_port
    }

    /// How well what comes from `source` to `ip` fits; `None` if not at all.
    fn score(&self, ip: IpAddr, source: SocketAddr) -> Option<u8> {
        if !self.covers(ip) || self.remote.is_some_and(|remote| remote != source) {
            return None;
        }
        let is_same_family = self.ip.is_ipv4() == ip.is_ipv4();
        Some(u8::from(is_same_family) + 2 * u8::from(self.ip == ip) + 4 * u8::from(self.remote.is_some()))
    }
}

struct Entry {
    id: u64,
    claim: Claim,
    socket: Weak<Core>,
}

/// See the module. A leaf lock: nothing is dropped or called with it held.
#[derive(Default)]
pub(super) struct Ports {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next_id: u64,
    next_ephemeral: u16,
    ports: HashMap<u16, Vec<Entry>>,
}

impl Table {
    fn is_free(&self, port: u16, claim: &Claim, own: Option<u64>) -> bool {
        let entries = self.ports.get(&port).map(Vec::as_slice).unwrap_or_default();
        !entries.iter().any(|entry| Some(entry.id) != own && claim.conflicts_with(&entry.claim))
    }

    /// A port that nobody has.
    fn ephemeral(&mut self) -> Option<u16> {
        let count = LAST_EPHEMERAL - FIRST_EPHEMERAL + 1;
        for _ in 0..count {
            let port = FIRST_EPHEMERAL + self.next_ephemeral % count;
            self.next_ephemeral = (self.next_ephemeral + 1) % count;
            if !self.ports.contains_key(&port) {
                return Some(port);
            }
        }
        None
    }
}

impl Ports {
    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        self.table.lock().ports.is_empty()
    }

    /// Gives `socket` a port, or one that is free for 0. `EADDRINUSE` if others have it, or have all.
    pub(super) fn claim(
        self: &Arc<Self>,
        port: u16,
        claim: Claim,
        socket: &Weak<Core>,
    ) -> Result<Lease, Errno> {
        let mut table = self.table.lock();
        let port = match port {
            0 => table.ephemeral().ok_or(Errno::EADDRINUSE)?,
            port if table.is_free(port, &claim, None) => port,
            _ => return Err(Errno::EADDRINUSE),
        };
        let id = table.next_id;
        table.next_id += 1;
        table.ports.entry(port).or_default().push(Entry { id, claim, socket: socket.clone() });
        Ok(Lease { ports: self.clone(), port, id })
    }

    /// The listener that a connection from `source` to `destination` finds.
    pub(super) fn listener(&self, destination: SocketAddr, source: SocketAddr) -> Option<Arc<Core>> {
        self.find(destination, source, true)
    }

    /// The socket that a datagram from `source` to `destination` comes to.
    pub(super) fn receiver(&self, destination: SocketAddr, source: SocketAddr) -> Option<Arc<Core>> {
        self.find(destination, source, false)
    }

    /// The one that fits best. Of several that share a port on purpose the source's port chooses one, so that a source
    /// always comes to the same; else the latest is preferred, as on Linux.
    fn find(&self, destination: SocketAddr, source: SocketAddr, listening: bool) -> Option<Arc<Core>> {
        let socket = {
            let table = self.table.lock();
            let entries = table.ports.get(&destination.port())?;
            let mut best: Vec<&Entry> = Vec::new();
            let mut best_score = 0;
            for entry in entries.iter().filter(|entry| entry.claim.is_listening == listening) {
                let Some(score) = entry.claim.score(destination.ip(), source) else { continue };
                if score > best_score {
                    best.clear();
                }
                if best.is_empty() || score == best_score {
                    best_score = score;
                    best.push(entry);
                }
            }
            let chosen = if best.iter().all(|entry| entry.claim.reuses_port) && !best.is_empty() {
                best.get(usize::from(source.port()) % best.len())
            } else {
                best.last()
            };
            chosen?.socket.clone()
        };
        socket.upgrade()
    }
}

/// A port that is had until this is dropped.
pub(super) struct Lease {
    ports: Arc<Ports>,
    port: u16,
    id: u64,
}

impl Lease {
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Changes what is claimed, whoever else has the port.
    pub(super) fn update(&self, change: impl FnOnce(&mut Claim)) {
        let mut table = self.ports.table.lock();
        if let Some(entry) =
            table.ports.get_mut(&self.port).and_then(|all| all.iter_mut().find(|entry| entry.id == self.id))
        {
            change(&mut entry.claim);
        }
    }

    /// Takes connections from now on. `EADDRINUSE` if another who shares the port does.
    pub(super) fn listen(&self, reuses_address: bool, reuses_port: bool) -> Result<(), Errno> {
        let mut table = self.ports.table.lock();
        let entries = table.ports.get(&self.port).ok_or(Errno::EINVAL)?;
        let own = entries.iter().find(|entry| entry.id == self.id).ok_or(Errno::EINVAL)?;
        let claim = Claim { is_listening: true, reuses_address, reuses_port, ..own.claim.clone() };
        if !table.is_free(self.port, &claim, Some(self.id)) {
            return Err(Errno::EADDRINUSE);
        }
        let entries = table.ports.get_mut(&self.port).ok_or(Errno::EINVAL)?;
        if let Some(own) = entries.iter_mut().find(|entry| entry.id == self.id) {
            own.claim = claim;
        }
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut table = self.ports.table.lock();
        if let Some(entries) = table.ports.get_mut(&self.port) {
            entries.retain(|entry| entry.id != self.id);
            if entries.is_empty() {
                table.ports.remove(&self.port);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(ip: &str) -> Claim {
        Claim {
            ip: ip.parse().unwrap(),
            is_dual: false,
            reuses_address: false,
            reuses_port: false,
            uid: 0,
            is_listening: false,
            remote: None,
        }
    }

    fn is_free_beside(first: Claim, second: Claim) -> bool {
        let ports = Arc::new(Ports::default());
        let _lease = ports.claim(80, first, &Weak::new()).unwrap();
        ports.claim(80, second, &Weak::new()).is_ok()
    }

    #[test]
    fn addresses_that_overlap_conflict() {
        let dual = Claim { is_dual: true, ..claim("::") };
        assert!(!is_free_beside(claim("127.0.0.1"), claim("127.0.0.1")));
        assert!(!is_free_beside(claim("127.0.0.1"), claim("0.0.0.0")));
        assert!(!is_free_beside(dual.clone(), claim("127.0.0.1")));
        assert!(!is_free_beside(claim("0.0.0.0"), dual));
        assert!(is_free_beside(claim("127.0.0.1"), claim("127.0.0.2")));
        assert!(is_free_beside(claim("::"), claim("0.0.0.0")));
        assert!(is_free_beside(claim("::1"), claim("127.0.0.1")));
    }

    #[test]
    fn a_port_is_shared_by_those_who_both_want_that() {
        let reusing = Claim { reuses_address: true, ..claim("0.0.0.0") };
        assert!(is_free_beside(reusing.clone(), reusing.clone()));
        assert!(!is_free_beside(reusing.clone(), claim("0.0.0.0")));
        assert!(!is_free_beside(Claim { is_listening: true, ..reusing.clone() }, reusing));
        let sharing = Claim { reuses_port: true, is_listening: true, ..claim("0.0.0.0") };
        assert!(is_free_beside(sharing.clone(), sharing.clone()));
        assert!(!is_free_beside(sharing.clone(), Claim { uid: 1, ..sharing }));
    }

    #[test]
    fn ports_are_given_out_and_come_back() {
        let ports = Arc::new(Ports::default());
        let all: Vec<Lease> =
            std::iter::from_fn(|| ports.claim(0, claim("0.0.0.0"), &Weak::new()).ok()).collect();
        assert_eq!(all.len(), 28_232);
        assert!(all.iter().all(|lease| (FIRST_EPHEMERAL..=LAST_EPHEMERAL).contains(&lease.port())));
        drop(all);
        assert!(ports.claim(0, claim("0.0.0.0"), &Weak::new()).is_ok());
        drop(ports);
    }

    #[test]
    fn what_fits_best_scores_highest() {
        let source: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let score = |claim: &Claim| claim.score("127.0.0.1".parse().unwrap(), source);
        let connected = Claim { remote: Some(source), ..claim("127.0.0.1") };
        let dual = Claim { is_dual: true, ..claim("::") };
        assert!(score(&connected) > score(&claim("127.0.0.1")));
        assert!(score(&claim("127.0.0.1")) > score(&claim("0.0.0.0")));
        assert!(score(&claim("0.0.0.0")) > score(&dual));
        assert_eq!(score(&claim("::")), None);
        let other = Claim { remote: Some("127.0.0.1:8".parse().unwrap()), ..claim("127.0.0.1") };
        assert_eq!(score(&other), None);
    }
}
