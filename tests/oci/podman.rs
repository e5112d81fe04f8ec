//! Podman with usk as the runtime, with storage and state in directories of the test's own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::bundle::Bundle;
use crate::engines::podman;
use crate::runtime::{Outcome, outcome, wait_until};

struct Podman {
    directory: TempDir,
}

impl Podman {
    fn new() -> Podman {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        let podman = Podman { directory: tempfile::tempdir().expect("a directory can be made") };
        let bundle = Bundle::of_command(&["true"]);
        let archive = podman.directory.path().join("box.tar");
        let status =
            Command::new("tar").arg("-C").arg(bundle.rootfs()).arg("-cf").arg(&archive).arg(".").status();
        assert!(status.expect("tar runs").success());
        podman.must(&["import", archive.to_str().expect("text"), "box"]);
        podman
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = podman(self.directory.path());
        command.args(["--runtime", env!("CARGO_BIN_EXE_usk-oci")]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output =
            self.command(arguments).output().expect("podman is not installed: run tests/install-packages");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }

    fn must(&self, arguments: &[&str]) -> String {
        let (status, text) = self.run(arguments);
        assert_eq!(status, 0, "{arguments:?}: {text}");
        text.trim_end().to_owned()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.run(&["rm", "--all", "--force", "--time", "0"]);
    }
}

#[test]
fn podman_runs_containers_on_usk() {
    let podman = Podman::new();
    let (status, text) =
        podman.run(&["run", "--rm", "--network", "none", "box", "sh", "-c", "cat /proc/version; exit 3"]);
    assert_eq!(status, 3);
    assert!(text.contains("usk"), "{text}");
    assert_eq!(podman.run(&["run", "--rm", "--network", "none", "box", "nosuch"]).0, 127);
    let container = podman.must(&["run", "-d", "--network", "none", "box", "sleep", "1000"]);
    assert_eq!(podman.run(&["exec", &container, "sh", "-c", "echo joined; exit 5"]), (5, "joined\n".into()));
    podman.must(&["pause", &container]);
    podman.must(&["unpause", &container]);
    podman.must(&["stop", "-t", "1", &container]);
    // Process 1 does not hear a signal that it has no handler for, and is killed in the end.
    assert_eq!(
        podman.must(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", &container]),
        "exited 137"
    );
    podman.must(&["rm", &container]);
    assert_eq!(podman.must(&["ps", "--all", "--quiet"]), "");
}

#[test]
fn users_can_be_others_on_the_host() {
    let podman = Podman::new();
    // Where others than root can reach it.
    fs::set_permissions(podman.directory.path(), fs::Permissions::from_mode(0o755)).expect("they can be set");
    const ROOT: u32 = 300_000;
    let shared = podman.directory.path().join("shared");
    fs::create_dir(&shared).expect("a directory can be made");
    chown(&shared, Some(ROOT), Some(ROOT)).expect("it can be given away");
    let volume = format!("{}:/shared", shared.display());
    let map = format!("0:{ROOT}:5000");
    let script = "head -c 33 /proc/self/uid_map; stat -c ' %u' /bin/busybox; touch /shared/file && stat -c %u /shared/file";
    let run = ["run", "--rm", "--network", "none", "--uidmap", &map, "--gidmap", &map, "-v", &volume];
    let output = podman.must(&[&run[..], &["box", "sh", "-c", script]].concat());
    assert_eq!(output, "         0     300000       5000\n 0\n0");
    let made = fs::metadata(shared.join("file")).expect("a file");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), ROOT);
    // And those of another container.
    let other = ["run", "-d", "--name", "other", "--network", "none", "--uidmap", &map, "--gidmap", &map];
    podman.must(&[&other[..], &["box", "sleep", "1000"]].concat());
    let run = ["run", "--rm", "--network", "none", "--userns", "container:other", "box"];
    let output = podman.must(&[&run[..], &["head", "-c", "33", "/proc/self/uid_map"]].concat());
    assert_eq!(output, "         0     300000       5000");
}

#[test]
fn a_pod_has_two_containers_with_one_name() {
    let podman = Podman::new();
    podman.must(&["pod", "create", "--name", "pod", "--hostname", "together", "--network", "none"]);
    for name in ["one", "other"] {
        podman.must(&["run", "-d", "--pod", "pod", "--name", name, "box", "sleep", "1000"]);
    }
    for name in ["one", "other"] {
        assert_eq!(podman.must(&["exec", name, "hostname"]), "together");
    }
    podman.must(&["pod", "rm", "--force", "--time", "0", "pod"]);
    assert_eq!(podman.must(&["ps", "--all", "--quiet"]), "");
}

#[test]
fn a_pod_written_as_kubernetes_has_it_comes_up_again() {
    let podman = Podman::new();
    podman.must(&["pod", "create", "--name", "pod", "--network", "none"]);
    for (name, command) in [("one", "echo begun; sleep 1000"), ("other", "sleep 1000")] {
        podman.must(&["run", "-d", "--pod", "pod", "--name", name, "box", "sh", "-c", command]);
    }
    let file = podman.directory.path().join("pod.yaml");
    let file = file.to_str().expect("text");
    podman.must(&["generate", "kube", "--filename", file, "pod"]);
    podman.must(&["pod", "rm", "--force", "--time", "0", "pod"]);
    podman.must(&["play", "kube", "--network", "none", file]);
    for container in ["pod-one", "pod-other"] {
        assert_eq!(podman.must(&["exec", container, "hostname"]), "pod");
        assert!(podman.must(&["exec", container, "cat", "/proc/version"]).contains("usk"));
    }
    wait_until("the command's output is kept", || podman.must(&["logs", "pod-one"]) == "begun");
    podman.must(&["play", "kube", "--down", file]);
    assert_eq!(podman.must(&["ps", "--all", "--quiet"]), "");
}

#[test]
fn files_are_copied_into_a_running_container_and_out_of_it() {
    let podman = Podman::new();
    let (volume, source) = (podman.directory.path().join("volume"), podman.directory.path().join("source"));
    let (inside, back) = (volume.join("inside"), podman.directory.path().join("back"));
    fs::create_dir(&volume).expect("a directory can be made");
    fs::write(&source, "of the host\n").expect("a file can be written");
    let mount = format!("{}:/volume", volume.display());
    let run = ["run", "-d", "--network", "none", "--tmpfs", "/memory", "-v", &mount, "box", "sleep", "1000"];
    let container = podman.must(&run);
    let source = source.to_str().expect("text");
    // A path that leads somewhere on the host as well, by which Podman looks for it at the container's process.
    let place = inside.display().to_string();
    podman.must(&["exec", &container, "mkdir", "-p", volume.to_str().expect("text")]);
    for place in ["/volume/file", "/tmp/file", &place] {
        podman.must(&["cp", source, &format!("{container}:{place}")]);
        assert_eq!(podman.must(&["exec", &container, "cat", place]), "of the host");
    }
    assert!(!inside.exists(), "the container's file is on the host");
    assert_eq!(fs::read_to_string(volume.join("file")).expect("a file"), "of the host\n");
    let back_path = back.to_str().expect("text");
    podman.must(&["cp", &format!("{container}:/etc/passwd"), back_path]);
    assert!(fs::read_to_string(&back).expect("a file").starts_with("root:"));
    // What is in the sandbox's memory only is not the host's to write to.
    let (status, text) = podman.run(&["cp", source, &format!("{container}:/memory/file")]);
    assert!(status != 0 && text.contains("read-only file system"), "{text}");
    podman.must(&["rm", "--force", "--time", "0", &container]);
}

#[test]
fn files_are_copied_into_overlays_of_a_running_container_and_out_of_them() {
    let podman = Podman::new();
    let source = podman.directory.path().join("source");
    fs::create_dir(&source).expect("a directory can be made");
    fs::write(source.join("kept"), "of the host\n").expect("a file can be written");
    let volume = format!("{}:/volume:O", source.display());
    let image = "type=image,source=box,destination=/image,rw=true";
    let run = ["run", "-d", "--network", "none", "-v", &volume, "--mount", image, "box", "sleep", "1000"];
    let container = podman.must(&run);
    let file = source.join("kept").display().to_string();
    for place in ["/volume/file", "/image/file"] {
        podman.must(&["cp", &file, &format!("{container}:{place}")]);
        assert_eq!(podman.must(&["exec", &container, "cat", place]), "of the host");
    }
    podman.must(&["exec", &container, "sh", "-c", "echo changed > /volume/kept"]);
    let back = podman.directory.path().join("back");
    podman.must(&["cp", &format!("{container}:/volume/kept"), back.to_str().expect("text")]);
    assert_eq!(fs::read_to_string(&back).expect("a file"), "changed\n");
    assert_eq!(fs::read_dir(&source).expect("a directory").count(), 1);
    podman.must(&["rm", "--force", "--time", "0", &container]);
}

#[test]
fn what_lies_in_memory_begins_with_what_the_image_has_there() {
    let podman = Podman::new();
    let run = ["run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/etc:rw", "box"];
    let script = "ls /etc/passwd; echo more >> /etc/passwd && tail -n1 /etc/passwd; touch /x || echo refused";
    let (status, text) = podman.run(&[&run[..], &["/bin/busybox", "sh", "-c", script]].concat());
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("/etc/passwd\nmore\n") && text.contains("refused"), "{text}");
}

#[test]
fn what_is_written_to_a_volume_over_a_directory_goes_with_the_container() {
    let podman = Podman::new();
    let source = podman.directory.path().join("source");
    fs::create_dir(&source).expect("a directory can be made");
    fs::write(source.join("kept"), "of the host\n").expect("a file can be written");
    let volume = format!("{}:/x:O", source.display());
    let script = "cat /x/kept; echo more >> /x/kept; tail -n1 /x/kept; rm /x/kept; touch /x/new; ls /x";
    let run = ["run", "--rm", "--network", "none", "-v", &volume, "box", "/bin/busybox", "sh", "-c", script];
    for _ in 0..2 {
        assert_eq!(podman.must(&run), "of the host\nmore\nnew");
    }
    let left: Vec<_> =
        fs::read_dir(&source).expect("a directory").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(left, ["kept"]);
    assert_eq!(fs::read_to_string(source.join("kept")).expect("a file"), "of the host\n");
    // Stopped and started again, it begins anew; an upper directory of one's own is kept.
    let [upper, work] = ["upper", "work"].map(|name| podman.directory.path().join(name));
    for directory in [&upper, &work] {
        fs::create_dir(directory).expect("a directory can be made");
    }
    let volume = format!("{volume},upperdir={},workdir={}", upper.display(), work.display());
    let run = [
        "run",
        "--rm",
        "--network",
        "none",
        "-v",
        &volume,
        "box",
        "sh",
        "-c",
        "echo made >> /x/made; cat /x/made",
    ];
    assert_eq!(podman.must(&run), "made");
    assert_eq!(podman.must(&run), "made\nmade");
    assert_eq!(fs::read_to_string(upper.join("made")).expect("a file"), "made\nmade\n");
}

#[test]
fn a_volume_does_not_begin_with_what_the_image_has_there_where_that_is_asked() {
    let podman = Podman::new();
    let run = ["run", "--rm", "--network", "none", "-v", "volume:/etc:nocopy", "box", "ls", "/etc/passwd"];
    let (status, text) = podman.run(&run);
    assert!(status == 1 && text.contains("No such file"), "{text}");
}

#[test]
fn an_image_is_mounted() {
    let podman = Podman::new();
    for (options, wanted) in [("", "of the image\nrefused"), (",rw=true", "of the image\nmade")] {
        let mount = format!("type=image,source=box,destination=/x{options}");
        let script = "cmp /x/bin/busybox /bin/busybox && echo of the image; touch /x/new 2>/dev/null && echo made || echo refused";
        let run = [
            "run",
            "--rm",
            "--network",
            "none",
            "--mount",
            &mount,
            "box",
            "/bin/busybox",
            "sh",
            "-c",
            script,
        ];
        assert_eq!(podman.must(&run), wanted, "{mount}");
    }
}

#[test]
fn a_container_that_shall_run_systemd_has_its_places() {
    let podman = Podman::new();
    let script = "echo $container; for place in /run /run/lock /tmp; do touch $place/new || exit 1; done; \
                  head -n1 /sys/fs/cgroup/cgroup.procs";
    let run = ["run", "--rm", "--network", "none", "--systemd", "always", "box", "/bin/busybox", "sh", "-c"];
    assert_eq!(podman.must(&[&run[..], &[script]].concat()), "podman\n1");
}

#[test]
fn an_image_is_built() {
    let podman = Podman::new();
    let context = podman.directory.path().join("context");
    fs::create_dir(&context).expect("a directory can be made");
    fs::write(context.join("Dockerfile"), "FROM localhost/box\nRUN seq 3 > /file\nCMD cat /file\n")
        .expect("a file can be written");
    let path = context.to_str().expect("text");
    podman.must(&["build", "--isolation", "oci", "--network", "none", "-t", "built", path]);
    assert_eq!(podman.must(&["run", "--rm", "--network", "none", "built"]), "1\n2\n3");
}

/// Podman of an ordinary user, with a home of its own.
struct Ordinary {
    directory: TempDir,
}

impl Ordinary {
    const NOBODY: u32 = 65534;

    fn new() -> Ordinary {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        let ordinary = Ordinary { directory: tempfile::tempdir().expect("a directory can be made") };
        let set_mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions can be set");
        };
        set_mode(ordinary.directory.path(), 0o755);
        for path in [ordinary.path("home"), ordinary.path("home/run")] {
            fs::create_dir(&path).expect("a directory can be made");
            chown(&path, Some(Self::NOBODY), Some(Self::NOBODY)).expect("it can be given away");
        }
        set_mode(&ordinary.path("home/run"), 0o700);
        // Where an ordinary user can reach it.
        fs::copy(env!("CARGO_BIN_EXE_usk-oci"), ordinary.path("usk-oci")).expect("the runtime can be copied");
        let (bundle, archive) = (Bundle::of_command(&["true"]), ordinary.path("box.tar"));
        let mut tar = Command::new("tar");
        tar.args(["--owner", "0", "--group", "0", "-C"]).arg(bundle.rootfs()).arg("-cf").arg(&archive);
        assert!(tar.arg(".").status().expect("tar runs").success());
        let imported = ordinary.podman(&["import", archive.to_str().expect("text"), "box"]);
        assert_eq!(imported.status, 0, "{imported:?}");
        ordinary
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn podman(&self, arguments: &[&str]) -> Outcome {
        let home = self.path("home");
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "/usr/bin/podman"]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", &home);
        command.env("XDG_RUNTIME_DIR", home.join("run")).current_dir(&home).stdin(Stdio::null());
        command.args(["--storage-driver", "vfs", "--events-backend", "file", "--cgroup-manager", "cgroupfs"]);
        command.arg("--runtime").arg(self.path("usk-oci")).args(arguments);
        outcome(command.output().expect("setpriv runs"))
    }
}

impl Drop for Ordinary {
    fn drop(&mut self) {
        let _ = self.podman(&["rm", "--all", "--force", "--time", "0"]);
    }
}

#[test]
fn an_ordinary_users_podman_runs_containers_on_usk() {
    let ordinary = Ordinary::new();
    let script = "id -u; touch /file && stat -c %u /file; exit 3";
    let done = ordinary.podman(&["run", "--rm", "--network", "none", "box", "sh", "-c", script]);
    assert_eq!((done.status, &done.output[..]), (3, "0\n0\n"), "{done:?}");
    let begun =
        ordinary.podman(&["run", "-d", "--network", "none", "--name", "sleeper", "box", "sleep", "1000"]);
    assert_eq!(begun.status, 0, "{begun:?}");
    let joined = ordinary.podman(&["exec", "sleeper", "sh", "-c", "id -u; exit 5"]);
    assert_eq!((joined.status, &joined.output[..]), (5, "0\n"), "{joined:?}");
}

#[test]
fn podman_finds_the_runtime_that_the_settings_name() {
    // What `usk install` writes; that it does is tested beside it.
    let podman = Podman::new();
    let settings = podman.directory.path().join("containers.conf");
    let text = format!("[engine.runtimes]\nsandbox = [{:?}]\n", env!("CARGO_BIN_EXE_usk-oci"));
    fs::write(&settings, text).expect("a file can be written");
    let mut command =
        podman.command(&["--runtime", "sandbox", "run", "--rm", "--network", "none", "box", "true"]);
    let output = command.env("CONTAINERS_CONF", &settings).output().expect("podman runs");
    assert!(output.status.success(), "{output:?}");
}
