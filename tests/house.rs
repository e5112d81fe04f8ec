//! The house rules that a machine can check: which crate may depend on which, where unsafe code may be, how long a
//! file may become, and counts that may only fall.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// No source file may be longer, in lines.
const LINES_MAX: usize = 900;

/// Each crate, and the crates of the project that it may depend on.
const LAYERS: &[(&str, &[&str])] = &[
    ("usk-abi", &[]),
    ("usk-platform", &["usk-abi"]),
    ("usk-gofer-protocol", &["usk-abi"]),
    ("usk-gofer", &["usk-gofer-protocol", "usk-abi"]),
    ("usk-sentry", &["usk-platform", "usk-gofer-protocol", "usk-abi"]),
    ("usk-syscalls", &["usk-sentry", "usk-platform", "usk-gofer-protocol", "usk-abi"]),
    ("usk", &["usk-syscalls", "usk-sentry", "usk-platform", "usk-gofer", "usk-gofer-protocol", "usk-abi"]),
    ("usk-oci", &["usk", "usk-platform", "usk-abi"]),
];

/// The one crate with unsafe code.
const UNSAFE_CRATE: &str = "usk-platform";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `cargo metadata` says about the workspace's packages.
fn packages() -> Vec<serde_json::Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON");
    metadata["packages"].as_array().expect("cargo metadata lists packages").clone()
}

/// The bytes of each file in the repository, by its name relative to the root.
fn contents() -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut directories = vec![root().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("the directory can be read") {
            let path = entry.expect("the entry can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name == "target" || name == ".git" {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                directories.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                let relative = path.strip_prefix(root()).expect("the walk starts at the root").to_owned();
                found.push((relative, bytes));
            }
        }
    }
    found.sort();
    found
}

/// The texts among them.
fn files() -> Vec<(PathBuf, String)> {
    let text = |(path, bytes)| Some((path, String::from_utf8(bytes).ok()?));
    contents().into_iter().filter_map(text).collect()
}

/// The Rust sources of the repository.
fn sources() -> Vec<(PathBuf, String)> {
    let is_rust = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
    files().into_iter().filter(|(path, _)| is_rust(path)).collect()
}

/// The lines of `text` that are neither comments nor inside the test module at its end.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| line.trim() != "#[cfg(test)]")
        .filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn crates_depend_only_on_the_layers_below_them() {
    let allowed: HashMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    for package in packages() {
        let name = package["name"].as_str().expect("a package has a name");
        let allowed = allowed.get(name).unwrap_or_else(|| panic!("{name}: add it to LAYERS in {}", file!()));
        for dependency in package["dependencies"].as_array().expect("a package lists its dependencies") {
            let other = dependency["name"].as_str().expect("a dependency has a name");
            // A test may use a crate of any layer.
            if other.starts_with("usk") && dependency["kind"] != "dev" {
                assert!(allowed.contains(&other), "{name} must not depend on {other}");
            }
        }
    }
}

#[test]
fn every_crate_but_the_platform_forbids_unsafe_code() {
    for package in packages() {
        if package["name"] == UNSAFE_CRATE {
            continue;
        }
        for target in package["targets"].as_array().expect("a package has targets") {
            let kind = &target["kind"][0];
            if kind != "lib" && kind != "bin" {
                continue;
            }
            let path = target["src_path"].as_str().expect("a target has a source");
            let text = fs::read_to_string(path).expect("the crate root can be read");
            assert!(text.contains("#![forbid(unsafe_code)]"), "{path}: #![forbid(unsafe_code)] is missing");
        }
    }
}

#[test]
fn no_source_file_is_too_long() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{}: {lines} lines, more than {LINES_MAX}: split it", path.display());
    }
}

#[test]
fn nothing_is_left_to_be_done_or_ignored() {
    // Put together here so that this file does not contain them.
    let banned = [concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("#[", "ignore")];
    for (path, text) in sources() {
        for word in banned {
            assert!(!code_lines(&text).any(|line| line.contains(word)), "{}: {word}", path.display());
        }
    }
}

#[test]
fn nothing_that_was_built_is_committed() {
    for (path, bytes) in contents() {
        assert!(!bytes.starts_with(b"\x7fELF"), "{}: a program", path.display());
    }
}

#[test]
fn no_path_of_somebodys_machine_is_committed() {
    let banned = [concat!("/wo", "rk/"), concat!("/ro", "ot/."), concat!("/ho", "me/runner")];
    for (path, text) in files() {
        for word in banned {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

/// The counted things: a name, the directory they are counted in, and whether a line is one.
type Count = (&'static str, &'static str, fn(&str) -> bool);

const COUNTS: &[Count] = &[
    ("unwrap in syscalls", "syscalls/src", |line| line.contains(".unwrap()")),
    ("unwrap in sentry", "sentry/src", |line| line.contains(".unwrap()")),
    ("unwrap in gofer", "gofer", |line| line.contains(".unwrap()")),
    ("narrowing in syscalls", "syscalls/src", narrows),
];

/// Whether `line` casts to a type that a register does not fit into.
fn narrows(line: &str) -> bool {
    [" as u8", " as u16", " as u32", " as i8", " as i16", " as i32"].iter().any(|cast| line.contains(cast))
}

#[test]
fn counts_only_fall() {
    let limits_file = root().join("tests/house.ratchet");
    let text = fs::read_to_string(&limits_file).expect("tests/house.ratchet can be read");
    let limits: HashMap<&str, usize> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (name, limit) = line.split_once('=').unwrap_or_else(|| panic!("house.ratchet: {line:?}"));
            (name.trim(), limit.trim().parse().unwrap_or_else(|_| panic!("house.ratchet: {line:?}")))
        })
        .collect();
    let sources = sources();
    for (name, directory, counts) in COUNTS {
        let in_directory = sources.iter().filter(|(path, _)| path.starts_with(directory) && !is_test(path));
        let count = in_directory.flat_map(|(_, text)| code_lines(text)).filter(|line| counts(line)).count();
        let limit = *limits.get(name).unwrap_or_else(|| panic!("house.ratchet: no line for {name}"));
        assert!(count <= limit, "{name}: {count}, more than the {limit} that tests/house.ratchet allows");
    }
}

/// Whether the file holds only tests.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.to_string_lossy().ends_with("tests.rs")
}
