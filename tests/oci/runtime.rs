//! Runtimes as programs: usk-oci, and runc to compare with.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::bundle::Bundle;

/// How long something that must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A runtime with a directory of its own for the state of its containers. Those that are there when it goes, as those of a
/// test that fails are, go with it.
pub(crate) struct Runtime {
    program: PathBuf,
    root: TempDir,
}

/// What a verb did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) output: String,
    pub(crate) error: String,
}

impl Runtime {
    pub(crate) fn usk() -> Runtime {
        assert!(nix::unistd::geteuid().is_root(), "these tests need root");
        Runtime::of(Path::new(env!("CARGO_BIN_EXE_usk-oci")))
    }

    /// runc, from its package.
    pub(crate) fn runc() -> Runtime {
        let program = ["/usr/sbin/runc", "/usr/bin/runc"].iter().map(Path::new).find(|path| path.exists());
        Runtime::of(program.expect("runc is not installed: run tests/install-packages"))
    }

    fn of(program: &Path) -> Runtime {
        Runtime { program: program.to_owned(), root: tempfile::tempdir().expect("a directory can be made") }
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// A verb in the directory of a bundle, without standard input.
    pub(crate) fn command(&self, bundle: &Bundle, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.root.path()).args(arguments);
        command.current_dir(bundle.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn verb(&self, bundle: &Bundle, arguments: &[&str]) -> Outcome {
        outcome(self.command(bundle, arguments).output().expect("the runtime runs"))
    }

    /// A verb that must succeed.
    pub(crate) fn must(&self, bundle: &Bundle, arguments: &[&str]) -> String {
        let outcome = self.verb(bundle, arguments);
        assert_eq!(outcome.status, 0, "{arguments:?}: {outcome:?}");
        outcome.output
    }

    /// `create` or `run -d`: the container's standard streams are files, or the verb's output would not end before it.
    pub(crate) fn background(&self, bundle: &Bundle, arguments: &[&str]) -> Outcome {
        let (output, error) = (bundle.file("output"), bundle.file("error"));
        let mut command = self.command(bundle, arguments);
        command.stdout(File::create(&output).expect("a file can be made"));
        command.stderr(File::create(&error).expect("a file can be made"));
        let status = command.status().expect("the runtime runs");
        Outcome {
            status: status.code().unwrap_or(-1),
            output: fs::read_to_string(output).expect("a file can be read"),
            error: fs::read_to_string(error).expect("a file can be read"),
        }
    }

    /// The status of a container as `state` tells it.
    pub(crate) fn status(&self, bundle: &Bundle, id: &str) -> String {
        let state: serde_json::Value =
            serde_json::from_str(&self.must(bundle, &["state", id])).expect("the state is JSON");
        state["status"].as_str().expect("the state has a status").to_owned()
    }

    /// The host's processes behind a container.
    pub(crate) fn processes(&self, bundle: &Bundle, id: &str) -> Vec<i32> {
        let list = self.must(bundle, &["ps", "--format", "json", id]);
        serde_json::from_str(&list).expect("the processes are a list")
    }

    /// The containers that there are.
    fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root()).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Waits until a container has this status.
    pub(crate) fn wait_for_status(&self, bundle: &Bundle, id: &str, wanted: &str) {
        wait_until(&format!("{id} is {wanted}"), || self.status(bundle, id) == wanted);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        for id in self.ids() {
            let mut delete = Command::new(&self.program);
            delete.arg("--root").arg(self.root()).args(["delete", "--force", &id]);
            // The bundle, and what `delete` has to say, are of no use any more.
            let _ = delete.current_dir("/").stdin(Stdio::null()).output();
        }
    }
}

/// What a program that has ended did.
pub(crate) fn outcome(output: Output) -> Outcome {
    Outcome {
        status: output.status.code().unwrap_or(-1),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        error: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A name that no other container has: cgroups are shared by all.
pub(crate) fn new_id() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("usk-test-{}-{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed))
}

/// Waits for a condition that something else brings about, and looks again and again: there is nothing to wait on.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_test_that_fails_leaves_no_container_behind() {
    let (id, bundle) = (new_id(), Bundle::of_command(&["sleep", "1000"]));
    for runtime in [Runtime::usk, Runtime::runc] {
        let runtime = runtime();
        assert_eq!(runtime.background(&bundle, &["run", "-d", &id]).status, 0);
        let processes = runtime.processes(&bundle, &id);
        assert!(!processes.is_empty() && !cgroups_named(&id).is_empty());
        drop(runtime);
        let exists = |pid: &i32| Path::new(&format!("/proc/{pid}")).exists();
        wait_until("its processes end", || !processes.iter().any(exists));
        assert_eq!(cgroups_named(&id), Vec::<PathBuf>::new());
    }
}

/// Cgroups of the host whose directory has this name.
pub(crate) fn cgroups_named(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_str() == Some(id) {
                    found.push(entry.path());
                }
                directories.push(entry.path());
            }
        }
    }
    found
}
