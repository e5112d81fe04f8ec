//! `--trace-start`: what it writes, and when it cannot.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::guest::{directory_of, run, text};
use crate::sandbox::everybody;

/// Spans that docs/options.md promises, by the process whose they are.
const PROMISED: &[(&str, &[&str])] = &[
    (
        "usk",
        &[
            "exec, dynamic linking, arguments (processor time)",
            "plan",
            "hear of the sentry",
            "hear of the gofer",
            "watch",
            "end the processes",
        ],
    ),
    (
        "usk-sentry",
        &[
            "make namespaces",
            "wait for the monitor",
            "enter an empty root",
            "give up privileges",
            "start the platform",
            "install the filter",
            "greet the gofer",
            "mount file systems",
            "find the program",
            "make an address space",
            "make a guest thread",
            "load the program",
            "first guest instruction",
            "the command",
        ],
    ),
    ("usk-gofer", &["make namespaces", "enter a root of the exports", "give up privileges"]),
];

fn events(file: &Path) -> Vec<Value> {
    let written = fs::read_to_string(file).unwrap();
    serde_json::from_str(&written).unwrap_or_else(|error| panic!("{error}: {written}"))
}

/// The processes' names, by their numbers on the time line.
fn processes(events: &[Value]) -> BTreeMap<i64, String> {
    let names = events.iter().filter(|event| event["name"] == "process_name");
    names
        .map(|event| (event["pid"].as_i64().unwrap(), event["args"]["name"].as_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn a_time_line_has_the_promised_steps_of_every_process() {
    for (caller, platform) in everybody() {
        let directory = directory_of(caller);
        let file = directory.path().join("time line.json");
        run(caller, platform, &["--trace-start", text(&file)], &["true"]).succeeded();
        let events = events(&file);
        let processes = processes(&events);
        for (process, names) in PROMISED {
            for name in *names {
                let is_it = |event: &&Value| {
                    event["name"] == *name && processes[&event["pid"].as_i64().unwrap()] == *process
                };
                let event =
                    events.iter().find(is_it).unwrap_or_else(|| panic!("{platform}: {process}: {name}"));
                assert!(event["ts"].as_f64().unwrap() > 0.0, "{event}");
            }
        }
    }
}

#[test]
fn steps_lie_within_the_run_and_the_first_instruction_between_load_and_end() {
    for (caller, platform) in everybody() {
        let directory = directory_of(caller);
        let file = directory.path().join("t");
        fs::write(&file, "what was there before").unwrap();
        if let Some(user) = caller.user() {
            std::os::unix::fs::chown(&file, Some(user), None).unwrap();
        }
        run(caller, platform, &["--trace-start", text(&file)], &["true"]).succeeded();
        let events = events(&file);
        let of = |name: &str| {
            let event = events.iter().find(|event| event["name"] == name).unwrap_or_else(|| panic!("{name}"));
            let begun = event["ts"].as_f64().unwrap();
            (begun, begun + event["dur"].as_f64().unwrap_or(0.0))
        };
        let (first, _) = of("first guest instruction");
        assert!(of("load the program").1 <= first && first <= of("end the processes").0, "{events:?}");
        assert!(of("make namespaces").0 >= of("plan").1);
        assert!(of("the command").1 <= of("watch").1);
    }
}

#[test]
fn a_command_that_does_not_start_has_a_complete_time_line() {
    for (caller, platform) in everybody() {
        let directory = directory_of(caller);
        let file = directory.path().join("t");
        run(caller, platform, &["--trace-start", text(&file)], &["no-such-command"]).refused(127);
        let events = events(&file);
        assert!(events.iter().any(|event| event["name"] == "end the processes"));
        assert!(events.iter().all(|event| event["name"] != "first guest instruction"));
    }
}

#[test]
fn a_file_that_cannot_be_written_is_one_line() {
    for (caller, platform) in everybody() {
        let line = run(caller, platform, &["--trace-start", "/proc/none/t"], &["true"]).refused(125);
        assert!(line.contains("/proc/none/t") && line.contains("--trace-start"), "{line}");
    }
}

#[test]
fn a_full_device_is_one_line_and_the_command_does_not_run_on_a_time_line() {
    for (caller, platform) in everybody() {
        let line = run(caller, platform, &["--trace-start", "/dev/full"], &["true"]).refused(125);
        assert!(line.contains("/dev/full") && line.contains("--trace-start"), "{line}");
    }
}
