//! `kill -9` of a part ends the whole, promptly, and leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::caller::Caller;
use crate::sandbox::{Held, PLATFORMS, everybody, wait_until_gone};

/// As promised.
const PROMPTLY: Duration = Duration::from_secs(1);

/// What the host has mounted.
fn mounts() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    table.lines().map(str::to_owned).collect()
}

fn kill(part: fn(&Held) -> i32, expected: Option<i32>) {
    for (caller, platform) in everybody() {
        let before = mounts();
        let mut held = Held::start(caller, platform, &["-v", "/usr/share:/data"]);
        let processes = held.processes();
        assert!(processes.len() >= 4, "monitor, sentry, gofer and a stub: {processes:?}");
        assert!(mounts().is_subset(&before), "a mount of the sandbox is seen by the host");
        held.signal(part(&held), "KILL");
        let took = wait_until_gone(&processes);
        assert!(took < PROMPTLY, "{caller:?}: {took:?}");
        let (status, event, errors) = held.wait();
        assert_eq!(status.code(), expected, "{errors}");
        if expected.is_some() {
            assert_eq!(event["reason"], "error");
            assert!(errors.contains("SIGKILL"), "{errors}");
        }
        assert!(mounts().is_subset(&before), "a mount is left behind");
    }
}

#[test]
fn killing_the_monitor_ends_the_sandbox() {
    kill(Held::monitor, None);
}

#[test]
fn killing_the_sentry_ends_the_sandbox_with_a_message() {
    kill(|held| held.sentry, Some(125));
}

#[test]
fn killing_the_gofer_ends_the_sandbox_with_a_message() {
    kill(|held| held.gofer, Some(125));
}

#[test]
fn a_stopped_sentry_does_not_survive_the_monitor() {
    let held = Held::start(Caller::Myself, PLATFORMS[0], &[]);
    let processes = held.processes();
    held.signal(held.sentry, "STOP");
    held.signal(held.gofer, "STOP");
    held.signal(held.monitor(), "KILL");
    assert!(wait_until_gone(&processes) < PROMPTLY);
}
