//! What an ordinary user can do: root becomes one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::mounts::{Mounted, bind};
use crate::runtime::new_id;

const NOBODY: u32 = 65534;

/// A bundle of the user's.
struct Own(Bundle);

impl Own {
    fn new() -> Own {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        let bundle = Bundle::of_command(&["true"]);
        // Where an ordinary user can reach it.
        fs::copy(env!("CARGO_BIN_EXE_usk-oci"), bundle.file("usk-oci")).expect("the runtime can be copied");
        for path in [bundle.path().to_owned(), bundle.rootfs(), bundle.rootfs().join("tmp")] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions can be set");
            chown(&path, Some(NOBODY), Some(NOBODY)).expect("it can be given away");
        }
        Own(bundle)
    }

    /// Status, and what was written.
    fn verb(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let Own(bundle) = self;
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(bundle.file("usk-oci"));
        command.arg("--root").arg(bundle.file("state")).args(arguments).current_dir(bundle.path());
        let output = command.stdin(Stdio::null()).output().expect("setpriv runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Runs a script in what `spec --rootless` has written, with changes.
    fn run(&self, script: &str, change: impl FnOnce(&mut Value)) -> (Option<i32>, String) {
        let path = self.0.file("config.json");
        let _ = fs::remove_file(&path);
        assert_eq!(self.verb(&["spec", "--rootless"]), (Some(0), String::new()));
        let mut spec: Value =
            serde_json::from_str(&fs::read_to_string(&path).expect("it is written")).expect("JSON");
        spec["process"]["args"] = json!(["sh", "-c", script]);
        spec["process"]["terminal"] = json!(false);
        spec["root"]["readonly"] = json!(false);
        change(&mut spec);
        fs::write(&path, spec.to_string()).expect("a file can be written");
        self.verb(&["run", &new_id()])
    }
}

#[test]
fn an_ordinary_user_runs_a_bundle_that_spec_begins() {
    let own = Own::new();
    let script = "id -u; hostname; echo written > /tmp/file && stat -c %u /tmp/file; exit 3";
    assert_eq!(own.run(script, |_| ()), (Some(3), "0\nusk\n0\n".into()));
    let written = fs::read_to_string(own.0.rootfs().join("tmp/file")).expect("a file");
    assert_eq!(written, "written\n");
}

#[test]
fn an_ordinary_user_is_not_shown_what_mounts_of_the_host_cover() {
    let own = Own::new();
    let shared = own.0.file("shared");
    fs::create_dir_all(shared.join("below")).expect("a directory can be made");
    fs::write(shared.join("below/covered"), "").expect("a file can be written");
    let list = "ls /x/below";
    assert_eq!(own.run(list, |spec| bind(spec, &shared, &["bind"])), (Some(0), "covered\n".into()));
    let _mounted = Mounted::at(shared.join("below"), "mounted");
    assert_eq!(
        own.run(list, |spec| bind(spec, &shared, &["rbind", "rslave"])),
        (Some(0), "mounted\n".into())
    );
    let (status, text) = own.run(list, |spec| bind(spec, &shared, &["bind"]));
    assert!(status == Some(1) && text.contains("rbind"), "{text}");
}
