//! Processes that join a container.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use crate::bundle::Bundle;
use crate::runtime::{Runtime, new_id, outcome, wait_until};

/// A container that sleeps, deleted when dropped.
struct Sleeper {
    usk: Runtime,
    bundle: Bundle,
    id: String,
}

impl Sleeper {
    fn new() -> Sleeper {
        let (usk, bundle, id) = (Runtime::usk(), Bundle::of_command(&["sleep", "1000"]), new_id());
        let outcome = usk.background(&bundle, &["run", "-d", &id]);
        assert_eq!(outcome.status, 0, "{outcome:?}");
        Sleeper { usk, bundle, id }
    }

    fn exec(&self, options: &[&str], command: &[&str]) -> crate::runtime::Outcome {
        let arguments = [&["exec"], options, &[&self.id[..]], command].concat();
        self.usk.verb(&self.bundle, &arguments)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let outcome = self.usk.verb(&self.bundle, &["delete", "--force", &self.id]);
        assert!(std::thread::panicking() || outcome.status == 0, "{outcome:?}");
    }
}

#[test]
fn exec_has_the_processes_status_and_streams() {
    let sleeper = Sleeper::new();
    let outcome = sleeper.exec(&[], &["sh", "-c", "echo out; echo err >&2; exit 9"]);
    assert_eq!((outcome.status, &outcome.output[..], &outcome.error[..]), (9, "out\n", "err\n"));
    let mut command = sleeper.usk.command(&sleeper.bundle, &["exec", &sleeper.id, "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("a pipe").write_all(b"through\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.stdout, b"through\n");
}

#[test]
fn exec_sees_the_same_sandbox() {
    let sleeper = Sleeper::new();
    let outcome = sleeper.exec(&[], &["sh", "-c", "hostname; ps | grep -c 'sleep 100[0]'"]);
    assert_eq!(outcome.output, "box\n1\n");
}

#[test]
fn options_change_the_process() {
    let sleeper = Sleeper::new();
    let options = ["--user", "1000:5", "-g", "7", "--cwd", "/tmp", "--env", "A=b"];
    let outcome = sleeper.exec(&options, &["sh", "-c", "id -u; id -G; pwd; echo $A $HOME"]);
    assert_eq!(outcome.output, "1000\n5 7\n/tmp\nb /tmp\n");
    let outcome = sleeper
        .exec(&["--cap", "CAP_CHOWN"], &["sh", "-c", "touch /tmp/x && chown 5 /tmp/x && stat -c %u /tmp/x"]);
    assert_eq!(outcome.output, "5\n", "{outcome:?}");
}

#[test]
fn a_process_that_joins_can_be_kept_from_gaining_privileges() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::with(|spec| {
        spec["process"]["noNewPrivileges"] = json!(false);
        spec["process"]["args"] = json!(["sleep", "1000"]);
    });
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    for (option, wanted) in [(&[][..], "NoNewPrivs:\t0\n"), (&["--no-new-privs"], "NoNewPrivs:\t1\n")] {
        let arguments = [&["exec"], option, &[&id[..], "grep", "NoNewPrivs", "/proc/self/status"]].concat();
        assert_eq!(usk.must(&bundle, &arguments), wanted);
    }
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn a_process_that_joins_is_passed_descriptors_where_asked() {
    let sleeper = Sleeper::new();
    // A shell numbers the descriptor.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "exec 3>passed; \"$@\"", "sh", env!("CARGO_BIN_EXE_usk-oci"), "--root"]);
    command.arg(sleeper.usk.root()).args(["exec", "--preserve-fds", "1", &sleeper.id]);
    command.args(["sh", "-c", "echo of the process >&3"]).current_dir(sleeper.bundle.path());
    assert!(command.status().expect("it runs").success());
    let passed = fs::read_to_string(sleeper.bundle.file("passed")).expect("text");
    assert_eq!(passed, "of the process\n");
}

#[test]
fn a_directory_is_not_passed_on() {
    let sleeper = Sleeper::new();
    for verb in [&["run"][..], &["exec"]] {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "exec 3<.; \"$@\"", "sh", env!("CARGO_BIN_EXE_usk-oci"), "--root"]);
        command.arg(sleeper.usk.root()).args(verb).args(["--preserve-fds", "1"]);
        if verb == ["run"] {
            command.arg(new_id())
        } else {
            command.args([&sleeper.id, "true"])
        };
        let outcome = outcome(command.current_dir(sleeper.bundle.path()).output().expect("sh runs"));
        assert!(
            outcome.status != 0 && outcome.error.contains("--preserve-fds: descriptor 3 is a dir"),
            "{outcome:?}"
        );
    }
}

#[test]
fn there_is_no_cgroup_below_the_containers() {
    let sleeper = Sleeper::new();
    for (cgroup, status) in [("/", 0), ("cpu:/", 0), ("moon", 255), ("cpu:/moon", 255)] {
        let outcome = sleeper.exec(&["--cgroup", cgroup], &["true"]);
        assert_eq!(
            (outcome.status, outcome.error.contains("--cgroup: ")),
            (status, status != 0),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_process_can_be_described_in_a_file() {
    let sleeper = Sleeper::new();
    let process = json!({ "args": ["sh", "-c", "id -u; pwd; exit 6"], "cwd": "/tmp", "env": ["PATH=/bin"], "user": { "uid": 1000, "gid": 1000 } });
    fs::write(sleeper.bundle.file("process.json"), process.to_string()).expect("a file can be written");
    let outcome = sleeper.exec(&["--process", "process.json"], &[]);
    assert_eq!((outcome.status, &outcome.output[..]), (6, "1000\n/tmp\n"));
}

#[test]
fn a_detached_process_is_stood_for_by_one_of_the_hosts() {
    let sleeper = Sleeper::new();
    let arguments =
        ["exec", "-d", "--pid-file", "exec-pid", &sleeper.id, "sh", "-c", "echo > /tmp/ready; sleep 777"];
    assert_eq!(sleeper.usk.background(&sleeper.bundle, &arguments).status, 0);
    let pid = fs::read_to_string(sleeper.bundle.file("exec-pid")).expect("a pid file");
    wait_until("it runs", || sleeper.bundle.rootfs().join("tmp/ready").exists());
    let count = || sleeper.exec(&[], &["sh", "-c", "ps | grep -c 'sleep 77[7]'"]).output;
    assert_eq!(count(), "1\n");
    let pid = nix::unistd::Pid::from_raw(pid.parse().expect("a number"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it is there");
    wait_until("it ends", || count() == "0\n");
    wait_until("who stood for it ends", || nix::sys::signal::kill(pid, None).is_err());
}

#[test]
fn the_end_of_the_verb_is_the_processes() {
    let sleeper = Sleeper::new();
    let mut command = sleeper
        .usk
        .command(&sleeper.bundle, &["exec", &sleeper.id, "sh", "-c", "echo > /tmp/ready; sleep 777"]);
    let mut child = command.spawn().expect("it runs");
    wait_until("it runs", || sleeper.bundle.rootfs().join("tmp/ready").exists());
    child.kill().expect("it is there");
    child.wait().expect("it ends");
    wait_until("the process ends", || {
        sleeper.exec(&[], &["sh", "-c", "ps | grep -c 'sleep 77[7]'"]).output == "0\n"
    });
}

#[test]
fn a_command_that_cannot_be_run_is_told_in_the_words_that_engines_know() {
    let sleeper = Sleeper::new();
    for (command, words) in [
        ("nosuch", "exec: \\\"nosuch\\\": executable file not found in $PATH"),
        ("/nosuch", "exec: \\\"/nosuch\\\": stat /nosuch: no such file or directory"),
        ("/tmp", "exec: \\\"/tmp\\\": permission denied"),
    ] {
        let outcome = sleeper.exec(&[], &[command]);
        assert_eq!(outcome.status, 255);
        assert!(outcome.error.contains(words), "{outcome:?}");
    }
}

#[test]
fn many_processes_join_at_the_same_time() {
    let sleeper = Sleeper::new();
    let children: Vec<_> = (0..20)
        .map(|number| {
            let script = format!("exit {number}");
            let mut command =
                sleeper.usk.command(&sleeper.bundle, &["exec", &sleeper.id, "sh", "-c", &script]);
            command.spawn().expect("it runs")
        })
        .collect();
    for (number, mut child) in children.into_iter().enumerate() {
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), i32::try_from(number).ok());
    }
}
