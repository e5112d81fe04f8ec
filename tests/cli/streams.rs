//! Standard streams of the sandbox: they are the caller's.

use std::fs::{self, File, OpenOptions};
use std::process::Stdio;

use crate::sandbox::everybody;

/// Programs that copy files by `copy_file_range(2)`, as `cat` does, must go on where others have stopped.
const WRITERS: &str = "echo first; echo second > /tmp/usk-second; cat /tmp/usk-second; echo third";

#[test]
fn what_several_programs_write_to_a_file_comes_in_order() {
    for (caller, platform) in everybody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("output");
        fs::write(&path, "before\n").unwrap();
        let append = OpenOptions::new().append(true).open(&path).unwrap();
        let write = File::create(directory.path().join("fresh")).unwrap();
        for output in [append, write] {
            let status = caller
                .usk()
                .args(["run", "--platform", platform, "--", "sh", "-c", WRITERS])
                .stdin(Stdio::null())
                .stdout(output)
                .status()
                .unwrap();
            assert!(status.success(), "{caller:?} {platform}");
        }
        let appended = fs::read_to_string(&path).unwrap();
        assert_eq!(appended, "before\nfirst\nsecond\nthird\n", "{caller:?} {platform}");
        let written = fs::read_to_string(directory.path().join("fresh")).unwrap();
        assert_eq!(written, "first\nsecond\nthird\n", "{caller:?} {platform}");
    }
}

#[test]
fn a_stream_that_is_a_file_can_be_opened_anew_and_cut() {
    const SCRIPT: &str = "echo first; echo second > /dev/stdout; cat /dev/stdin > /dev/stderr";
    for (caller, platform) in everybody() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("input"), "third\n").unwrap();
        let status = caller
            .usk()
            .args(["run", "--platform", platform, "--", "sh", "-c", SCRIPT])
            .stdin(File::open(path("input")).unwrap())
            .stdout(File::create(path("output")).unwrap())
            .stderr(File::create(path("error")).unwrap())
            .status()
            .unwrap();
        assert!(status.success(), "{caller:?} {platform}");
        // Where the shell's own position is afterwards is another matter: here it is the one position that the host knows.
        let output = fs::read_to_string(path("output")).unwrap();
        assert!(
            output.ends_with("second\n") && !output.contains("first"),
            "{caller:?} {platform}: {output:?}"
        );
        assert_eq!(fs::read_to_string(path("error")).unwrap(), "third\n", "{caller:?} {platform}");
    }
}

#[test]
fn calls_are_listed_on_standard_error() {
    for (caller, platform) in everybody() {
        let output = caller
            .usk()
            .args(["run", "--platform", platform, "--strace", "--", "sh", "-c", "exit 3"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let listed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{caller:?} {platform}: {listed}");
        assert!(listed.contains("exit_group(3) = ?"), "{caller:?} {platform}: {listed}");
    }
}
