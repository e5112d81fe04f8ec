//! Sockets: families, types, options, messages and control messages (`linux/socket.h`, `asm-generic/socket.h`,
//! `linux/un.h`).

#![allow(missing_docs)]

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const AF_UNSPEC: u16 = 0;
pub const AF_UNIX: u16 = 1;
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
pub const AF_NETLINK: u16 = 16;
/// One past the highest family that Linux 6.12 knows.
pub const AF_MAX: u16 = 46;

pub const SOCK_STREAM: u32 = 1;
pub const SOCK_DGRAM: u32 = 2;
pub const SOCK_RAW: u32 = 3;
pub const SOCK_SEQPACKET: u32 = 5;
/// One past the highest type.
pub const SOCK_MAX: u32 = 11;
/// The bits of a type argument that are the type.
pub const SOCK_TYPE_MASK: u32 = 0xf;
pub const SOCK_NONBLOCK: u32 = crate::fcntl::O_NONBLOCK;
pub const SOCK_CLOEXEC: u32 = crate::fcntl::O_CLOEXEC;

/// Longest backlog of `listen(2)` (`/proc/sys/net/core/somaxconn`).
pub const SOMAXCONN: u32 = 4096;

pub const SHUT_RD: i32 = 0;
pub const SHUT_WR: i32 = 1;
pub const SHUT_RDWR: i32 = 2;

pub const SOL_SOCKET: i32 = 1;
pub const SOL_IP: i32 = 0;
pub const SOL_TCP: i32 = 6;
pub const SOL_UDP: i32 = 17;
pub const SOL_IPV6: i32 = 41;

pub const SO_DEBUG: i32 = 1;
pub const SO_REUSEADDR: i32 = 2;
pub const SO_TYPE: i32 = 3;
pub const SO_ERROR: i32 = 4;
pub const SO_DONTROUTE: i32 = 5;
pub const SO_BROADCAST: i32 = 6;
pub const SO_SNDBUF: i32 = 7;
pub const SO_RCVBUF: i32 = 8;
pub const SO_KEEPALIVE: i32 = 9;
pub const SO_OOBINLINE: i32 = 10;
pub const SO_PRIORITY: i32 = 12;
pub const SO_LINGER: i32 = 13;
pub const SO_REUSEPORT: i32 = 15;
pub const SO_PASSCRED: i32 = 16;
pub const SO_PEERCRED: i32 = 17;
pub const SO_RCVLOWAT: i32 = 18;
pub const SO_SNDLOWAT: i32 = 19;
pub const SO_RCVTIMEO: i32 = 20;
pub const SO_SNDTIMEO: i32 = 21;
pub const SO_TIMESTAMP: i32 = 29;
pub const SO_ACCEPTCONN: i32 = 30;
pub const SO_PEERSEC: i32 = 31;
pub const SO_SNDBUFFORCE: i32 = 32;
pub const SO_RCVBUFFORCE: i32 = 33;
pub const SO_TIMESTAMPNS: i32 = 35;
pub const SO_MARK: i32 = 36;
pub const SO_PROTOCOL: i32 = 38;
pub const SO_DOMAIN: i32 = 39;
pub const SO_PEERGROUPS: i32 = 59;
pub const SO_RCVTIMEO_NEW: i32 = 66;
pub const SO_SNDTIMEO_NEW: i32 = 67;

pub const SCM_RIGHTS: i32 = 1;
pub const SCM_CREDENTIALS: i32 = 2;
/// Most descriptors in one message.
pub const SCM_MAX_FD: usize = 253;
/// Most parts of one message or vector (`IOV_MAX`).
pub const UIO_MAXIOV: usize = 1024;

/// `SIOCINQ`, which is `FIONREAD`.
pub const SIOCINQ: u32 = 0x541b;
/// `SIOCOUTQ`, which is `TIOCOUTQ`.
pub const SIOCOUTQ: u32 = 0x5411;

/// Bytes of `sun_path`.
pub const UNIX_PATH_MAX: usize = 108;
/// Bytes of the largest socket address (`struct sockaddr_storage`).
pub const ADDRESS_MAX: usize = 128;

bitflags! {
    /// `MSG_*`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MessageFlags: u32 {
        const OOB = 0x1;
        const PEEK = 0x2;
        const DONTROUTE = 0x4;
        const CTRUNC = 0x8;
        const TRUNC = 0x20;
        const DONTWAIT = 0x40;
        const EOR = 0x80;
        const WAITALL = 0x100;
        const CONFIRM = 0x800;
        const ERRQUEUE = 0x2000;
        const NOSIGNAL = 0x4000;
        const MORE = 0x8000;
        const WAITFORONE = 0x10000;
        const CMSG_CLOEXEC = 0x4000_0000;
    }
}

/// `struct msghdr` of a 64-bit program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MessageHeader {
    pub name: u64,
    pub name_length: u32,
    pub padding: u32,
    pub vector: u64,
    pub vector_length: u64,
    pub control: u64,
    pub control_length: u64,
    pub flags: u32,
    pub padding2: u32,
}

/// `struct mmsghdr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MultipleMessageHeader {
    pub header: MessageHeader,
    pub length: u32,
    pub padding: u32,
}

/// `struct cmsghdr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ControlHeader {
    /// Bytes of header and data.
    pub length: u64,
    pub level: i32,
    pub kind: i32,
}

/// Control messages are aligned to this many bytes.
pub const CONTROL_ALIGNMENT: usize = 8;

/// `struct ucred`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UserCredentials {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

/// `struct linger`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Linger {
    pub is_on: i32,
    pub seconds: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_match_the_headers() {
        assert_eq!(size_of::<MessageHeader>(), size_of::<libc::msghdr>());
        assert_eq!(size_of::<MultipleMessageHeader>(), size_of::<libc::mmsghdr>());
        assert_eq!(size_of::<ControlHeader>(), size_of::<libc::cmsghdr>());
        assert_eq!(size_of::<UserCredentials>(), size_of::<libc::ucred>());
        assert_eq!(size_of::<Linger>(), size_of::<libc::linger>());
        assert_eq!(size_of::<libc::sockaddr_storage>(), ADDRESS_MAX);
        assert_eq!(size_of::<libc::sockaddr_un>(), 2 + UNIX_PATH_MAX);
        assert_eq!(
            std::mem::offset_of!(MessageHeader, control),
            std::mem::offset_of!(libc::msghdr, msg_control)
        );
        assert_eq!(std::mem::offset_of!(MessageHeader, flags), std::mem::offset_of!(libc::msghdr, msg_flags));
    }

    #[test]
    fn numbers_match_the_headers() {
        assert_eq!([AF_UNIX, AF_INET6, AF_NETLINK], [1, libc::AF_INET6 as u16, libc::AF_NETLINK as u16]);
        assert_eq!(
            [SOCK_SEQPACKET, SOCK_NONBLOCK],
            [libc::SOCK_SEQPACKET as u32, libc::SOCK_NONBLOCK as u32]
        );
        assert_eq!(
            [SO_PEERCRED, SO_ACCEPTCONN, SO_DOMAIN],
            [libc::SO_PEERCRED, libc::SO_ACCEPTCONN, libc::SO_DOMAIN]
        );
        assert_eq!(
            [SO_RCVTIMEO, SO_SNDTIMEO, SO_LINGER],
            [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO, libc::SO_LINGER]
        );
        assert_eq!(MessageFlags::CMSG_CLOEXEC.bits() as i32, libc::MSG_CMSG_CLOEXEC);
        assert_eq!(MessageFlags::NOSIGNAL.bits() as i32, libc::MSG_NOSIGNAL);
        assert_eq!(MessageFlags::WAITFORONE.bits() as i32, libc::MSG_WAITFORONE);
        assert_eq!(MessageFlags::CTRUNC.bits() as i32, libc::MSG_CTRUNC);
    }
}
