//! Nothing that a guest writes reaches the host, but through a volume that may be written.

use std::path::Path;

use tempfile::TempDir;

use crate::guest::{self, Attacks, expect_attacks};
use crate::support::runtime::Runtime;
use crate::tree::{Tree, entries, fingerprints};

/// Attacks that change nothing where they succeed, and so may succeed everywhere.
const HARMLESS: &[&str] = &["write_into_a_private_mapping"];

/// Attacks that Linux refuses on a writable file too, because it was opened for reading.
const NEVER: &[(&str, &str)] = &[
    ("make_a_shared_mapping_writable", "EACCES"),
    ("write_into_a_shared_mapping_by_system_call", "EFAULT"),
    ("write_into_a_shared_mapping_from_a_process", "EFAULT"),
    ("write_through_a_shared_mapping_of_a_file_opened_for_reading", "EACCES"),
];

/// The gofer makes no nameless files: Linux has file systems without them too, and says this.
const NOT_ON_VOLUMES: (&str, &str) = ("create_a_nameless_file_and_name_it", "EOPNOTSUPP");

/// The outcome of an attack on a file that can be written.
fn on_writable(name: &str) -> &'static str {
    NEVER.iter().find(|(never, _)| *never == name).map_or("done", |(_, error)| error)
}

/// A prepared tree of the host.
fn prepared() -> TempDir {
    let tree = tempfile::tempdir().expect("a directory");
    let mut command = guest::command(Runtime::Native, &guest::program("writes"), &[]);
    command.arg("prepare").arg(tree.path());
    guest::run(command).expect_success();
    tree
}

/// Attacks the tree that is called `name` where the guest runs.
fn attack(runtime: Runtime, name: &Path, options: &[&str]) -> Attacks {
    let mut command = guest::command(runtime, &guest::program("writes"), options);
    command.arg("attack").arg(name);
    guest::run(command).expect_success().attacks()
}

/// Attacks a tree natively: all are as expected, and change the tree.
fn attacked_natively() -> TempDir {
    let tree = prepared();
    let before = fingerprints(tree.path());
    let attacks = attack(Runtime::Native, tree.path(), &[]);
    assert!(attacks.len() > 40, "{attacks:?}");
    expect_attacks(&attacks, on_writable);
    let after = fingerprints(tree.path());
    for name in attacks.keys().map(String::as_str) {
        let part = |tree: &Tree<_>| {
            let is_part = |path: &Path| path.to_string_lossy().starts_with(&format!("{name}."));
            let part: Vec<_> =
                tree.iter().filter(|(path, _)| path.as_path() == Path::new(name) || is_part(path)).collect();
            format!("{part:?}")
        };
        let is_harmless = HARMLESS.contains(&name) || on_writable(name) != "done";
        assert_eq!(part(&before) == part(&after), is_harmless, "natively {name}");
    }
    tree
}

pub(crate) fn nothing_written_to_the_root_reaches_the_host(runtime: Runtime) {
    attacked_natively();
    let tree = prepared();
    let before = fingerprints(tree.path());
    expect_attacks(&attack(runtime, tree.path(), &[]), on_writable);
    assert_eq!(fingerprints(tree.path()), before);
}

pub(crate) fn a_read_only_volume_refuses_every_write(runtime: Runtime) {
    let tree = prepared();
    let before = fingerprints(tree.path());
    let volume = format!("{}:/volume", tree.path().display());
    expect_attacks(&attack(runtime, Path::new("/volume"), &["-v", &volume]), |name| {
        let writes = on_writable(name) == "done" && !HARMLESS.contains(&name);
        if writes { "EROFS" } else { on_writable(name) }
    });
    assert_eq!(fingerprints(tree.path()), before);
}

pub(crate) fn what_is_written_to_a_writable_volume_arrives_as_if_written_natively(runtime: Runtime) {
    let control = attacked_natively();
    let tree = prepared();
    let volume = format!("{}:/volume:rw", tree.path().display());
    expect_attacks(&attack(runtime, Path::new("/volume"), &["-v", &volume]), |name| {
        if name == NOT_ON_VOLUMES.0 { NOT_ON_VOLUMES.1 } else { on_writable(name) }
    });
    let mut expected = entries(control.path());
    expected.retain(|path, _| path != &Path::new(NOT_ON_VOLUMES.0).with_extension("new"));
    assert_eq!(entries(tree.path()), expected);
}
