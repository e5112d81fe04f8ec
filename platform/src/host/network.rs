//! The network of this process. rtnetlink(7).

use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use usk_abi::Errno;

use super::result::from_nix;

/// `struct nlmsghdr`, and `struct ifinfomsg` behind it: a length, a type; and far behind, flags.
const HEADER: usize = 16;
const FLAGS: usize = HEADER + 8;
/// Larger than what the host says of one interface.
const BUFFER: usize = 8 << 10;

/// Whether the network of this process has nothing but a loopback that is down, as a new one begins.
pub fn is_network_empty() -> Result<bool, Errno> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        Some(SockProtocol::NetlinkRoute),
    )
    .map_err(from_nix)?;
    let mut request = [0; HEADER + 16];
    request[..4].copy_from_slice(&(HEADER as u32 + 16).to_ne_bytes());
    request[4..6].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    send(netlink.as_raw_fd(), &request, MsgFlags::empty()).map_err(from_nix)?;
    let mut buffer = [0; BUFFER];
    loop {
        let length = recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC).map_err(from_nix)?;
        // Cut off: it says more than a loopback has to say.
        let Some(mut messages) = buffer.get(..length) else { return Ok(false) };
        while let Some(message) = Message::first(messages) {
            match i32::from(message.kind) {
                libc::NLMSG_DONE => return Ok(true),
                kind if kind == i32::from(libc::RTM_NEWLINK) && message.is_loopback_down() => {}
                _ => return Ok(false),
            }
            messages = messages.get(message.bytes.len().next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// A message of the host's.
struct Message<'a> {
    kind: u16,
    bytes: &'a [u8],
}

impl Message<'_> {
    /// The first of those that lie here one behind the other.
    fn first(messages: &[u8]) -> Option<Message<'_>> {
        let length = u32::from_ne_bytes(messages.get(..4)?.try_into().ok()?);
        let kind = u16::from_ne_bytes(messages.get(4..6)?.try_into().ok()?);
        let bytes = messages.get(..length as usize).filter(|bytes| bytes.len() >= HEADER)?;
        Some(Message { kind, bytes })
    }

    fn is_loopback_down(&self) -> bool {
        let flags = self.bytes.get(FLAGS..FLAGS + 4).and_then(|flags| flags.try_into().ok());
        let flags = flags.map(i32::from_ne_bytes);
        flags.is_some_and(|flags| flags & (libc::IFF_LOOPBACK | libc::IFF_UP) == libc::IFF_LOOPBACK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(flags: i32) -> Vec<u8> {
        let mut message = vec![0; 32];
        message[..4].copy_from_slice(&32u32.to_ne_bytes());
        message[4..6].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
        message[FLAGS..FLAGS + 4].copy_from_slice(&flags.to_ne_bytes());
        message
    }

    #[test]
    fn only_a_loopback_that_is_down_is_one() {
        for (flags, is_one) in [
            (libc::IFF_LOOPBACK, true),
            (libc::IFF_LOOPBACK | libc::IFF_UP, false),
            (libc::IFF_BROADCAST, false),
            (0, false),
        ] {
            let bytes = link(flags);
            let message = Message::first(&bytes).expect("a message");
            assert_eq!((i32::from(message.kind), message.is_loopback_down()), (16, is_one));
        }
    }

    #[test]
    fn what_is_cut_off_is_no_message() {
        let message = link(libc::IFF_LOOPBACK);
        for length in 0..message.len() {
            assert!(Message::first(&message[..length]).is_none());
        }
        assert!(Message::first(&[4, 0, 0, 0, 0, 0, 0, 0]).is_none(), "shorter than its own header");
    }

    #[test]
    fn a_network_is_empty_if_its_files_show_nothing_that_is_up() {
        let interfaces = std::fs::read_dir("/sys/class/net").expect("the interfaces").map(Result::unwrap);
        let is_down =
            |flags: &str| u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap() & 1 == 0;
        let is_empty = interfaces.into_iter().all(|interface| {
            let flags = std::fs::read_to_string(interface.path().join("flags")).expect("its flags");
            interface.file_name() == "lo" && is_down(&flags)
        });
        assert_eq!(is_network_empty(), Ok(is_empty));
    }
}
