//! What a configuration says about the process, seen from inside.

use rustix::fs::XattrFlags;
use serde_json::json;
use usk_abi::capability::FileCapabilities;

use crate::bundle::Bundle;
use crate::runtime::{Outcome, Runtime, new_id, outcome, wait_until};

fn output_of(change: impl FnOnce(&mut serde_json::Value)) -> String {
    Runtime::usk().must(&Bundle::with(change), &["run", &new_id()])
}

fn script(spec: &mut serde_json::Value, script: &str) {
    spec["process"]["args"] = json!(["sh", "-c", script]);
}

#[test]
fn user_groups_and_umask_are_the_configurations() {
    let output = output_of(|spec| {
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 5, "additionalGids": [9, 7], "umask": 63 });
        script(spec, "id -u; id -G; umask; echo $HOME");
    });
    assert_eq!(output, "1000\n5 7 9\n0077\n/tmp\n");
}

#[test]
fn capabilities_are_the_configurations_and_mean_something() {
    let sets = "grep -h Cap /proc/self/status";
    let output = output_of(|spec| {
        spec["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"],
            "inheritable": [], "ambient": [],
        });
        script(spec, &format!("{sets}; touch /tmp/a; chown 5 /tmp/a && echo owned"));
    });
    // An exec as root has what is in the bounding set.
    assert!(output.contains("CapBnd:\t0000000000000021\n"), "{output}");
    assert!(output.ends_with("owned\n"), "{output}");
    let output = output_of(|spec| {
        spec["process"]["capabilities"] = json!({});
        script(spec, "touch /tmp/a; chown 5 /tmp/a 2>/dev/null || echo refused");
    });
    assert_eq!(output, "refused\n");
}

#[test]
fn capabilities_of_the_roots_files_are_given_as_far_as_the_container_may_have_them() {
    const NET_RAW: FileCapabilities =
        FileCapabilities { permitted: 1 << 13, inheritable: 0, effective: true, root: 0 };
    let run = |runtime: &Runtime, bounding: serde_json::Value| {
        let bundle = Bundle::with(|spec| {
            spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
            spec["process"]["noNewPrivileges"] = json!(false);
            spec["process"]["capabilities"] = json!({ "bounding": bounding });
            spec["process"]["args"] = json!(["/bin/busybox", "grep", "Cap", "/proc/self/status"]);
        });
        let (file, value) = (bundle.rootfs().join("bin/busybox"), NET_RAW.to_value());
        rustix::fs::setxattr(file, "security.capability", &value, XattrFlags::empty())
            .expect("it can be set");
        runtime.verb(&bundle, &["run", &new_id()])
    };
    let (usk, runc) = (Runtime::usk(), Runtime::runc());
    let given = run(&usk, json!(["CAP_NET_RAW", "CAP_CHOWN"]));
    assert!(given.output.contains("CapEff:\t0000000000002000\n"), "{given:?}");
    assert_eq!(given.output, run(&runc, json!(["CAP_NET_RAW", "CAP_CHOWN"])).output);
    // Who is given them as effective and may not have them does not run.
    for runtime in [&usk, &runc] {
        let refused = run(runtime, json!(["CAP_CHOWN"]));
        let error = refused.error.to_lowercase();
        assert!(refused.status == 1 && error.contains("operation not permitted"), "{refused:?}");
    }
}

#[test]
fn its_streams_can_be_opened_by_whoever_the_process_is() {
    let change = |spec: &mut serde_json::Value| {
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        script(spec, "stat -L -c %u /dev/stdout; echo out > /dev/stdout; echo error > /dev/stderr");
    };
    for runtime in [Runtime::usk(), Runtime::runc()] {
        let outcome = runtime.verb(&Bundle::with(change), &["run", &new_id()]);
        assert_eq!((&*outcome.output, &*outcome.error), ("1000\nout\n", "error\n"));
    }
}

#[test]
fn limits_environment_and_directory_are_the_configurations() {
    let output = output_of(|spec| {
        spec["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
        spec["process"]["env"] = json!(["PATH=/bin", "A=1", "A=2"]);
        spec["process"]["cwd"] = json!("/tmp/new/directory");
        script(spec, "ulimit -Sn; ulimit -Hn; echo $A; pwd");
    });
    assert_eq!(output, "100\n200\n2\n/tmp/new/directory\n");
}

#[test]
fn names_and_privileges_are_the_configurations() {
    let output = output_of(|spec| {
        spec["hostname"] = json!("somebody");
        spec["domainname"] = json!("somewhere");
        spec["process"]["oomScoreAdj"] = json!(17);
        script(
            spec,
            "hostname; cat /proc/sys/kernel/domainname; grep NoNew /proc/self/status; cat /proc/self/oom_score_adj",
        );
    });
    assert_eq!(output, "somebody\nsomewhere\nNoNewPrivs:\t1\n17\n");
}

#[test]
fn nobody_without_privileges_goes_below_the_configurations_score() {
    let output = output_of(|spec| {
        spec["process"]["oomScoreAdj"] = json!(17);
        script(
            spec,
            "cd /proc/self; for score in 30 16 17; do echo $score > oom_score_adj; cat oom_score_adj; done 2>/dev/null",
        );
    });
    assert_eq!(output, "30\n30\n17\n");
}

#[test]
fn the_containers_process_is_in_a_network_namespace_of_its_own() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_command(&["sleep", "1000"]);
    assert_eq!(usk.background(&bundle, &["run", "-d", "--pid-file", "pid", &id]).status, 0);
    let pid = std::fs::read_to_string(bundle.file("pid")).expect("a pid file");
    let namespace =
        |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).expect("there is a process");
    assert_ne!(namespace(&pid), namespace("self"));
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn what_means_less_on_another_kernel_is_told_at_debug_level_only() {
    let bundle = Bundle::with(|spec| {
        spec["process"]["apparmorProfile"] = json!("profile");
        spec["process"]["selinuxLabel"] = json!("label");
        spec["linux"]["mountLabel"] = json!("label");
        spec["linux"]["intelRdt"] = json!({ "closID": "class" });
        spec["linux"]["rootfsPropagation"] = json!("shared");
    });
    let log = |options: &[&str]| {
        let id = new_id();
        let outcome = Runtime::usk().verb(&bundle, &[options, &["--log", "log", "run", &id]].concat());
        assert_eq!(outcome.status, 0, "{outcome:?}");
        std::fs::read_to_string(bundle.file("log")).expect("there is a log")
    };
    assert_eq!(log(&[]), "");
    let told = log(&["--debug"]);
    for field in ["apparmorProfile", "selinuxLabel", "mountLabel", "intelRdt", "rootfsPropagation"] {
        assert!(told.contains(&format!("{field} has no effect")), "{field}: {told}");
    }
    assert!(told.lines().all(|line| line.contains("level=debug")), "{told}");
}

/// What the host says of those of the processes that are still there, in ascending order.
fn scores_of(processes: &[i32]) -> Vec<i32> {
    let mut scores: Vec<i32> = processes
        .iter()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok())
        .map(|text| text.trim().parse().expect("a number"))
        .collect();
    scores.sort_unstable();
    scores
}

#[test]
fn the_host_chooses_whom_to_end_without_memory_by_the_containers_score() {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let (usk, id) = (Runtime::usk(), new_id());
    let status = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).expect("a line");
    let may_lower = u64::from_str_radix(effective, 16).expect("a number") & CAP_SYS_RESOURCE != 0;
    for score in [-500, 300] {
        let bundle = Bundle::with(|spec| {
            spec["process"]["oomScoreAdj"] = json!(score);
            spec["process"]["args"] = json!(["sleep", "1000"]);
        });
        assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
        let inside = usk.must(&bundle, &["exec", &id, "cat", "/proc/1/oom_score_adj"]);
        assert_eq!(inside.trim(), score.to_string());
        let own = if score < 0 && !may_lower { 0 } else { score };
        let guests = (own + 1000).min(1000);
        // The monitor, the kernel and the gofer; then processes that hold guests, who go before their kernel does. One of those may be new,
        // or end this moment.
        let mut scores = Vec::new();
        wait_until("all processes have their scores", || {
            scores = scores_of(&usk.processes(&bundle, &id));
            scores.len() > 3 && scores[..3] == [own; 3] && scores[3..].iter().all(|score| *score == guests)
        });
        usk.must(&bundle, &["delete", "--force", &id]);
    }
}

#[test]
fn descriptors_beside_the_standard_ones_are_passed_on_where_asked() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_script("echo of the command >&3");
    // A shell numbers the descriptor.
    let script = "exec 3>passed; \"$@\"; exec 3>&-";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_usk-oci"), "--root"]).arg(usk.root());
    command.args(["run", "--preserve-fds", "1", &id]).current_dir(bundle.path());
    assert!(command.status().expect("it runs").success());
    assert_eq!(std::fs::read_to_string(bundle.file("passed")).expect("text"), "of the command\n");
}

/// Has a shell open so many files from descriptor 3 on, and runs a verb with arguments.
fn with_descriptors(
    runtime: &Runtime,
    bundle: &Bundle,
    count: u32,
    before: &str,
    arguments: &[&str],
) -> Outcome {
    let script =
        format!("for n in $(seq 3 {}); do eval \"exec $n>passed\"; done; {before} exec \"$@\"", count + 2);
    let verb = runtime.command(bundle, arguments);
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &script, "bash"]).arg(verb.get_program()).args(verb.get_args());
    outcome(command.current_dir(bundle.path()).output().expect("bash runs"))
}

#[test]
fn as_many_descriptors_as_are_open_are_passed_on() {
    let last = "echo last > /proc/self/fd/102; ls /proc/self/fd | wc -l";
    let bundle = Bundle::of_script(last);
    for runtime in [Runtime::usk(), Runtime::runc()] {
        let all = with_descriptors(&runtime, &bundle, 100, "", &["run", "--preserve-fds", "100", &new_id()]);
        // And the one of the directory.
        assert_eq!((all.status, all.output.trim()), (0, "104"), "{all:?}");
        assert_eq!(std::fs::read_to_string(bundle.file("passed")).expect("text"), "last\n");
    }
    let (usk, id) = (Runtime::usk(), new_id());
    // The next number may be one that the runtime itself has opened.
    let more =
        with_descriptors(&usk, &bundle, 100, "", &["--log", "log", "run", "--preserve-fds", "101", &id]);
    assert_eq!(more.status, 1);
    let log = std::fs::read_to_string(bundle.file("log")).expect("there is a log");
    assert!(log.contains("--preserve-fds: descriptor 103 is not open"), "{log}");
    bundle.configure(|spec| spec["process"]["args"] = json!(["sleep", "1000"]));
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    let exec = ["exec", "--preserve-fds", "100", &id, "sh", "-c", last];
    assert_eq!(with_descriptors(&usk, &bundle, 100, "", &exec).output.trim(), "104");
    let exec = ["exec", "--preserve-fds", "250", &id, "true"];
    let many = with_descriptors(&usk, &bundle, 250, "", &exec);
    assert!(many.status != 0 && many.error.contains("--preserve-fds: at most 249"), "{many:?}");
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn sockets_that_the_runtime_was_started_for_come_before_others() {
    let bundle = Bundle::of_script("echo $LISTEN_FDS $LISTEN_PID; ls /proc/self/fd | wc -l");
    for (meant_for, seen) in [("$$", "2 1\n7\n"), ("1", "\n5\n")] {
        let before = format!("export LISTEN_FDS=2 LISTEN_PID={meant_for};");
        for runtime in [Runtime::usk(), Runtime::runc()] {
            let verb = ["run", "--preserve-fds", "1", &new_id()];
            let outcome = with_descriptors(&runtime, &bundle, 3, &before, &verb);
            assert_eq!(outcome.output, seen, "{outcome:?}");
        }
    }
}

#[test]
fn the_domain_name_can_be_set_as_sysctl() {
    let output = output_of(|spec| {
        spec["linux"]["sysctl"] = json!({ "kernel.domainname": "set" });
        script(spec, "cat /proc/sys/kernel/domainname");
    });
    assert_eq!(output, "set\n");
}

#[test]
fn settings_of_the_kernel_are_the_sandboxs_own() {
    let output = output_of(|spec| {
        spec["linux"]["sysctl"] = json!({
            "kernel.shmmax": "8192", "kernel/sem": "10 20", "kernel.shm_rmid_forced": "1", "net.core.somaxconn": "7", "net.ipv4.ip_forward": "1",
        });
        script(
            spec,
            "cd /proc/sys; cat kernel/shmmax kernel/sem kernel/shmmni net/core/somaxconn kernel/shm_rmid_forced; echo 5 > kernel/shmmni && \
             cat kernel/shmmni; echo x > kernel/shmmni 2>/dev/null || echo refused",
        );
    });
    assert_eq!(output, "8192\n10\t20\t500\t32000\n4096\n7\n1\n5\nrefused\n");
    for (name, value) in [("kernel.panic", "1"), ("kernel.msgmni", "100000"), ("kernel.hostname", "x")] {
        let bundle = Bundle::with(|spec| spec["linux"]["sysctl"] = json!({ name: value }));
        let outcome = Runtime::usk().verb(&bundle, &["run", &new_id()]);
        assert_eq!(outcome.status, 1);
        assert!(outcome.error.contains("linux.sysctl: ") && outcome.error.contains(name), "{outcome:?}");
    }
}

#[test]
fn priorities_and_personality_are_the_configurations() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::with(|spec| {
        spec["process"]["scheduler"] =
            json!({ "policy": "SCHED_BATCH", "nice": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"] });
        spec["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_BE", "priority": 3 });
        spec["linux"]["personality"] = json!({ "domain": "LINUX32" });
        // The line of stat has the nice value as its 19th, the policy as its 41st field.
        spec["process"]["args"] = json!(["sleep", "1000"]);
    });
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    let stat = usk.must(&bundle, &["exec", &id, "cat", "/proc/1/stat"]);
    let field = |number: usize| stat.split(' ').nth(number - 1).expect("a field").to_owned();
    assert_eq!((field(19), field(41)), ("7".into(), "3".into()), "{stat}");
    let inside = "/bin/busybox uname -m; /bin/busybox ionice -p 1";
    assert_eq!(usk.must(&bundle, &["exec", &id, "sh", "-c", inside]), "i686\nbest-effort: prio 3\n");
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn priorities_that_cannot_be_are_named() {
    for (field, value) in [
        ("scheduler", json!({ "policy": "SCHED_FIFO", "priority": 1 })),
        ("scheduler", json!({ "policy": "SCHED_OTHER", "nice": 20 })),
        ("scheduler", json!({ "policy": "SCHED_OTHER", "deadline": 20 })),
        ("ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 })),
    ] {
        let bundle = Bundle::with(|spec| spec["process"][field] = value.clone());
        let outcome = Runtime::usk().verb(&bundle, &["run", &new_id()]);
        assert!(outcome.status == 1 && outcome.error.contains(&format!("process.{field}.")), "{outcome:?}");
    }
}

#[test]
fn the_command_is_process_1_and_adopts_orphans() {
    // The inner shell ends at once, and leaves its child to whoever is process 1.
    let orphan =
        "sh -c 'sleep 1000 & echo $! > /tmp/orphan'; read pid < /tmp/orphan; grep PPid: /proc/$pid/status";
    let output =
        output_of(|spec| script(spec, &format!("echo $$ $PPID; {orphan}; ls /proc | grep -x 0 || true")));
    assert_eq!(output, "1 0\nPPid:\t1\n");
}

#[test]
fn signals_that_process_1_does_not_handle_do_not_reach_it_from_inside() {
    let inside = "kill -KILL 1; kill -TERM 1; kill -STOP 1; echo alive; trap 'echo asked' TERM; kill -TERM 1; echo done";
    assert_eq!(output_of(|spec| script(spec, inside)), "alive\nasked\ndone\n");
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_command(&["sleep", "1000"]);
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    usk.must(&bundle, &["kill", &id, "TERM"]);
    // Whatever the signal does it has done before another process has come and gone.
    usk.must(&bundle, &["exec", &id, "true"]);
    assert_eq!(usk.status(&bundle, &id), "running");
    usk.must(&bundle, &["kill", &id, "KILL"]);
    usk.wait_for_status(&bundle, &id, "stopped");
    usk.must(&bundle, &["delete", &id]);
}
