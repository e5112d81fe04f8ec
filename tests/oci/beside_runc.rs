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
            Verb(&["kill", "ID", "0"]),
            Verb(&["exec", "--cap", "CAP_MOON", "ID", "true"]),
            Verb(&["update", "--memory", "100M", "--memory-swap", "-1", "ID"]),
            Verb(&["kill", "ID", "KILL"]),
            Until("stopped"),
            Verb(&["start", "ID"]),
            Verb(&["kill", "ID"]),
            Verb(&["kill", "ID", "0"]),
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
fn options_are_understood_as_gos_are() {
    compare(
        command(&["sleep", "1000"]),
        &[
            Background(&["--rootless=0", "--debug=false", "run", "--detach=true", "-pid-file", "pid", "ID"]),
            Verb(&["exec", "--user", "1", "--user", "2", "--cwd", "/tmp", "--cwd", "/etc", "ID", "pwd"]),
            Verb(&["exec", "-user=3", "-t=false", "ID", "id"]),
            Verb(&["exec", "--user", "", "--cwd", "", "ID", "sh", "-c", "id; pwd"]),
            Verb(&["exec", "--no-new-privs=1", "-env", "A=5", "ID", "sh", "-c", "echo $A"]),
            Verb(&["exec", "-detach", "ID", "true"]),
            Verb(&["update", "--cpu-quota", "-1", "ID"]),
            Verb(&["kill", "-all", "ID", ""]),
            Verb(&["kill", "ID", "KILL"]),
            Until("stopped"),
            Verb(&["delete", "--force=1", "ID"]),
        ],
    );
}

#[test]
fn limits_of_processes_are_the_same() {
    let limits = [
        ("CPU", 1000_u64, 2000_u64),
        ("FSIZE", 1 << 30, 1 << 31),
        ("DATA", 1 << 32, 1 << 33),
        ("STACK", 1 << 20, 1 << 22),
        ("CORE", 0, 1),
        ("RSS", 1 << 34, 1 << 35),
        ("NPROC", 500, 600),
        ("NOFILE", 300, 400),
        ("MEMLOCK", 4096, 8192),
        ("AS", 1 << 36, 1 << 37),
        ("LOCKS", 10, 20),
        ("SIGPENDING", 100, 200),
        ("MSGQUEUE", 1000, 2000),
        ("NICE", 0, 0),
        ("RTPRIO", 0, 0),
        ("RTTIME", 1_000_000, 2_000_000),
    ];
    let limit = |(name, soft, hard): (&str, u64, u64)| json!({ "type": format!("RLIMIT_{name}"), "soft": soft, "hard": hard });
    let change = |spec: &mut Value| {
        spec["process"]["rlimits"] = limits.map(limit).to_vec().into();
        spec["process"]["args"] = json!(["cat", "/proc/self/limits"]);
    };
    compare(change, &[Verb(&["run", "--no-pivot", "--no-new-keyring", "--no-subreaper", "ID"])]);
}

#[test]
fn all_sets_of_capabilities_are_the_same() {
    for uid in [0, 1000] {
        let change = |spec: &mut Value| {
            spec["process"]["user"]["uid"] = json!(uid);
            spec["process"]["capabilities"] = json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SETUID"],
                "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
                "effective": ["CAP_KILL"],
                "inheritable": ["CAP_CHOWN", "CAP_NET_RAW"],
                "ambient": ["CAP_CHOWN"],
            });
            spec["process"]["args"] = json!(["grep", "Cap", "/proc/self/status"]);
        };
        compare(change, &[Verb(&["run", "ID"])]);
    }
}

#[test]
fn who_is_given_no_capabilities_has_none() {
    let change = |spec: &mut Value| {
        spec["process"].as_object_mut().expect("an object").remove("capabilities");
        spec["process"]["args"] = json!(["sleep", "1000"]);
    };
    let look = &["exec", "ID", "grep", "Cap", "/proc/1/status", "/proc/self/status"];
    compare(change, &[Background(&["run", "-d", "ID"]), Verb(look)]);
}

#[test]
fn users_that_cannot_be_are_refused() {
    let id = 1_u32 << 31;
    for field in ["uid", "gid", "additionalGids"] {
        let value = if field == "additionalGids" { json!([id]) } else { json!(id) };
        let bundle = Bundle::with(|spec| spec["process"]["user"][field] = value);
        for runtime in [Runtime::usk(), Runtime::runc()] {
            let outcome = runtime.verb(&bundle, &["run", &new_id()]);
            let is_told = outcome.error.contains("uids and gids must be in range 0-2147483647");
            assert!(outcome.status == 1 && is_told, "{field}: {outcome:?}");
        }
    }
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
        assert!(state["ociVersion"].as_str().is_some_and(|version| version != "1.0.2"), "the runtime's own");
        (names(&state), state["annotations"].clone(), names(&list[0]), list[0]["owner"].clone())
    };
    assert_eq!(members(&Runtime::usk()), members(&Runtime::runc()));
}

#[test]
fn what_is_used_has_at_least_the_same_members() {
    /// The names in a value, each after those that it is in.
    fn names(value: &Value, at: &str, found: &mut Vec<String>) {
        for (name, inner) in value.as_object().into_iter().flatten() {
            let place = format!("{at}/{name}");
            names(inner, &place, found);
            found.push(place);
        }
    }
    let members = |runtime: &Runtime| {
        let (bundle, id) = (Bundle::of_command(&["sleep", "1000"]), new_id());
        assert_eq!(runtime.background(&bundle, &["run", "-d", &id]).status, 0);
        let event: Value =
            serde_json::from_str(&runtime.must(&bundle, &["events", "--stats", &id])).expect("JSON");
        runtime.must(&bundle, &["delete", "--force", &id]);
        let mut found = Vec::new();
        names(&event, "", &mut found);
        found
    };
    let (ours, theirs) = (members(&Runtime::usk()), members(&Runtime::runc()));
    // What a block device has been asked for is chance.
    let missing: Vec<_> =
        theirs.iter().filter(|name| !ours.contains(name) && !name.contains("/blkio/")).collect();
    assert_eq!(missing, Vec::<&String>::new());
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

#[test]
fn arguments_that_make_no_sense_have_the_same_status_and_are_told_in_the_log() {
    let bundle = Bundle::of_command(&["true"]);
    for arguments in [
        &["state"][..],
        &["state", "a", "b"],
        &["state", "--no-such-flag", "a"],
        &["list", "a"],
        &["list", "--format", "yaml"],
        &["kill"],
        &["create", "a", "b"],
        &["update", "--memory", "much", "a"],
        &["no-such-verb"],
    ] {
        let told = |runtime: &Runtime| {
            let options = ["--log", "log", "--log-format", "json"];
            let _ = std::fs::remove_file(bundle.file("log"));
            let outcome = runtime.verb(&bundle, &[&options[..], arguments].concat());
            let log = std::fs::read_to_string(bundle.file("log")).unwrap_or_default();
            let line: Value = serde_json::from_str(log.lines().last().unwrap_or_default()).expect("JSON");
            let has_message = line["msg"].as_str().is_some_and(|message| !message.is_empty());
            (outcome.status, line["level"].clone(), has_message)
        };
        assert_eq!(told(&Runtime::usk()), told(&Runtime::runc()), "{arguments:?}");
    }
}

#[test]
fn without_a_verb_there_is_help() {
    let bundle = Bundle::of_command(&["true"]);
    for arguments in [&[][..], &["--help"], &["help"], &["--debug"]] {
        for runtime in [Runtime::usk(), Runtime::runc()] {
            let outcome = runtime.verb(&bundle, arguments);
            assert_eq!((outcome.status, &outcome.error[..]), (0, ""), "{arguments:?}");
            assert!(outcome.output.contains("--root") && outcome.output.contains("create"), "{outcome:?}");
        }
    }
}

#[test]
fn tables_have_the_same_columns() {
    let columns = |runtime: &Runtime| {
        let (bundle, id) = (Bundle::of_command(&["sleep", "1000"]), new_id());
        assert_eq!(runtime.background(&bundle, &["create", &id]).status, 0);
        let list = runtime.must(&bundle, &["list"]);
        let ps = runtime.must(&bundle, &["ps", &id, "-o", "pid,comm"]);
        runtime.must(&bundle, &["delete", "--force", &id]);
        let header = list.lines().next().expect("a header").to_owned();
        let row = list.lines().nth(1).expect("a row");
        // Each value begins below its name.
        for name in header.split_whitespace() {
            let at = header.find(name).expect("it is there");
            let begins = row
                .get(..=at)
                .is_some_and(|before| !before.ends_with(' ') && (at == 0 || before[..at].ends_with(' ')));
            assert!(begins, "{name}: {list}");
        }
        let names: Vec<String> = header.split_whitespace().map(String::from).collect();
        (names, ps.lines().next().expect("a header").to_owned(), ps.lines().count() > 1)
    };
    assert_eq!(columns(&Runtime::usk()), columns(&Runtime::runc()));
}

#[test]
fn the_configuration_to_begin_with_is_the_same_but_for_what_usk_has_more() {
    let spec = |runtime: &Runtime| -> Value {
        let bundle = Bundle::of_command(&["true"]);
        let text = |name: &str| std::fs::read_to_string(bundle.file(name)).expect("it is written");
        assert_eq!(runtime.verb(&bundle, &["spec"]).status, 1, "what is there stays");
        std::fs::remove_file(bundle.file("config.json")).expect("it is there");
        runtime.must(&bundle, &["spec"]);
        serde_json::from_str(&text("config.json")).expect("JSON")
    };
    let (mut ours, mut theirs) = (spec(&Runtime::usk()), spec(&Runtime::runc()));
    for spec in [&mut ours, &mut theirs] {
        // The names of the versions, of the host, and a namespace that runc has on some hosts only.
        spec["ociVersion"] = Value::Null;
        spec["hostname"] = Value::Null;
        let namespaces = spec["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|namespace| namespace["type"] != "cgroup");
        let mounts = spec["mounts"].as_array_mut().expect("a list");
        // No options are an empty list as well.
        mounts
            .iter_mut()
            .filter(|mount| mount["options"].is_null())
            .for_each(|mount| mount["options"] = json!([]));
    }
    assert_eq!(ours, theirs);
}

#[test]
fn the_features_have_the_same_members_and_all_that_is_said_to_be_there() {
    let features = |runtime: &Runtime| -> Value {
        serde_json::from_str(&runtime.must(&Bundle::of_command(&["true"]), &["features"])).expect("JSON")
    };
    let (ours, theirs) = (features(&Runtime::usk()), features(&Runtime::runc()));
    for place in [
        "/ociVersionMin",
        "/linux/cgroup/v1",
        "/linux/cgroup/v2",
        "/linux/cgroup/systemd",
        "/linux/seccomp/enabled",
        "/hooks",
    ] {
        assert_eq!(ours.pointer(place), theirs.pointer(place), "{place}");
    }
    for place in ["/linux/namespaces", "/linux/capabilities", "/linux/seccomp/operators", "/mountOptions"] {
        let list =
            |features: &Value| features.pointer(place).and_then(Value::as_array).expect("a list").clone();
        let ours = list(&ours);
        let missing: Vec<Value> = list(&theirs).into_iter().filter(|name| !ours.contains(name)).collect();
        assert_eq!(missing, Vec::<Value>::new(), "{place}");
    }
}

#[test]
fn checkpoints_are_said_not_to_be_there_yet() {
    let (usk, bundle) = (Runtime::usk(), Bundle::of_command(&["true"]));
    for verb in ["checkpoint", "restore"] {
        let outcome = usk.verb(&bundle, &[verb, "--image-path", "image", "id"]);
        let said = format!("{verb}: usk-oci cannot do this yet");
        assert!(outcome.status == 1 && outcome.error.contains(&said), "{outcome:?}");
    }
}
