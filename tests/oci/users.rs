//! Users of the container that are others on the host.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::runtime::{Outcome, Runtime, new_id, wait_until};

/// The host's id of the container's root.
const FIRST: u32 = 200_000;
const COUNT: u32 = 5_000;

fn map(spec: &mut Value) {
    let mapping = json!([{ "containerID": 0, "hostID": FIRST, "size": COUNT }]);
    spec["linux"]["uidMappings"] = mapping.clone();
    spec["linux"]["gidMappings"] = mapping;
    spec["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({ "type": "user" }));
    // Those of an engine, as the tests change owners.
    let sets = json!(["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETUID", "CAP_SETGID"]);
    for set in ["bounding", "effective", "permitted"] {
        spec["process"]["capabilities"][set] = sets.clone();
    }
}

/// A bundle with these users, whose root is theirs.
fn bundle(script: &str) -> Bundle {
    let bundle = Bundle::with(|spec| {
        map(spec);
        spec["process"]["args"] = json!(["sh", "-c", script]);
    });
    let mut directories = vec![bundle.rootfs()];
    while let Some(directory) = directories.pop() {
        std::os::unix::fs::lchown(&directory, Some(FIRST), Some(FIRST)).expect("it can be given away");
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().expect("it has a type").is_dir() {
                directories.push(entry.path());
            } else {
                std::os::unix::fs::lchown(entry.path(), Some(FIRST), Some(FIRST))
                    .expect("it can be given away");
            }
        }
    }
    bundle
}

fn run(runtime: &Runtime, bundle: &Bundle) -> Outcome {
    runtime.verb(bundle, &["run", &new_id()])
}

#[test]
fn owners_are_translated_both_ways() {
    let bundle = bundle(
        "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; stat -c '%u %g' /etc/passwd /strange; touch /tmp/mine; \
         chown 7:8 /tmp/mine; stat -c '%u %g' /tmp/mine; chown 6000 /tmp/mine 2>/dev/null || echo none; \
         cat /strange 2>/dev/null || echo refused; echo x > /etc/passwd && echo written",
    );
    let strange = bundle.rootfs().join("strange");
    fs::write(&strange, "of the host").expect("a file can be written");
    fs::set_permissions(&strange, fs::Permissions::from_mode(0o600)).expect("permissions can be set");
    chown(&strange, Some(1000), Some(1000)).expect("it can be given away");
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/tr")).expect("a link can be made");
    let outcome = run(&Runtime::usk(), &bundle);
    let map = format!(" 0 {FIRST} {COUNT}\n");
    let expected = format!("{map}{map}0 0\n65534 65534\n7 8\nnone\nrefused\nwritten\n");
    assert_eq!(outcome.output, expected, "{outcome:?}");
    let mine = fs::metadata(bundle.rootfs().join("tmp/mine")).expect("a file");
    assert_eq!((mine.uid(), mine.gid()), (FIRST + 7, FIRST + 8));
}

#[test]
fn another_user_of_the_container_is_another_user_of_the_host() {
    let bundle = bundle("touch /tmp/file; stat -c %u /tmp/file; cat /own || echo refused");
    let (directory, own) = (bundle.rootfs().join("tmp"), bundle.rootfs().join("own"));
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o1777)).expect("permissions can be set");
    fs::write(&own, "root's").expect("a file can be written");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o600)).expect("permissions can be set");
    let text = fs::read_to_string(bundle.file("config.json")).expect("a configuration");
    let mut spec: Value = serde_json::from_str(&text).expect("JSON");
    spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    spec["process"]["capabilities"] = json!({});
    fs::write(bundle.file("config.json"), spec.to_string()).expect("the configuration can be written");
    let outcome = run(&Runtime::usk(), &bundle);
    assert_eq!(outcome.output, "1000\nrefused\n", "{outcome:?}");
    assert_eq!(fs::metadata(directory.join("file")).expect("a file").uid(), FIRST + 1000);
}

#[test]
fn a_map_without_a_namespace_is_refused() {
    let bundle = bundle("true");
    bundle.configure(|spec| {
        map(spec);
        spec["linux"]["namespaces"].as_array_mut().expect("a list").pop();
    });
    let outcome = run(&Runtime::usk(), &bundle);
    assert_eq!(outcome.status, 1);
    let problem = "user namespace mappings specified, but user namespace isn't enabled in the config";
    assert!(outcome.error.contains(problem), "{outcome:?}");
}

/// Says whose users the container's are, and whom they are on the host if `first` is one.
fn join(spec: &mut Value, path: &str, first: Option<u32>) {
    map(spec);
    let namespaces = spec["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.pop();
    namespaces.push(json!({ "type": "user", "path": path }));
    for kind in ["uidMappings", "gidMappings"] {
        spec["linux"][kind] =
            first.map_or(Value::Null, |first| json!([{ "containerID": 0, "hostID": first, "size": COUNT }]));
    }
    spec["process"]["args"] = json!(["sh", "-c", "tr -s ' ' < /proc/self/uid_map; touch /tmp/made"]);
}

#[test]
fn users_are_shared_with_another_container() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = bundle("sleep 1000");
    assert_eq!(usk.background(&bundle, &["run", "-d", "--pid-file", "pid", &id]).status, 0);
    let pid = fs::read_to_string(bundle.file("pid")).expect("a pid file");
    let path = format!("/proc/{pid}/ns/user");
    for first in [None, Some(FIRST)] {
        bundle.configure(|spec| join(spec, &path, first));
        let shown = format!(" 0 {FIRST} {COUNT}\n");
        assert_eq!(usk.must(&bundle, &["run", &new_id()]), shown);
        let made = bundle.rootfs().join("tmp/made");
        assert_eq!(fs::metadata(&made).expect("a file").uid(), FIRST);
        fs::remove_file(made).expect("it is there");
    }
    bundle.configure(|spec| join(spec, &path, Some(FIRST + 1)));
    let outcome = run(&usk, &bundle);
    assert!(outcome.status == 1 && outcome.error.contains("linux.uidMappings"), "{outcome:?}");
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn users_are_those_of_a_namespace_of_the_hosts_but_not_the_hosts_own() {
    let mut other =
        Command::new("unshare").args(["--user", "--map-root-user", "cat"]).stdin(Stdio::piped()).spawn();
    let other = other.as_mut().expect("unshare runs");
    wait_until("it has users", || {
        fs::read_to_string(format!("/proc/{}/uid_map", other.id()))
            .is_ok_and(|map| map.split_whitespace().nth(2) == Some("1"))
    });
    let bundle = Bundle::with(|spec| join(spec, &format!("/proc/{}/ns/user", other.id()), None));
    assert_eq!(run(&Runtime::usk(), &bundle).output, " 0 0 1\n");
    // The namespace may have a place in the file system, and no process.
    let place = bundle.file("users");
    fs::write(&place, "").expect("a file can be made");
    let namespace = format!("/proc/{}/ns/user", other.id());
    mount(Some(&*namespace), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .expect("it can be mounted");
    drop(other.stdin.take());
    other.wait().expect("it ends");
    bundle.configure(|spec| join(spec, place.to_str().expect("text"), None));
    let outcome = run(&Runtime::usk(), &bundle);
    umount2(&place, MntFlags::MNT_DETACH).expect("it is mounted");
    assert_eq!(outcome.output, " 0 0 1\n", "{outcome:?}");
    bundle.configure(|spec| join(spec, "/proc/self/ns/user", None));
    let outcome = run(&Runtime::usk(), &bundle);
    assert!(outcome.status == 1 && outcome.error.contains("leave the path out"), "{outcome:?}");
}
