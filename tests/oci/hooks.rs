//! Hooks: when they are run, with what, and what becomes of a container where one fails.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::runtime::{Runtime, cgroups_named, new_id};

/// A hook that fails, and one that does so by taking too long.
fn bad_hooks() -> [Value; 2] {
    [
        json!({ "path": "/bin/false" }),
        json!({ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 }),
    ]
}

/// A hook that adds a line to the file `hooks` of a bundle: the word, and the status that it reads.
fn noting(bundle: &Bundle, word: &str) -> Value {
    let log = bundle.file("hooks");
    let script = format!("echo {word} $(grep -o '\"status\":\"[a-z]*\"') >> {}", log.display());
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] })
}

/// What such hooks have noted.
fn noted(bundle: &Bundle) -> String {
    fs::read_to_string(bundle.file("hooks")).unwrap_or_default()
}

#[test]
fn hooks_are_run_in_order_with_the_state() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::with(|_| ());
    let hook = |name: &str| json!([noting(&bundle, name)]);
    bundle.configure(|spec| {
        spec["hooks"] = json!({
            "prestart": hook("prestart"), "createRuntime": hook("createRuntime"),
            "createContainer": hook("createContainer"), "poststart": hook("poststart"),
            "startContainer": [{
                "path": "/bin/sh", "env": ["PATH=/bin", "A=b"],
                "args": ["sh", "-c", "grep -o created > /tmp/inside; echo $A >> /tmp/inside"],
            }],
            "poststop": hook("poststop"),
        });
        spec["process"]["args"] = json!(["cat", "/tmp/inside"]);
    });
    assert_eq!(usk.must(&bundle, &["run", &id]), "created\nb\n");
    let expected = [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ];
    let expected: String =
        expected.iter().map(|(name, status)| format!("{name} \"status\":\"{status}\"\n")).collect();
    assert_eq!(noted(&bundle), expected);
}

#[test]
fn hooks_are_run_where_the_runtime_is_or_where_the_container_is_and_passed_nothing_of_the_callers() {
    const KINDS: [&str; 5] = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    for runtime in [Runtime::usk(), Runtime::runc()] {
        let bundle = Bundle::of_command(&["true"]);
        let hook = |kind: &str| {
            let place = "readlink /proc/self/ns/net /proc/self/ns/uts /proc/self/ns/ipc /proc/self/ns/mnt; \
                         grep :memory: /proc/self/cgroup; if test -e /proc/self/fd/9; then echo passed on; fi";
            let script = format!("{{ {place}; }} > {}", bundle.file(kind).display());
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }])
        };
        bundle.configure(|spec| {
            spec["process"]["args"] = json!(["true"]);
            spec["hooks"] = KINDS.iter().map(|kind| (kind.to_string(), hook(kind))).collect();
        });
        let verb = runtime.command(&bundle, &["run", &new_id()]);
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec 9</dev/null; \"$@\"", "sh"]).arg(verb.get_program()).args(verb.get_args());
        assert!(shell.current_dir(bundle.path()).stdin(Stdio::null()).status().expect("it runs").success());
        let seen = |kind: &str| fs::read_to_string(bundle.file(kind)).expect("it was run");
        let own = seen("poststop");
        for name in ["net", "uts", "ipc", "mnt"] {
            let link = fs::read_link(format!("/proc/self/ns/{name}")).expect("a link");
            assert!(own.contains(link.to_str().expect("text")), "{own}");
        }
        for kind in KINDS {
            let seen = seen(kind);
            assert!(!seen.contains("passed on"), "{kind}: {seen}");
            match kind {
                "createContainer" => assert!(seen.lines().zip(own.lines()).all(|(one, other)| one != other)),
                _ => assert_eq!(seen, own, "{kind}"),
            }
        }
    }
}

#[test]
fn hooks_begin_where_runcs_do_and_see_what_is_mounted_in_the_root() {
    const OUTSIDE: [&str; 5] = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    let seen_by = |runtime: Runtime, verbs: &[&[&str]]| {
        let (bundle, id) = (Bundle::of_command(&["true"]), new_id());
        let shared = bundle.file("shared");
        fs::create_dir(&shared).expect("a directory can be made");
        fs::write(shared.join("file"), "").expect("a file can be written");
        let hook = |kind: &str| {
            let script = format!("{{ pwd -P; ls x y 2>/dev/null; true; }} > {}", bundle.file(kind).display());
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }])
        };
        bundle.configure(|spec| {
            spec["process"]["args"] = json!(["true"]);
            spec["process"]["cwd"] = json!("/tmp");
            let mounts = spec["mounts"].as_array_mut().expect("a list");
            mounts
                .push(json!({ "destination": "/x", "type": "bind", "source": shared, "options": ["rbind"] }));
            mounts.push(json!({ "destination": "/y", "type": "tmpfs", "source": "y" }));
            let mut hooks: serde_json::Map<String, Value> =
                OUTSIDE.iter().map(|kind| (kind.to_string(), hook(kind))).collect();
            let script = "{ pwd; grep -o '\"pid\":[0-9]*'; } > /tmp/startContainer";
            let inside = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"] }]);
            hooks.insert("startContainer".into(), inside);
            spec["hooks"] = hooks.into();
        });
        for verb in verbs {
            if verb[0] == "delete" {
                runtime.wait_for_status(&bundle, &id, "stopped");
            }
            let mut command = if matches!(verb[0], "create" | "run") {
                let elsewhere = ["--bundle", bundle.path().to_str().expect("text"), &id];
                let mut command = runtime.command(&bundle, &[*verb, &elsewhere].concat());
                command.current_dir("/");
                command
            } else {
                runtime.command(&bundle, &[*verb, &[&id]].concat())
            };
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            assert!(status.expect("it runs").success());
        }
        let read = |path| fs::read_to_string(path).expect("it was run");
        let mut seen = OUTSIDE.map(|kind| read(bundle.file(kind))).to_vec();
        seen.push(read(bundle.rootfs().join("tmp/startContainer")));
        let place = bundle.path().to_str().expect("text");
        seen.iter().map(|text| text.replace(place, "BUNDLE")).collect::<Vec<_>>()
    };
    let apart: &[&[&str]] = &[&["create"], &["start"], &["delete", "--force"]];
    for verbs in [&[&["run"][..]][..], apart] {
        let [usk, runc] = [Runtime::usk(), Runtime::runc()].map(|runtime| seen_by(runtime, verbs));
        assert_eq!(usk, runc, "usk-oci at left, runc at right");
        assert_eq!(usk[2], "BUNDLE/rootfs\nx:\nfile\n\ny:\n");
        assert_eq!(usk[5], "/tmp\n\"pid\":1\n");
    }
}

#[test]
fn a_hook_that_fails_before_the_container_is_there_undoes_it_and_has_the_last_ones_run() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        for bad in bad_hooks() {
            let (usk, id, bundle) = (Runtime::usk(), new_id(), Bundle::of_command(&["true"]));
            bundle.configure(|spec| {
                spec["hooks"] =
                    json!({ kind: [noting(&bundle, kind), bad], "poststop": [noting(&bundle, "poststop")] });
            });
            let outcome = usk.background(&bundle, &["create", &id]);
            assert_eq!(outcome.status, 1);
            assert!(outcome.error.contains(&format!("{kind} hook #1: ")), "{outcome:?}");
            let expected = format!("{kind} \"status\":\"creating\"\npoststop \"status\":\"stopped\"\n");
            assert_eq!(noted(&bundle), expected);
            assert_eq!(usk.verb(&bundle, &["state", &id]).status, 1);
            assert!(cgroups_named(&id).is_empty());
        }
    }
}

#[test]
fn a_hook_inside_that_fails_stops_the_container_before_its_command() {
    for bad in bad_hooks() {
        let (usk, id, bundle) = (Runtime::usk(), new_id(), Bundle::of_command(&["true"]));
        bundle.configure(|spec| {
            spec["process"]["args"] = json!(["sh", "-c", "echo > /tmp/ran"]);
            spec["hooks"] = json!({ "startContainer": [bad], "poststop": [noting(&bundle, "poststop")] });
        });
        assert_eq!(usk.background(&bundle, &["create", &id]).status, 0);
        let outcome = usk.verb(&bundle, &["start", &id]);
        assert!(outcome.status == 1 && outcome.error.contains("startContainer hook #0"), "{outcome:?}");
        usk.wait_for_status(&bundle, &id, "stopped");
        assert!(!bundle.rootfs().join("tmp/ran").exists());
        usk.must(&bundle, &["delete", &id]);
        assert_eq!(noted(&bundle), "poststop \"status\":\"stopped\"\n");
    }
}

#[test]
fn a_hook_that_fails_after_the_start_or_the_end_is_noted_and_the_others_are_run() {
    let (usk, id, bundle) = (Runtime::usk(), new_id(), Bundle::of_command(&["true"]));
    let [bad, slow] = bad_hooks();
    bundle.configure(|spec| {
        spec["hooks"] = json!({
            "poststart": [bad, noting(&bundle, "poststart")], "poststop": [slow, noting(&bundle, "poststop")],
        });
        spec["process"]["args"] = json!(["sh", "-c", "exit 3"]);
    });
    let outcome = usk.verb(&bundle, &["run", &id]);
    assert_eq!(outcome.status, 3, "{outcome:?}");
    for warning in ["poststart hook #0", "poststop hook #0: hook ran past specified timeout"] {
        assert!(outcome.error.contains(warning), "{outcome:?}");
    }
    assert_eq!(noted(&bundle), "poststart \"status\":\"running\"\npoststop \"status\":\"stopped\"\n");
}
