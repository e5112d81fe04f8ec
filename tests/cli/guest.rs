//! A command in a sandbox, run to its end.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::caller::Caller;

/// How a run ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { status: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

impl Outcome {
    /// What was written to standard output; the run must have succeeded without a word of its own.
    #[track_caller]
    pub(crate) fn succeeded(self) -> String {
        assert_eq!((self.status, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.stdout
    }

    /// What usk said, in one line.
    #[track_caller]
    pub(crate) fn refused(self, status: i32) -> String {
        assert_eq!(self.status, Some(status), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.starts_with("usk: "), "{self:?}");
        self.stderr
    }
}

/// `usk run` with these options and this command, without input.
pub(crate) fn usk_run(caller: Caller, platform: &str, options: &[&str], command: &[&str]) -> Command {
    let mut usk = caller.usk();
    usk.args(["run", "--platform", platform]).args(options).arg("--").args(command).stdin(Stdio::null());
    usk
}

/// Runs a command to its end.
pub(crate) fn run(caller: Caller, platform: &str, options: &[&str], command: &[&str]) -> Outcome {
    usk_run(caller, platform, options, command).output().expect("usk can be started").into()
}

/// Runs a script of the shell to its end.
pub(crate) fn shell(caller: Caller, platform: &str, options: &[&str], script: &str) -> Outcome {
    run(caller, platform, options, &["sh", "-c", script])
}

/// An empty directory of the host that belongs to the caller and that everybody can reach.
pub(crate) fn directory_of(caller: Caller) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("a public directory");
    if let Some(user) = caller.user() {
        chown(directory.path(), Some(user), Some(user)).expect("a directory of the caller's");
    }
    directory
}

/// Writes an executable file that everybody may run.
pub(crate) fn write_program(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("a program");
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("an executable program");
}

/// A path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}
