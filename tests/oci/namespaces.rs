//! Namespaces of the host's that a container joins or has made.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::runtime::{Outcome, PATIENCE, Runtime, new_id, wait_until};

/// A process of the host's in namespaces of its own, until it is dropped.
struct Other(Child);

impl Other {
    /// `kind` is an option of unshare(1), `file` the name below `/proc/PID/ns`.
    fn with(options: &[&str], file: &str) -> Other {
        let process = Command::new("unshare").args(options).args(["sleep", "1000"]).spawn().expect("it runs");
        let other = Other(process);
        let own = fs::read_link(format!("/proc/self/ns/{file}")).expect("a link");
        wait_until("it is in its namespace", || {
            fs::read_link(other.path(file)).is_ok_and(|link| link != own)
        });
        other
    }

    fn path(&self, file: &str) -> String {
        format!("/proc/{}/ns/{file}", self.0.id())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn namespaces(spec: &mut Value) -> &mut Vec<Value> {
    spec["linux"]["namespaces"].as_array_mut().expect("a list")
}

fn run(change: impl FnOnce(&mut Value)) -> Outcome {
    Runtime::usk().verb(&Bundle::with(change), &["run", &new_id()])
}

/// The clocks in a container, less those on the host: monotonic by the vDSO and by the kernel, that of the time since boot, and what
/// `/proc/uptime` shows. In seconds.
fn ahead(runtime: &Runtime, change: impl FnOnce(&mut Value)) -> Vec<i64> {
    let bundle = Bundle::with(|spec| {
        spec["process"]["args"] = json!(["sh", "-c", "cat /proc/uptime && /clocks"]);
        change(spec);
    });
    let program = bundle.rootfs().join("clocks");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/oci/clocks.c");
    let compiled = Command::new("gcc").args(["-Wall", "-static", "-o"]).arg(&program).arg(source).status();
    assert!(compiled.expect("gcc runs").success());
    let read = |text: &str| -> Vec<i64> {
        let (uptime, clocks) = text.split_once('\n').expect("two lines");
        let uptime = uptime.split('.').next().expect("a number");
        clocks.split_whitespace().chain([uptime]).map(|word| word.parse().expect("a number")).collect()
    };
    let native = Command::new("sh").arg("-c").arg("cat /proc/uptime && \"$0\"").arg(&program).output();
    let host = read(&String::from_utf8_lossy(&native.expect("it runs").stdout));
    let inside = read(&runtime.must(&bundle, &["run", &new_id()]));
    inside.iter().zip(&host).map(|(inside, host)| inside - host).collect()
}

#[test]
fn a_network_namespace_can_be_joined_by_its_path() {
    let (usk, id, other) = (Runtime::usk(), new_id(), Other::with(&["--net"], "net"));
    let bundle = Bundle::with(|spec| {
        namespaces(spec).retain(|namespace| namespace["type"] != "network");
        namespaces(spec).push(json!({ "type": "network", "path": other.path("net") }));
        spec["process"]["args"] = json!(["sleep", "1000"]);
    });
    assert_eq!(usk.background(&bundle, &["run", "-d", "--pid-file", "pid", &id]).status, 0);
    let pid = fs::read_to_string(bundle.file("pid")).expect("a pid file");
    let namespace = |path: &str| fs::read_link(path).expect("there is a process");
    assert_eq!(namespace(&format!("/proc/{pid}/ns/net")), namespace(&other.path("net")));
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn the_mounts_of_the_containers_process_are_the_containers() {
    let (usk, id) = (Runtime::usk(), new_id());
    let shared = tempfile::tempdir().expect("a directory can be made");
    let bundle = Bundle::with(|spec| {
        let mounts = spec["mounts"].as_array_mut().expect("a list");
        for (place, options) in [("/x", ["bind"].as_slice()), ("/y", &["bind", "ro"])] {
            mounts.push(
                json!({ "destination": place, "type": "bind", "source": shared.path(), "options": options }),
            );
        }
        let owners = json!([{ "containerID": 0, "hostID": 7, "size": 1 }]);
        mounts.push(json!({
            "destination": "/z", "type": "bind", "source": shared.path(), "options": ["bind"],
            "uidMappings": owners, "gidMappings": owners,
        }));
        spec["process"]["args"] = json!(["sleep", "1000"]);
    });
    assert_eq!(usk.background(&bundle, &["run", "-d", "--pid-file", "pid", &id]).status, 0);
    let pid = fs::read_to_string(bundle.file("pid")).expect("a pid file");
    let root = std::path::PathBuf::from(format!("/proc/{pid}/root"));
    fs::write(root.join("x/file"), "written").expect("a volume can be written to");
    assert_eq!(fs::read_to_string(shared.path().join("file")).expect("a file"), "written");
    assert_eq!(fs::metadata(root.join("z/file")).expect("a file").uid(), 7);
    let refused = |path: &str| fs::write(root.join(path), "").expect_err("it is refused").kind();
    assert_eq!(refused("y/file"), std::io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(refused("proc/file"), std::io::ErrorKind::ReadOnlyFilesystem);
    // The host's own files are not there, and nothing of a guest's runs on the host.
    assert!(!root.join(shared.path().strip_prefix("/").expect("absolute")).exists());
    let run = Command::new(root.join("bin/busybox")).arg("true").status();
    assert_eq!(run.expect_err("it is refused").kind(), std::io::ErrorKind::PermissionDenied);
    usk.must(&bundle, &["delete", "--force", &id]);
    // Unless it shall have none of its own.
    bundle.configure(|spec| {
        namespaces(spec).retain(|namespace| namespace["type"] != "mount");
        spec["process"]["args"] = json!(["sleep", "1000"]);
    });
    assert_eq!(usk.background(&bundle, &["run", "-d", "--pid-file", "pid", &id]).status, 0);
    let pid = fs::read_to_string(bundle.file("pid")).expect("a pid file");
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).expect("a link");
    assert_eq!(namespace(&pid), namespace("self"));
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn a_namespace_that_is_there_twice_is_named() {
    let outcome = run(|spec| namespaces(spec).push(json!({ "type": "pid" })));
    assert!(outcome.status == 1 && outcome.error.contains("linux.namespaces[5].type: "), "{outcome:?}");
}

#[test]
fn clocks_are_shifted_as_the_configuration_says() {
    const MONOTONIC: i64 = 500_000;
    const BOOT: i64 = 9_000_000;
    let shift = |spec: &mut Value| {
        namespaces(spec).push(json!({ "type": "time" }));
        spec["linux"]["timeOffsets"] =
            json!({ "monotonic": { "secs": MONOTONIC }, "boottime": { "secs": BOOT, "nanosecs": 5 } });
    };
    let shifted = ahead(&Runtime::usk(), shift);
    for (seconds, wanted) in shifted.iter().zip([MONOTONIC, MONOTONIC, BOOT, BOOT]) {
        assert!((wanted..wanted + PATIENCE.as_secs() as i64).contains(seconds), "{shifted:?}");
    }
    let same = ahead(&Runtime::usk(), |spec| namespaces(spec).push(json!({ "type": "time" })));
    assert!(same.iter().all(|seconds| (0..PATIENCE.as_secs() as i64).contains(seconds)), "{same:?}");
}

#[test]
fn clocks_are_those_of_a_time_namespace_that_is_joined() {
    const AHEAD: i64 = 70_000;
    let other = Other::with(&["--time", "--boottime", "70000", "--monotonic", "70000"], "time_for_children");
    let joined = ahead(&Runtime::usk(), |spec| {
        namespaces(spec).push(json!({ "type": "time", "path": other.path("time_for_children") }));
    });
    assert!(
        joined.iter().all(|seconds| (AHEAD..AHEAD + PATIENCE.as_secs() as i64).contains(seconds)),
        "{joined:?}"
    );
}

#[test]
fn clocks_that_cannot_be_shifted_are_named() {
    for (kind, offsets, problem) in [
        ("time", json!({ "realtime": { "secs": 1 } }), "realtime"),
        ("time", json!({ "monotonic": { "secs": i64::MAX } }), "by that"),
        ("cgroup", json!({ "monotonic": { "secs": 1 } }), "linux.namespaces"),
    ] {
        let outcome = run(|spec| {
            namespaces(spec).push(json!({ "type": kind }));
            spec["linux"]["timeOffsets"] = offsets;
        });
        assert_eq!(outcome.status, 1);
        assert!(
            outcome.error.contains("linux.timeOffsets: ") && outcome.error.contains(problem),
            "{outcome:?}"
        );
    }
}

#[test]
fn the_containers_of_a_pod_share_its_network_its_name_and_its_memory() {
    let (usk, pause, main) = (Runtime::usk(), new_id(), new_id());
    let memory = tempfile::tempdir().expect("a directory can be made");
    let share_memory = |spec: &mut Value| {
        let mounts = spec["mounts"].as_array_mut().expect("a list");
        mounts.retain(|mount| mount["destination"] != "/dev/shm");
        mounts.push(json!({
            "destination": "/dev/shm", "type": "bind", "source": memory.path(), "options": ["rbind", "rw", "nosuid", "nodev", "noexec"],
        }));
    };
    // As containerd's CRI writes them: the sandbox's container makes what the others join.
    let sandbox = Bundle::with(|spec| {
        spec["process"]["args"] = json!(["sleep", "1000"]);
        spec["hostname"] = json!("pod");
        spec["process"]["oomScoreAdj"] = json!(-998);
        spec["root"]["readonly"] = json!(true);
        spec["linux"]["sysctl"] = json!({
            "net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647",
        });
        spec["annotations"] = json!({ "io.kubernetes.cri.container-type": "sandbox" });
        share_memory(spec);
    });
    assert_eq!(usk.background(&sandbox, &["run", "-d", "--pid-file", "pid", &pause]).status, 0);
    let pid = fs::read_to_string(sandbox.file("pid")).expect("a pid file");
    let of_pod = |pid: &str| {
        ["net", "uts", "ipc"].map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a link"))
    };
    let member = Bundle::with(|spec| {
        spec["process"]["args"] = json!(["sleep", "1000"]);
        spec.as_object_mut().expect("an object").remove("hostname");
        spec["annotations"] = json!({ "io.kubernetes.cri.container-type": "container" });
        share_memory(spec);
        *namespaces(spec) = ["network", "uts", "ipc"]
            .map(|kind| {
                let file = kind.replace("network", "net");
                json!({ "type": kind, "path": format!("/proc/{pid}/ns/{file}") })
            })
            .into();
        namespaces(spec).extend([json!({ "type": "pid" }), json!({ "type": "mount" })]);
    });
    assert_eq!(usk.background(&member, &["run", "-d", "--pid-file", "pid", &main]).status, 0);
    let its_pid = fs::read_to_string(member.file("pid")).expect("a pid file");
    assert_eq!(of_pod(&its_pid), of_pod(&pid));
    assert_ne!(of_pod(&its_pid), of_pod("self"));
    assert_eq!(usk.must(&member, &["exec", &main, "hostname"]), "pod\n");
    usk.must(&member, &["exec", &main, "sh", "-c", "echo shared > /dev/shm/file"]);
    assert_eq!(usk.must(&sandbox, &["exec", &pause, "cat", "/dev/shm/file"]), "shared\n");
    for (bundle, id) in [(&member, &main), (&sandbox, &pause)] {
        usk.must(bundle, &["kill", id, "KILL"]);
        usk.wait_for_status(bundle, id, "stopped");
        usk.must(bundle, &["delete", id]);
    }
}

#[test]
fn namespaces_that_cannot_be_joined_are_named() {
    for (kind, cure) in [("pid", "leave the path out"), ("mount", "'mounts'")] {
        let path = format!("/proc/self/ns/{}", kind.replace("mount", "mnt"));
        let outcome = run(|spec| spec["linux"]["namespaces"] = json!([{ "type": kind, "path": path }]));
        assert_eq!(outcome.status, 1);
        assert!(
            outcome.error.contains("linux.namespaces[0].path: ") && outcome.error.contains(cure),
            "{outcome:?}"
        );
    }
}
