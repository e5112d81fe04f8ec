//! `kill -9` of a part of a sandbox in which a guest with several processes and threads is busy.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::guest;
use crate::support::caller::is_root;
use crate::support::mounts::mounts;
use crate::support::runtime::Runtime;
use crate::support::sandbox::{Held, assert_prompt, wait_until_gone};

/// A sandbox in which `family` runs; `temporary` is the directory for temporary files.
fn family(runtime: Runtime, temporary: &Path, options: &[&str], arguments: &[&str]) -> Held {
    let options = [&["--status-fd", "1"], options].concat();
    let mut command = guest::command(runtime, &guest::program("family"), &options);
    command.args(arguments).env("TMPDIR", temporary);
    Held::start_command(command)
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
    let limits: &[&str] = if is_root() { &["-m", "256M"] } else { &[] };
    let temporary = tempfile::tempdir().expect("a directory");
    let before = mounts(temporary.path());
    let mut held = family(runtime, temporary.path(), limits, &["busy"]);
    assert_eq!(held.read_line(), "ready");
    let processes = held.processes();
    // Monitor, sentry, gofer; for each of four guest processes an address space; a process for each thread.
    assert!(processes.len() >= 3 + 4 + 13, "{processes:?}");
    held.signal(part(&held), "KILL");
    assert_prompt(wait_until_gone(&processes), processes.len());
    let monitor = held.monitor();
    let (status, event, errors) = held.wait();
    assert_eq!(status.code(), expected, "{errors}");
    if expected.is_some() {
        assert_eq!(event["reason"], "error");
        assert!(errors.contains("SIGKILL"), "{errors}");
        assert!(!is_root() || cgroups(monitor) == 0, "a cgroup is left behind");
    }
    assert_eq!(fs::read_dir(temporary.path()).expect("a directory").count(), 0, "a file is left behind");
    let left: Vec<String> = mounts(temporary.path()).difference(&before).cloned().collect();
    assert!(left.is_empty(), "mounts are left behind: {left:?}");
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
pub(crate) fn guest_processes_that_have_ended_leave_no_processes_of_the_host(runtime: Runtime) {
    const COUNT: usize = 100;
    // What is kept for the next ones, what is not reaped yet, and the survivor.
    const MOST: usize = 40;
    let options = ["--timeout", "60s"];
    let mut held = family(runtime, &std::env::temp_dir(), &options, &["survivor", &COUNT.to_string()]);
    assert_eq!(held.read_line(), "ready");
    let stubs = held.stubs().len();
    assert!(stubs < MOST, "{stubs} processes");
    held.signal(held.sentry, "KILL");
    held.wait();
}

/// The host's processes that hold the memory of victim number `index`, oldest first. It has marked its memory by a
/// mapping, as `family.c` says.
fn victims(held: &Held, index: usize) -> Vec<i32> {
    let marker = format!("{:x}-", 0x1234_0000_0000_u64 + ((index as u64) << 24));
    let is_marked =
        |pid: i32| fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| maps.contains(&marker));
    let mut victims: Vec<i32> =
        held.stubs().iter().map(|stub| stub.pid).filter(|&pid| is_marked(pid)).collect();
    victims.sort_unstable();
    victims
}

pub(crate) fn killing_a_stub_kills_its_guest_process_alone(runtime: Runtime) {
    // The process that keeps the address space, and one for each thread: one computes, one calls, one waits.
    const PARTS: usize = 5;
    let options = ["--timeout", "60s"];
    let mut held = family(runtime, &std::env::temp_dir(), &options, &["victims", &PARTS.to_string()]);
    for index in 0..PARTS {
        assert_eq!(held.read_line(), "ready");
        let victims = victims(&held, index);
        assert_eq!(victims.len(), PARTS, "{victims:?}");
        kill_process(Pid::from_raw(victims[index]).expect("a process id"), Signal::KILL)
            .expect("it is there");
        assert_eq!(held.read_line(), "SIGNAL 9", "process {index} of {victims:?}");
    }
    let (status, _, errors) = held.wait();
    assert_eq!(status.code(), Some(0), "{errors}");
}

pub(crate) fn a_guest_that_blocks_kicks_is_ended_when_it_is_killed_or_waited_for(runtime: Runtime) {
    // The other's code makes no call that sleeps.
    if runtime == Runtime::Trap {
        let outcome = guest::run(guest::command(runtime, &guest::program("sleeper"), &[]));
        assert_eq!((outcome.stdout.as_str(), outcome.status), ("finished\n", 0), "{}", outcome.stderr);
    }
}
