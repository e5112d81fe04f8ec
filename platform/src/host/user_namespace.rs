//! User namespaces without a process, as places for maps. user_namespaces(7).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, setns};
use usk_abi::Errno;

use super::child::{self, Spawned};
use super::namespaces::{IdentityMap, Namespaces, write_identity_map};

/// Makes one with these maps. The caller must have one thread ([`child::spawn`]).
pub fn user_namespace(map: &IdentityMap) -> Result<OwnedFd, Errno> {
    match child::spawn(Namespaces::USER, None)? {
        Spawned::Child => {
            // It lends the namespace its life until somebody else refers to it, and does nothing.
            let _ = child::set_parent_death_signal(libc::SIGKILL);
            loop {
                nix::unistd::pause();
            }
        }
        Spawned::Parent(member) => {
            let made = write_identity_map(member.pid(), map).and_then(|()| open(member.pid()));
            member.send_signal(libc::SIGKILL)?;
            member.wait()?;
            made
        }
    }
}

/// The maps of one, of users and of groups, as the caller's `/proc` shows them. Needs CAP_SYS_ADMIN in it; `EINVAL` if it is the
/// caller's own. The caller must have one thread ([`child::spawn`]).
pub fn maps_of(namespace: BorrowedFd<'_>) -> Result<[String; 2], Errno> {
    let (mut joined, mut join) = std::io::pipe().map_err(from_io)?;
    match child::spawn(Namespaces::NONE, None)? {
        Spawned::Child => {
            if setns(namespace, CloneFlags::CLONE_NEWUSER).is_err() {
                child::exit(1);
            }
            // A member to look at, for as long as that takes.
            let _ = child::set_parent_death_signal(libc::SIGKILL);
            let _ = join.write_all(&[1]);
            loop {
                nix::unistd::pause();
            }
        }
        Spawned::Parent(member) => {
            drop(join);
            let map =
                |name| std::fs::read_to_string(format!("/proc/{}/{name}", member.pid())).map_err(from_io);
            let is_member = joined.read_exact(&mut [0]).is_ok();
            let maps = if is_member {
                map("uid_map").and_then(|users| Ok([users, map("gid_map")?]))
            } else {
                Err(Errno::EINVAL)
            };
            member.send_signal(libc::SIGKILL)?;
            member.wait()?;
            maps
        }
    }
}

fn open(pid: i32) -> Result<OwnedFd, Errno> {
    File::open(format!("/proc/{pid}/ns/user")).map(OwnedFd::from).map_err(from_io)
}

fn from_io(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
