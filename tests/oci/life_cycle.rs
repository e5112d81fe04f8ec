//! From `create` to `delete`.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::bundle::Bundle;
use crate::runtime::{Runtime, cgroups_named, new_id, wait_until};

#[test]
fn a_container_goes_from_created_through_running_to_stopped_and_leaves_nothing() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_command(&["sleep", "1000"]);
    let created = usk.background(&bundle, &["create", "--pid-file", "pid", &id]);
    assert_eq!(created.status, 0, "{created:?}");
    assert_eq!(usk.status(&bundle, &id), "created");
    assert!(!cgroups_named(&id).is_empty());
    let pid = fs::read_to_string(bundle.file("pid")).expect("there is a pid file");
    let state: serde_json::Value = serde_json::from_str(&usk.must(&bundle, &["state", &id])).expect("JSON");
    assert_eq!(state["pid"].to_string(), pid);
    usk.must(&bundle, &["start", &id]);
    assert_eq!(usk.status(&bundle, &id), "running");
    let refused = usk.verb(&bundle, &["delete", &id]);
    assert_eq!(refused.status, 1);
    assert!(refused.error.contains("that is not stopped: running"), "{refused:?}");
    usk.must(&bundle, &["kill", &id, "KILL"]);
    usk.wait_for_status(&bundle, &id, "stopped");
    usk.must(&bundle, &["delete", &id]);
    assert_eq!(usk.verb(&bundle, &["state", &id]).status, 1);
    assert_eq!(cgroups_named(&id), Vec::<std::path::PathBuf>::new());
    assert_eq!(fs::read_dir(usk.root()).expect("the root is there").count(), 0);
}

#[test]
fn the_command_does_not_run_before_it_is_started() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_script("echo ran > /tmp/ran");
    assert_eq!(usk.background(&bundle, &["create", &id]).status, 0);
    // Whatever the command would do it would have done before another process of the sandbox has come and gone.
    usk.must(&bundle, &["exec", &id, "true"]);
    assert!(!bundle.rootfs().join("tmp/ran").exists());
    usk.must(&bundle, &["start", &id]);
    usk.wait_for_status(&bundle, &id, "stopped");
    assert_eq!(fs::read_to_string(bundle.rootfs().join("tmp/ran")).expect("it ran"), "ran\n");
    usk.must(&bundle, &["delete", &id]);
}

#[test]
fn run_returns_the_exit_status_and_deletes() {
    let usk = Runtime::usk();
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("sh -c 'kill -TERM $$'; exit $?", 143)] {
        // What ends by a signal is a child: process 1 does not.
        let (bundle, id) = (Bundle::of_script(script), new_id());
        let outcome = usk.verb(&bundle, &["run", &id]);
        assert_eq!(outcome.status, status, "{script}: {outcome:?}");
        assert_eq!(usk.verb(&bundle, &["state", &id]).status, 1);
    }
}

#[test]
fn a_process_id_that_cannot_be_written_undoes_the_container_and_leaves_no_file() {
    let (usk, id, bundle) = (Runtime::usk(), new_id(), Bundle::of_command(&["true"]));
    fs::create_dir(bundle.file("pid")).expect("a directory can be made");
    let refused = usk.background(&bundle, &["create", "--pid-file", "pid", &id]);
    assert!(refused.status == 1 && refused.error.contains("cannot write pid"), "{refused:?}");
    assert!(!bundle.file(".pid").exists());
    assert_eq!(usk.verb(&bundle, &["state", &id]).status, 1);
}

#[test]
fn run_keeps_the_container_where_asked() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_script("echo hello");
    assert_eq!(usk.must(&bundle, &["run", "--keep", &id]), "hello\n");
    assert_eq!(usk.status(&bundle, &id), "stopped");
    usk.must(&bundle, &["delete", &id]);
}

#[test]
fn the_end_of_the_containers_process_is_the_containers() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_command(&["sleep", "1000"]);
    assert_eq!(usk.background(&bundle, &["run", "-d", "--pid-file", "pid", &id]).status, 0);
    let pid: i32 = fs::read_to_string(bundle.file("pid")).expect("a pid file").parse().expect("a number");
    let all = usk.must(&bundle, &["ps", "--format", "json", &id]);
    let all: Vec<i32> = serde_json::from_str(&all).expect("a list");
    assert!(all.contains(&pid) && all.len() > 3, "{all:?}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .expect("the process is there");
    usk.wait_for_status(&bundle, &id, "stopped");
    wait_until("all processes end", || usk.must(&bundle, &["ps", "--format", "json", &id]).trim() == "null");
    usk.must(&bundle, &["delete", &id]);
}

#[test]
fn signals_reach_the_command_and_all_processes_where_asked() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle =
        Bundle::of_script("trap 'echo term > /tmp/term; exit 4' TERM; sleep 1000 & echo > /tmp/ready; wait");
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    wait_until("the trap is set", || bundle.rootfs().join("tmp/ready").exists());
    usk.must(&bundle, &["kill", &id]);
    usk.wait_for_status(&bundle, &id, "stopped");
    assert!(bundle.rootfs().join("tmp/term").exists());
    usk.must(&bundle, &["kill", "--all", &id, "KILL"]);
    usk.must(&bundle, &["delete", &id]);
}

#[test]
fn a_signal_reaches_the_first_process_alone_unless_all_are_meant() {
    let child = "trap 'echo > /tmp/child; exit' USR1; echo > /tmp/ready; while :; do sleep 0.05; done";
    let script = format!(
        "trap 'echo > /tmp/parent' USR1; sh -c \"{child}\" & while :; do sleep 0.05; done 2>/dev/null"
    );
    for runtime in [Runtime::usk(), Runtime::runc()] {
        let (id, bundle) = (new_id(), Bundle::of_script(&script));
        let has = |file: &str| bundle.rootfs().join("tmp").join(file).exists();
        assert_eq!(runtime.background(&bundle, &["run", "-d", &id]).status, 0);
        wait_until("the child is ready", || has("ready"));
        runtime.must(&bundle, &["kill", &id, "USR1"]);
        wait_until("the first process has it", || has("parent"));
        assert!(!has("child"));
        runtime.must(&bundle, &["kill", "--all", &id, "USR1"]);
        wait_until("the child has it", || has("child"));
        runtime.must(&bundle, &["delete", "--force", &id]);
    }
}

#[test]
fn signals_to_a_paused_container_wait_until_it_goes_on() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_script(
        "trap 'echo > /tmp/usr1' USR1; echo > /tmp/ready; while :; do sleep 0.05; done 2>/dev/null",
    );
    let has = |file: &str| bundle.rootfs().join("tmp").join(file).exists();
    assert_eq!(usk.background(&bundle, &["run", "-d", "--pid-file", "pid", &id]).status, 0);
    wait_until("the trap is set", || has("ready"));
    let pid: i32 = fs::read_to_string(bundle.file("pid")).expect("a pid file").parse().expect("a number");
    usk.must(&bundle, &["pause", &id]);
    for _ in 0..400 {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGWINCH)
            .expect("the monitor is there");
        // The next one joins one that the monitor has not seen.
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    usk.must(&bundle, &["kill", &id, "USR1"]);
    assert_eq!(usk.status(&bundle, &id), "paused");
    assert!(!has("usr1"));
    usk.must(&bundle, &["resume", &id]);
    wait_until("the trap is run", || has("usr1"));
    assert_eq!(usk.status(&bundle, &id), "running");
    assert_eq!(usk.must(&bundle, &["exec", &id, "echo", "here"]), "here\n");
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn a_container_that_is_paused_before_its_start_ends_by_a_signal() {
    let (usk, id, bundle) = (Runtime::usk(), new_id(), Bundle::of_command(&["true"]));
    assert_eq!(usk.background(&bundle, &["create", &id]).status, 0);
    usk.must(&bundle, &["pause", &id]);
    usk.must(&bundle, &["kill", &id, "TERM"]);
    usk.wait_for_status(&bundle, &id, "stopped");
    usk.must(&bundle, &["delete", &id]);
}

#[test]
fn a_paused_container_whose_monitor_is_gone_can_be_deleted() {
    for is_started in [false, true] {
        let (usk, id) = (Runtime::usk(), new_id());
        let bundle = Bundle::of_command(&["sleep", "1000"]);
        assert_eq!(usk.background(&bundle, &["create", "--pid-file", "pid", &id]).status, 0);
        if is_started {
            usk.must(&bundle, &["start", &id]);
        }
        let processes = usk.processes(&bundle, &id);
        let pid: i32 = fs::read_to_string(bundle.file("pid")).expect("a pid file").parse().expect("a number");
        assert!(processes.contains(&pid) && processes.len() > 2, "{processes:?}");
        usk.must(&bundle, &["pause", &id]);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
            .expect("the monitor is there");
        usk.wait_for_status(&bundle, &id, "stopped");
        usk.must(&bundle, &["delete", "--force", &id]);
        let lives = |pid: &i32| std::path::Path::new(&format!("/proc/{pid}")).exists();
        wait_until("all processes end", || !processes.iter().any(lives));
        assert_eq!(cgroups_named(&id), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn a_container_that_is_being_made_is_not_deleted_and_its_name_is_not_given_away() {
    let (usk, id, bundle) = (Runtime::usk(), new_id(), Bundle::with(|_| ()));
    bundle.configure(|spec| {
        spec["process"]["args"] = json!(["sleep", "1000"]);
        let script = format!("echo > {}; sleep 3", bundle.file("hook").display());
        spec["hooks"] =
            json!({ "prestart": [{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"] }] });
    });
    std::thread::scope(|scope| {
        let creation = scope.spawn(|| usk.background(&bundle, &["create", &id]));
        wait_until("the hook is run", || bundle.file("hook").exists());
        assert_eq!(usk.status(&bundle, &id), "creating");
        let other = Bundle::of_command(&["true"]);
        assert!(usk.background(&other, &["create", &id]).error.contains("already exists"));
        let refused = usk.verb(&other, &["delete", &id]);
        assert!(refused.error.contains("that is not stopped: creating"), "{refused:?}");
        assert_eq!(creation.join().expect("it runs").status, 0);
    });
    usk.must(&bundle, &["start", &id]);
    assert_eq!(usk.status(&bundle, &id), "running");
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn creations_and_deletions_of_one_name_at_the_same_time_leave_nothing() {
    let (usk, id) = (Runtime::usk(), new_id());
    let makers: Vec<Bundle> = (0..2).map(|_| Bundle::of_command(&["sleep", "1000"])).collect();
    let deleter = Bundle::of_command(&["true"]);
    // What a start may say once somebody has deleted the container, and perhaps somebody else has made another.
    let gone =
        ["does not exist", "stopped", "not running", "cannot read", "being created", "already running"];
    let make = |bundle: &Bundle| {
        for _ in 0..20 {
            if usk.background(bundle, &["create", &id]).status == 0 {
                // Whoever has the name has a container that is whole, until somebody deletes it.
                let started = usk.background(bundle, &["start", &id]);
                let is_gone = gone.iter().any(|word| started.error.contains(word));
                assert!(started.status == 0 || is_gone, "{started:?}");
            }
        }
    };
    std::thread::scope(|scope| {
        let making: Vec<_> = makers.iter().map(|bundle| scope.spawn(|| make(bundle))).collect();
        while !making.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            usk.must(&deleter, &["delete", "--force", &id]);
        }
    });
    usk.must(&deleter, &["delete", "--force", &id]);
    assert_eq!(cgroups_named(&id), Vec::<std::path::PathBuf>::new());
    assert_eq!(fs::read_dir(usk.root()).expect("the root is there").count(), 0);
}

#[test]
fn a_cgroup_that_its_last_process_is_slow_to_leave_is_removed() {
    let (usk, id, bundle) = (Runtime::usk(), new_id(), Bundle::of_command(&["true"]));
    assert_eq!(usk.background(&bundle, &["create", &id]).status, 0);
    let mut slow = Command::new("sleep").arg("4").spawn().expect("it runs");
    let cgroup = cgroups_named(&id).into_iter().next().expect("the container has one");
    fs::write(cgroup.join("cgroup.procs"), slow.id().to_string()).expect("it can be moved");
    usk.must(&bundle, &["delete", "--force", &id]);
    assert!(!cgroup.exists());
    slow.wait().expect("it is a child");
}

#[test]
fn a_bundle_that_vanished_and_a_broken_state_can_be_deleted() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_command(&["sleep", "1000"]);
    let elsewhere = Bundle::of_command(&["true"]);
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    drop(bundle);
    usk.must(&elsewhere, &["delete", "--force", &id]);
    for contents in ["", "{", "{\"id\":1}"] {
        let directory = usk.root().join(&id);
        fs::create_dir(&directory).expect("a directory can be made");
        fs::write(directory.join("state.json"), contents).expect("a file can be written");
        assert_eq!(usk.verb(&elsewhere, &["state", &id]).status, 1);
        usk.must(&elsewhere, &["list"]);
        usk.must(&elsewhere, &["delete", "--force", &id]);
        assert!(!directory.exists());
    }
}

#[test]
fn a_state_of_before_the_hosts_crash_is_that_of_a_container_that_has_stopped() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_command(&["sleep", "1000"]);
    assert_eq!(usk.background(&bundle, &["create", &id]).status, 0);
    let file = usk.root().join(&id).join("state.json");
    let mut state: serde_json::Value =
        serde_json::from_slice(&fs::read(&file).expect("there is a state")).expect("JSON");
    usk.must(&bundle, &["delete", "--force", &id]);
    // Nobody has the number any more, or another process has it.
    for pid in [state["pid"].clone(), std::process::id().into()] {
        state["pid"] = pid;
        fs::create_dir(usk.root().join(&id)).expect("a directory can be made");
        fs::write(&file, state.to_string()).expect("a file can be written");
        assert_eq!(usk.status(&bundle, &id), "stopped");
        assert!(usk.verb(&bundle, &["start", &id]).error.contains("that has stopped"));
        assert!(usk.verb(&bundle, &["kill", &id]).error.contains("container not running"));
        usk.must(&bundle, &["delete", &id]);
        assert!(!usk.root().join(&id).exists());
    }
}
