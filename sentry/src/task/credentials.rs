//! Who a task acts as: user and group identifiers and capabilities (`credentials(7)`, `capabilities(7)`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// All 41 capabilities of Linux 6.12 (`CAP_LAST_CAP` is 40).
pub const ALL_CAPABILITIES: u64 = (1 << 41) - 1;

/// Credentials of a task. Immutable: a change replaces the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Credentials {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub groups: Arc<[u32]>,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub bounding: u64,
    pub ambient: u64,
    pub securebits: u32,
    /// The number of what a task was given at one time, and shares with the threads that it has made since: equal credentials have
    /// others. It is not a copy's own until that is given to a task.
    pub identity: u64,
}

fn next_identity() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Credentials {
    /// A user and group with no supplementary groups; user 0 has every capability (inside the sandbox, over the sandbox's
    /// own objects; none of it means anything to the host).
    pub fn user(uid: u32, gid: u32) -> Self {
        let capabilities = if uid == 0 { ALL_CAPABILITIES } else { 0 };
        Credentials {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups: Arc::default(),
            effective: capabilities,
            permitted: capabilities,
            inheritable: 0,
            bounding: ALL_CAPABILITIES,
            ambient: 0,
            securebits: 0,
            identity: next_identity(),
        }
    }

    /// These, under a number of their own.
    pub(crate) fn renewed(self) -> Self {
        Credentials { identity: next_identity(), ..self }
    }

    /// True if the effective set holds capability number `capability` (`CAP_*`).
    pub fn has_capability(&self, capability: u32) -> bool {
        capability < 64 && self.effective & (1 << capability) != 0
    }

    /// True if these act as somebody else than `old`, or may have capabilities that it may not.
    pub(crate) fn gains_over(&self, old: &Credentials) -> bool {
        self.euid != old.euid || self.egid != old.egid || self.permitted & !old.permitted != 0
    }

    /// True if `gid` is the file-system group or a supplementary one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }
}
