//! Which host users a sandbox's processes are.
//!
//! The sentry needs one user and one group: it opens nothing by name. For an ordinary caller they are the caller's.
//! For a privileged one they are ids that nobody else has: the sandbox's processes are then strangers to everybody on
//! the host, other sandboxes included.

use anyhow::{Context, Result};
use usk_platform::host::credentials::{self, Identity};
use usk_platform::host::namespaces::{IdRange, IdentityMap};

use crate::spec::UserMap;

/// First id of a range that no distribution gives to users, services or containers (systemd's UIDS-GIDS.md). The
/// monitor's process id is added; it is below 2^22.
const UNUSED_IDS: u32 = 0x7000_0000;
/// `nobody`, where the host does not know so large ids: in a container.
const NOBODY: u32 = 65534;

/// Who makes the sandbox.
pub(super) struct Caller {
    identity: Identity,
    privileged: bool,
    may_set_groups: bool,
    may_move: bool,
}

impl Caller {
    /// Looks at the calling process.
    pub(super) fn current() -> Result<Caller> {
        // linux/capability.h: CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN.
        const NEEDED: [u32; 3] = [6, 7, 21];
        const CAP_SYS_CHROOT: u32 = 18;
        let identity = credentials::identity().context("cannot read the caller's user and groups")?;
        let has = |capability| {
            credentials::has_capability(capability).context("cannot read the caller's capabilities")
        };
        let mut privileged = identity.uid == 0;
        for capability in NEEDED {
            privileged &= has(capability)?;
        }
        let may_move = privileged && has(CAP_SYS_CHROOT)?;
        // The root of a user namespace that an ordinary user has made may be forbidden to (user_namespaces(7)).
        let setgroups = std::fs::read_to_string("/proc/self/setgroups").unwrap_or_default();
        let may_set_groups = privileged && setgroups.trim() != "deny";
        Ok(Caller { identity, privileged, may_set_groups, may_move })
    }

    /// Whether the caller may make namespaces other than of users, and map any id.
    pub(super) fn is_privileged(&self) -> bool {
        self.privileged
    }

    /// Whether the caller may go to other mounts, and come back.
    pub(super) fn may_move(&self) -> bool {
        self.may_move
    }

    /// Whether supplementary groups can be given up.
    pub(super) fn may_set_groups(&self) -> bool {
        self.may_set_groups
    }

    /// Who the sentry and its stubs are.
    pub(super) fn sentry(&self) -> IdentityMap {
        let Identity { uid, gid, .. } = self.identity;
        if !self.privileged {
            return single(IdRange::one(0, uid), IdRange::one(0, gid), false);
        }
        let own = UNUSED_IDS + (std::process::id() & 0x3f_ffff);
        let outer_uid = pick("/proc/self/uid_map", own, uid);
        let outer_gid = pick("/proc/self/gid_map", own, gid);
        single(IdRange::one(0, outer_uid), IdRange::one(0, outer_gid), self.may_set_groups)
    }

    /// Who the gofer is in its user namespace; `None` if it stays in the caller's, to keep files' owners apart. Where the
    /// sandbox's users are others than the host's, the host's kernel translates the owners of files for the gofer.
    pub(super) fn gofer(&self, users: Option<&UserMap>) -> Option<IdentityMap> {
        let Identity { uid, gid, .. } = self.identity;
        if let Some(UserMap { users, groups }) = users {
            let may_set_groups = self.privileged && self.may_set_groups;
            return Some(IdentityMap { users: users.clone(), groups: groups.clone(), may_set_groups });
        }
        (!self.privileged).then(|| single(IdRange::one(uid, uid), IdRange::one(gid, gid), false))
    }
}

fn single(user: IdRange, group: IdRange, may_set_groups: bool) -> IdentityMap {
    IdentityMap { users: vec![user], groups: vec![group], may_set_groups }
}

/// The first of the wanted id, nobody's and the caller's that exists in the caller's user namespace.
fn pick(map: &str, wanted: u32, own: u32) -> u32 {
    let map = std::fs::read_to_string(map).unwrap_or_default();
    let exists = |id: u32| {
        map.lines().any(|line| {
            let mut numbers = line.split_whitespace().map(str::parse::<u64>);
            match (numbers.next(), numbers.nth(1)) {
                (Some(Ok(first)), Some(Ok(count))) => {
                    (first..first.saturating_add(count)).contains(&u64::from(id))
                }
                _ => false,
            }
        })
    };
    [wanted, NOBODY].into_iter().find(|&id| exists(id)).unwrap_or(own)
}
