//! Namespaces and the identities inside them. namespaces(7), user_namespaces(7).

use std::fs::OpenOptions;
use std::io::Write;

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

/// One user and one group of a user namespace, and what they are outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityMap {
    /// User id inside.
    pub inner_uid: u32,
    /// User id in the caller's user namespace.
    pub outer_uid: u32,
    /// Group id inside.
    pub inner_gid: u32,
    /// Group id in the caller's user namespace.
    pub outer_gid: u32,
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

/// Writes the maps of the user namespace that process `pid` is the first member of. An ordinary user can map nothing
/// but the own ids. user_namespaces(7).
pub fn write_identity_map(pid: i32, map: &IdentityMap) -> Result<(), Errno> {
    if !map.may_set_groups {
        write(pid, "setgroups", "deny")?;
    }
    write(pid, "gid_map", &format!("{} {} 1", map.inner_gid, map.outer_gid))?;
    write(pid, "uid_map", &format!("{} {} 1", map.inner_uid, map.outer_uid))
}

fn write(pid: i32, file: &str, text: &str) -> Result<(), Errno> {
    let to_errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    let mut file = OpenOptions::new().write(true).open(format!("/proc/{pid}/{file}")).map_err(to_errno)?;
    file.write_all(text.as_bytes()).map_err(to_errno)
}
