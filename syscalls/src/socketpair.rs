//! `socketpair(2)`.

use usk_abi::Errno;
use usk_abi::socket::{AF_INET, AF_INET6, AF_UNIX, SOCK_NONBLOCK};
use usk_sentry::SysResult;
use usk_sentry::net::unix::UnixSocket;
use usk_sentry::task::{Current, SyscallArguments};

use crate::address::peer_credentials;
use crate::descriptor::install_pair;
use crate::socket::Kind;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(53, "socketpair", &[Int, Flags, Int, Pointer], sys_socketpair)];

fn sys_socketpair(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let kind = Kind::decode(arguments)?;
    match kind.family {
        AF_UNIX => {}
        AF_INET | AF_INET6 => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EAFNOSUPPORT.into()),
    }
    let unix = kind.unix(arguments.i32(2))?;
    let credentials = peer_credentials(current);
    let pair = UnixSocket::pair(unix, &current.task.kernel.unix, kind.flags & SOCK_NONBLOCK, credentials);
    install_pair(current, pair, kind.closes_on_exec(), arguments.u64(3))
}
