//! The options of the Internet protocols. ip(7), ipv6(7), tcp(7).

use hashbrown::HashMap;
use usk_abi::Errno;
use usk_abi::socket::*;
use zerocopy::FromBytes;

/// `IPV6_V6ONLY`
const V6_ONLY: (i32, i32) = (SOL_IPV6, 26);
/// `TCP_INFO`
pub(super) const TCP_INFO: (i32, i32) = (SOL_TCP, 11);

/// Options that are a number and change nothing where nothing is sent over a wire, with their defaults: levels and names
/// as in `linux/in.h`, `linux/in6.h`, `linux/tcp.h`.
const NUMBER_OPTIONS: &[((i32, i32), i32)] = &[
    ((SOL_IP, 1), 0),     // IP_TOS
    ((SOL_IP, 2), 64),    // IP_TTL
    ((SOL_IP, 10), 1),    // IP_MTU_DISCOVER
    ((SOL_IP, 11), 0),    // IP_RECVERR
    ((SOL_IP, 24), 0),    // IP_BIND_ADDRESS_NO_PORT
    ((SOL_TCP, 1), 0),    // TCP_NODELAY
    ((SOL_TCP, 3), 0),    // TCP_CORK
    ((SOL_TCP, 4), 7200), // TCP_KEEPIDLE
    ((SOL_TCP, 5), 75),   // TCP_KEEPINTVL
    ((SOL_TCP, 6), 9),    // TCP_KEEPCNT
    ((SOL_TCP, 9), 0),    // TCP_DEFER_ACCEPT
    ((SOL_TCP, 12), 1),   // TCP_QUICKACK
    ((SOL_TCP, 18), 0),   // TCP_USER_TIMEOUT
    ((SOL_TCP, 23), 0),   // TCP_FASTOPEN
    ((SOL_IPV6, 16), 64), // IPV6_UNICAST_HOPS
    ((SOL_IPV6, 25), 0),  // IPV6_RECVERR
];

/// Those of one socket. An accepted one has its listener's.
#[derive(Clone, Default)]
pub(super) struct ProtocolOptions {
    /// `IPV6_V6ONLY`
    pub(super) is_v6_only: bool,
    numbers: HashMap<(i32, i32), i32>,
}

impl ProtocolOptions {
    /// `setsockopt(2)`. `EINVAL` for `IPV6_V6ONLY` of a socket that has a port.
    pub(super) fn set(&mut self, option: (i32, i32), value: &[u8], has_port: bool) -> Result<(), Errno> {
        let (value, _) = i32::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
        if option == V6_ONLY {
            if has_port {
                return Err(Errno::EINVAL);
            }
            self.is_v6_only = value != 0;
            return Ok(());
        }
        default_of(option)?;
        self.numbers.insert(option, value);
        Ok(())
    }

    /// `getsockopt(2)`.
    pub(super) fn get(&self, option: (i32, i32)) -> Result<i32, Errno> {
        if option == V6_ONLY {
            return Ok(i32::from(self.is_v6_only));
        }
        let default = default_of(option)?;
        Ok(self.numbers.get(&option).copied().unwrap_or(default))
    }
}

fn default_of(option: (i32, i32)) -> Result<i32, Errno> {
    let known = NUMBER_OPTIONS.iter().find(|(known, _)| *known == option);
    known.map(|(_, default)| *default).ok_or(Errno::ENOPROTOOPT)
}

/// The start of `struct tcp_info` (`linux/tcp.h`): the state; nothing is lost, sent again or measured on the loopback.
pub(super) fn tcp_info(connection_state: u8) -> Vec<u8> {
    /// Up to and including `tcpi_total_retrans`, which is all that the first form of the structure had.
    const LENGTH: usize = 104;
    let mut info = vec![0; LENGTH];
    if let Some(state) = info.first_mut() {
        *state = connection_state;
    }
    info
}
