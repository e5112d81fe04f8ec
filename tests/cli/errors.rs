//! Errors: exit status 125, one line, with what failed and what to do.

use std::io::Write;
use std::process::Command;

use crate::caller::Caller;

/// Runs `usk` with these arguments and returns the one line that it prints.
fn error_of(arguments: &[&str]) -> String {
    let output = Caller::Myself.usk().args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{arguments:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
    assert!(text.starts_with("usk: "), "{text}");
    assert!(output.stdout.is_empty());
    text
}

#[test]
fn an_unknown_option_is_one_line_that_names_the_help() {
    let line = error_of(&["run", "--no-such-option", "--", "true"]);
    assert!(line.contains("--no-such-option") && line.contains("usk run --help"), "{line}");
}

#[test]
fn options_after_the_command_are_the_commands() {
    let line = error_of(&["run", "--rootfs", "/nonexistent", "ls", "--no-such-option"]);
    assert!(line.contains("/nonexistent"), "{line}");
}

#[test]
fn a_missing_command_is_an_error() {
    assert!(error_of(&["run"]).contains("COMMAND"));
}

#[test]
fn values_that_make_no_sense_are_named() {
    for (arguments, word) in [
        (["-v", "/a"], "SRC:DST"),
        (["-v", "/a:b"], "absolute"),
        (["-v", "/a:/b:rx"], "ro or rw"),
        (["--tmpfs", "/t:mode=7"], "size=N"),
        (["--timeout", "soon"], "60s"),
        (["--memory", "much"], "512M"),
        (["--pids-limit", "0"], "1.."),
        (["--platform", "kvm"], "ptrace"),
        (["--hostname", "a b"], "host name"),
        (["--user", ":"], "UID"),
        (["--status-fd", "x"], "invalid"),
        (["--workdir", "relative"], "absolute"),
        (["--hide", "relative"], "absolute"),
    ] {
        let line = error_of(&["run", arguments[0], arguments[1], "--", "true"]);
        assert!(line.contains(word), "{arguments:?}: {line}");
    }
}

#[test]
fn things_that_are_not_there_are_named_with_a_cure() {
    for (arguments, words) in [
        (["--rootfs", "/no/such/place"], ["/no/such/place", "does not exist"]),
        (["--rootfs", "/etc/passwd"], ["/etc/passwd", "unpack it"]),
        (["--volume", "/no/such/place:/x"], ["/no/such/place", "does not exist"]),
        (["--volume", "/dev/ptmx:/x"], ["/dev/ptmx", "special files"]),
        (["--volume", "/etc:/"], ["/", "--rootfs"]),
        (["--hide", "/no/such/place"], ["/no/such/place", "check the path"]),
        (["--env-file", "/no/such/file"], ["/no/such/file", "environment file"]),
        (["--user", "nosuchuser"], ["nosuchuser", "number"]),
        (["--user", "0:nosuchgroup"], ["nosuchgroup", "number"]),
        (["--strace=/no/such/place/x", "--clear-env"], ["/no/such/place/x", "--strace"]),
        (["--log", "/no/such/place/x"], ["/no/such/place/x", "--log"]),
        (["--status-fd", "987"], ["987", "open it"]),
    ] {
        let line = error_of(&["run", arguments[0], arguments[1], "--", "true"]);
        assert!(words.iter().all(|word| line.contains(word)), "{arguments:?}: {line}");
    }
}

#[test]
fn spinning_needs_patched_calls_on_the_trap_platform_and_two_processors() {
    let line = error_of(&["run", "--spin", "--no-patch", "--", "true"]);
    assert!(line.contains("--no-patch"), "{line}");
    let line = error_of(&["run", "--spin", "--platform", "ptrace", "--", "true"]);
    assert!(line.contains("--spin") && line.contains("leave out"), "{line}");
    let allowed = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
    let first = (0..).find(|&processor| allowed.is_set(processor).unwrap()).unwrap().to_string();
    let usk = env!("CARGO_BIN_EXE_usk");
    let output = Command::new("taskset").args(["-c", &first, usk, "run", "--spin", "--", "true"]).output();
    let output = output.unwrap();
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), line.lines().count()), (Some(125), 1), "{line}");
    assert!(line.contains("two processors") && line.contains("leave it out"), "{line}");
}

#[test]
fn a_terminal_needs_a_terminal() {
    let mut command = Caller::Myself.usk();
    let output =
        command.args(["run", "-t", "--", "true"]).stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("leave -t out"));
}

#[test]
fn a_wrong_line_of_an_environment_file_is_named() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"A=1\n=2\n").unwrap();
    let line = error_of(&["run", "--env-file", file.path().to_str().unwrap(), "--", "true"]);
    assert!(line.contains("line 2"), "{line}");
}

#[test]
fn errors_are_json_where_asked() {
    let arguments = ["run", "--json", "--status-fd", "1", "--rootfs", "/no/such/place", "--", "true"];
    let output = Caller::Myself.usk().args(arguments).output().unwrap();
    let message: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(message["usk"].as_str().unwrap().contains("/no/such/place"));
    let event: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&event["event"], &event["status"]), (&"exited".into(), &125.into()));
    assert_eq!(event["reason"], "error");
}
