//! Users, groups, capabilities and securebits of this process. credentials(7), capabilities(7).

use usk_abi::Errno;

use super::result::{check, from_nix};

/// A set of capabilities: bit `n` is the capability numbered `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// No capability.
    pub const NONE: Capabilities = Capabilities(0);

    /// The set of the capabilities with these numbers (`linux/capability.h`).
    pub const fn of(numbers: &[u32]) -> Capabilities {
        let mut bits = 0;
        let mut index = 0;
        while index < numbers.len() {
            bits |= 1 << numbers[index];
            index += 1;
        }
        Capabilities(bits)
    }

    /// Whether the capability with this number is in the set.
    pub const fn contains(self, number: u32) -> bool {
        number < 64 && self.0 & (1 << number) != 0
    }
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Who is calling: real and effective user and group, and supplementary groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// The caller's effective identity. getresuid(2), getgroups(2).
pub fn identity() -> Result<Identity, Errno> {
    let groups = nix::unistd::getgroups().map_err(from_nix)?;
    Ok(Identity {
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
    })
}

/// Whether the caller has this capability in effect, in its own user namespace. capget(2).
pub fn has_capability(number: u32) -> Result<bool, Errno> {
    let header = Header { version: linux_raw_sys::general::_LINUX_CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [Data { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: version 3 fills two elements.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) })?;
    let effective = u64::from(data[0].effective) | u64::from(data[1].effective) << 32;
    Ok(Capabilities(effective).contains(number))
}

/// Becomes this user and group entirely, real, effective and saved, without supplementary groups where
/// `drop_groups`. setresuid(2), setgroups(2).
pub fn become_user(uid: u32, gid: u32, drop_groups: bool) -> Result<(), Errno> {
    use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
    if drop_groups {
        setgroups(&[]).map_err(from_nix)?;
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setresgid(gid, gid, gid).map_err(from_nix)?;
    setresuid(uid, uid, uid).map_err(from_nix)
}

/// Gives up every capability that is not in `kept`, in all sets (bounding, ambient, inheritable, permitted,
/// effective), and locks the securebits, so that neither user id 0 nor `execve` brings one back. capabilities(7).
pub fn keep_capabilities(kept: Capabilities) -> Result<(), Errno> {
    // What linux/securebits.h calls NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, and the locks of these and of
    // KEEP_CAPS.
    const LOCKED: libc::c_ulong = 0b1110_1111;
    // SAFETY: takes numbers only.
    let securebits = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, LOCKED, 0, 0, 0) };
    check(libc::c_long::from(securebits))?;
    for number in 0..64 {
        if kept.contains(number) {
            continue;
        }
        // SAFETY: takes numbers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) } == -1 {
            match super::last_error() {
                // Past the last capability of this kernel.
                Errno::EINVAL => break,
                error => return Err(error),
            }
        }
    }
    // SAFETY: takes numbers only.
    let ambient = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    check(libc::c_long::from(ambient))?;
    let header = Header { version: linux_raw_sys::general::_LINUX_CAPABILITY_VERSION_3, pid: 0 };
    let half = |shift: u32| {
        let bits = (kept.0 >> shift) as u32;
        Data { effective: bits, permitted: bits, inheritable: 0 }
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads two elements.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}
