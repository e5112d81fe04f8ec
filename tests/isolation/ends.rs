//! `kill -9` of a part of a sandbox in which a guest with several processes and threads is busy.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::guest;
use crate::support::caller::is_root;
use crate::support::runtime::Runtime;
use crate::support::sandbox::{Held, wait_until_gone};

/// As promised.
const PROMPTLY: Duration = Duration::from_secs(1);

/// A sandbox in which `family` runs, with a temporary directory of its own.
fn family(runtime: Runtime, options: &[&str], arguments: &[&str]) -> (Held, tempfile::TempDir) {
    let temporary = tempfile::tempdir().expect("a directory");
    let options = [&["--status-fd", "1"], options].concat();
    let mut command = guest::command(runtime, &guest::program("family"), &options);
    command.args(arguments).env("TMPDIR", temporary.path());
    (Held::start_command(command), temporary)
}

/// What the host has mounted.
fn mounts() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/self/mounts").expect("the host's mounts");
    table.lines().map(str::to_owned).collect()
}

/// How many cgroups the sandbox of that monitor has.
fn cgroups(monitor: i32) -> usize {
    let hierarchy = usk::cgroup::memory_hierarchy().expect("a cgroup");
    let prefix = format!("usk-{monitor}-");
    let entries = fs::read_dir(hierarchy.own).expect("a directory").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count()
}

/// Kills one part; the monitor ends with this status, if it is not the part itself.
fn kill(runtime: Runtime, part: fn(&Held) -> i32, expected: Option<i32>) {
    let before = mounts();
    let limits: &[&str] = if is_root() { &["-m", "256M"] } else { &[] };
    let (mut held, temporary) = family(runtime, limits, &["busy"]);
    assert_eq!(held.read_line(), "ready");
    let processes = held.processes();
    // Monitor, sentry, gofer; for each of five guest processes an address space; a process for each thread.
    assert!(processes.len() >= 3 + 5 + 16, "{processes:?}");
    held.signal(part(&held), "KILL");
    let took = wait_until_gone(&processes);
    assert!(took < PROMPTLY, "{took:?}");
    let monitor = held.monitor();
    let (status, event, errors) = held.wait();
    assert_eq!(status.code(), expected, "{errors}");
    if expected.is_some() {
        assert_eq!(event["reason"], "error");
        assert!(errors.contains("SIGKILL"), "{errors}");
        assert!(!is_root() || cgroups(monitor) == 0, "a cgroup is left behind");
    }
    assert_eq!(fs::read_dir(temporary.path()).expect("a directory").count(), 0, "a file is left behind");
    assert!(mounts().is_subset(&before), "a mount is left behind");
}

pub(crate) fn killing_the_monitor_ends_a_busy_guest(runtime: Runtime) {
    kill(runtime, Held::monitor, None);
}

pub(crate) fn killing_the_sentry_ends_a_busy_guest_with_a_message(runtime: Runtime) {
    kill(runtime, |held| held.sentry, Some(125));
}

pub(crate) fn killing_the_gofer_ends_a_busy_guest_with_a_message(runtime: Runtime) {
    kill(runtime, |held| held.gofer, Some(125));
}
