//! Routes: those of the loopback's addresses, all in the table that the kernel keeps. rtnetlink(7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use usk_abi::Errno;
use usk_abi::socket::{AF_INET, AF_INET6};

use super::{SCOPE_HOST, attribute, find_attribute};
use crate::net::interface::INDEX;

/// Bytes of `struct rtmsg` and `struct rta_cacheinfo`.
const ROUTE_LENGTH: usize = 12;
const CACHE_LENGTH: usize = 32;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RTA_CACHEINFO: u16 = 12;
const RTA_TABLE: u16 = 15;
/// `RT_TABLE_LOCAL`, and `RT_TABLE_MAIN` for what has been looked up of IPv4.
const TABLE_LOCAL: u8 = 255;
const TABLE_MAIN: u8 = 254;
/// `RTPROT_KERNEL`, and `RTPROT_UNSPEC` for what has been looked up of IPv4.
const PROTOCOL_KERNEL: u8 = 2;
const PROTOCOL_NONE: u8 = 0;
/// `RT_SCOPE_UNIVERSE`, `RT_SCOPE_LINK`
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
/// `RTN_LOCAL`, `RTN_BROADCAST`
const LOCAL: u8 = 2;
const BROADCAST: u8 = 3;
/// `RTM_F_CLONED | RTCF_LOCAL`: looked up rather than listed, and leading here.
const LOOKED_UP: u32 = 0x8000_0200;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOPBACK6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// What a route says; the rest is the same for all.
struct Route {
    destination: IpAddr,
    prefix_length: u8,
    table: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
    flags: u32,
    source: Option<IpAddr>,
}

impl Route {
    /// A route that is listed.
    fn listed(destination: IpAddr, prefix_length: u8, scope: u8, kind: u8) -> Self {
        let source = destination.is_ipv4().then_some(LOOPBACK);
        let (table, protocol) = (TABLE_LOCAL, PROTOCOL_KERNEL);
        Route { destination, prefix_length, table, protocol, scope, kind, flags: 0, source }
    }

    /// `struct rtmsg` and its attributes.
    fn encode(&self) -> Vec<u8> {
        let family = if self.destination.is_ipv4() { AF_INET } else { AF_INET6 };
        let mut body = vec![family as u8, self.prefix_length, 0, 0];
        body.extend([self.table, self.protocol, self.scope, self.kind]);
        body.extend(self.flags.to_ne_bytes());
        attribute(&mut body, RTA_TABLE, &u32::from(self.table).to_ne_bytes());
        attribute(&mut body, RTA_DST, &octets(self.destination));
        attribute(&mut body, RTA_OIF, &INDEX.to_ne_bytes());
        if let Some(source) = self.source {
            attribute(&mut body, RTA_PREFSRC, &octets(source));
        }
        if self.flags == LOOKED_UP {
            attribute(&mut body, RTA_CACHEINFO, &[0; CACHE_LENGTH]);
        }
        body
    }
}

/// The routes of a family; of all families for 0.
pub(super) fn list(family: u8) -> Vec<Vec<u8>> {
    let all = [
        Route::listed(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8, SCOPE_HOST, LOCAL),
        Route::listed(LOOPBACK, 32, SCOPE_HOST, LOCAL),
        Route::listed(IpAddr::V4(Ipv4Addr::new(127, 255, 255, 255)), 32, SCOPE_LINK, BROADCAST),
        Route::listed(LOOPBACK6, 128, SCOPE_UNIVERSE, LOCAL),
    ];
    let is_asked = |route: &&Route| match u16::from(family) {
        AF_INET => route.destination.is_ipv4(),
        AF_INET6 => route.destination.is_ipv6(),
        _ => family == 0,
    };
    all.iter().filter(is_asked).map(Route::encode).collect()
}

/// The route to the destination that a `struct rtmsg` with attributes names. `EOPNOTSUPP` for a family without routes,
/// `EINVAL` for an address of another length, `ENETUNREACH` for what is not this sandbox.
pub(super) fn look_up(body: &[u8]) -> Result<Vec<u8>, Errno> {
    let attributes = body.get(ROUTE_LENGTH..).unwrap_or_default();
    let named = find_attribute(attributes, RTA_DST);
    let destination = match u16::from(body.first().copied().unwrap_or(0)) {
        AF_INET => IpAddr::V4(match named {
            Some(octets) => <[u8; 4]>::try_from(octets).map_err(|_| Errno::EINVAL)?.into(),
            None => Ipv4Addr::UNSPECIFIED,
        }),
        AF_INET6 => IpAddr::V6(match named {
            Some(octets) => <[u8; 16]>::try_from(octets).map_err(|_| Errno::EINVAL)?.into(),
            None => Ipv6Addr::UNSPECIFIED,
        }),
        _ => return Err(Errno::EOPNOTSUPP),
    };
    let (own, prefix_length) = if destination.is_ipv4() { (LOOPBACK, 32) } else { (LOOPBACK6, 128) };
    let destination = if destination.is_unspecified() { own } else { destination };
    if !destination.is_loopback() {
        return Err(Errno::ENETUNREACH);
    }
    let (table, protocol) =
        if destination.is_ipv4() { (TABLE_MAIN, PROTOCOL_NONE) } else { (TABLE_LOCAL, PROTOCOL_KERNEL) };
    let route = Route {
        destination,
        prefix_length,
        table,
        protocol,
        scope: SCOPE_UNIVERSE,
        kind: LOCAL,
        flags: LOOKED_UP,
        source: Some(own),
    };
    Ok(route.encode())
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
