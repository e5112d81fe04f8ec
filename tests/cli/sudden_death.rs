//! `kill -9` of a part ends the whole, promptly, and leaves nothing behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::caller::Caller;
use crate::sandbox::{Held, PLATFORMS, assert_prompt, everybody, wait_until_gone};
use crate::support::mounts::mounts;

fn kill(part: fn(&Held) -> i32, expected: Option<i32>) {
    for (caller, platform) in everybody() {
        let temporary = tempfile::tempdir().unwrap();
        fs::set_permissions(temporary.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let mounts = || mounts(temporary.path());
        let before = mounts();
        let mut command = Held::command(caller, platform, &["-v", "/usr/share:/data"]);
        command.env("TMPDIR", temporary.path());
        let mut held = Held::start_command(command);
        let processes = held.processes();
        assert!(processes.len() >= 4, "monitor, sentry, gofer and a stub: {processes:?}");
        assert!(mounts().is_subset(&before), "a mount of the sandbox is seen by the host");
        held.signal(part(&held), "KILL");
        assert_prompt(wait_until_gone(&processes), processes.len());
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
    assert_prompt(wait_until_gone(&processes), processes.len());
}
