//! What the command line looks like.

use crate::caller::Caller;

#[test]
fn version_names_the_program_and_its_version() {
    let output = Caller::Myself.usk().arg("--version").output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("usk {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_describes_every_option() {
    let output = Caller::Myself.usk().args(["run", "--help"]).output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    let described = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/options.md")).unwrap();
    for option in [
        "--rootfs",
        "--volume",
        "--tmpfs",
        "--read-only",
        "--hide",
        "--workdir",
        "--env",
        "--env-file",
        "--inherit-env",
        "--clear-env",
        "--user",
        "--hostname",
        "-i",
        "-t",
        "--timeout",
        "--memory",
        "--pids-limit",
        "--platform",
        "--spin",
        "--strace",
        "--log",
        "--status-fd",
        "--json",
        "--trace-start",
        "--report",
        "--report-file",
    ] {
        assert!(help.contains(option), "{option}");
        let is_described = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-');
        assert!(described.split(option).skip(1).any(is_described), "{option} in docs/options.md");
    }
    assert!(!help.contains("--filter-log"), "it is hidden");
}

#[test]
fn help_is_short_enough_to_read() {
    let output = Caller::Myself.usk().args(["run", "-h"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).lines().count() < 60);
}
