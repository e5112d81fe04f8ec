//! The exit status tells how the command ended, or why it did not run.

use std::fs;

use crate::caller::{Caller, is_root};
use crate::guest::{directory_of, run, shell, text, write_program};
use crate::sandbox::{PLATFORMS, everybody};

#[test]
fn the_commands_own_status_is_handed_on() {
    for (caller, platform) in everybody() {
        for status in [0, 1, 7, 125, 255] {
            let outcome = shell(caller, platform, &[], &format!("exit {status}"));
            assert_eq!(
                (outcome.status, outcome.stderr.as_str()),
                (Some(status), ""),
                "{caller:?} {platform}"
            );
        }
    }
}

#[test]
fn a_signal_that_ends_the_command_is_added_to_128() {
    for (caller, platform) in everybody() {
        for (signal, number) in [("TERM", 15), ("KILL", 9), ("SEGV", 11), ("RTMAX", 64)] {
            let outcome = shell(caller, platform, &[], &format!("kill -{signal} $$"));
            assert_eq!(outcome.status, Some(128 + number), "{caller:?} {platform}: {outcome:?}");
        }
    }
}

#[test]
fn a_command_that_takes_too_long_is_ended_with_124() {
    for platform in PLATFORMS {
        let line = run(Caller::Myself, platform, &["--timeout", "500ms"], &["sleep", "100"]).refused(124);
        assert!(line.contains("--timeout"), "{line}");
    }
}

#[test]
fn a_command_that_is_not_there_is_127() {
    for (caller, platform) in everybody() {
        for name in ["no-such-command", "/no/such/place", "/etc/passwd/nothing", ""] {
            let line = run(caller, platform, &[], &[name]).refused(127);
            assert!(line.contains("not found"), "{name}: {line}");
        }
    }
}

#[test]
fn a_command_that_is_there_and_cannot_be_executed_is_126() {
    // The head of an ELF file for the Intel 80386, and one for AArch64.
    let elf = |class: u8, machine: u8| {
        let mut header = vec![0; 64];
        header[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1, 1, 0]);
        (header[16], header[18], header[20]) = (2, machine, 1);
        header
    };
    for (caller, platform) in everybody() {
        let directory = directory_of(caller);
        let file = |name: &str, content: &[u8]| {
            write_program(&directory.path().join(name), content);
            name.to_owned()
        };
        let cases = [
            (file("i386", &elf(1, 3)), "x86-64"),
            (file("aarch64", &elf(2, 183)), "x86-64"),
            (file("truncated", b"\x7fELF\x02\x01\x01\x00"), "x86-64"),
            (file("data", b"\x00\x01\x02\x03"), "x86-64"),
            (file("no-interpreter", b"#!/no/such/interpreter\n"), "interpreter"),
            (file("interpreter-is-a-directory", b"#!/etc\n"), "permission denied"),
            (file("endless", b"#!./endless\n"), "symbolic links"),
        ];
        let path = text(directory.path());
        let options = ["-v", &format!("{path}:/here"), "-w", "/here"];
        for (name, word) in &cases {
            let line = run(caller, platform, &options, &[&format!("./{name}")]).refused(126);
            assert!(line.contains(name.as_str()) && line.contains(word), "{name}: {line}");
        }
        for name in ["/etc", "/etc/passwd"] {
            let line = run(caller, platform, &[], &[name]).refused(126);
            assert!(line.contains(name) && line.contains("permission denied"), "{line}");
        }
    }
}

#[test]
fn a_script_without_an_interpreter_is_run_by_the_shell_as_execvp_does() {
    for (caller, platform) in everybody() {
        let directory = directory_of(caller);
        write_program(&directory.path().join("script"), b"echo \"$1\" of the shell\nexit 3\n");
        let volume = format!("{}:/here", text(directory.path()));
        let outcome = run(caller, platform, &["-v", &volume], &["/here/script", "a script"]);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(3), "a script of the shell\n"));
    }
}

#[test]
fn a_memory_limit_that_ends_the_command_is_137_and_says_so() {
    if !is_root() {
        return;
    }
    for platform in PLATFORMS {
        let directory = directory_of(Caller::Myself);
        let events = directory.path().join("events");
        let script = format!(
            "exec {usk} run --platform {platform} -m 64M --status-fd 3 -- \
             /usr/bin/python3 -c 'bytearray(b\"x\") * (1 << 30)' 3>{events}",
            usk = env!("CARGO_BIN_EXE_usk"),
            events = events.display()
        );
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let line = crate::guest::Outcome::from(output).refused(137);
        assert!(line.contains("--memory"), "{line}");
        let last = fs::read_to_string(&events).unwrap().lines().last().unwrap().to_owned();
        let event: serde_json::Value = serde_json::from_str(&last).unwrap();
        assert_eq!((&event["status"], &event["reason"]), (&137.into(), &"memory".into()), "{event}");
        assert_eq!((&event["limit"], &event["signal"]), (&"memory".into(), &9.into()), "{event}");
    }
}

#[test]
fn a_limit_on_processes_is_an_error_of_fork_and_not_the_end() {
    for (caller, platform) in everybody() {
        let script = "\
import os, signal
children = 0
try:
    while True:
        if os.fork() == 0: signal.pause()
        children += 1
except BlockingIOError as error:
    print(children, error.errno)
";
        let outcome = run(caller, platform, &["--pids-limit", "5"], &["/usr/bin/python3", "-c", script]);
        // EAGAIN; the command itself, and perhaps the init that the kernel keeps for itself, count as well.
        let (children, error) = outcome.stdout.trim().split_once(' ').unwrap_or_default();
        assert_eq!((outcome.status, error), (Some(0), "11"), "{outcome:?}");
        assert!((3..=4).contains(&children.parse::<u32>().unwrap()), "{outcome:?}");
    }
}
