//! The host's mounts below what a container is shown: those that were there before it, and those that come later.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::runtime::{Outcome, Runtime, new_id};

/// A tmpfs on the host, until it is dropped, with a file that tells it.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    pub(crate) fn at(place: PathBuf, file: &str) -> Mounted {
        fs::create_dir_all(&place).expect("a directory can be made");
        mount(Some("usk-test"), &place, Some("tmpfs"), MsFlags::empty(), None::<&str>)
            .expect("it can be mounted");
        let mounted = Mounted(place);
        // What is mounted below in time shows in copies.
        mount(None::<&str>, &mounted.0, None::<&str>, MsFlags::MS_SHARED, None::<&str>)
            .expect("it can be shared");
        fs::write(mounted.0.join(file), "").expect("a file can be written");
        mounted
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Adds a bind mount at `/x`.
pub(crate) fn bind(spec: &mut Value, source: &Path, options: &[&str]) {
    let mount = json!({ "destination": "/x", "type": "bind", "source": source, "options": options });
    spec["mounts"].as_array_mut().expect("a list").push(mount);
}

#[test]
fn a_bind_shows_what_mounts_below_cover_and_one_with_all_shows_them() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let below = directory.path().join("below");
    fs::create_dir(&below).expect("a directory can be made");
    fs::write(below.join("covered"), "").expect("a file can be written");
    let _mounted = Mounted::at(below, "mounted");
    for (options, seen) in [
        (&["bind"][..], "covered\n"),
        (&["bind", "ro"], "covered\n"),
        (&["rbind"], "mounted\n"),
        (&["bind", "rbind"], "mounted\n"),
    ] {
        let bundle = Bundle::with(|spec| {
            bind(spec, directory.path(), options);
            spec["process"]["args"] = json!(["ls", "/x/below"]);
        });
        for runtime in [Runtime::usk(), Runtime::runc()] {
            assert_eq!(runtime.must(&bundle, &["run", &new_id()]), seen, "{options:?}");
        }
    }
}

#[test]
fn a_bind_with_mapped_owners_shows_what_mounts_below_cover() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let below = directory.path().join("below");
    fs::create_dir(&below).expect("a directory can be made");
    fs::write(below.join("covered"), "").expect("a file can be written");
    let _mounted = Mounted::at(below, "mounted");
    let map = json!([{ "containerID": 0, "hostID": 5, "size": 1 }]);
    let bundle = Bundle::with(|spec| {
        bind(spec, directory.path(), &["bind", "idmap"]);
        for kind in ["uidMappings", "gidMappings"] {
            spec["mounts"].as_array_mut().and_then(|mounts| mounts.last_mut()).expect("a mount")[kind] =
                map.clone();
        }
        spec["process"]["args"] = json!(["sh", "-c", "ls /x/below; stat -c %u /x/below/covered"]);
    });
    assert_eq!(Runtime::usk().must(&bundle, &["run", &new_id()]), "covered\n5\n");
}

/// What a container sees of mounts that the host makes while it runs: below what it is shown, and below a mount there.
fn later(runtime: &Runtime, root: Option<&str>, options: &[&str]) -> String {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let id = new_id();
    let top = Mounted::at(directory.path().join("top"), "top");
    let inner = Mounted::at(top.0.join("inner"), "inner");
    for place in [&top, &inner] {
        fs::create_dir(place.0.join("later")).expect("a directory can be made");
    }
    let bundle = Bundle::with(|spec| {
        bind(spec, &top.0, options);
        if let Some(root) = root {
            spec["linux"]["rootfsPropagation"] = json!(root);
        }
        spec["process"]["args"] = json!(["sleep", "1000"]);
    });
    assert_eq!(runtime.background(&bundle, &["run", "-d", &id]).status, 0);
    // Looked at before, for what is remembered to be seen as out of date.
    let look = ["exec", &id, "ls", "/x/later", "/x/inner/later"];
    assert_eq!(runtime.must(&bundle, &look), "/x/inner/later:\n\n/x/later:\n");
    let mounts = [Mounted::at(top.0.join("later"), "one"), Mounted::at(inner.0.join("later"), "two")];
    let seen = runtime.must(&bundle, &look);
    drop(mounts);
    assert_eq!(runtime.must(&bundle, &look), "/x/inner/later:\n\n/x/later:\n");
    runtime.must(&bundle, &["delete", "--force", &id]);
    seen
}

#[test]
fn what_the_host_mounts_later_is_seen_where_the_configuration_says_so() {
    let (both, second, none) = (
        "/x/inner/later:\ntwo\n\n/x/later:\none\n",
        "/x/inner/later:\ntwo\n\n/x/later:\n",
        "/x/inner/later:\n\n/x/later:\n",
    );
    for (root, options, seen) in [
        (None, &["rbind", "rslave"][..], both),
        (None, &["rbind", "rshared"], both),
        (None, &["rbind", "rprivate"], none),
        (Some("rslave"), &["rbind"], both),
        (Some("rslave"), &["rbind", "private"], second),
        (Some("shared"), &["rbind"], both),
        (Some("rprivate"), &["rbind"], none),
    ] {
        for runtime in [Runtime::usk(), Runtime::runc()] {
            assert_eq!(later(&runtime, root, options), seen, "{root:?} {options:?}");
        }
    }
    // Where nothing is said, runtimes differ.
    assert_eq!(later(&Runtime::usk(), None, &["rbind"]), none);
}

#[test]
fn what_the_host_mounts_later_is_as_read_only_as_the_bind() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let (usk, id) = (Runtime::usk(), new_id());
    let top = Mounted::at(directory.path().join("top"), "top");
    let bundle = Bundle::with(|spec| {
        bind(spec, &top.0, &["rbind", "rslave", "ro"]);
        spec["process"]["args"] = json!(["sleep", "1000"]);
    });
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    let _later = Mounted::at(top.0.join("later"), "seen");
    let write = "ls /x/later; echo x > /x/later/seen || echo x > /x/later/new || echo refused";
    let outcome = usk.verb(&bundle, &["exec", &id, "sh", "-c", write]);
    assert_eq!(outcome.output, "seen\nrefused\n", "{outcome:?}");
    usk.must(&bundle, &["delete", "--force", &id]);
}

fn run_with(change: impl FnOnce(&mut Value)) -> Outcome {
    Runtime::usk().verb(&Bundle::with(change), &["run", &new_id()])
}

#[test]
fn a_mount_that_would_have_to_reach_the_host_is_refused() {
    let source = tempfile::tempdir().expect("a directory can be made");
    let outcome = run_with(|spec| {
        bind(spec, source.path(), &["rbind", "rshared"]);
        spec["process"]["capabilities"]["bounding"] = json!(["CAP_SYS_ADMIN"]);
    });
    assert!(
        outcome.status == 1
            && outcome.error.contains("mounts[5]: options: ")
            && outcome.error.contains("rslave"),
        "{outcome:?}"
    );
    // Nor can who might mount there join later.
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::with(|spec| {
        bind(spec, source.path(), &["rbind", "rshared"]);
        spec["process"]["args"] = json!(["sleep", "1000"]);
    });
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    usk.must(&bundle, &["exec", "--cap", "CAP_CHOWN", &id, "true"]);
    let outcome = usk.verb(&bundle, &["exec", "--cap", "CAP_SYS_ADMIN", &id, "true"]);
    assert!(outcome.status == 255 && outcome.error.contains("rslave"), "{outcome:?}");
    usk.must(&bundle, &["delete", "--force", &id]);
    let outcome = run_with(|spec| spec["linux"]["rootfsPropagation"] = json!("everywhere"));
    assert!(outcome.status == 1 && outcome.error.contains("linux.rootfsPropagation: "), "{outcome:?}");
}
