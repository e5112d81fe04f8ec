//! Who may look into another process (`ptrace(2)`, "Ptrace access mode checking"; the kernel's `__ptrace_may_access`).

use std::sync::Arc;

use usk_abi::capability::CAP_SYS_PTRACE;

use crate::task::{Credentials, Task, ThreadGroup};

/// Which of the caller's identifiers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessAs {
    /// `PTRACE_MODE_FSCREDS`: those of file access.
    FileSystem,
    /// `PTRACE_MODE_REALCREDS`: the real ones.
    Real,
}

/// True if a task of `group` with these credentials may look into `target`: one's own process; one that runs as the same user and
/// group throughout, may be dumped and has no capability that the caller lacks; or any with `CAP_SYS_PTRACE`.
pub fn may_access(credentials: &Credentials, group: &Arc<ThreadGroup>, target: &Task, how: AccessAs) -> bool {
    if Arc::ptr_eq(group, &target.group) || credentials.has_capability(CAP_SYS_PTRACE) {
        return true;
    }
    let (uid, gid, capabilities) = match how {
        AccessAs::FileSystem => (credentials.fsuid, credentials.fsgid, credentials.effective),
        AccessAs::Real => (credentials.uid, credentials.gid, credentials.permitted),
    };
    let theirs = target.credentials();
    let same_user = [theirs.uid, theirs.euid, theirs.suid].iter().all(|their_uid| *their_uid == uid);
    let same_group = [theirs.gid, theirs.egid, theirs.sgid].iter().all(|their_gid| *their_gid == gid);
    let is_dumpable = target.borrow_mm(|mm| mm.is_dumpable());
    let has_no_more = theirs.permitted & !capabilities == 0;
    same_user && same_group && is_dumpable && has_no_more
}
