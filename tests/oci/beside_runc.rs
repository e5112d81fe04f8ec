//! The same command lines given to runc and to usk-oci: exit statuses, states and messages are the same, but for the name
//! of the program, moments and process ids.

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::runtime::{Outcome, Runtime, new_id};

/// What is compared of a verb.
fn normal(outcome: &Outcome, id: &str) -> (i32, String, String) {
    let clean = |text: &str| {
        let text = text.replace(id, "ID").replace("usk-oci", "runc");
        text.lines().map(without_time).collect::<Vec<_>>().join("\n")
    };
    (outcome.status, clean(&outcome.output), clean(&outcome.error))
}

/// A line of a log without its moment.
fn without_time(line: &str) -> String {
    match line.strip_prefix("time=\"").and_then(|rest| rest.split_once("\" ")) {
        Some((_, rest)) => rest.to_owned(),
        None => line.to_owned(),
    }
}

/// A verb with its arguments; `ID` is the container.
enum Step {
    /// Returns by itself.
    Verb(&'static [&'static str]),
    /// Leaves a container behind.
    Background(&'static [&'static str]),
    /// Waits until the container has this status.
    Until(&'static str),
}

use Step::{Background, Until, Verb};

/// Gives both runtimes the same steps on bundles of the same making.
fn compare(change: impl Fn(&mut Value), steps: &[Step]) {
    let (usk, runc) = (Runtime::usk(), Runtime::runc());
    let bundle = Bundle::with(&change);
    let other = Bundle::with(&change);
    let (id, other_id) = (new_id(), new_id());
    for step in steps {
        let with_id = |arguments: &[&'static str], id: &str| -> Vec<String> {
            arguments.iter().map(|argument| argument.replace("ID", id)).collect()
        };
        let run = |runtime: &Runtime, bundle: &Bundle, id: &str| {
            let outcome = match step {
                Verb(arguments) => {
                    let arguments = with_id(arguments, id);
                    runtime.verb(bundle, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
                }
                Background(arguments) => {
                    let arguments = with_id(arguments, id);
                    runtime.background(bundle, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
                }
                Until(status) => {
                    runtime.wait_for_status(bundle, id, status);
                    return None;
                }
            };
            Some(normal(&outcome, id))
        };
        let (theirs, ours) = (run(&runc, &other, &other_id), run(&usk, &bundle, &id));
        assert_eq!(ours, theirs, "usk-oci at left, runc at right");
    }
    for (runtime, bundle, id) in [(&usk, &bundle, &id), (&runc, &other, &other_id)] {
        runtime.must(bundle, &["delete", "--force", id]);
    }
}

fn command(arguments: &'static [&'static str]) -> impl Fn(&mut Value) {
    move |spec| spec["process"]["args"] = json!(arguments)
}

#[test]
fn a_whole_life_is_the_same() {
    compare(
        command(&["sleep", "1000"]),
        &[
            Background(&["create", "ID"]),
            Background(&["create", "ID"]),
            Verb(&["list", "-q"]),
            Verb(&["exec", "ID", "true"]),
            Verb(&["pause", "ID"]),
            Until("paused"),
            Verb(&["resume", "ID"]),
            Verb(&["resume", "ID"]),
            Verb(&["start", "ID"]),
            Until("running"),
            Verb(&["start", "ID"]),
            Verb(&["delete", "ID"]),
            Verb(&["pause", "ID"]),
            Verb(&["exec", "ID", "true"]),
            Verb(&["resume", "ID"]),
            Verb(&["kill", "ID", "NOSUCH"]),
            Verb(&["kill", "ID", "KILL"]),
            Until("stopped"),
            Verb(&["start", "ID"]),
            Verb(&["kill", "ID"]),
            Verb(&["kill", "--all", "ID"]),
            Verb(&["pause", "ID"]),
            Verb(&["exec", "ID", "true"]),
            Verb(&["update", "--memory", "100000000", "ID"]),
            Verb(&["events", "--stats", "ID"]),
            Verb(&["ps", "--format", "json", "ID"]),
            Verb(&["delete", "ID"]),
            Verb(&["delete", "ID"]),
            Verb(&["delete", "--force", "ID"]),
            Verb(&["state", "ID"]),
            Verb(&["start", "ID"]),
            Verb(&["kill", "ID"]),
            Verb(&["exec", "ID", "true"]),
        ],
    );
}

#[test]
fn exit_statuses_and_messages_of_run_and_exec_are_the_same() {
    compare(
        command(&["sh", "-c", "echo out; echo err >&2; exit 3"]),
        &[Verb(&["run", "ID"]), Verb(&["run", "a/b"]), Verb(&["run", ""])],
    );
    let as_init = "echo $$ $PPID; kill -9 $$; kill -TERM 1; (kill -INT 1); echo alive; trap 'echo T' TERM; kill $$; exit 9";
    compare(|spec| spec["process"]["args"] = json!(["sh", "-c", as_init]), &[Verb(&["run", "ID"])]);
    for arguments in [&["nosuch"], &["/nosuch"], &["/tmp"], &["/etc/passwd"]] {
        compare(command(arguments), &[Background(&["create", "ID"]), Verb(&["run", "ID"])]);
    }
    compare(
        command(&["sleep", "1000"]),
        &[
            Background(&["run", "-d", "ID"]),
            Verb(&["exec", "ID", "sh", "-c", "echo out; echo err >&2; exit 4"]),
            Verb(&["exec", "ID", "sh", "-c", "kill -9 $$"]),
            Verb(&["exec", "ID", "nosuch"]),
            Verb(&["exec", "ID", "/nosuch"]),
            Verb(&["exec", "ID", "/tmp"]),
            Verb(&["exec", "--user", "1000:5", "-e", "A=b", "ID", "sh", "-c", "id -u; id -g; echo $A $HOME"]),
            Verb(&["exec", "--cwd", "/tmp", "ID", "pwd"]),
        ],
    );
}

#[test]
fn the_state_has_the_same_members() {
    let members = |runtime: &Runtime| {
        let (bundle, id) = (Bundle::with(|spec| spec["annotations"] = json!({ "a": "b" })), new_id());
        assert_eq!(runtime.background(&bundle, &["create", &id]).status, 0);
        let state: Value = serde_json::from_str(&runtime.must(&bundle, &["state", &id])).expect("JSON");
        let list: Value =
            serde_json::from_str(&runtime.must(&bundle, &["list", "--format", "json"])).expect("JSON");
        runtime.must(&bundle, &["delete", "--force", &id]);
        let names = |value: &Value| -> Vec<String> {
            value.as_object().expect("an object").keys().cloned().collect()
        };
        (names(&state), state["annotations"].clone(), names(&list[0]), list[0]["owner"].clone())
    };
    assert_eq!(members(&Runtime::usk()), members(&Runtime::runc()));
}

#[test]
fn the_log_has_the_same_form() {
    let line = |runtime: &Runtime| {
        let bundle = Bundle::of_command(&["true"]);
        let outcome =
            runtime.verb(&bundle, &["--log", "log", "--log-format", "json", "state", "no-such-container"]);
        let text = std::fs::read_to_string(bundle.file("log")).expect("there is a log");
        let line: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        let moment = line["time"].as_str().expect("a moment").len();
        (outcome.status, outcome.error, line["level"].clone(), line["msg"].clone(), moment)
    };
    assert_eq!(line(&Runtime::usk()), line(&Runtime::runc()));
}
