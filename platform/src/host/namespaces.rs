//! Namespaces and the identities inside them. namespaces(7), user_namespaces(7).

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd};

use usk_abi::Errno;

use super::result::check;

/// A set of namespaces to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespaces(u64);

impl Namespaces {
    /// None: stay in the caller's.
    pub const NONE: Namespaces = Namespaces(0);
    /// Users, groups and capabilities.
    pub const USER: Namespaces = Namespaces(libc::CLONE_NEWUSER as u64);
    /// Process ids.
    pub const PID: Namespaces = Namespaces(libc::CLONE_NEWPID as u64);
    /// Mounts.
    pub const MOUNT: Namespaces = Namespaces(libc::CLONE_NEWNS as u64);
    /// System V IPC and POSIX message queues.
    pub const IPC: Namespaces = Namespaces(libc::CLONE_NEWIPC as u64);
    /// Host and domain name.
    pub const UTS: Namespaces = Namespaces(libc::CLONE_NEWUTS as u64);
    /// Interfaces, routes, ports, abstract sockets.
    pub const NETWORK: Namespaces = Namespaces(libc::CLONE_NEWNET as u64);

    /// Both sets together.
    pub const fn and(self, other: Namespaces) -> Namespaces {
        Namespaces(self.0 | other.0)
    }

    /// The first set without the second.
    pub const fn without(self, other: Namespaces) -> Namespaces {
        Namespaces(self.0 & !other.0)
    }

    /// As flags of clone(2).
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set of these flags of clone(2); other flags are dropped.
    pub const fn from_bits(bits: u64) -> Namespaces {
        let all = Self::USER.0 | Self::PID.0 | Self::MOUNT.0 | Self::IPC.0 | Self::UTS.0 | Self::NETWORK.0;
        Namespaces(bits & all)
    }
}

/// Ids in a row of a user namespace, and what they are outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first inside.
    pub inner: u32,
    /// The first in the caller's user namespace.
    pub outer: u32,
    /// How many.
    pub count: u32,
}

impl IdRange {
    /// A single id.
    pub const fn one(inner: u32, outer: u32) -> IdRange {
        IdRange { inner, outer, count: 1 }
    }
}

/// The users and groups of a user namespace, and what they are outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityMap {
    /// Users.
    pub users: Vec<IdRange>,
    /// Groups.
    pub groups: Vec<IdRange>,
    /// Whether the namespace's members may change their supplementary groups. An ordinary user has to say no:
    /// groups can also take rights away.
    pub may_set_groups: bool,
}

/// Moves this process, which has one thread, into new namespaces. Of processes ([`Namespaces::PID`]) only its children
/// would be in the new one. unshare(2).
pub fn enter_new(namespaces: Namespaces) -> Result<(), Errno> {
    // SAFETY: takes a number only.
    check(unsafe { libc::syscall(libc::SYS_unshare, namespaces.0) }).map(drop)
}

/// Moves this process, which has one thread, into namespaces of another, or into the one that a file is of (`EINVAL` if that is of
/// another kind). Needs CAP_SYS_ADMIN in the user namespace that owns them; of mounts, CAP_SYS_CHROOT as well. setns(2), of process
/// descriptors since Linux 5.8.
pub fn join(of: BorrowedFd<'_>, namespaces: Namespaces) -> Result<(), Errno> {
    // SAFETY: takes numbers only; the descriptor is open during the call.
    check(unsafe { libc::syscall(libc::SYS_setns, of.as_raw_fd(), namespaces.0) }).map(drop)
}

/// Writes the maps of the user namespace that process `pid` is the first member of. An ordinary user can map nothing
/// but the own ids. user_namespaces(7).
pub fn write_identity_map(pid: i32, map: &IdentityMap) -> Result<(), Errno> {
    if !map.may_set_groups {
        write(pid, "setgroups", "deny")?;
    }
    write(pid, "gid_map", &lines(&map.groups))?;
    write(pid, "uid_map", &lines(&map.users))
}

/// Ranges in the form of `/proc/PID/uid_map`. user_namespaces(7).
pub fn lines(ranges: &[IdRange]) -> String {
    let line = |range: &IdRange| format!("{} {} {}\n", range.inner, range.outer, range.count);
    ranges.iter().map(line).collect()
}

fn write(pid: i32, file: &str, text: &str) -> Result<(), Errno> {
    let to_errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    let mut file = OpenOptions::new().write(true).open(format!("/proc/{pid}/{file}")).map_err(to_errno)?;
    file.write_all(text.as_bytes()).map_err(to_errno)
}
