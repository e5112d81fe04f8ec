//! `socket(2)`.

use usk_abi::Errno;
use usk_abi::socket::{
    AF_INET, AF_INET6, AF_MAX, AF_NETLINK, AF_UNIX, SOCK_CLOEXEC, SOCK_MAX, SOCK_NONBLOCK, SOCK_TYPE_MASK,
};
use usk_sentry::SysResult;
use usk_sentry::net::inet::InetSocket;
use usk_sentry::net::netlink::NetlinkSocket;
use usk_sentry::net::unix::{UnixKind, UnixSocket};
use usk_sentry::task::{Current, SyscallArguments};

use crate::descriptor::{fd_result, install};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::partial(
    41,
    "socket",
    &[Int, Flags, Int],
    sys_socket,
    "AF_UNIX; TCP and UDP of AF_INET and AF_INET6 over the loopback, the only interface; AF_NETLINK to list it",
)];

/// A socket's family, type and flags, as `socket(2)` and `socketpair(2)` take them.
pub(crate) struct Kind {
    pub(crate) family: u16,
    pub(crate) kind: u32,
    pub(crate) flags: u32,
}

impl Kind {
    /// `EINVAL` for unknown flags and types, `EAFNOSUPPORT` for a number that is no family.
    pub(crate) fn decode(arguments: SyscallArguments) -> Result<Self, Errno> {
        let (family, kind) = (arguments.i32(0), arguments.u32(1));
        let flags = kind & !SOCK_TYPE_MASK;
        let kind = kind & SOCK_TYPE_MASK;
        if flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 {
            return Err(Errno::EINVAL);
        }
        let family =
            u16::try_from(family).ok().filter(|family| *family < AF_MAX).ok_or(Errno::EAFNOSUPPORT)?;
        if kind >= SOCK_MAX {
            return Err(Errno::EINVAL);
        }
        Ok(Kind { family, kind, flags })
    }

    pub(crate) fn closes_on_exec(&self) -> bool {
        self.flags & SOCK_CLOEXEC != 0
    }

    /// The kind of AF_UNIX socket. `EPROTONOSUPPORT` for a protocol, `ESOCKTNOSUPPORT` for a type that does not exist.
    pub(crate) fn unix(&self, protocol: i32) -> Result<UnixKind, Errno> {
        if protocol != 0 && protocol != i32::from(AF_UNIX) {
            return Err(Errno::EPROTONOSUPPORT);
        }
        UnixKind::from_number(self.kind)
    }
}

fn sys_socket(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let kind = Kind::decode(arguments)?;
    let protocol = arguments.i32(2);
    let flags = kind.flags & SOCK_NONBLOCK;
    let file = match kind.family {
        AF_UNIX => UnixSocket::open(kind.unix(protocol)?, &current.task.kernel.unix, flags),
        AF_INET | AF_INET6 => {
            let (inet, uid) = (&current.task.kernel.inet, current.task.credentials().euid);
            InetSocket::open(inet, kind.family, kind.kind, protocol, flags, uid)?
        }
        AF_NETLINK => NetlinkSocket::open(kind.kind, protocol, flags)?,
        _ => return Err(Errno::EAFNOSUPPORT.into()),
    };
    fd_result(install(current, file, kind.closes_on_exec())?)
}
