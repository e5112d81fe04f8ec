//! Resources, and what is done to a running container.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::json;

use crate::bundle::Bundle;
use crate::runtime::{Runtime, cgroups_named, new_id, wait_until};

/// The contents of a file of the container's cgroups, from whichever has it.
fn cgroup_file(id: &str, file: &str) -> Option<String> {
    cgroups_named(id).iter().find_map(|path| fs::read_to_string(path.join(file)).ok())
}

fn either(id: &str, first: &str, second: &str) -> String {
    cgroup_file(id, first)
        .or_else(|| cgroup_file(id, second))
        .expect("the host has the controller")
        .trim()
        .to_owned()
}

#[test]
fn the_cgroup_is_the_one_that_the_configuration_names_with_its_limits() {
    // Not pids.max, which usk's kernel keeps by itself.
    let files = [
        "cpu.shares",
        "cpu.weight",
        "cpu.cfs_quota_us",
        "cpu.cfs_period_us",
        "cpu.max",
        "cpuset.cpus",
        "cpuset.mems",
        "memory.limit_in_bytes",
        "memory.max",
        "memory.soft_limit_in_bytes",
        "memory.low",
        "memory.memsw.limit_in_bytes",
        "memory.swap.max",
        "memory.swappiness",
        "blkio.bfq.weight",
        "io.bfq.weight",
    ];
    let parent = new_id();
    let written = |runtime: &Runtime| {
        let id = new_id();
        let bundle = Bundle::with(|spec| {
            spec["linux"]["cgroupsPath"] = json!(format!("/{parent}/{id}"));
            spec["linux"]["resources"] = json!({
                "cpu": { "shares": 300, "quota": 30_000, "period": 60_000, "cpus": "0", "mems": "0" },
                "memory": { "limit": 100_000_000, "reservation": 50_000_000, "swap": 100_000_000, "swappiness": 7 },
                "blockIO": { "weight": 200 },
            });
            spec["process"]["args"] = json!(["sleep", "1000"]);
        });
        let outcome = runtime.background(&bundle, &["run", "-d", &id]);
        let is_below =
            |path: &std::path::PathBuf| path.parent().is_some_and(|above| above.ends_with(&parent));
        let (below, values) =
            (cgroups_named(&id).iter().all(is_below), files.map(|file| cgroup_file(&id, file)));
        let _ = runtime.verb(&bundle, &["delete", "--force", &id]);
        (outcome.status, below, values)
    };
    let (ours, theirs) = (written(&Runtime::usk()), written(&Runtime::runc()));
    for path in cgroups_named(&parent) {
        fs::remove_dir(path).expect("nobody is left in it");
    }
    assert!(ours.1, "the cgroup is elsewhere");
    assert_eq!(ours, theirs);
}

#[test]
fn limits_are_those_of_the_cgroup_and_shown_inside() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::with(|spec| {
        spec["linux"]["resources"]["memory"] = json!({ "limit": 104_857_600 });
        spec["linux"]["resources"]["cpu"] = json!({ "shares": 512, "quota": 50_000, "period": 100_000 });
        spec["process"]["args"] = json!(["sleep", "1000"]);
    });
    let outcome = usk.background(&bundle, &["run", "-d", &id]);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert_eq!(either(&id, "memory.limit_in_bytes", "memory.max"), "104857600");
    assert!(["50000", "50000 100000"].contains(&&either(&id, "cpu.cfs_quota_us", "cpu.max")[..]));
    let inside = usk.must(&bundle, &["exec", &id, "head", "-n1", "/proc/meminfo"]);
    assert!(inside.contains("102400 kB"), "{inside}");
    usk.must(&bundle, &["update", "--memory", "209715200", "--memory-swap", "-1", &id]);
    assert_eq!(either(&id, "memory.limit_in_bytes", "memory.max"), "209715200");
    // The sandbox hears of it by the way, before whatever is run next.
    let inside = |file: &str| usk.must(&bundle, &["exec", &id, "head", "-n1", file]);
    assert!(inside("/proc/meminfo").contains("204800 kB"));
    fs::write(bundle.file("resources"), r#"{"memory":{"limit":157286400}}"#).expect("a file can be written");
    usk.must(&bundle, &["update", "--resources", "resources", &id]);
    assert_eq!(either(&id, "memory.limit_in_bytes", "memory.max"), "157286400");
    assert!(inside("/proc/meminfo").contains("153600 kB"));
    usk.must(&bundle, &["update", "--memory", "-1", "--pids-limit", "3", &id]);
    assert!(!inside("/proc/meminfo").contains("153600 kB"));
    let fork = |seconds: &str| {
        usk.verb(&bundle, &["exec", &id, "sh", "-c", &format!("sleep {seconds} & wait; true")])
    };
    assert_eq!(fork("0").status, 0);
    usk.must(&bundle, &["update", "--pids-limit", "2", &id]);
    assert_ne!(fork("0").status, 0);
    usk.must(&bundle, &["update", "--pids-limit", "-1", &id]);
    assert_eq!(fork("0").status, 0);
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn the_limit_on_tasks_is_the_guests() {
    let usk = Runtime::usk();
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done 2>/dev/null; echo survived";
    let bundle = Bundle::with(|spec| {
        spec["linux"]["resources"]["pids"] = json!({ "limit": 5 });
        spec["process"]["args"] = json!(["sh", "-c", script]);
    });
    let outcome = usk.verb(&bundle, &["run", &new_id()]);
    assert_ne!(outcome.output, "survived\n", "{outcome:?}");
    bundle.configure(|spec| {
        spec["linux"]["resources"]["pids"] = json!({ "limit": 50 });
        spec["process"]["args"] = json!(["sh", "-c", script]);
    });
    assert_eq!(usk.verb(&bundle, &["run", &new_id()]).output, "survived\n");
}

#[test]
fn a_paused_container_uses_no_time_and_goes_on_where_it_was() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_script("while :; do :; done");
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    usk.must(&bundle, &["pause", &id]);
    assert_eq!(usk.status(&bundle, &id), "paused");
    let used = || -> u64 {
        let stats = usk.must(&bundle, &["events", "--stats", &id]);
        let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
        stats["data"]["cpu"]["usage"]["total"].as_u64().expect("a number")
    };
    // The monitor's own answers are counted as well, and take less than a tenth of this.
    const LITTLE_NS: u64 = 50_000_000;
    let before = used();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let paused = used() - before;
    assert!(paused < LITTLE_NS, "{paused} ns while paused");
    let refused = usk.verb(&bundle, &["exec", &id, "true"]);
    assert!(refused.error.contains("cannot exec in a paused container"), "{refused:?}");
    usk.must(&bundle, &["resume", &id]);
    assert_eq!(usk.status(&bundle, &id), "running");
    let before = used();
    crate::runtime::wait_until("it goes on", || used() > before + LITTLE_NS);
    usk.must(&bundle, &["exec", &id, "true"]);
    // A paused one can be ended.
    usk.must(&bundle, &["pause", &id]);
    usk.must(&bundle, &["kill", &id, "KILL"]);
    usk.wait_for_status(&bundle, &id, "stopped");
    usk.must(&bundle, &["delete", &id]);
}

#[test]
fn the_containers_cgroup_can_be_looked_at_and_follows_updates() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::with(|spec| {
        let mount = json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"] });
        spec["mounts"].as_array_mut().expect("a list").push(mount);
        spec["linux"]["resources"]["memory"] = json!({ "limit": 104_857_600 });
        spec["linux"]["resources"]["cpu"] = json!({ "quota": 50_000 });
        spec["linux"]["resources"]["pids"] = json!({ "limit": 50 });
        spec["process"]["args"] = json!(["sleep", "1000"]);
    });
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    let inside =
        |script: &str| usk.must(&bundle, &["exec", "--cwd", "/sys/fs/cgroup", &id, "sh", "-c", script]);
    assert_eq!(
        inside("cat memory.max pids.max cpu.max pids.current; true"),
        "104857600\n50\n50000 100000\n3\n"
    );
    assert_eq!(
        inside("head -n1 cgroup.procs; echo 1 2>/dev/null > pids.max || echo refused"),
        "1\nrefused\n"
    );
    assert!(inside("grep ' /sys/fs/cgroup ' /proc/mounts").contains(" cgroup2 ro"));
    usk.must(&bundle, &["update", "--memory", "209715200", "--memory-swap", "-1", "--cpu-quota", "-1", &id]);
    assert_eq!(inside("cat memory.max cpu.max"), "209715200\nmax 100000\n");
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn each_limit_can_be_changed_on_its_own() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_command(&["sleep", "1000"]);
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    for (option, value, files) in [
        ("--cpu-share", "512", [("cpu.shares", "512"), ("cpu.weight", "20")]),
        ("--cpu-period", "50000", [("cpu.cfs_period_us", "50000"), ("cpu.max", "max 50000")]),
        ("--cpu-quota", "20000", [("cpu.cfs_quota_us", "20000"), ("cpu.max", "20000 100000")]),
        ("--cpuset-cpus", "0", [("cpuset.cpus", "0"), ("cpuset.cpus", "0")]),
        ("--cpuset-mems", "0", [("cpuset.mems", "0"), ("cpuset.mems", "0")]),
        ("--blkio-weight", "100", [("blkio.bfq.weight", "100"), ("io.bfq.weight", "default 100")]),
        ("--memory", "104857600", [("memory.limit_in_bytes", "104857600"), ("memory.max", "104857600")]),
        (
            "--memory-reservation",
            "52428800",
            [("memory.soft_limit_in_bytes", "52428800"), ("memory.low", "52428800")],
        ),
        // Three of the host's tasks for each of the guests', and some besides.
        ("--pids-limit", "100", [("pids.max", "364"), ("pids.max", "364")]),
    ] {
        let found = files.map(|(file, wanted)| cgroup_file(&id, file).map(|_| (file, wanted)));
        let Some((file, wanted)) = found.into_iter().flatten().next() else {
            let refused = usk.verb(&bundle, &["update", option, value, &id]);
            assert!(refused.error.contains("linux.resources."), "{option}: {refused:?}");
            continue;
        };
        usk.must(&bundle, &["update", option, value, &id]);
        assert_eq!(cgroup_file(&id, file).expect("it is there").trim(), wanted, "{option}");
    }
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn processors_that_are_taken_and_given_back_are_seen_inside() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_command(&["sleep", "1000"]);
    let online = fs::read_to_string("/sys/fs/cgroup/cpuset/cpuset.cpus")
        .or_else(|_| fs::read_to_string("/sys/fs/cgroup/cpuset.cpus.effective"))
        .expect("the host has the controller");
    let script = "/bin/busybox nproc; grep -c ^processor /proc/cpuinfo; cat /sys/devices/system/cpu/online; \
                  grep Cpus_allowed_list /proc/self/status; \
                  cd /sys/devices/system/cpu; ls -d cpu[0-9]* | wc -l; ls cpu1/topology/core_id";
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    let inside = || usk.verb(&bundle, &["exec", &id, "sh", "-c", script]).output;
    let before = inside();
    usk.must(&bundle, &["update", "--cpuset-cpus", "0", &id]);
    assert_eq!(inside(), "1\n1\n0\nCpus_allowed_list:\t0\n1\n");
    usk.must(&bundle, &["update", "--cpuset-cpus", online.trim(), &id]);
    assert_eq!(inside(), before);
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn limits_that_make_no_sense_are_refused_by_their_field() {
    // Too little for the sandbox itself.
    for (resources, field) in [
        (json!({ "memory": { "limit": 100_000 } }), "linux.resources.memory.limit: "),
        (json!({ "cpu": { "shares": 1 } }), "linux.resources.cpu.shares: "),
        (json!({ "unified": { "no.such": "1" } }), "linux.resources.unified[no.such]: "),
    ] {
        let bundle = Bundle::with(|spec| spec["linux"]["resources"] = resources.clone());
        let id = new_id();
        let outcome = Runtime::usk().background(&bundle, &["create", &id]);
        assert!(outcome.status == 1 && outcome.error.contains(field), "{resources}: {outcome:?}");
        assert_eq!(cgroups_named(&id), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn throttles_and_huge_pages_are_the_cgroups_or_refused_by_their_field() {
    // Any block device will do: nothing is read.
    let mut devices = fs::read_dir("/sys/block").expect("it is there").flatten();
    let device = devices.find_map(|device| fs::read_to_string(device.path().join("dev")).ok());
    let device = device.expect("the host has a block device").trim().to_owned();
    let (major, minor) = device.split_once(':').expect("two numbers");
    let number = |text: &str| text.parse::<u32>().expect("a number");
    let throttle = |rate: u32| json!([{ "major": number(major), "minor": number(minor), "rate": rate }]);
    let block_io = |field: &str| json!({ "blockIO": { field: throttle(4096) } });
    let huge = json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }] });
    let line = |key: &str| format!("{device} {key}4096");
    for (resources, field, first, second) in [
        (
            block_io("throttleReadBpsDevice"),
            "throttleReadBps",
            ("blkio.throttle.read_bps_device", line("")),
            ("io.max", line("rbps=")),
        ),
        (
            block_io("throttleWriteBpsDevice"),
            "throttleWriteBps",
            ("blkio.throttle.write_bps_device", line("")),
            ("io.max", line("wbps=")),
        ),
        (
            block_io("throttleReadIOPSDevice"),
            "throttleReadIOPS",
            ("blkio.throttle.read_iops_device", line("")),
            ("io.max", line("riops=")),
        ),
        (
            block_io("throttleWriteIOPSDevice"),
            "throttleWriteIOPS",
            ("blkio.throttle.write_iops_device", line("")),
            ("io.max", line("wiops=")),
        ),
        (
            huge,
            "hugepageLimits",
            ("hugetlb.2MB.limit_in_bytes", "4194304".into()),
            ("hugetlb.2MB.max", "4194304".into()),
        ),
    ] {
        let run = |runtime: &Runtime| {
            let id = new_id();
            let bundle = Bundle::with(|spec| {
                spec["linux"]["resources"] = resources.clone();
                spec["process"]["args"] = json!(["sleep", "1000"]);
            });
            let outcome = runtime.background(&bundle, &["run", "-d", &id]);
            let found = [&first, &second].map(|(file, _)| cgroup_file(&id, file));
            let _ = runtime.verb(&bundle, &["delete", "--force", &id]);
            (outcome, found)
        };
        let (outcome, [of_first, of_second]) = run(&Runtime::usk());
        let as_runc = run(&Runtime::runc());
        assert_eq!(outcome.status, as_runc.0.status, "{outcome:?} {as_runc:?}");
        if outcome.status != 0 {
            assert!(outcome.error.contains(field), "{outcome:?}");
            continue;
        }
        let text = of_first.as_ref().or(of_second.as_ref()).expect("the host has the file");
        let wanted = if of_first.is_some() { first.1 } else { second.1 };
        assert!(text.contains(&wanted), "{field}: {text:?}");
    }
}

/// A process and all below it, in ascending order.
fn descendants_of(first: i32) -> Vec<i32> {
    let mut descendants = vec![first];
    for index in 0.. {
        let Some(pid) = descendants.get(index) else { break };
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        descendants.extend(children.split_whitespace().map(|pid| pid.parse::<i32>().expect("a number")));
    }
    descendants.sort_unstable();
    descendants
}

#[test]
fn all_processes_of_a_container_are_in_its_cgroups() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_script("sleep 1000 & wait");
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    usk.must(&bundle, &["exec", &id, "true"]);
    // They are the monitor's descendants, whoever says what they belong to. The script may be about to make more.
    let mut processes = Vec::new();
    wait_until("all descendants of the monitor are the container's", || {
        processes = usk.processes(&bundle, &id);
        processes.sort_unstable();
        processes.len() >= 5 && descendants_of(processes[0]) == processes
    });
    for pid in processes {
        let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("there is a process");
        for controller in ["memory", "cpu", "pids", "cpuset", "blkio", "freezer"] {
            let line = memberships.lines().find(|line| line.split([':', ',']).any(|word| word == controller));
            let line = line.or(memberships.lines().find(|line| line.starts_with("0::"))).expect("a cgroup");
            assert!(line.contains(&id), "{pid}: {line}");
        }
    }
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn events_tell_what_is_used_and_who_ran_out_of_memory_until_the_end() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::with(|spec| {
        spec["linux"]["resources"]["memory"] = json!({ "limit": 67_108_864, "swap": 67_108_864 });
        spec["process"]["args"] = json!(["sleep", "1000"]);
    });
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    let mut command = usk.command(&bundle, &["events", "--interval", "100ms", &id]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || -> Option<serde_json::Value> {
        let line = lines.next()?.expect("text");
        Some(serde_json::from_str(&line).expect("a line is JSON"))
    };
    for _ in 0..2 {
        let event = next().expect("an event");
        assert_eq!((&event["type"], &event["id"]), (&"stats".into(), &id.as_str().into()));
        assert_eq!(event["data"]["memory"]["usage"]["limit"], 67_108_864);
    }
    let greedy =
        usk.verb(&bundle, &["exec", &id, "dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1"]);
    assert_eq!(greedy.status, 137, "{greedy:?}");
    while next().expect("an event")["type"] != "oom" {}
    usk.must(&bundle, &["kill", &id, "KILL"]);
    while next().is_some() {}
    assert!(child.wait().expect("it ends with the container").success());
    usk.must(&bundle, &["delete", &id]);
}

#[test]
fn events_that_nobody_reads_any_more_end_without_a_word() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_command(&["sleep", "1000"]);
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    let mut command = usk.command(&bundle, &["events", "--interval", "10ms", &id]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr), (Some(141), Vec::new()));
    usk.must(&bundle, &["delete", "--force", &id]);
}
