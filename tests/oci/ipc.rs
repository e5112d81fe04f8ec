//! Interprocess communication: what a container has of its own, and namespaces that it is to join.

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::runtime::{Outcome, Runtime, new_id};

fn run(bundle: &Bundle) -> Outcome {
    Runtime::usk().verb(bundle, &["run", &new_id()])
}

/// Changes the path of a namespace, which is added if it is missing.
fn join(spec: &mut Value, kind: &str, path: &str) {
    let namespaces = spec["linux"]["namespaces"].as_array_mut().expect("there are namespaces");
    namespaces.retain(|namespace| namespace["type"] != kind);
    namespaces.push(json!({ "type": kind, "path": path }));
}

#[test]
fn message_queues_are_files_of_the_container() {
    let bundle = Bundle::with(|spec| {
        spec["mounts"].as_array_mut().expect("there are mounts").push(json!({
            "destination": "/dev/mqueue", "type": "mqueue", "source": "queues", "options": ["nosuid", "noexec", "nodev"],
        }));
        spec["linux"]["sysctl"] = json!({ "fs.mqueue.msg_max": "33" });
        let script = "touch /dev/mqueue/one; ls /dev/mqueue; cat /dev/mqueue/one; mkdir /dev/mqueue/x; rm /dev/mqueue/one; \
                      ls /dev/mqueue; cat /proc/sys/fs/mqueue/msg_max; grep mqueue /proc/mounts";
        spec["process"]["args"] = json!(["sh", "-c", script]);
    });
    let outcome = run(&bundle);
    let expected = "one\nQSIZE:0          NOTIFY:0     SIGNO:0     NOTIFY_PID:0     \n33\n\
                    queues /dev/mqueue mqueue rw,nosuid,nodev,noexec,relatime 0 0\n";
    assert_eq!(outcome.output, expected, "{outcome:?}");
    assert!(outcome.error.contains("Operation not permitted"), "{outcome:?}");
}

#[test]
fn mounts_have_the_names_that_the_configuration_gives_them() {
    let bundle = Bundle::of_script(
        "grep -E ' /(dev|dev/shm|proc|sys) ' /proc/mounts | head -c -1 | cut -d ' ' -f 1-3",
    );
    let outcome = run(&bundle);
    let lines = ["tmpfs /dev tmpfs\n", "shm /dev/shm tmpfs\n", "proc /proc proc\n", "sysfs /sys sysfs\n"];
    for line in lines {
        assert!(outcome.output.contains(line), "{line}: {outcome:?}");
    }
    assert_eq!(outcome.output.lines().count(), lines.len(), "{outcome:?}");
}

#[test]
fn a_namespace_of_another_kind_is_refused() {
    for (kind, path) in [
        ("ipc", "/proc/self/ns/net"),
        ("network", "/proc/self/ns/ipc"),
        ("uts", "/proc/self/ns/ipc"),
        ("cgroup", "/proc/self/ns/ipc"),
        ("ipc", "/dev/null"),
        ("ipc", "/proc/self/ns/nosuch"),
    ] {
        let bundle = Bundle::with(|spec| join(spec, kind, path));
        let outcome = run(&bundle);
        assert_eq!(outcome.status, 1, "{kind}: {outcome:?}");
        assert!(outcome.error.contains("linux.namespaces: cannot "), "{kind}: {outcome:?}");
    }
}

#[test]
fn what_joins_a_namespace_of_interprocess_communication_has_its_own_objects() {
    let queues = json!({ "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue" });
    let add_queues =
        |spec: &mut Value| spec["mounts"].as_array_mut().expect("there are mounts").push(queues.clone());
    let runtime = Runtime::usk();
    let first = Bundle::with(|spec| {
        add_queues(spec);
        spec["process"]["args"] = json!(["sleep", "1000"]);
    });
    let id = new_id();
    assert_eq!(runtime.background(&first, &["run", "-d", &id]).status, 0);
    runtime.must(&first, &["exec", &id, "sh", "-c", "touch /dev/mqueue/first"]);
    let state: Value =
        serde_json::from_str(&runtime.must(&first, &["state", &id])).expect("the state is JSON");
    let path = format!("/proc/{}/ns/ipc", state["pid"]);
    // It is a namespace of its own, as engines look for it at the container's process.
    let own = std::fs::read_link("/proc/self/ns/ipc").expect("a link");
    assert_ne!(std::fs::read_link(&path).expect("a link"), own);
    let second = Bundle::with(|spec| {
        add_queues(spec);
        join(spec, "ipc", &path);
        spec["process"]["args"] = json!(["sh", "-c", "ls /dev/mqueue; echo done"]);
    });
    let outcome = runtime.verb(&second, &["--debug", "--log", "log", "run", &new_id()]);
    assert_eq!((outcome.status, outcome.output.as_str()), (0, "done\n"), "{outcome:?}");
    let log = std::fs::read_to_string(second.file("log")).expect("there is a log");
    assert!(log.contains("its own System V objects and message queues"), "{log}");
    assert_eq!(runtime.must(&first, &["exec", &id, "ls", "/dev/mqueue"]), "first\n");
    runtime.must(&first, &["delete", "--force", &id]);
}
