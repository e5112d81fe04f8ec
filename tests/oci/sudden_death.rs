//! The runtime is ended between any two of its steps.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::bundle::Bundle;
use crate::runtime::{Runtime, cgroups_named, new_id, wait_until};

/// How many moments of a verb's time are tried.
const MOMENTS: u32 = 40;

/// Host processes of which an argument is this id.
fn processes_about(id: &str) -> usize {
    let about = |entry: &std::fs::DirEntry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|argument| argument == id.as_bytes()))
    };
    std::fs::read_dir("/proc").expect("/proc is there").flatten().filter(about).count()
}

/// Ends a verb at moments spread over the time that it takes, after others that make what it finds; whatever is left,
/// `delete --force` removes.
fn try_moments(before: &[&[&str]], verb: &[&str]) {
    let (usk, bundle) = (Runtime::usk(), Bundle::of_command(&["sleep", "1000"]));
    let output = || File::create(bundle.file("output")).expect("a file can be made");
    let begin = |id: &str| {
        for arguments in before {
            assert_eq!(usk.background(&bundle, &[arguments, &[id][..]].concat()).status, 0);
        }
        let mut command = usk.command(&bundle, &[verb, &[id]].concat());
        (command.stdout(output()).stderr(output()).spawn().expect("it runs"), Instant::now())
    };
    let id = new_id();
    let (mut child, begun) = begin(&id);
    assert!(child.wait().expect("it ends").success());
    let whole = begun.elapsed();
    assert!(whole < Duration::from_secs(30));
    usk.must(&bundle, &["delete", "--force", &id]);
    for moment in 0..MOMENTS {
        let id = new_id();
        let (mut child, _) = begin(&id);
        // The moment is what is tried, not something to wait for.
        std::thread::sleep(whole * moment / MOMENTS);
        child.kill().expect("it is a child");
        child.wait().expect("it ends");
        usk.must(&bundle, &["delete", "--force", &id]);
        wait_until("its processes end", || processes_about(&id) == 0);
        assert_eq!(cgroups_named(&id), Vec::<std::path::PathBuf>::new(), "moment {moment}");
        assert!(!usk.root().join(&id).exists(), "moment {moment}");
    }
}

#[test]
fn create_can_be_ended_at_any_moment() {
    try_moments(&[], &["create"]);
}

#[test]
fn run_can_be_ended_at_any_moment() {
    try_moments(&[], &["run", "-d"]);
}

#[test]
fn start_can_be_ended_at_any_moment() {
    try_moments(&[&["create"]], &["start"]);
}

#[test]
fn delete_can_be_ended_at_any_moment() {
    try_moments(&[&["run", "-d"]], &["delete", "--force"]);
}
