//! Docker with usk as a runtime: a daemon of the test's own, with an image that it makes, in directories that are gone
//! afterwards. A Docker that is there already is not touched.

mod options;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::bundle::Bundle;
use crate::engines::start_dockerd;
use crate::runtime::wait_until;

/// A running daemon, and the options to reach it.
struct Docker {
    directory: TempDir,
    daemon: Child,
}

/// What a command did.
#[derive(Debug)]
struct Done {
    status: i32,
    output: String,
    error: String,
}

impl Docker {
    fn start() -> Docker {
        Docker::start_by(&mut Command::new("/usr/sbin/dockerd"), &[])
    }

    /// With users of containers that are others on the host, which ranges of nobody's say. The ranges are files of the
    /// test's own, seen by this daemon only.
    fn start_with_mapped_users(first: u32) -> Docker {
        let ranges = tempfile::NamedTempFile::new().expect("a file can be made");
        fs::write(&ranges, format!("nobody:{first}:65536\nnogroup:{first}:65536\n"))
            .expect("it can be written");
        let script = "mount --bind \"$1\" /etc/subuid && mount --bind \"$1\" /etc/subgid && shift && \
                      exec /usr/sbin/dockerd \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(ranges.path());
        Docker::start_by(&mut command, &["--userns-remap", "nobody:nogroup"])
    }

    fn start_by(command: &mut Command, further: &[&str]) -> Docker {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = |name: &str| directory.path().join(name);
        let runtimes = json!({
            "runtimes": { "usk": { "path": env!("CARGO_BIN_EXE_usk-oci") } },
            // What `docker build` uses.
            "default-runtime": "usk",
        });
        fs::write(path("daemon.json"), runtimes.to_string()).expect("a file can be written");
        let daemon = start_dockerd(command, directory.path(), further);
        let docker = Docker { directory, daemon };
        wait_until("the daemon answers", || docker.run(&["version"]).status == 0);
        docker.import();
        docker
    }

    /// Makes the image `box` of a bundle's root.
    fn import(&self) {
        let bundle = Bundle::of_command(&["true"]);
        let archive = self.directory.path().join("box.tar");
        let status =
            Command::new("tar").arg("-C").arg(bundle.rootfs()).arg("-cf").arg(&archive).arg(".").status();
        assert!(status.expect("tar runs").success());
        self.must(&["import", archive.to_str().expect("text"), "box"]);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/docker");
        let socket = format!("unix://{}", self.directory.path().join("socket").display());
        // Nothing of the caller's settings.
        command.env_clear().env("PATH", "/usr/bin:/bin").env("DOCKER_CONFIG", self.directory.path());
        command.args(["--host", &socket]).args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Done {
        let output =
            self.command(arguments).output().expect("docker is not installed: run tests/install-packages");
        Done {
            status: output.status.code().unwrap_or(-1),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn must(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert_eq!(done.status, 0, "{arguments:?}: {done:?}");
        done.output.trim_end().to_owned()
    }

    /// `docker run --rm` on usk.
    fn usk(&self, arguments: &[&str]) -> Done {
        self.run(&[&["run", "--rm", "--runtime", "usk", "--network", "none"], arguments].concat())
    }

    /// `docker run -d` on usk; returns the container.
    fn background(&self, arguments: &[&str]) -> String {
        self.must(&[&["run", "-d", "--runtime", "usk", "--network", "none"], arguments].concat())
    }

    fn inspect(&self, container: &str, form: &str) -> String {
        self.must(&["inspect", "-f", form, container])
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.daemon.id()).unwrap_or(i32::MAX));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.daemon.wait();
    }
}

/// One after the other on one daemon; all are tried.
const CHECKS: &[(&str, fn(&Docker))] = &[
    ("the exit status and streams are the command's", streams),
    ("logs follow, stop asks first, and the status is kept", stop),
    ("a container that does not listen is killed", kill),
    ("exec joins", exec),
    ("pause stops and unpause goes on", pause),
    ("files are copied both ways", copy),
    ("top, stats, diff and update tell and do", tell),
    ("volumes, mounts and temporary file systems show", volumes),
    ("a read-only root, another user and fewer capabilities hold", restrictions),
    ("profiles for system calls are kept, Docker's own and others", profiles),
    ("names and the environment are passed on", names),
    ("a command that cannot be run has the status that people know", missing),
    ("limits are kept", limits),
    ("who uses too much memory is ended, and known for it", out_of_memory),
    ("what is used is told", usage),
    ("attach brings in and out what it should", attach),
    ("a file of services is brought up and down", compose),
    ("options that change what is seen inside do", options::options),
    ("what was written is compared, kept and taken out", options::keep),
    ("a network is shared, and what cannot be is refused in one sentence", options::share),
    ("health is checked", health),
    ("what fails is restarted", restart),
    ("an init of Docker's own is process 1", init),
    ("a terminal is one", terminal),
    ("many start and go at the same time", many),
    ("an image is built", build),
    ("usk runs in a container of runc's", inside),
];

#[test]
fn docker_runs_containers_on_usk_in_the_ordinary_ways() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
    let docker = Docker::start();
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        if catch_unwind(AssertUnwindSafe(|| check(&docker))).is_err() {
            failed.push(*name);
        }
    }
    let left = docker.must(&["ps", "--all", "--quiet"]);
    assert!(failed.is_empty(), "failed: {failed:#?}");
    assert_eq!(left, "", "containers are left");
    let states = docker.directory.path().join("exec/runtime-runc/moby");
    assert_eq!(fs::read_dir(states).expect("the runtime was used").count(), 0);
}

#[test]
fn docker_with_mapped_users_runs_containers_on_usk() {
    const FIRST: u32 = 400_000;
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
    let docker = Docker::start_with_mapped_users(FIRST);
    // Where others than root can reach it.
    fs::set_permissions(docker.directory.path(), fs::Permissions::from_mode(0o711)).expect("they can be set");
    let shared = docker.directory.path().join("shared");
    fs::create_dir(&shared).expect("a directory can be made");
    chown(&shared, Some(FIRST), Some(FIRST)).expect("it can be given away");
    let script = "head -c 33 /proc/self/uid_map; stat -c ' %u' /bin/busybox; touch /shared/file; chown 7 /shared/file; \
                  touch /new && stat -c %u /new; grep Seccomp: /proc/self/status";
    let done = docker.usk(&["-v", &format!("{}:/shared", shared.display()), "box", "sh", "-c", script]);
    assert_eq!(done.output, "         0     400000      65536\n 0\n0\nSeccomp:\t2\n", "{done:?}");
    assert_eq!(fs::metadata(shared.join("file")).expect("a file").uid(), FIRST + 7);
    let container = docker.background(&["box", "sleep", "1000"]);
    let joined = docker.must(&["exec", "-u", "1000", &container, "sh", "-c", "id -u; stat -c %u /"]);
    assert_eq!(joined, "1000\n0");
    docker.must(&["rm", "-f", &container]);
}

#[test]
fn docker_builds_by_buildkit_on_usk_where_that_is_what_it_finds_as_runc() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
    let programs = tempfile::tempdir().expect("a directory can be made");
    let runc = programs.path().join("runc");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_usk-oci"), runc).expect("a link can be made");
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.path().display());
    let docker = Docker::start_by(Command::new("/usr/sbin/dockerd").env("PATH", path), &[]);
    let context = docker.directory.path().join("context");
    fs::create_dir(&context).expect("a directory can be made");
    let build = |steps: &str| {
        fs::write(context.join("Dockerfile"), format!("FROM box\n{steps}\n")).expect("it can be written");
        let arguments = ["build", "--network", "none", "--progress", "plain", "-t", "built"];
        let mut command = docker.command(&arguments);
        let output = command.env("DOCKER_BUILDKIT", "1").arg(&context).output().expect("docker runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let steps = "RUN cat /proc/version > /version\nRUN --mount=type=cache,target=/kept echo x > /kept/y; ls /kept > /seen\n\
                 USER 1000\nCMD cat /version /seen; id -u";
    let (is_built, told) = build(steps);
    assert!(is_built, "{told}");
    let done = docker.usk(&["built"]);
    assert!(done.output.contains("usk") && done.output.ends_with("y\n1000\n"), "{done:?}");
    let (is_built, told) = build("RUN echo told >&2; exit 7");
    assert!(!is_built && told.contains("told") && told.contains("exit code: 7"), "{told}");
}

fn streams(docker: &Docker) {
    let done = docker.usk(&["box", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((done.status, &done.output[..], &done.error[..]), (7, "out\n", "err\n"));
    let done = docker.usk(&["box", "sh", "-c", "cat /proc/version"]);
    assert!(done.output.contains("usk"), "{done:?}");
}

fn stop(docker: &Docker) {
    let script = "trap 'echo asked; exit 4' TERM; echo begun; while :; do sleep 0.1; done";
    let container = docker.background(&["box", "sh", "-c", script]);
    wait_until("it has begun", || docker.must(&["logs", &container]).contains("begun"));
    let mut follow = docker.command(&["logs", "-f", &container]);
    let follow = follow.stdout(Stdio::piped()).spawn().expect("docker runs");
    docker.must(&["stop", &container]);
    let followed = follow.wait_with_output().expect("it ends with the container");
    assert_eq!(followed.stdout, b"begun\nasked\n");
    assert_eq!(docker.inspect(&container, "{{.State.Status}} {{.State.ExitCode}}"), "exited 4");
    docker.must(&["start", &container]);
    docker.must(&["kill", "-s", "KILL", &container]);
    assert_eq!(docker.must(&["wait", &container]), "137");
    docker.must(&["rm", &container]);
}

fn kill(docker: &Docker) {
    let container = docker.background(&["box", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]);
    docker.must(&["stop", "-t", "1", &container]);
    assert_eq!(docker.inspect(&container, "{{.State.ExitCode}}"), "137");
    docker.must(&["rm", &container]);
    let script = "trap 'exit 5' USR1; echo begun; while :; do sleep 0.1; done";
    let container = docker.background(&["box", "sh", "-c", script]);
    wait_until("it has begun", || docker.must(&["logs", &container]) == "begun");
    docker.must(&["kill", "-s", "USR1", &container]);
    assert_eq!(docker.must(&["wait", &container]), "5");
    docker.must(&["rm", &container]);
}

fn exec(docker: &Docker) {
    let container = docker.background(&["box", "sleep", "1000"]);
    let done = docker.run(&[
        "exec",
        "-u",
        "1000:5",
        "-w",
        "/tmp",
        "-e",
        "A=b",
        &container,
        "sh",
        "-c",
        "id -u; pwd; echo $A; exit 9",
    ]);
    assert_eq!((done.status, &done.output[..]), (9, "1000\n/tmp\nb\n"));
    // Docker takes every failure of this verb for one of this kind.
    assert_eq!(docker.run(&["exec", &container, "nosuch"]).status, 126);
    assert_eq!(docker.run(&["exec", &container, "/tmp"]).status, 126);
    let mut child = docker.command(&["exec", "-i", &container, "cat"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("docker runs");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), b"through\n").expect("it reads");
    assert_eq!(child.wait_with_output().expect("it ends").stdout, b"through\n");
    docker.must(&["rm", "-f", &container]);
}

fn pause(docker: &Docker) {
    let container = docker.background(&["box", "sleep", "1000"]);
    docker.must(&["pause", &container]);
    assert_eq!(docker.inspect(&container, "{{.State.Status}}"), "paused");
    docker.must(&["unpause", &container]);
    assert_eq!(docker.must(&["exec", &container, "echo", "on"]), "on");
    docker.must(&["rm", "-f", &container]);
}

fn copy(docker: &Docker) {
    let container = docker.background(&["box", "sleep", "1000"]);
    let (there, back) = (docker.directory.path().join("there"), docker.directory.path().join("back"));
    fs::write(&there, "there\n").expect("a file can be written");
    docker.must(&["cp", there.to_str().expect("text"), &format!("{container}:/tmp/file")]);
    assert_eq!(docker.must(&["exec", &container, "cat", "/tmp/file"]), "there");
    docker.must(&["exec", &container, "sh", "-c", "echo back > /tmp/file"]);
    docker.must(&["cp", &format!("{container}:/tmp/file"), back.to_str().expect("text")]);
    assert_eq!(fs::read_to_string(&back).expect("a file"), "back\n");
    docker.must(&["rm", "-f", &container]);
}

fn tell(docker: &Docker) {
    let container = docker.background(&["box", "sh", "-c", "touch /tmp/new; sleep 1000"]);
    let pid = docker.inspect(&container, "{{.State.Pid}}");
    assert!(docker.must(&["top", &container]).contains(&pid));
    let stats = docker.must(&["stats", "--no-stream", "--format", "{{.MemUsage}}", &container]);
    assert!(stats.contains("MiB /") && !stats.starts_with("0B"), "{stats}");
    wait_until("the file is there", || docker.must(&["diff", &container]).contains("A /tmp/new"));
    docker.must(&["update", "-m", "200m", "--memory-swap", "200m", "--cpuset-cpus", "0", &container]);
    let inside =
        ["exec", &container, "grep", "-e", "MemTotal", "-e", "^processor", "/proc/meminfo", "/proc/cpuinfo"];
    let inside = docker.must(&inside);
    assert!(inside.contains("204800 kB") && inside.matches("processor").count() == 1, "{inside}");
    docker.must(&["rm", "-f", &container]);
}

fn volumes(docker: &Docker) {
    let directory = docker.directory.path().join("shared");
    fs::create_dir(&directory).expect("a directory can be made");
    let shared = directory.to_str().expect("text");
    let done = docker.usk(&["-v", &format!("{shared}:/v"), "box", "sh", "-c", "echo x > /v/y"]);
    assert_eq!(done.status, 0, "{done:?}");
    assert_eq!(fs::read_to_string(directory.join("y")).expect("a file"), "x\n");
    let done = docker.usk(&[
        "-v",
        &format!("{shared}:/v:ro"),
        "box",
        "sh",
        "-c",
        "cat /v/y; echo z > /v/y || echo refused",
    ]);
    assert_eq!(done.output, "x\nrefused\n");
    let done = docker.usk(&["--mount", "type=volume,src=named,dst=/n", "box", "sh", "-c", "echo a > /n/b"]);
    assert_eq!(done.status, 0, "{done:?}");
    let done = docker.usk(&["--mount", "type=volume,src=named,dst=/n", "box", "cat", "/n/b"]);
    assert_eq!(done.output, "a\n");
    let script = "dd if=/dev/zero of=/t/x bs=2M count=1 2>/dev/null || echo full";
    assert_eq!(docker.usk(&["--tmpfs", "/t:size=1m", "box", "sh", "-c", script]).output, "full\n");
}

fn restrictions(docker: &Docker) {
    let done = docker.usk(&["--read-only", "box", "sh", "-c", "touch /x || echo refused"]);
    assert_eq!(done.output, "refused\n");
    assert_eq!(docker.usk(&["--user", "1000:5", "box", "sh", "-c", "id -u; id -g"]).output, "1000\n5\n");
    let script = "touch /tmp/x; chown 5 /tmp/x || echo refused";
    assert_eq!(docker.usk(&["--cap-drop=ALL", "box", "sh", "-c", script]).output, "refused\n");
    let done = docker.usk(&[
        "--security-opt",
        "no-new-privileges",
        "box",
        "grep",
        "NoNewPrivs",
        "/proc/self/status",
    ]);
    assert_eq!(done.output, "NoNewPrivs:\t1\n");
    let done =
        docker.usk(&["--device", "/dev/zero:/dev/nought", "box", "stat", "-c", "%t:%T", "/dev/nought"]);
    assert_eq!(done.output, "1:5\n", "{done:?}");
    // Every device of the host's is listed then; nothing leads to them.
    let foreign =
        ["/dev/kmsg", "/dev/fuse", "/dev/vda", "/dev/sda", "/dev/net/tun", "/dev/kvm", "/dev/loop0"];
    let foreign = foreign.into_iter().find(|path| std::path::Path::new(path).exists());
    let foreign = foreign.expect("the host has a device that the sandbox has not");
    let script =
        format!("test -e {foreign} && cat {foreign} 2>&1; grep -c 'CapEff.*fffffffff$' /proc/self/status");
    let done = docker.usk(&["--privileged", "box", "sh", "-c", &script]);
    let refused = format!("cat: can't open '{foreign}': No such device or address\n");
    assert_eq!(done.output, format!("{refused}1\n"), "{done:?}");
    let done = docker.usk(&["--sysctl", "kernel.shmmax=4096", "box", "cat", "/proc/sys/kernel/shmmax"]);
    assert_eq!(done.output, "4096\n", "{done:?}");
}

fn profiles(docker: &Docker) {
    let done = docker.usk(&["box", "sh", "-c", "grep Seccomp: /proc/self/status; mount -t tmpfs x /tmp"]);
    assert!(done.output == "Seccomp:\t2\n" && done.status != 0, "{done:?}");
    let file = docker.directory.path().join("profile.json");
    let rules = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }]);
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules });
    fs::write(&file, profile.to_string()).expect("a file can be written");
    let option = format!("seccomp={}", file.display());
    let done = docker.usk(&["--security-opt", &option, "box", "mkdir", "/x"]);
    assert!(done.status == 1 && done.error.contains("Operation not permitted"), "{done:?}");
    let done =
        docker.usk(&["--security-opt", "seccomp=unconfined", "box", "grep", "Seccomp:", "/proc/self/status"]);
    assert_eq!(done.output, "Seccomp:\t0\n", "{done:?}");
}

fn names(docker: &Docker) {
    let done = docker.usk(&[
        "--hostname",
        "h",
        "-e",
        "A=b",
        "box",
        "sh",
        "-c",
        "hostname; echo $A; grep -c localhost /etc/hosts",
    ]);
    assert_eq!(done.output, "h\nb\n2\n");
}

fn missing(docker: &Docker) {
    assert_eq!(docker.usk(&["box", "nosuch"]).status, 127);
    assert_eq!(docker.usk(&["box", "/nosuch"]).status, 127);
    assert_eq!(docker.usk(&["box", "/tmp"]).status, 126);
    // A container that could not be made is left by --rm, with runc as well.
    for container in docker.must(&["ps", "-aq"]).lines() {
        docker.must(&["rm", container]);
    }
}

fn limits(docker: &Docker) {
    let done = docker.usk(&["-m", "64m", "box", "head", "-n1", "/proc/meminfo"]);
    assert!(done.output.contains("65536 kB"), "{done:?}");
    // Docker's own hook needs more than that, which is not the container's.
    assert_eq!(docker.usk(&["-m", "12m", "box", "true"]).status, 0);
    let done = docker.usk(&["--cpus", "0.5", "box", "cat", "/sys/fs/cgroup/cpu.max"]);
    assert_eq!(done.output, "50000 100000\n", "{done:?}");
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo survived";
    assert_ne!(docker.usk(&["--pids-limit", "5", "box", "sh", "-c", script]).output, "survived\n");
}

fn out_of_memory(docker: &Docker) {
    // dd touches a buffer of this size.
    let run = ["-m", "64m", "--memory-swap", "64m", "box"];
    let greedy = ["dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1"];
    // containerd's shim begins to listen for want of memory after the start: until then nobody would hear of it.
    let waits = format!("while ! test -e /tmp/go; do sleep 0.1; done; exec {}", greedy.join(" "));
    let container = docker.background(&[&run[..], &["sh", "-c", &waits]].concat());
    docker.must(&["exec", &container, "touch", "/tmp/go"]);
    assert_eq!(docker.must(&["wait", &container]), "137");
    wait_until("it is known", || docker.inspect(&container, "{{.State.OOMKilled}}") == "true");
    let now = docker.must(&["info", "--format", "{{.SystemTime}}"]);
    let filter = format!("container={container}");
    let events = ["events", "--since", "1h", "--until", &now, "--filter", &filter, "--filter", "event=oom"];
    assert_eq!(docker.must(&events).lines().count(), 1);
    docker.must(&["rm", &container]);
    // Another process than the container's first: the others go on.
    let script = format!("{}; echo $?; echo alive", greedy.join(" "));
    let done = docker.usk(&[&run[..], &["sh", "-c", &script]].concat());
    assert!(done.output.ends_with("137\nalive\n"), "{done:?}");
}

fn usage(docker: &Docker) {
    let script =
        "dd if=/dev/zero of=/tmp/busy bs=1M count=1 2>/dev/null; exec dd if=/dev/zero of=/dev/null bs=100M";
    let container = docker.background(&["-m", "256m", "--cpus", "0.5", "box", "sh", "-c", script]);
    let figures = || {
        let form = "{{.CPUPerc}} {{.MemUsage}} {{.PIDs}}";
        docker.must(&["stats", "--no-stream", "--format", form, &container])
    };
    // Half a processor, and 100 MiB of 256.
    let number =
        |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<f64>().unwrap_or(0.0);
    wait_until("the figures are those of the command", || {
        let figures = figures();
        let words: Vec<&str> = figures.split(' ').collect();
        let [processor, memory, "/", "256MiB", tasks] = words[..] else { panic!("{figures}") };
        assert!(number(processor) < 100.0 && number(memory) < 256.0, "{figures}");
        // What the sandbox needs for itself comes on top.
        memory.ends_with("MiB")
            && (35.0..65.0).contains(&number(processor))
            && (100.0..140.0).contains(&number(memory))
            && number(tasks) > 1.0
    });
    docker.must(&["rm", "-f", &container]);
}

fn attach(docker: &Docker) {
    let script = "while read line; do echo \"got $line\"; test \"$line\" = end && exit 6; done";
    let container = docker.background(&["-i", "box", "sh", "-c", script]);
    let mut child = docker.command(&["attach", &container]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("docker runs");
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    std::io::Write::write_all(&mut input, b"one\n").expect("it reads");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).expect("it writes");
    assert_eq!(line, "got one\n");
    std::io::Write::write_all(&mut input, b"end\n").expect("it reads");
    assert_eq!(child.wait().expect("it ends with the container").code(), Some(6));
    docker.must(&["rm", &container]);
    // What ends the client is passed on to the container.
    let script = "trap 'exit 3' TERM; while :; do echo tick; sleep 0.1; done";
    let container = docker.background(&["box", "sh", "-c", script]);
    let child = docker.command(&["attach", "--no-stdin", &container]).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("docker runs");
    // Once it shows something it has attached.
    let mut output = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut output, &mut String::new()).expect("it writes");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a small number"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it is there");
    assert_eq!(docker.must(&["wait", &container]), "3");
    drop(output);
    child.wait().expect("it ends with the container");
    docker.must(&["rm", &container]);
}

fn compose(docker: &Docker) {
    let directory = docker.directory.path().join("services");
    fs::create_dir(&directory).expect("a directory can be made");
    let services = "services:\n  first:\n    image: box\n    runtime: usk\n    network_mode: none\n    hostname: one\n    \
                    command: sh -c 'hostname > /shared/name; sleep 1000'\n    volumes: ['shared:/shared']\n  second:\n    \
                    image: box\n    runtime: usk\n    network_mode: none\n    depends_on: [first]\n    command: sh -c \
                    'while ! cat /shared/name; do sleep 0.1; done 2>/dev/null; sleep 1000'\n    volumes: \
                    ['shared:/shared:ro']\nvolumes:\n  shared:\n";
    fs::write(directory.join("docker-compose.yml"), services).expect("a file can be written");
    let compose = |arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/docker-compose");
        let socket = format!("unix://{}", docker.directory.path().join("socket").display());
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("DOCKER_HOST", socket)
            .env("COMPOSE_PROJECT_NAME", "p");
        let output = command.args(arguments).current_dir(&directory).stdin(Stdio::null()).output();
        let output = output.expect("docker-compose is not installed: run tests/install-packages");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    };
    compose(&["up", "-d"]);
    wait_until("the second has read what the first wrote", || {
        compose(&["logs", "--no-color", "second"]).lines().any(|line| line.ends_with("| one"))
    });
    assert!(compose(&["exec", "-T", "second", "cat", "/proc/version"]).contains("usk"));
    compose(&["down", "--volumes", "--timeout", "0"]);
}

fn health(docker: &Docker) {
    let container =
        docker.background(&["--health-cmd", "true", "--health-interval", "200ms", "box", "sleep", "1000"]);
    wait_until("it is healthy", || docker.inspect(&container, "{{.State.Health.Status}}") == "healthy");
    docker.must(&["rm", "-f", &container]);
    let check = "echo moon; test -e /well";
    let options = ["--health-cmd", check, "--health-interval", "200ms", "--health-retries", "2"];
    let container = docker.background(&[&options[..], &["box", "sleep", "1000"]].concat());
    let state = "{{.State.Health.Status}} {{(index .State.Health.Log 0).ExitCode}} {{(index .State.Health.Log 0).Output}}";
    wait_until("it is unhealthy", || docker.inspect(&container, "{{.State.Health.Status}}") == "unhealthy");
    assert_eq!(docker.inspect(&container, state).trim(), "unhealthy 1 moon");
    docker.must(&["exec", &container, "touch", "/well"]);
    wait_until("it is well again", || docker.inspect(&container, "{{.State.Health.Status}}") == "healthy");
    docker.must(&["rm", "-f", &container]);
}

fn restart(docker: &Docker) {
    let container = docker.background(&["--restart", "on-failure:2", "box", "false"]);
    wait_until("it is restarted", || {
        docker.inspect(&container, "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}") == "2 exited 1"
    });
    docker.must(&["rm", &container]);
}

fn init(docker: &Docker) {
    let done = docker.usk(&["--init", "box", "sh", "-c", "cat /proc/1/comm; exit 6"]);
    assert_eq!((done.status, &done.output[..], &done.error[..]), (6, "docker-init\n", ""));
}

fn terminal(docker: &Docker) {
    let socket = docker.directory.path().join("socket");
    // Docker tells the size when the container runs already.
    let inside = "test -t 0 && echo a term''inal; for i in \\$(seq 300); do stty size 2>&1 | grep '33 44' && break; sleep 0.1; done";
    let command = format!(
        "stty rows 33 cols 44; exec /usr/bin/docker --host unix://{} run --rm -it --runtime usk --network none box sh -c \"{inside}\"",
        socket.display()
    );
    let output = at_a_terminal(&command);
    assert!(output.contains("a terminal") && output.contains("33 44"), "{output}");
    let container = docker.background(&["box", "sleep", "1000"]);
    let command = format!("exec /usr/bin/docker --host unix://{} exec -it {container} tty", socket.display());
    let shown = at_a_terminal(&command);
    assert!(shown.contains("/dev/pts/0\r\n"), "{shown:?}");
    docker.must(&["rm", "-f", &container]);
}

/// What a command of a shell shows at a terminal of its own.
fn at_a_terminal(command: &str) -> String {
    // script(1) is the caller's terminal.
    let output = Command::new("script").args(["-qec", command, "/dev/null"]).stdin(Stdio::null()).output();
    String::from_utf8_lossy(&output.expect("script runs").stdout).into_owned()
}

fn many(docker: &Docker) {
    const COUNT: usize = 100;
    let arguments = ["run", "--rm", "--runtime", "usk", "--network", "none", "box", "echo", "hello"];
    let children: Vec<Child> = (0..COUNT)
        .map(|_| {
            let mut command = docker.command(&arguments);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("docker runs")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success() && output.stdout == b"hello\n", "{output:?}");
    }
}

/// Ten steps; one unpacks, renames, links and removes files as a package manager does.
fn build(docker: &Docker) {
    const FILES: usize = 300;
    let context = docker.directory.path().join("context");
    let package = context.join("package/usr/share/doc");
    fs::create_dir_all(&package).expect("a directory can be made");
    fs::write(context.join("file"), "of the context\n").expect("a file can be written");
    for number in 0..FILES {
        fs::write(package.join(number.to_string()), format!("{number}\n").repeat(number)).expect("a file");
    }
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(context.join("package")).arg("-czf").arg(context.join("package.tgz")).arg("usr");
    assert!(tar.status().expect("tar runs").success());
    let churn = r#"mkdir -p /var/lib /tmp/new && tar -xzf /tmp/package.tgz -C /tmp/new \
    && for file in $(find /tmp/new -type f); do name=${file##*/}; to=/usr/share/doc/$name; mkdir -p ${to%/*}; \
    cp -p $file $to.new; ln $to.new $to.old; mv $to.new $to; rm $to.old; echo $name >> /var/lib/status.new; \
    mv /var/lib/status.new /var/lib/status; cp /var/lib/status /var/lib/status.new; done; rm -r /tmp/new /tmp/package.tgz"#;
    let steps = format!(
        "FROM box\nCOPY file /file\nCOPY package.tgz /tmp/\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nRUN {churn}\n\
         RUN mkdir -p /a/b && seq 100 > /a/b/c\nRUN rm /etc/passwd\nENV A=b\nRUN echo $A > /a/d && touch -d @5 /a/b/c\n\
         WORKDIR /a\nCMD [\"sh\", \"-c\", \"cat /file d; wc -l < b/c; ls /usr/share/doc | wc -l; wc -l < /var/lib/status; \
         wc -l < /usr/share/doc/299; ls /tmp /etc\"]\n"
    );
    fs::write(context.join("Dockerfile"), steps).expect("a file can be written");
    docker.must(&["build", "--network", "none", "-t", "built", context.to_str().expect("text")]);
    let done = docker.usk(&["built"]);
    assert!(done.output.starts_with("of the context\nb\n100\n300\n300\n299\n"), "{done:?}");
    assert!(!done.output.contains("passwd") && !done.output.contains("package.tgz"), "{done:?}");
}

/// As the documents say: a sandbox in a container of another runtime's.
fn inside(docker: &Docker) {
    let usk = PathBuf::from(env!("CARGO_BIN_EXE_usk-oci")).with_file_name("usk");
    assert!(usk.exists(), "usk is not built: run cargo build --workspace");
    let run =
        ["run", "--rm", "--runtime", "runc", "--network", "none", "--security-opt", "seccomp=unconfined"];
    let volumes = ["/usr", "/lib", "/lib64"].map(|path| format!("{path}:{path}:ro"));
    let program = format!("{}:/usk:ro", usk.display());
    let mut arguments = run.to_vec();
    volumes.iter().chain([&program]).for_each(|volume| arguments.extend(["-v", volume]));
    arguments.extend(["box", "/usk", "run", "--", "/bin/busybox", "cat", "/proc/version"]);
    let done = docker.run(&arguments);
    assert!(done.status == 0 && done.output.contains("usk"), "{done:?}");
}
