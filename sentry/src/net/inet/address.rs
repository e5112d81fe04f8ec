//! Addresses of Internet sockets (`struct sockaddr_in`, `struct sockaddr_in6`), and which of them are this machine's.
//!
//! Inside, an IPv4 address is one whichever family the socket has: the mapped form exists in encoded addresses only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use usk_abi::Errno;
use usk_abi::socket::{AF_INET, AF_INET6};

/// Bytes of `struct sockaddr_in` and `struct sockaddr_in6`.
const INET_LENGTH: usize = 16;
const INET6_LENGTH: usize = 28;
/// An address may lack the scope (`SIN6_LEN_RFC2133`).
const INET6_LENGTH_MIN: usize = 24;

/// The family that an encoded address says it has.
pub(super) fn family_of(bytes: &[u8]) -> Result<u16, Errno> {
    bytes.first_chunk().map(|family| u16::from_ne_bytes(*family)).ok_or(Errno::EINVAL)
}

/// Decodes an address for a socket of `family`. `EINVAL` if it is too short, `EAFNOSUPPORT` if it is of another family.
pub(super) fn decode(bytes: &[u8], family: u16) -> Result<SocketAddr, Errno> {
    let least = if family == AF_INET { INET_LENGTH } else { INET6_LENGTH_MIN };
    if bytes.len() < least {
        return Err(Errno::EINVAL);
    }
    if family_of(bytes)? != family {
        return Err(Errno::EAFNOSUPPORT);
    }
    let field = |range| bytes.get(range).ok_or(Errno::EINVAL);
    let port = u16::from_be_bytes(field(2..4)?.try_into().map_err(|_| Errno::EINVAL)?);
    let ip = if family == AF_INET {
        let octets: [u8; 4] = field(4..8)?.try_into().map_err(|_| Errno::EINVAL)?;
        IpAddr::from(octets)
    } else {
        let octets: [u8; 16] = field(8..24)?.try_into().map_err(|_| Errno::EINVAL)?;
        IpAddr::from(octets).to_canonical()
    };
    Ok(SocketAddr::new(ip, port))
}

/// Encodes an address for a socket of `family`; an IPv4 address is mapped for `AF_INET6`.
pub(super) fn encode(address: SocketAddr, family: u16) -> Vec<u8> {
    let mut bytes = family.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&address.port().to_be_bytes());
    match (address.ip(), family) {
        (IpAddr::V4(ip), AF_INET) => {
            bytes.extend_from_slice(&ip.octets());
            bytes.resize(INET_LENGTH, 0);
        }
        (ip, _) => {
            let ip = match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&ip.octets());
            bytes.resize(INET6_LENGTH, 0);
        }
    }
    bytes
}

/// The address that stands for all of a family's.
pub(super) fn any(family: u16) -> IpAddr {
    if family == AF_INET6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// True for an address that the loopback interface has, and for one that stands for all.
pub(super) fn is_own(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

/// The loopback interface's own address in the family of `ip`.
pub(super) fn loopback_like(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

/// Where a packet to `destination` goes: an address that stands for all is the loopback's own. `ENETUNREACH` for those
/// that are not this machine's.
pub(super) fn route(destination: SocketAddr) -> Result<SocketAddr, Errno> {
    match destination.ip() {
        ip if ip.is_unspecified() => Ok(SocketAddr::new(loopback_like(ip), destination.port())),
        ip if ip.is_loopback() => Ok(destination),
        _ => Err(Errno::ENETUNREACH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for (text, family) in [
            ("127.0.0.1:80", AF_INET),
            ("[::1]:65535", AF_INET6),
            ("127.0.0.1:1", AF_INET6),
            ("[::]:0", AF_INET6),
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(decode(&encode(address, family), family), Ok(address));
        }
        let mapped = encode("127.0.0.1:1".parse().unwrap(), AF_INET6);
        assert_eq!(mapped[8..24], Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets());
    }

    #[test]
    fn lengths_and_families_are_checked() {
        let v4 = encode("127.0.0.1:80".parse().unwrap(), AF_INET);
        assert_eq!(decode(&v4[..15], AF_INET), Err(Errno::EINVAL));
        assert_eq!(decode(&v4, AF_INET6), Err(Errno::EINVAL));
        let v6 = encode("[::1]:80".parse().unwrap(), AF_INET6);
        assert_eq!(decode(&v6, AF_INET), Err(Errno::EAFNOSUPPORT));
        assert!(decode(&v6[..24], AF_INET6).is_ok());
        assert_eq!(family_of(&[2]), Err(Errno::EINVAL));
    }

    #[test]
    fn only_the_loopback_is_reached() {
        let reach = |text: &str| route(text.parse().unwrap()).map(|address| address.to_string());
        assert_eq!(reach("0.0.0.0:1"), Ok("127.0.0.1:1".to_owned()));
        assert_eq!(reach("[::]:1"), Ok("[::1]:1".to_owned()));
        assert_eq!(reach("127.9.9.9:1"), Ok("127.9.9.9:1".to_owned()));
        assert_eq!(reach("10.0.0.1:1"), Err(Errno::ENETUNREACH));
        assert_eq!(reach("[fe80::1]:1"), Err(Errno::ENETUNREACH));
    }
}
