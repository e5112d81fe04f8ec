//! Time and memory limits, signals to the monitor.

use std::fs;
use std::time::{Duration, Instant};

use crate::caller::{Caller, is_root};
use crate::guest::usk_run;
use crate::sandbox::{Held, PLATFORMS, everybody, wait_until_gone};

#[test]
fn a_timeout_ends_the_sandbox_with_124() {
    let begun = Instant::now();
    let mut held = Held::start(Caller::Myself, PLATFORMS[0], &["--timeout", "300ms"]);
    let processes = held.processes();
    let (status, event, errors) = held.wait();
    assert_eq!(status.code(), Some(124));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!((&event["reason"], &event["limit"]), (&"timeout".into(), &"timeout".into()));
    assert!(errors.contains("--timeout"), "{errors}");
    wait_until_gone(&processes);
}

#[test]
fn a_command_that_stops_itself_does_not_stop_the_clock() {
    for (caller, platform) in everybody() {
        let begun = Instant::now();
        let stops = ["sh", "-c", "sleep 60 & kill -STOP $$"];
        let mut child = usk_run(caller, platform, &["--timeout", "2s"], &stops).spawn().unwrap();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.code();
            }
            if begun.elapsed() > Duration::from_secs(20) {
                child.kill().unwrap();
                break child.wait().unwrap().code();
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status, Some(124), "{caller:?} {platform}");
        assert!(begun.elapsed() >= Duration::from_secs(2));
    }
}

#[test]
fn signals_reach_the_sandbox_and_its_end_is_reported() {
    for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("QUIT", 3), ("USR1", 10), ("USR2", 12)] {
        let mut held = Held::start(Caller::Myself, PLATFORMS[0], &[]);
        let processes = held.processes();
        held.signal(held.monitor(), signal);
        let (status, event, errors) = held.wait();
        assert_eq!(status.code(), Some(128 + number), "{errors}");
        assert_eq!((&event["reason"], &event["signal"]), (&"signal".into(), &number.into()));
        assert!(errors.is_empty(), "{errors}");
        wait_until_gone(&processes);
    }
}

#[test]
fn a_memory_limit_is_a_cgroup_that_holds_all_but_the_monitor() {
    if !is_root() {
        return;
    }
    let mut held = Held::start(Caller::Myself, PLATFORMS[0], &["-m", "256M"]);
    let memory_cgroup = |pid: i32| {
        let all = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        all.lines()
            .find(|line| line.contains(":memory:") || line.starts_with("0::/usk"))
            .unwrap_or("")
            .to_owned()
    };
    let name = format!("usk-{}-", held.monitor());
    let cgroup = memory_cgroup(held.sentry);
    assert!(cgroup.contains(&name), "{cgroup}");
    assert_eq!(memory_cgroup(held.gofer), cgroup);
    assert!(!held.stubs().is_empty());
    for stub in held.stubs() {
        assert_eq!(memory_cgroup(stub.pid), cgroup);
    }
    assert!(!memory_cgroup(held.monitor()).contains(&name));
    held.signal(held.monitor(), "TERM");
    held.wait();
    assert_eq!(own_cgroups(&name), 0);
}

#[test]
fn the_cgroup_of_a_killed_monitor_is_removed_by_the_next_sandbox() {
    if !is_root() {
        return;
    }
    let held = Held::start(Caller::Myself, PLATFORMS[0], &["-m", "256M"]);
    let (name, processes) = (format!("usk-{}-", held.monitor()), held.processes());
    assert_eq!(own_cgroups(&name), 1);
    drop(held);
    wait_until_gone(&processes);
    // One that still ends is left to the one after.
    for _ in 0..5 {
        let mut next = Held::start(Caller::Myself, PLATFORMS[0], &["-m", "256M"]);
        next.signal(next.monitor(), "TERM");
        next.wait();
        if own_cgroups(&name) == 0 {
            return;
        }
    }
    panic!("{name} is left behind");
}

#[test]
fn a_memory_limit_without_a_cgroup_is_an_error_with_a_cure() {
    if !is_root() {
        return;
    }
    let output = Caller::Ordinary.usk().args(["run", "-m", "64M", "--", "true"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125));
    assert!(errors.contains("systemd-run --user --scope -p Delegate=yes"), "{errors}");
}

#[test]
fn the_host_would_rather_end_a_guest_than_the_sentry() {
    for (caller, platform) in everybody() {
        let held = Held::start(caller, platform, &[]);
        let score = |pid: i32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        assert_eq!(score(held.sentry), score(std::process::id() as i32));
        for stub in held.stubs() {
            assert_eq!(score(stub.pid).trim(), "1000");
        }
    }
}

fn own_cgroups(prefix: &str) -> usize {
    let hierarchy = usk::cgroup::memory_hierarchy().unwrap();
    let entries = fs::read_dir(hierarchy.own).unwrap();
    entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).count()
}
