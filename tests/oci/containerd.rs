//! containerd with its own shim for runc, told by a name to run usk-oci instead: a daemon of the test's own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::bundle::Bundle;
use crate::runtime::{new_id, wait_until};

struct Containerd {
    directory: TempDir,
    daemon: Child,
}

impl Containerd {
    fn start() -> Containerd {
        Containerd::start_with("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n")
    }

    fn start_with(settings: &str) -> Containerd {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let settings = format!(
            "root = {:?}\nstate = {:?}\n{settings}\n[grpc]\naddress = {:?}\n",
            path("root"),
            path("state"),
            path("socket")
        );
        fs::write(path("config.toml"), settings).expect("a file can be written");
        let log = File::create(path("log")).expect("a file can be made");
        let daemon = Command::new("/usr/bin/containerd")
            .args(["--config", &path("config.toml")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor can be duplicated"))
            .stderr(log)
            .spawn()
            .expect("containerd is not installed: run tests/install-packages");
        let containerd = Containerd { directory, daemon };
        wait_until("the daemon answers", || containerd.ctr(&["version"]).0 == 0);
        containerd
    }

    fn ctr(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new("/usr/bin/ctr");
        command
            .arg("--address")
            .arg(self.directory.path().join("socket"))
            .args(arguments)
            .stdin(Stdio::null());
        let output = command.output().expect("ctr is not installed: run tests/install-packages");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }

    fn must(&self, arguments: &[&str]) -> String {
        let (status, text) = self.ctr(arguments);
        assert_eq!(status, 0, "{arguments:?}: {text}");
        text
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Those of a test that fails: the daemon's end is not theirs.
        for task in self.ctr(&["task", "ls", "--quiet"]).1.split_whitespace() {
            let _ = self.ctr(&["task", "rm", "--force", task]);
        }
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.daemon.id()).unwrap_or(i32::MAX));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.daemon.wait();
    }
}

#[test]
fn containerds_shim_for_runc_runs_usk() {
    let containerd = Containerd::start();
    let bundle = Bundle::of_command(&["true"]);
    let rootfs = bundle.rootfs().display().to_string();
    let usk = ["--runc-binary", env!("CARGO_BIN_EXE_usk-oci"), "--rootfs", &rootfs];
    let id = new_id();
    let run =
        [&["run", "--rm"], &usk[..], &[&id, "/bin/sh", "-c", "/bin/cat /proc/version; exit 3"]].concat();
    let (status, text) = containerd.ctr(&run);
    assert_eq!(status, 3, "{text}");
    assert!(text.contains("usk"), "{text}");
    let id = new_id();
    containerd.must(&[&["run", "-d"], &usk[..], &[&id, "/bin/sleep", "1000"]].concat());
    let is = |status: &str| {
        containerd.must(&["task", "ls"]).lines().any(|line| line.contains(&id) && line.contains(status))
    };
    assert!(is("RUNNING"));
    let (status, text) =
        containerd.ctr(&["task", "exec", "--exec-id", "e", &id, "/bin/sh", "-c", "echo joined; exit 4"]);
    assert_eq!((status, &text[..]), (4, "joined\n"));
    assert!(containerd.must(&["task", "metrics", &id]).contains("memory"));
    containerd.must(&["task", "pause", &id]);
    assert!(is("PAUSED"));
    containerd.must(&["task", "resume", &id]);
    containerd.must(&["task", "kill", "-s", "KILL", &id]);
    wait_until("it has stopped", || is("STOPPED"));
    let removed = containerd.must(&["task", "rm", &id]);
    assert!(removed.contains("exit code 137"), "{removed}");
    containerd.must(&["container", "rm", &id]);
}

#[test]
fn containerd_understands_what_install_writes() {
    let etc = tempfile::tempdir().expect("a directory can be made");
    let settings = etc.path().join("containerd/config.toml");
    fs::create_dir(etc.path().join("containerd")).expect("a directory can be made");
    // As Debian's package has it, but for the directory.
    let cni = format!("[plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = {:?}\n", etc.path());
    fs::write(&settings, format!("version = 2\n{cni}")).expect("a file can be written");
    let runtime = PathBuf::from(env!("CARGO_BIN_EXE_usk-oci"));
    let usk = runtime.with_file_name("usk");
    let written = Command::new(&usk)
        .args(["install", "containerd", "--runtime"])
        .arg(&runtime)
        .arg("--etc")
        .arg(etc.path())
        .output()
        .expect("usk is not built: run cargo build --workspace");
    assert!(written.status.success(), "{written:?}");
    let dump =
        Command::new("/usr/bin/containerd").arg("--config").arg(&settings).args(["config", "dump"]).output();
    let dump = dump.expect("containerd is not installed: run tests/install-packages");
    let text = String::from_utf8_lossy(&dump.stdout);
    let (_, runtimes) = text.split_once("containerd.runtimes.usk.options]").expect("the runtime is there");
    let program = format!("BinaryName = {:?}", runtime.display().to_string());
    assert!(runtimes.lines().nth(1).is_some_and(|line| line.trim() == program), "{text}");
    let containerd = Containerd::start_with(&fs::read_to_string(&settings).expect("it is written"));
    let plugins = containerd.must(&["plugins", "ls"]);
    let cri = plugins.lines().find(|line| line.split_whitespace().nth(1) == Some("cri"));
    assert!(cri.is_some_and(|line| line.trim_end().ends_with("ok")), "{plugins}");
}
