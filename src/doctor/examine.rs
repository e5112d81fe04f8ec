//! Looking at the host.

use std::fs;

use usk_platform::host::credentials;
use usk_platform::host::features::{self, UserNotification};

use super::{Finding, State};
use crate::cgroup::{self, Cgroup, Version};

/// First kernel on which everything that a sandbox needs exists: `mount_setattr(2)` is the youngest.
const OLDEST_KERNEL: (u32, u32) = (5, 12);
/// Enough for an empty cgroup, which is only made to see whether it can be.
const TRIAL_LIMIT: u64 = 64 << 20;

/// All findings that need no sandbox.
pub(super) fn host() -> Vec<Finding> {
    vec![kernel(), user_notification(), mseal(), fsgsbase(), user_namespaces(), yama(), cgroups()]
}

fn kernel() -> Finding {
    let release = features::kernel_release();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let state = if version >= OLDEST_KERNEL { State::Good } else { State::Missing };
    let cure = format!("use Linux {}.{} or newer; 6.6 or newer is fastest", OLDEST_KERNEL.0, OLDEST_KERNEL.1);
    Finding::new("kernel", state, release, &cure)
}

fn user_notification() -> Finding {
    let name = "user notification";
    match features::user_notification() {
        Ok(UserNotification::WithSyncWakeUp) => Finding::new(name, State::Good, "yes, with SYNC_WAKE_UP", ""),
        Ok(UserNotification::WithoutSyncWakeUp) => Finding::new(
            name,
            State::Limited,
            "yes, without SYNC_WAKE_UP",
            "calls are slower, since a guest thread and its server must share a CPU: use Linux 6.6 or newer",
        ),
        Ok(UserNotification::Missing) => Finding::new(
            name,
            State::Limited,
            "no",
            "use --platform=ptrace, or a kernel with CONFIG_SECCOMP_FILTER; in a container, another seccomp profile",
        ),
        Err(error) => {
            Finding::new(name, State::Limited, format!("cannot be tried: {error}"), "allow more processes")
        }
    }
}

fn mseal() -> Finding {
    let (state, found) = if features::has_mseal() { (State::Good, "yes") } else { (State::Limited, "no") };
    let cure =
        "filters alone protect the platform's memory in guests: use Linux 6.10 or newer for a second wall";
    Finding::new("mseal", state, found, cure)
}

fn fsgsbase() -> Finding {
    let (state, found) = if features::has_fsgsbase() { (State::Good, "yes") } else { (State::Limited, "no") };
    Finding::new(
        "fsgsbase",
        state,
        found,
        "thread switches are slower: use Linux 5.9 or newer on a newer processor",
    )
}

fn user_namespaces() -> Finding {
    let name = "user namespaces";
    let setting =
        |file: &str| fs::read_to_string(format!("/proc/sys/{file}")).ok()?.trim().parse::<u64>().ok();
    if setting("user/max_user_namespaces") == Some(0) {
        return Finding::new(name, State::Missing, "none allowed", "sysctl user.max_user_namespaces=10000");
    }
    if !fs::exists("/proc/self/ns/user").unwrap_or(false) {
        return Finding::new(name, State::Missing, "not in this kernel", "use a kernel with CONFIG_USER_NS");
    }
    let mut restrictions = Vec::new();
    if setting("kernel/unprivileged_userns_clone") == Some(0) {
        restrictions.push("sysctl kernel.unprivileged_userns_clone=1");
    }
    if setting("kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        restrictions.push("sysctl kernel.apparmor_restrict_unprivileged_userns=0");
    }
    let root = credentials::identity().is_ok_and(|identity| identity.uid == 0);
    match (restrictions.is_empty(), root) {
        (true, _) => Finding::new(name, State::Good, "allowed", ""),
        (false, true) => Finding::new(name, State::Good, "allowed for root only", ""),
        (false, false) => {
            let cure = format!("run as root, or: {}", restrictions.join("; "));
            Finding::new(name, State::Missing, "forbidden for ordinary users", &cure)
        }
    }
}

fn yama() -> Finding {
    let name = "yama ptrace scope";
    let cure = "a kernel must read its guests' memory: sysctl kernel.yama.ptrace_scope=1";
    match fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").as_deref().map(str::trim) {
        Err(_) => Finding::new(name, State::Good, "no restriction", ""),
        Ok(scope @ ("0" | "1")) => Finding::new(name, State::Good, scope, ""),
        Ok(scope) => Finding::new(name, State::Missing, scope, cure),
    }
}

fn cgroups() -> Finding {
    let name = "memory limits";
    let hierarchy = match cgroup::memory_hierarchy() {
        Ok(hierarchy) => hierarchy,
        Err(error) => {
            return Finding::new(name, State::Limited, "no", &format!("--memory needs it: {error:#}"));
        }
    };
    let unified = fs::exists("/sys/fs/cgroup/unified").unwrap_or(false);
    let version = match hierarchy.version {
        Version::V2 => "cgroup v2",
        Version::V1 if unified => "cgroup v1 (hybrid host)",
        Version::V1 => "cgroup v1",
    };
    let path = hierarchy.own.display();
    match Cgroup::with_memory_limit(TRIAL_LIMIT).and_then(Cgroup::remove) {
        Ok(()) => Finding::new(name, State::Good, format!("{version}, below {path}"), ""),
        Err(error) => Finding::new(name, State::Limited, version, &format!("--memory needs it: {error:#}")),
    }
}
