//! Docker's daemon and Podman with storage of a test's own, below a directory that goes with the test.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts a Docker daemon by `command`, which is its program or leads to it, with more options. Its configuration is
/// `daemon.json`; it makes `socket`, and `log`.
///
/// # Panics
///
/// When it is not installed.
pub(crate) fn start_dockerd(command: &mut Command, directory: &Path, further: &[&str]) -> Child {
    let path = |name: &str| directory.join(name);
    let log = File::create(path("log")).expect("a file can be made");
    for (option, name) in [("--config-file", "daemon.json"), ("--data-root", "data")] {
        command.arg(option).arg(path(name));
    }
    for (option, name) in [("--exec-root", "exec"), ("--pidfile", "pid")] {
        command.arg(option).arg(path(name));
    }
    command.arg("--host").arg(format!("unix://{}", path("socket").display()));
    command.args(["--iptables=false", "--ip6tables=false", "--bridge=none"]).args(further);
    let errors = log.try_clone().expect("a descriptor can be duplicated");
    let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
    child.expect("dockerd is not installed: run tests/install-packages")
}

/// Podman, to be told what to do.
pub(crate) fn podman(directory: &Path) -> Command {
    let mut command = Command::new("/usr/bin/podman");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", directory);
    for (option, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
        command.arg(option).arg(directory.join(name));
    }
    command.args(["--cgroup-manager", "cgroupfs", "--storage-driver", "vfs", "--events-backend", "file"]);
    command.stdin(Stdio::null());
    command
}
