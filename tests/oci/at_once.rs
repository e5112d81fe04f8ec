//! What engines do as soon as a verb has returned: nothing of it may come too early.

use std::thread;

use crate::bundle::Bundle;
use crate::runtime::{Runtime, new_id};

/// Lives of a container, one after the other.
const LIVES: usize = 50;
/// Of how many at a time.
const BESIDE: usize = 2;

#[test]
fn everything_can_be_done_as_soon_as_a_container_has_been_started() {
    let usk = Runtime::usk();
    let bundles: Vec<Bundle> = (0..BESIDE).map(|_| Bundle::of_command(&["sleep", "1000"])).collect();
    thread::scope(|scope| {
        for bundle in &bundles {
            scope.spawn(|| (0..LIVES).for_each(|life| live(&usk, bundle, life)));
        }
    });
}

fn live(usk: &Runtime, bundle: &Bundle, life: usize) {
    let id = new_id();
    if life.is_multiple_of(2) {
        assert_eq!(usk.background(bundle, &["create", &id]).status, 0);
        usk.must(bundle, &["start", &id]);
    } else {
        assert_eq!(usk.background(bundle, &["run", "-d", &id]).status, 0);
    }
    let stat = usk.must(bundle, &["exec", &id, "cat", "/proc/1/stat"]);
    assert!(stat.starts_with("1 (sleep) "), "{stat}");
    let processes = usk.processes(bundle, &id);
    assert!(processes.len() >= 4, "{processes:?}");
    usk.must(bundle, &["kill", &id, "KILL"]);
    usk.must(bundle, &["delete", "--force", &id]);
    assert!(usk.verb(bundle, &["state", &id]).error.contains("does not exist"));
}
