//! What `docker run` can be asked for beside the ordinary, and what is done with a container's files as a whole.

use std::fs;
use std::process::Command;

use super::Docker;
use crate::runtime::wait_until;

pub(super) fn options(docker: &Docker) {
    for (arguments, wanted) in [
        (&["--ulimit", "nofile=100:200", "box", "sh", "-c", "ulimit -n; ulimit -Hn"][..], "100\n200\n"),
        (&["--shm-size", "2m", "box", "sh", "-c", "df /dev/shm | grep -c ' 2048 '"], "1\n"),
        (&["--group-add", "1234", "box", "id", "-G"], "0 1234\n"),
        (&["--entrypoint", "echo", "box", "a", "b"], "a b\n"),
        (&["--entrypoint", "", "box", "echo", "c"], "c\n"),
        (&["-w", "/new/one", "box", "pwd"], "/new/one\n"),
        (&["--oom-score-adj", "300", "box", "cat", "/proc/self/oom_score_adj"], "300\n"),
        (&["--sysctl", "kernel.msgmax=9000", "box", "cat", "/proc/sys/kernel/msgmax"], "9000\n"),
        (&["--cpuset-cpus", "0", "box", "grep", "-c", "^processor", "/proc/cpuinfo"], "1\n"),
        (&["--hostname", "a.b.c", "box", "cat", "/etc/hostname"], "a.b.c\n"),
        (&["--device", "/dev/zero:/dev/other:r", "box", "sh", "-c", "head -c 2 /dev/other | wc -c"], "2\n"),
        (&["--domainname", "d", "box", "cat", "/proc/sys/kernel/domainname"], "d\n"),
        (&["--add-host", "a:1.2.3.4", "box", "grep", "1.2.3.4", "/etc/hosts"], "1.2.3.4\ta\n"),
        (&["--uts", "host", "box", "cat", "/proc/sys/kernel/hostname"], &host_name()),
        // A sandbox has its own in any case.
        (&["--pid", "host", "--ipc", "host", "--cgroupns", "host", "box", "sh", "-c", "echo $$"], "1\n"),
    ] {
        let done = docker.usk(arguments);
        assert_eq!((done.status, &done.output[..]), (0, wanted), "{arguments:?}: {done:?}");
    }
}

fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").expect("the host has a name")
}

pub(super) fn keep(docker: &Docker) {
    let script = "echo kept > /new; rm /etc/passwd; chown 5 /tmp; ln -s x /link; echo done; sleep 1000";
    let container = docker.background(&["box", "sh", "-c", script]);
    wait_until("it is written", || docker.must(&["logs", &container]) == "done");
    let changes = docker.must(&["diff", &container]);
    let mut changes: Vec<&str> = changes.lines().collect();
    changes.sort_unstable();
    assert_eq!(changes, ["A /link", "A /new", "C /etc", "C /tmp", "D /etc/passwd"]);
    docker.must(&["commit", "--change", "CMD cat /new; stat -c %u /tmp; ls /etc/passwd", &container, "kept"]);
    let done = docker.usk(&["kept"]);
    assert_eq!((done.status, &done.output[..]), (1, "kept\n5\n"), "{done:?}");
    let archive = docker.directory.path().join("export.tar");
    let archive = archive.to_str().expect("text");
    docker.must(&["export", "-o", archive, &container]);
    let listed = Command::new("tar").args(["-tf", archive, "new", "link"]).output().expect("tar runs");
    assert!(listed.status.success(), "{listed:?}");
    docker.must(&["rename", &container, "renamed"]);
    docker.must(&["restart", "-t", "0", "renamed"]);
    assert_eq!(docker.inspect("renamed", "{{.State.Status}}"), "running");
    docker.must(&["rm", "-f", "renamed"]);
}

pub(super) fn share(docker: &Docker) {
    let container = docker.background(&["--name", "first", "box", "sleep", "1000"]);
    let joined = ["run", "--rm", "--runtime", "usk", "--network", "container:first", "box", "echo", "joined"];
    assert_eq!(docker.must(&joined), "joined");
    let refused = docker.usk(&["--pid", "container:first", "box", "true"]);
    assert!(refused.error.contains("the processes of a sandbox are its own"), "{refused:?}");
    docker.must(&["rm", "-f", &container]);
    for left in docker.must(&["ps", "-aq"]).lines() {
        docker.must(&["rm", left]);
    }
}
