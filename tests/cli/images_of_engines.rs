//! Images as engines really write them: Docker's and Podman's, with storage of the test's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::caller::{Caller, is_root};
use crate::guest::{Outcome, text};
use crate::image_maker::busybox;
use crate::support::engines::{podman, start_dockerd};

/// Longer than a daemon takes to start, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the image is made of, over busybox.
const RECIPE: &str = "FROM box\nCOPY file /data/file\nENV GREETING=hello\nUSER app\nWORKDIR /data\n\
                      ENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [\"cat file; echo $GREETING; id -u; pwd; stat -c '%u %a' file /bin\"]\n";
const SAID: &str = "of the context\nhello\n1234\n/data\n0 640\n0 755\n";

/// Makes a directory of what the image is made of.
fn context(directory: &Path) {
    fs::create_dir(directory).expect("a directory");
    fs::write(directory.join("Dockerfile"), RECIPE).expect("a recipe");
    fs::write(directory.join("file"), "of the context\n").expect("a file");
    fs::set_permissions(directory.join("file"), PermissionsExt::from_mode(0o640)).expect("permissions");
    fs::write(directory.join("box.tar"), busybox()).expect("an archive");
}

#[track_caller]
fn must(command: &mut Command) {
    let outcome = Outcome::from(command.stdin(Stdio::null()).output().expect("run tests/install-packages"));
    assert_eq!(outcome.status, Some(0), "{command:?}: {outcome:?}");
}

/// Runs the image as it is, and with another command.
#[track_caller]
fn check(directory: &Path, image: &str) {
    let run = |options: &[&str]| {
        let mut usk = Caller::Myself.usk();
        usk.args(["run", "--image-cache", text(&directory.join("cache")), "--image", image]).args(options);
        Outcome::from(usk.stdin(Stdio::null()).output().expect("usk can be started"))
    };
    // Root reads a file that another user could not.
    assert_eq!(run(&["-u", "0"]).succeeded(), SAID.replace("1234", "0"), "{image}");
    assert_eq!(run(&["--", "id -u; echo other"]).succeeded(), "1234\nother\n", "{image}");
}

/// A daemon of the test's own, which ends with it.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

#[test]
fn what_docker_saves_runs() {
    assert!(is_root(), "this test needs root");
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    context(&path("context"));
    fs::write(path("daemon.json"), "{}").expect("a file");
    let daemon = start_dockerd(&mut Command::new("/usr/sbin/dockerd"), directory.path(), &[]);
    let _daemon = Daemon(daemon);
    let docker = |arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/docker");
        // The builder that needs nothing but the daemon.
        command.env_clear().env("PATH", "/usr/bin:/bin").env("DOCKER_BUILDKIT", "0");
        command.env("DOCKER_CONFIG", directory.path());
        command.arg("--host").arg(format!("unix://{}", path("socket").display())).args(arguments);
        command.stdin(Stdio::null());
        command
    };
    let begun = Instant::now();
    while !docker(&["version"]).output().is_ok_and(|output| output.status.success()) {
        assert!(begun.elapsed() < PATIENCE, "{}", fs::read_to_string(path("log")).unwrap_or_default());
        std::thread::sleep(Duration::from_millis(20));
    }
    must(&mut docker(&["import", text(&path("context/box.tar")), "box"]));
    must(&mut docker(&["build", "--network", "none", "-t", "example/built:1", text(&path("context"))]));
    let archive = path("saved.tar");
    must(&mut docker(&["save", "-o", text(&archive), "example/built:1"]));
    check(directory.path(), &format!("docker-archive:{}", text(&archive)));
    // Several images in one archive, and layers that occur in both.
    must(&mut docker(&["save", "-o", text(&archive), "example/built:1", "box:latest"]));
    check(directory.path(), &format!("docker-archive:{}:example/built:1", text(&archive)));
}

#[test]
fn what_podman_saves_runs() {
    assert!(is_root(), "this test needs root");
    let directory: TempDir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    context(&path("context"));
    let podman = |arguments: &[&str]| {
        let mut command = podman(directory.path());
        command.args(arguments);
        command
    };
    must(&mut podman(&["import", text(&path("context/box.tar")), "box"]));
    must(&mut podman(&["build", "--network", "none", "-t", "built", text(&path("context"))]));
    for (format, transport, file) in [
        ("oci-dir", "oci", "layout"),
        ("oci-archive", "oci-archive", "layout.tar"),
        ("docker-archive", "docker-archive", "docker.tar"),
    ] {
        let place = path(file);
        must(&mut podman(&["save", "--format", format, "-o", text(&place), "built"]));
        check(directory.path(), &format!("{transport}:{}", text(&place)));
    }
}
