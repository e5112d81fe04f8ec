//! User namespaces without a process, as places for maps. user_namespaces(7).

use std::fs::File;
use std::os::fd::OwnedFd;

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

fn open(pid: i32) -> Result<OwnedFd, Errno> {
    let file = File::open(format!("/proc/{pid}/ns/user"));
    file.map(OwnedFd::from).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}
