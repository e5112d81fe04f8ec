//! How long it takes, beside runc on the same machine at the same time.

use std::time::{Duration, Instant};

use crate::bundle::Bundle;
use crate::runtime::{Runtime, new_id};

/// How often each runtime is measured, in turn.
const ROUNDS: usize = 15;

/// The time of `create`, `start` and `delete` together.
fn measure(runtime: &Runtime, bundle: &Bundle) -> Duration {
    let id = new_id();
    let begun = Instant::now();
    assert_eq!(runtime.background(bundle, &["create", &id]).status, 0);
    runtime.must(bundle, &["start", &id]);
    runtime.must(bundle, &["delete", "--force", &id]);
    begun.elapsed()
}

#[test]
fn a_containers_life_takes_no_longer_than_runcs() {
    let (usk, runc, bundle) = (Runtime::usk(), Runtime::runc(), Bundle::of_command(&["true"]));
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        // The least is what it takes when nothing else is in the way.
        ours = ours.min(measure(&usk, &bundle));
        theirs = theirs.min(measure(&runc, &bundle));
    }
    println!("create, start, delete: usk-oci {ours:?}, runc {theirs:?}");
    assert!(ours <= theirs, "usk-oci {ours:?}, runc {theirs:?}");
}
