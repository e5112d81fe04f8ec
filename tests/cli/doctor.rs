//! The doctor.

use serde_json::Value;

use crate::caller::Caller;
use crate::sandbox::PLATFORMS;

#[test]
fn the_doctor_examines_every_part_and_tries_a_sandbox() {
    for caller in Caller::all() {
        let output = caller.usk().args(["doctor", "--json"]).output().unwrap();
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        assert!(output.status.success(), "{caller:?}: {report}");
        assert_eq!(report["fit"], true);
        assert!(PLATFORMS.contains(&report["platform"].as_str().unwrap()));
        let findings = report["findings"].as_array().unwrap();
        let names: Vec<&str> = findings.iter().map(|finding| finding["name"].as_str().unwrap()).collect();
        for part in [
            "kernel",
            "user notification",
            "mseal",
            "fsgsbase",
            "user namespaces",
            "yama ptrace scope",
            "memory limits",
            "sandbox, trap platform",
            "sandbox, ptrace platform",
        ] {
            assert!(names.contains(&part), "{part}");
        }
        for finding in findings {
            assert_eq!(finding["state"] == "good", finding["cure"].is_null(), "{finding}");
        }
    }
}

#[test]
fn the_doctor_can_be_read_by_people() {
    let output = Caller::Myself.usk().arg("doctor").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("kernel") && text.contains("Sandboxes work here"), "{text}");
}

#[test]
fn the_doctor_leaves_no_cgroup_behind() {
    let output = Caller::Myself.usk().args(["doctor", "--json"]).output().unwrap();
    assert!(output.status.success());
    if let Ok(hierarchy) = usk::cgroup::memory_hierarchy() {
        let own = format!("usk-{}-", std::process::id());
        for entry in std::fs::read_dir(hierarchy.own).into_iter().flatten().flatten() {
            assert!(!entry.file_name().to_string_lossy().starts_with(&own));
        }
    }
}
