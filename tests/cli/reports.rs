//! What the operator is told: events, the list of system calls, the kernel's own messages, and what is lacking.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::caller::Caller;
use crate::guest::{Outcome, directory_of, run, shell, text, usk_run};
use crate::sandbox::{PLATFORMS, everybody};

/// Makes calls that usk does not have: `uselib` of old Linux twice, and one that no Linux has.
const UNIMPLEMENTED: &str = "\
import ctypes
syscall = ctypes.CDLL(None, use_errno=True).syscall
for number in [134, 134, 999]:
    assert syscall(number, 0, 0, 0) == -1 and ctypes.get_errno() == 38
";

/// What an event says of these calls. Programs make others, too, which usk may not have either.
fn lacking(event: &Value, names: &[&str]) -> Vec<Value> {
    let calls = event["unimplemented"].as_array().unwrap();
    calls.iter().filter(|call| names.iter().any(|name| call["name"] == *name)).cloned().collect()
}

/// Runs a command with `--status-fd` and returns the events.
fn events(caller: Caller, platform: &str, options: &[&str], command: &[&str]) -> (Outcome, Vec<Value>) {
    let directory = directory_of(caller);
    let file = directory.path().join("events");
    let written = fs::File::create(&file).unwrap();
    let mut usk = usk_run(caller, platform, &[&["--status-fd", "1"], options].concat(), command);
    let output = usk.stdout(written).output().unwrap();
    let lines = fs::read_to_string(&file).unwrap();
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    (output.into(), lines.lines().map(parse).collect())
}

#[test]
fn events_tell_that_the_command_started_and_how_it_ended() {
    for (caller, platform) in everybody() {
        for (script, status, code, signal, reason) in [
            ("exit 3", 3, Value::from(3), Value::Null, "exit"),
            ("kill -TERM $$", 143, Value::Null, Value::from(15), "signal"),
        ] {
            let (outcome, events) = events(caller, platform, &[], &["sh", "-c", script]);
            assert_eq!(outcome.status, Some(status));
            let [started, exited] = &events[..] else { panic!("two events: {events:?}") };
            assert_eq!(started["event"], "started");
            assert!(["monitor", "sentry", "gofer"].iter().all(|name| started[*name].is_u64()), "{started}");
            assert_eq!((&exited["event"], &exited["reason"]), (&"exited".into(), &reason.into()));
            assert_eq!(
                (&exited["status"], &exited["code"], &exited["signal"]),
                (&status.into(), &code, &signal)
            );
            assert_eq!((&exited["limit"], &exited["message"]), (&Value::Null, &Value::Null), "{exited}");
            assert_eq!(lacking(exited, &["uselib", "syscall_999"]), Vec::<Value>::new());
        }
    }
}

#[test]
fn a_command_that_does_not_start_has_one_event_with_the_reason() {
    let (outcome, events) = events(Caller::Myself, PLATFORMS[0], &[], &["no-such-command"]);
    assert_eq!(outcome.status, Some(127));
    let [exited] = &events[..] else { panic!("one event: {events:?}") };
    assert_eq!((&exited["status"], &exited["reason"]), (&127.into(), &"not_started".into()));
    assert!(exited["message"].as_str().unwrap().contains("no-such-command"));
}

#[test]
fn calls_that_are_not_implemented_are_counted_in_the_last_event() {
    for (caller, platform) in everybody() {
        let (outcome, events) = events(caller, platform, &[], &["/usr/bin/python3", "-c", UNIMPLEMENTED]);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        let expected = [
            serde_json::json!({"name": "uselib", "number": 134, "count": 2}),
            serde_json::json!({"name": "syscall_999", "number": 999, "count": 1}),
        ];
        let found = lacking(events.last().unwrap(), &["uselib", "syscall_999"]);
        assert_eq!(found, expected, "{caller:?} {platform}");
    }
}

#[test]
fn calls_that_are_not_implemented_are_counted_when_the_time_is_up() {
    for platform in PLATFORMS {
        let script = format!("{UNIMPLEMENTED}\nimport signal\nsignal.pause()\n");
        let command = ["/usr/bin/python3", "-c", &script];
        let (outcome, events) = events(Caller::Myself, platform, &["--timeout", "3s"], &command);
        assert_eq!(outcome.status, Some(124), "{outcome:?}");
        let last = events.last().unwrap();
        assert_eq!((&last["reason"], &last["limit"]), (&"timeout".into(), &"timeout".into()));
        assert_eq!(lacking(last, &["uselib"]).len(), 1, "{last}");
    }
}

#[test]
fn a_guest_that_tries_every_number_does_not_fill_the_report() {
    let script = "\
import ctypes
syscall = ctypes.CDLL(None).syscall
for number in range(1000, 3000):
    syscall(number)
";
    let (outcome, events) = events(Caller::Myself, PLATFORMS[0], &[], &["/usr/bin/python3", "-c", script]);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(events.last().unwrap()["unimplemented"].as_array().unwrap().len(), 256);
}

#[test]
fn calls_are_listed_in_a_file_and_those_that_are_not_implemented_are_marked() {
    for (caller, platform) in everybody() {
        let directory = directory_of(caller);
        let file = directory.path().join("calls");
        let option = format!("--strace={}", text(&file));
        run(caller, platform, &[&option], &["/usr/bin/python3", "-c", UNIMPLEMENTED]).succeeded();
        let listed = fs::read_to_string(&file).unwrap();
        let marked = |name: &str| {
            let is_marked = |line: &&str| line.contains(name) && line.ends_with("(not implemented)");
            listed.lines().filter(is_marked).filter(|line| line.contains("-1 ENOSYS")).count()
        };
        assert_eq!((marked(" uselib("), marked(" syscall_999(")), (2, 1), "{listed}");
        assert!(listed.lines().last().unwrap().contains("exit_group(0) = ?"));
        assert!(listed.lines().all(|line| line.starts_with('[')), "every line is a call's");
    }
}

#[test]
fn the_log_is_appended_to_and_tells_what_was_lacking() {
    for (caller, platform) in everybody() {
        let directory = directory_of(caller);
        let file = directory.path().join("log");
        let options = ["--log", text(&file)];
        for runs in 1..=2 {
            run(caller, platform, &options, &["/usr/bin/python3", "-c", UNIMPLEMENTED]).succeeded();
            let log = fs::read_to_string(&file).unwrap();
            assert_eq!(log.matches("the command runs").count(), runs, "{log}");
            assert_eq!(log.matches("number=134").count(), runs, "{log}");
        }
    }
}

#[test]
fn a_full_disk_does_not_stop_the_command_and_is_said_in_one_line() {
    for (caller, platform) in everybody() {
        for (option, name) in [("--strace=/dev/full", "--strace"), ("--log=/dev/full", "--log")] {
            let outcome = shell(caller, platform, &[option], "echo output; exit 3");
            assert_eq!(outcome.stdout, "output\n");
            let line = outcome.refused(3);
            assert!(line.contains(name) && line.contains("No space left on device"), "{line}");
        }
        let mut usk = usk_run(caller, platform, &["--status-fd", "1"], &["sh", "-c", "exit 3"]);
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let line = Outcome::from(usk.stdout(full).output().unwrap()).refused(3);
        assert!(line.contains("--status-fd") && line.contains("No space left on device"), "{line}");
    }
}

#[test]
fn a_descriptor_that_is_closed_cannot_take_events() {
    let script = format!("{} run --status-fd 1 -- true >&-", env!("CARGO_BIN_EXE_usk"));
    for number in ["1", "9"] {
        let script = script.replace("--status-fd 1", &format!("--status-fd {number}"));
        let output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
        let line = Outcome::from(output).refused(125);
        assert!(line.contains(&format!("descriptor {number}")) && line.contains("open it"), "{line}");
    }
}

#[test]
fn a_host_without_free_descriptors_is_an_error_in_one_line() {
    // Enough to start the program, too few for a sandbox.
    let script = format!("ulimit -n 8; exec {} run -- true", env!("CARGO_BIN_EXE_usk"));
    let output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    let line = Outcome::from(output).refused(125);
    assert!(line.contains("Too many open files"), "{line}");
}

#[test]
fn messages_are_json_where_asked() {
    let options = ["--json", "--timeout", "300ms"];
    let outcome = run(Caller::Myself, PLATFORMS[0], &options, &["sleep", "100"]);
    let message: Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert!(message["usk"].as_str().unwrap().contains("--timeout"), "{message}");
}

#[test]
fn the_event_descriptor_is_not_the_commands() {
    for (caller, platform) in everybody() {
        let directory = directory_of(caller);
        let file = fs::File::create(directory.path().join("events")).unwrap();
        let number = file.as_raw_fd();
        drop(file);
        let script = format!(
            "exec 9>{}; exec {} run --platform {platform} --status-fd 9 -- ls /proc/self/fd",
            directory.path().join("events").display(),
            env!("CARGO_BIN_EXE_usk")
        );
        assert!(number > 2 && Path::new("/proc/self/fd").exists());
        let output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
        assert_eq!(Outcome::from(output).succeeded(), "0\n1\n2\n3\n");
    }
}
