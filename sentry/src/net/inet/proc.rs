//! What `/proc/net` tells about the loopback interface and the sockets over it. proc(5).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use usk_abi::socket::{AF_INET, AF_INET6};

use crate::net::inet::address::any;
use crate::net::inet::core::{Core, InetNamespace};
use crate::net::inet::tcp::connection_state::{CLOSE, ESTABLISHED};

/// `if_inet6`: `::1` on interface 1, of scope "host", for good.
pub const INTERFACES_IPV6: &str = "00000000000000000000000000000001 01 80 10 80       lo\n";

/// `dev`: nothing is counted, since nothing goes over a wire.
pub const DEVICES: &str = concat!(
    "Inter-|   Receive                                                |  Transmit\n",
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n",
    "    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n",
);

const TCP_HEADER: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const TCP6_HEADER: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const UDP_HEADER: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
const UDP6_HEADER: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";

/// Characters of a line of the IPv4 tables but for the newline.
const LINE_LENGTH: usize = 149;
const UDP_LINE_LENGTH: usize = 127;

impl InetNamespace {
    /// `tcp`
    pub fn tcp_table(&self) -> Vec<u8> {
        self.table(AF_INET, true, TCP_HEADER)
    }

    /// `tcp6`
    pub fn tcp6_table(&self) -> Vec<u8> {
        self.table(AF_INET6, true, TCP6_HEADER)
    }

    /// `udp`
    pub fn udp_table(&self) -> Vec<u8> {
        self.table(AF_INET, false, UDP_HEADER)
    }

    /// `udp6`
    pub fn udp6_table(&self) -> Vec<u8> {
        self.table(AF_INET6, false, UDP6_HEADER)
    }

    fn table(&self, family: u16, is_stream: bool, header: &str) -> Vec<u8> {
        // Dropping the last reference takes the lock of `sockets`, which therefore is let go first.
        let all: Vec<_> = self.sockets.lock().values().cloned().collect();
        let mut shown: Vec<_> = all
            .iter()
            .filter_map(std::sync::Weak::upgrade)
            .filter(|core| core.family == family && core.is_stream == is_stream && core.ends().0.is_some())
            .collect();
        shown.sort_by_key(|core| core.number);
        let length = if is_stream { LINE_LENGTH } else { UDP_LINE_LENGTH };
        let mut text = if family == AF_INET { format!("{header:<length$}\n") } else { format!("{header}\n") };
        for (index, core) in shown.iter().enumerate() {
            let line = line(core, index);
            let _ =
                if family == AF_INET { writeln!(text, "{line:<length$}") } else { writeln!(text, "{line}") };
        }
        text.into_bytes()
    }
}

fn line(core: &Core, index: usize) -> String {
    let (local, remote) = core.ends();
    let nowhere = SocketAddr::new(any(core.family), 0);
    let (local, remote) = (hexadecimal(local.unwrap_or(nowhere), core.family), remote.unwrap_or(nowhere));
    let state = match (core.is_stream, remote == nowhere) {
        (true, _) => core.connection_state(),
        (false, true) => CLOSE,
        (false, false) => ESTABLISHED,
    };
    let (uid, number, queued) = (core.uid, core.number, core.endpoint.inbox.bytes());
    let remote = hexadecimal(remote, core.family);
    let start = format!(
        "{local} {remote} {state:02X} 00000000:{queued:08X} 00:00000000 00000000 {uid:5}        0 {number} 1 0000000000000000"
    );
    if core.is_stream { format!("{index:4}: {start} 100 0 0 10 0") } else { format!("{index:5}: {start} 0") }
}

/// An address as the kernel prints it: words of memory, each as a number of the machine's byte order.
fn hexadecimal(address: SocketAddr, family: u16) -> String {
    let octets = match (address.ip(), family) {
        (IpAddr::V4(ip), AF_INET) => ip.octets().to_vec(),
        (IpAddr::V4(ip), _) => ip.to_ipv6_mapped().octets().to_vec(),
        (IpAddr::V6(ip), _) => ip.octets().to_vec(),
    };
    let mut text = String::new();
    for word in octets.chunks_exact(size_of::<u32>()) {
        let word = word.iter().rev().fold(0u32, |word, octet| word << 8 | u32::from(*octet));
        let _ = write!(text, "{word:08X}");
    }
    let _ = write!(text, ":{:04X}", address.port());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_printed_as_the_kernel_does() {
        let text = |address: &str, family| hexadecimal(address.parse().unwrap(), family);
        assert_eq!(text("127.0.0.1:80", AF_INET), "0100007F:0050");
        assert_eq!(text("[::1]:80", AF_INET6), "00000000000000000000000001000000:0050");
        assert_eq!(text("127.0.0.1:80", AF_INET6), "0000000000000000FFFF00000100007F:0050");
    }
}
