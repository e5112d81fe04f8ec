//! A real systemd as process 1 of namespaces of the test's own, and a host that has version 2 of cgroups only: what such a host
//! sees of containers. systemd finds no units but those that it makes, and no files but the programs, so that nothing of the
//! machine is set up or tidied by it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bundle::Bundle;
use crate::runtime::{Outcome, new_id, outcome, wait_until};

/// What becomes systemd, in the cgroup `$1`: its root is `$2`, which shows programs, and what the further arguments name, at the
/// same path.
const START: &str = r#"
set -e
echo 0 > "$1/cgroup.procs"
root=$2
shift 2
mount --make-rprivate /
mount -t tmpfs root "$root"
cd "$root"
mkdir -p usr proc sys dev run tmp etc/units old
for link in bin sbin lib lib64; do ln -s usr/$link $link; done
mount --rbind /usr usr
mount -o remount,bind,ro usr
for shown; do
    if [ -d "$shown" ]; then mkdir -p "$root$shown"; else mkdir -p "$root${shown%/*}"; touch "$root$shown"; fi
    mount --bind "$shown" "$root$shown"
done
for device in null zero full random urandom; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mount -t proc proc proc
mount -t tmpfs sys sys
mkdir -p sys/fs/cgroup
mount -t tmpfs run run
printf '[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\n' > etc/units/only.target
pivot_root . old
umount -l old
exec unshare --cgroup sh -c 'mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i container=test SYSTEMD_UNIT_PATH=/etc/units PATH=/usr/sbin:/usr/bin \
    /lib/systemd/systemd --system --unit=only.target --log-target=console'
"#;

/// A host with systemd.
struct Host {
    /// unshare(1), whose only child is systemd.
    parent: Child,
    systemd: i32,
    /// The cgroup that is the root of the host's.
    cgroup: PathBuf,
    _root: TempDir,
    bundle: Bundle,
    state: TempDir,
    runtime: PathBuf,
}

impl Host {
    /// With a bundle that is configured so.
    fn start(change: impl FnOnce(&mut Value)) -> Host {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        let (bundle, state) = (Bundle::with(change), tempfile::tempdir().expect("a directory can be made"));
        let root = tempfile::tempdir().expect("a directory can be made");
        let runtime = PathBuf::from(env!("CARGO_BIN_EXE_usk-oci"));
        let cgroup = version_2().join(new_id());
        fs::create_dir(&cgroup).expect("a cgroup can be made");
        let log = fs::File::create(bundle.file("systemd.log")).expect("a file can be made");
        let mut command = Command::new("unshare");
        command
            .args(["--pid", "--mount", "--ipc", "--uts", "--net", "--fork", "--kill-child"])
            .args(["sh", "-c", START, "sh"])
            .args([&cgroup, root.path(), bundle.path(), state.path(), &runtime])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor can be duplicated"))
            .stderr(log);
        let parent = command.spawn().expect("unshare runs");
        let mut host = Host { parent, systemd: 0, cgroup, _root: root, bundle, state, runtime };
        wait_until("systemd runs", || {
            let id = host.parent.id();
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            host.systemd = children.trim().parse().unwrap_or(0);
            host.systemd != 0 && host.systemctl(&["is-active", "only.target"]).status == 0
        });
        host
    }

    /// A command of that host.
    fn command(&self, program: &Path) -> Command {
        // From a cgroup of its own: what is outside a namespace of cgroups may be kept from moving into it.
        let processes = self.cgroup.join("init.scope/cgroup.procs");
        let mut command = Command::new("sh");
        command.args(["-c", "echo 0 > \"$0\" && exec nsenter \"$@\""]).arg(processes);
        command.args(["--target", &self.systemd.to_string(), "--mount", "--pid", "--cgroup", "--net"]);
        command.args(["--uts", "--ipc", "--root", "--"]).arg(program).stdin(Stdio::null());
        command
    }

    fn systemctl(&self, arguments: &[&str]) -> Outcome {
        outcome(self.command(Path::new("systemctl")).args(arguments).output().expect("nsenter runs"))
    }

    /// A property of a unit.
    fn show(&self, unit: &str, property: &str) -> String {
        self.systemctl(&["show", "--value", "--property", property, unit]).output.trim().to_owned()
    }

    fn usk(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.command(&self.runtime);
        // What `create` leaves behind must not hold the test's pipes.
        let (output, error) = (self.bundle.file("output"), self.bundle.file("error"));
        command.arg("--root").arg(self.state.path()).args(arguments);
        command.stdout(fs::File::create(&output).expect("a file can be made"));
        command.stderr(fs::File::create(&error).expect("a file can be made"));
        let status = command.status().expect("nsenter runs");
        let read = |path| fs::read_to_string(path).expect("a file can be read");
        Outcome { status: status.code().unwrap_or(-1), output: read(output), error: read(error) }
    }

    fn must(&self, arguments: &[&str]) -> String {
        let outcome = self.usk(arguments);
        assert_eq!(outcome.status, 0, "{arguments:?}: {outcome:?}");
        outcome.output
    }

    /// Starts a container in the background, in systemd's way or not.
    fn run(&self, global: &[&str], id: &str) {
        let bundle = self.bundle.path().to_str().expect("text");
        self.must(&[global, &["run", "-d", "--bundle", bundle, id]].concat());
    }

    fn status(&self, id: &str) -> String {
        let state: Value = serde_json::from_str(&self.must(&["state", id])).expect("JSON");
        state["status"].as_str().expect("a status").to_owned()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Its end is that of everything in its namespaces.
        let _ = self.parent.kill();
        let _ = self.parent.wait();
        wait_until("its cgroups are empty", || remove_tree(&self.cgroup));
    }
}

/// Where version 2 is mounted, on its own or beside version 1.
fn version_2() -> &'static Path {
    let places = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let found = places.into_iter().find(|path| path.join("cgroup.controllers").exists());
    found.expect("the host has cgroups of version 2")
}

fn remove_tree(directory: &Path) -> bool {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    fs::remove_dir(directory).is_ok() || !directory.exists()
}

/// The command sleeps; with version 2 there is a namespace of cgroups as well.
fn sleeping(spec: &mut Value) {
    spec["process"]["args"] = json!(["sleep", "1000"]);
}

const SYSTEMD: &[&str] = &["--systemd-cgroup"];

#[test]
fn systemd_keeps_a_containers_cgroup_and_knows_its_limits() {
    let id = new_id();
    let host = Host::start(|spec| {
        sleeping(spec);
        spec["linux"]["cgroupsPath"] = json!(format!("machine-test.slice:usk:{id}"));
        spec["annotations"] = json!({ "org.systemd.property.TimeoutStopSec": "7" });
    });
    host.run(SYSTEMD, &id);
    let unit = format!("usk-{id}.scope");
    let path = format!("/machine.slice/machine-test.slice/{unit}");
    for (property, wanted) in [
        ("ActiveState", "active"),
        ("ControlGroup", &path),
        ("Slice", "machine-test.slice"),
        ("Delegate", "yes"),
        ("DefaultDependencies", "no"),
        ("TimeoutStopUSec", "7s"),
    ] {
        assert_eq!(host.show(&unit, property), wanted, "{property}");
    }
    let processes = fs::read_to_string(host.cgroup.join(&path[1..]).join("cgroup.procs")).expect("a cgroup");
    assert_eq!(processes.lines().count(), 1, "the monitor alone: {processes}");
    // It stays where it is when systemd looks at everything anew.
    assert_eq!(host.systemctl(&["daemon-reload"]).status, 0);
    assert_eq!(host.usk(&["exec", &id, "sh", "-c", "exit 5"]).status, 5);
    // The host has no such controllers here: systemd keeps them in mind for whoever asks, and the files refuse.
    let refused = host.usk(&["update", "--memory", "104857600", &id]);
    assert!(refused.error.contains("linux.resources.memory.limit"), "{refused:?}");
    assert_eq!(host.show(&unit, "MemoryMax"), "104857600");
    host.must(&["delete", "--force", &id]);
    assert_eq!(host.show(&unit, "LoadState"), "not-found");
    assert!(!host.cgroup.join(&path[1..]).exists());
}

#[test]
fn a_scope_that_systemd_stops_is_a_container_that_has_stopped() {
    let id = new_id();
    // Process 1 does not hear a signal that it has no handler for, here as well.
    let host = Host::start(|spec| {
        sleeping(spec);
        spec["annotations"] = json!({ "org.systemd.property.KillSignal": "9" });
    });
    host.run(SYSTEMD, &id);
    assert_eq!(host.systemctl(&["stop", &format!("usk-oci-{id}.scope")]).status, 0);
    assert_eq!(host.status(&id), "stopped");
    host.must(&["delete", &id]);
    // And its name is free again.
    host.run(SYSTEMD, &id);
    host.must(&["delete", "--force", &id]);
}

#[test]
fn what_is_no_unit_of_systemds_is_refused() {
    let host = Host::start(|spec| {
        sleeping(spec);
        spec["linux"]["cgroupsPath"] = json!("/no/slice");
    });
    let create = |host: &Host| {
        host.usk(&["--systemd-cgroup", "create", "--bundle", host.bundle.path().to_str().expect("text"), "x"])
    };
    assert!(create(&host).error.contains("expected cgroupsPath to be of format"));
    host.bundle.configure(|spec| {
        sleeping(spec);
        spec["annotations"] = json!({ "org.systemd.property.NoSuchThing": "true" });
    });
    let refused = create(&host);
    assert!(
        refused.error.contains("unable to start unit") && refused.error.contains("NoSuchThing"),
        "{refused:?}"
    );
    assert_eq!(host.usk(&["state", "x"]).status, 1);
}

#[test]
fn version_2_alone_pauses_counts_and_ends_a_container() {
    let id = new_id();
    let host = Host::start(|spec| {
        spec["process"]["args"] = json!(["sh", "-c", "sleep 1000 & while :; do :; done"]);
        spec["linux"]["cgroupsPath"] = json!(format!("/deep/below/{id}"));
    });
    host.run(&[], &id);
    let cgroup = host.cgroup.join("deep/below").join(&id);
    let read = |file: &str| fs::read_to_string(cgroup.join(file)).expect("a file of a cgroup");
    let used = || -> u64 {
        let stats = host.must(&["events", "--stats", &id]);
        let stats: Value = serde_json::from_str(&stats).expect("JSON");
        assert!(stats["data"]["cpu"]["psi"]["some"]["total"].is_u64(), "{stats}");
        stats["data"]["cpu"]["usage"]["total"].as_u64().expect("a number")
    };
    let before = used();
    wait_until("it runs", || used() > before);
    host.must(&["pause", &id]);
    assert_eq!((host.status(&id), read("usk-sandbox/cgroup.freeze").trim()), ("paused".into(), "1"));
    host.must(&["resume", &id]);
    assert_eq!(host.status(&id), "running");
    host.must(&["pause", &id]);
    host.must(&["kill", "--all", &id, "KILL"]);
    wait_until("it has stopped", || host.status(&id) == "stopped");
    host.must(&["delete", &id]);
    assert!(!cgroup.exists());
    // Those above are not the container's.
    assert!(host.cgroup.join("deep/below").exists());
}
