//! Signals, pipes and closed streams: the command does what it would do without usk.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::caller::Caller;
use crate::guest::{Outcome, usk_run};
use crate::sandbox::{PLATFORMS, everybody};

/// A command that has said a line, so that it is known to run.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "begun\n");
        Running { child, output }
    }

    fn script(caller: Caller, platform: &str, script: &str) -> Running {
        Running::start(usk_run(caller, platform, &[], &["bash", "-c", script]))
    }

    /// Sends a signal; to the whole process group with a minus before the number.
    fn signal(&self, signal: &str, target: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), "--", target]).status().unwrap();
        assert!(status.success());
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// The rest of what it writes, and how it ends.
    fn finish(mut self) -> Outcome {
        let mut stdout = String::new();
        self.output.read_to_string(&mut stdout).unwrap();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Outcome { status: self.child.wait().unwrap().code(), stdout, stderr }
    }
}

#[test]
fn a_signal_ends_a_command_that_does_not_catch_it() {
    for (caller, platform) in everybody() {
        for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("USR1", 10)] {
            let running =
                Running::script(caller, platform, r#"exec perl -e '$| = 1; print "begun\n"; sleep 100'"#);
            running.signal(signal, &running.pid());
            let outcome = running.finish();
            assert_eq!(
                (outcome.status, outcome.stderr.as_str()),
                (Some(128 + number), ""),
                "{platform} {signal}"
            );
        }
    }
}

#[test]
fn a_signal_is_caught_by_a_command_that_wants_it() {
    for (caller, platform) in everybody() {
        for signal in ["TERM", "INT", "HUP", "USR2", "WINCH"] {
            let script =
                format!("trap 'echo caught; exit 3' {signal}; echo begun; while :; do read -t 0.05; done");
            let mut command = usk_run(caller, platform, &[], &["bash", "-c", &script]);
            command.stdin(Stdio::piped());
            let running = Running::start(command);
            running.signal(signal, &running.pid());
            let outcome = running.finish();
            assert_eq!(
                (outcome.status, outcome.stdout.as_str()),
                (Some(3), "caught\n"),
                "{platform} {signal}"
            );
        }
    }
}

#[test]
fn an_ignored_signal_stays_ignored() {
    for platform in PLATFORMS {
        let usk = format!("{} run --platform {platform}", env!("CARGO_BIN_EXE_usk"));
        let script =
            format!("trap '' HUP PIPE; exec {usk} -- bash -c 'kill -HUP $$; kill -PIPE $$; echo alive'");
        let output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
        assert_eq!(Outcome::from(output).succeeded(), "alive\n", "{platform}");
    }
}

#[test]
fn a_signal_to_the_process_group_ends_a_pipeline() {
    for platform in PLATFORMS {
        let usk = format!("{} run --platform {platform}", env!("CARGO_BIN_EXE_usk"));
        // The last part says when the first has begun, and what the statuses of both were.
        let script = format!(
            "trap 'echo shell' INT; {usk} -- perl -e '$| = 1; print \"begun\\n\"; sleep 100' | {usk} -- sh -c 'trap \"\" INT; cat'; \
             echo ${{PIPESTATUS[*]}}"
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script]).stdin(Stdio::null()).process_group(0);
        let running = Running::start(command);
        running.signal("INT", &format!("-{}", running.pid()));
        let outcome = running.finish();
        assert!(outcome.stdout.ends_with("130 0\n"), "{platform}: {outcome:?}");
        assert_eq!(outcome.stderr, "", "{platform}");
    }
}

#[test]
fn a_stopped_command_stops_usk_and_goes_on_with_it() {
    for (caller, platform) in everybody() {
        let running = Running::script(caller, platform, "echo begun; kill -STOP $$; echo continued");
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.pid())).unwrap();
            stat.rsplit(')').next().unwrap().trim_start().chars().next()
        };
        let begun = std::time::Instant::now();
        while state() != Some('T') {
            assert!(begun.elapsed().as_secs() < 20, "{platform}: usk does not stop: {:?}", state());
            std::thread::yield_now();
        }
        running.signal("CONT", &running.pid());
        let outcome = running.finish();
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(0), "continued\n"), "{platform}");
    }
}

#[test]
fn a_reader_that_has_enough_ends_the_writer_without_a_word() {
    for (caller, platform) in everybody() {
        let mut writer = usk_run(caller, platform, &[], &["yes"]);
        let mut writer = writer.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 2];
        // The pipe is closed at the end of this statement.
        writer.stdout.take().unwrap().read_exact(&mut line).unwrap();
        assert_eq!(&line, b"y\n");
        let outcome = Outcome::from(writer.wait_with_output().unwrap());
        assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(141), ""), "{caller:?} {platform}");
    }
}

#[test]
fn input_and_its_end_reach_the_command() {
    for (caller, platform) in everybody() {
        let mut sorter = usk_run(caller, platform, &[], &["sort"]);
        let mut sorter =
            sorter.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines: String = (0..20_000).rev().map(|number| format!("{number:05}\n")).collect();
        sorter.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = Outcome::from(sorter.wait_with_output().unwrap()).succeeded();
        assert!(
            output.lines().map(|line| line.parse::<u32>().unwrap()).eq(0..20_000),
            "{caller:?} {platform}"
        );
    }
}

#[test]
fn closed_streams_are_closed_for_the_command() {
    let script =
        "for stream in 0 1 2; do [ -e /proc/self/fd/$stream ] && open=$open$stream; done; exit 1$open";
    let count = |redirections: &str, prefix: &str| {
        let command = format!("{prefix} sh -c '{script}' {redirections}");
        Command::new("sh").args(["-c", &command]).stdin(Stdio::null()).output().unwrap().status
    };
    for platform in PLATFORMS {
        let usk = format!("{} run --platform {platform} --", env!("CARGO_BIN_EXE_usk"));
        for redirections in ["", "<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
            let (natively, here) = (count(redirections, ""), count(redirections, &usk));
            assert!(natively.signal().is_none() && natively.code() != Some(0));
            assert_eq!(here.code(), natively.code(), "{platform} {redirections}");
        }
    }
}
