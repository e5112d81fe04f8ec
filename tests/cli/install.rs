//! Telling container engines about usk.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};

use super::caller::is_root;

fn usk(verb: &str, etc: &Path, arguments: &[&str]) -> Output {
    let mut command = with_an_empty_run();
    // Any program does as the runtime here.
    command.arg(verb).arg("--etc").arg(etc).args(["--runtime", "/bin/true"]).args(arguments);
    command.output().expect("usk runs")
}

/// `usk`, without what other tests' sandboxes have left to each other in `/run`, where it could remove that.
fn with_an_empty_run() -> Command {
    if !is_root() {
        return Command::new(env!("CARGO_BIN_EXE_usk"));
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec"]);
    command.args([r#"mount -t tmpfs none /run; exec "$0" "$@""#, env!("CARGO_BIN_EXE_usk")]);
    command
}

fn must(verb: &str, etc: &Path, arguments: &[&str]) -> String {
    let output = usk(verb, etc, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn runtime() -> String {
    fs::canonicalize("/bin/true").expect("it is there").display().to_string()
}

#[test]
fn engines_are_told_and_forget_again() {
    let etc = tempfile::tempdir().expect("a directory");
    let all = ["docker", "containerd", "podman"];
    must("install", etc.path(), &all);
    let read = |file: &str| fs::read_to_string(etc.path().join(file)).expect("it is written");
    let docker: serde_json::Value = serde_json::from_str(&read("docker/daemon.json")).expect("JSON");
    assert_eq!(docker["runtimes"]["usk"]["path"], runtime());
    let containerd = read("containerd/config.toml");
    assert!(containerd.contains("containerd.runtimes.usk"), "{containerd}");
    assert!(containerd.contains(&format!("BinaryName = \"{}\"", runtime())), "{containerd}");
    assert!(read("containers/containers.conf").contains(&format!("usk = [\"{}\"]", runtime())));
    let again = must("install", etc.path(), &all);
    assert_eq!(again.matches("nothing to change").count(), 3, "{again}");
    must("uninstall", etc.path(), &all);
    assert_eq!(read("docker/daemon.json").trim(), "{}");
    assert!(!read("containerd/config.toml").contains("usk"));
    assert!(!read("containers/containers.conf").contains("usk"));
}

#[test]
fn what_is_in_the_settings_stays_and_is_kept_as_it_was() {
    let etc = tempfile::tempdir().expect("a directory");
    let write = |file: &str, text: &str| {
        let path = etc.path().join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    };
    let docker = r#"{ "debug": true, "runtimes": { "other": { "path": "/o" } } }"#;
    let containerd =
        "version = 2\n# a comment\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = \"x\" # kept\n";
    let podman = "[engine]\nruntime = \"crun\" # kept\n";
    write("docker/daemon.json", docker);
    write("containerd/config.toml", containerd);
    write("containers/containers.conf", podman);
    // Those whose files are there are found without being named.
    must("install", etc.path(), &["--name", "sandbox"]);
    let read = |file: &str| fs::read_to_string(etc.path().join(file)).expect("it is there");
    let new: serde_json::Value = serde_json::from_str(&read("docker/daemon.json")).expect("JSON");
    assert_eq!((&new["debug"], &new["runtimes"]["other"]["path"]), (&true.into(), &"/o".into()));
    assert_eq!(new["runtimes"]["sandbox"]["path"], runtime());
    let new = read("containerd/config.toml");
    assert!(new.starts_with(containerd) && new.contains("containerd.runtimes.sandbox"), "{new}");
    let new = read("containers/containers.conf");
    assert!(new.starts_with(podman) && new.contains("sandbox = ["), "{new}");
    for (file, old) in [
        ("docker/daemon.json", docker),
        ("containerd/config.toml", containerd),
        ("containers/containers.conf", podman),
    ] {
        assert_eq!(read(&format!("{file}.before-usk")), old);
    }
    must("uninstall", etc.path(), &["--name", "sandbox"]);
    for (file, old) in [
        ("docker/daemon.json", docker),
        ("containerd/config.toml", containerd),
        ("containers/containers.conf", podman),
    ] {
        assert_eq!(read(file), old);
    }
}

#[test]
fn dockers_settings_keep_their_order_and_their_blanks() {
    let etc = tempfile::tempdir().expect("a directory");
    fs::create_dir(etc.path().join("docker")).expect("a directory");
    let file = etc.path().join("docker/daemon.json");
    let ours = format!(r#""usk": {{ "path": "{}" }}"#, runtime());
    for (before, after) in [
        (
            "{\n\t\"z\": 1e3,\n\t\"a\": [1, {\"}\": \"\\\"\"}]\n}\n",
            "{\n\t\"z\": 1e3,\n\t\"a\": [1, {\"}\": \"\\\"\"}],\n\t\"runtimes\": { OURS }\n}\n",
        ),
        (
            "{ \"runtimes\" : {\n  \"o\":{}\n }, \"b\":2 }",
            "{ \"runtimes\" : {\n  \"o\":{},\n  OURS\n }, \"b\":2 }",
        ),
        ("{}", "{ \"runtimes\": { OURS } }"),
    ] {
        fs::write(&file, before).expect("a file");
        must("install", etc.path(), &["docker"]);
        assert_eq!(fs::read_to_string(&file).expect("it is there"), after.replace("OURS", &ours));
        must("uninstall", etc.path(), &["docker"]);
        assert_eq!(fs::read_to_string(&file).expect("it is there"), before);
    }
    // Ours may have come to be the first.
    for (before, after) in [
        ("{\"runtimes\": {\n  OURS,\n  \"o\": 1}}", "{\"runtimes\": {\n  \"o\": 1}}"),
        ("{\"runtimes\": {OURS}, \"b\": 2}", "{\"b\": 2}"),
    ] {
        fs::write(&file, before.replace("OURS", &ours)).expect("a file");
        must("uninstall", etc.path(), &["docker"]);
        assert_eq!(fs::read_to_string(&file).expect("it is there"), after);
    }
}

#[test]
fn who_may_read_settings_stays_and_a_link_goes_on_leading_to_them() {
    let etc = tempfile::tempdir().expect("a directory");
    fs::create_dir(etc.path().join("docker")).expect("a directory");
    let (link, file) = (etc.path().join("docker/daemon.json"), etc.path().join("real.json"));
    fs::write(&file, "{}").expect("a file");
    let owner = if is_root() { 7 } else { nix::unistd::geteuid().as_raw() };
    chown(&file, Some(owner), None).expect("it can be given away");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("they can be set");
    symlink("../real.json", &link).expect("a link can be made");
    must("install", etc.path(), &["docker"]);
    assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
    assert!(fs::read_to_string(&file).expect("it is there").contains("usk"));
    for path in [file, etc.path().join("real.json.before-usk")] {
        let metadata = fs::metadata(path).expect("it is there");
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (owner, 0o640));
    }
}

#[test]
fn containerds_default_runtime_stays_where_it_was_not_listed() {
    let etc = tempfile::tempdir().expect("a directory");
    fs::create_dir(etc.path().join("containerd")).expect("a directory");
    let file = etc.path().join("containerd/config.toml");
    let runtimes = "plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes";
    let own = format!("version = 2\n[{runtimes}.runc]\nruntime_type = \"io.containerd.runc.v2\"\n");
    for before in ["version = 2\n", &own] {
        fs::write(&file, before).expect("a file");
        must("install", etc.path(), &["containerd"]);
        let text = fs::read_to_string(&file).expect("it is there");
        assert_eq!(text.matches(".runtimes.runc]").count(), 1, "{text}");
        must("uninstall", etc.path(), &["containerd"]);
        assert_eq!(fs::read_to_string(&file).expect("it is there"), before);
    }
}

#[test]
fn the_third_version_of_containerds_settings_has_other_names() {
    let etc = tempfile::tempdir().expect("a directory");
    fs::create_dir(etc.path().join("containerd")).expect("a directory");
    let file = etc.path().join("containerd/config.toml");
    fs::write(&file, "version = 3\n").expect("a file");
    must("install", etc.path(), &["containerd"]);
    let text = fs::read_to_string(&file).expect("it is there");
    // As docs/cri/config.md of containerd 2 has it.
    let settings: toml_edit::DocumentMut = text.parse().expect("it is TOML");
    let runtime = &settings["plugins"]["io.containerd.cri.v1.runtime"]["containerd"]["runtimes"]["usk"];
    assert_eq!(settings["version"].as_integer(), Some(3), "{text}");
    assert_eq!(runtime["runtime_type"].as_str(), Some("io.containerd.runc.v2"), "{text}");
    assert_eq!(runtime["options"]["BinaryName"].as_str(), Some(&*self::runtime()), "{text}");
    assert!(settings["plugins"].get("io.containerd.grpc.v1.cri").is_none(), "{text}");
}

#[test]
fn settings_that_are_not_understood_are_not_touched() {
    for (file, text) in [
        ("docker/daemon.json", "{"),
        ("docker/daemon.json", "[]"),
        ("docker/daemon.json", r#"{"runtimes": 1}"#),
        ("containerd/config.toml", "version = 1\n"),
        ("containerd/config.toml", "oops"),
        ("containerd/config.toml", "version = 2\nplugins = 1\n"),
        ("containers/containers.conf", "[engine]\nruntimes = 1\n"),
    ] {
        let etc = tempfile::tempdir().expect("a directory");
        let path = etc.path().join(file);
        fs::create_dir(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, text).expect("a file");
        let output = usk("install", etc.path(), &["docker", "containerd", "podman"]);
        assert_eq!(output.status.code(), Some(125), "{text}");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(file) && error.lines().count() == 1, "{error}");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), text);
        // Nor is any other.
        assert_eq!(fs::read_dir(etc.path()).expect("a directory").count(), 1);
    }
}
