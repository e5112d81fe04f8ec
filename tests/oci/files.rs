//! The root and the mounts.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use serde_json::json;

use crate::bundle::Bundle;
use crate::runtime::{Runtime, new_id};

fn run(bundle: &Bundle) -> crate::runtime::Outcome {
    Runtime::usk().verb(bundle, &["run", &new_id()])
}

fn add_mount(spec: &mut serde_json::Value, mount: serde_json::Value) {
    spec["mounts"].as_array_mut().expect("a list").push(mount);
}

#[test]
fn writes_go_to_the_root_of_the_bundle() {
    let bundle = Bundle::of_script("echo written > /tmp/file; rm /etc/passwd");
    assert_eq!(run(&bundle).status, 0);
    assert_eq!(fs::read_to_string(bundle.rootfs().join("tmp/file")).expect("a file"), "written\n");
    assert!(!bundle.rootfs().join("etc/passwd").exists());
}

#[test]
fn a_read_only_root_refuses_writes_and_has_its_mount_points_made() {
    let bundle = Bundle::with(|spec| {
        spec["root"]["readonly"] = json!(true);
        spec["process"]["args"] =
            json!(["sh", "-c", "touch /tmp/x 2>/dev/null || echo refused; touch /new/place/x && echo made"]);
        add_mount(spec, json!({ "destination": "/new/place", "type": "tmpfs", "source": "tmpfs" }));
    });
    let outcome = run(&bundle);
    assert_eq!(outcome.output, "refused\nmade\n", "{outcome:?}");
}

#[test]
fn binds_are_writable_unless_they_say_otherwise() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = Bundle::with(|spec| {
        let source = directory.path().to_str().expect("text");
        add_mount(
            spec,
            json!({ "destination": "/rw", "type": "bind", "source": source, "options": ["rbind"] }),
        );
        add_mount(
            spec,
            json!({ "destination": "/ro", "type": "none", "source": source, "options": ["bind", "ro"] }),
        );
        let script = "echo x > /rw/file; cat /ro/file; echo y > /ro/file || echo refused";
        spec["process"]["args"] = json!(["sh", "-c", script]);
    });
    let outcome = run(&bundle);
    assert_eq!(outcome.output, "x\nrefused\n", "{outcome:?}");
    assert_eq!(fs::read_to_string(directory.path().join("file")).expect("a file"), "x\n");
}

#[test]
fn a_bind_without_execution_executes_nothing() {
    let bundle = Bundle::with(|spec| {
        let bind = json!({ "destination": "/no", "type": "bind", "source": "rootfs/bin", "options": ["bind", "nosuid", "nodev", "noexec"] });
        add_mount(spec, bind);
        let script = "/no/busybox true || echo refused; grep -o ' /no .*' /proc/mounts";
        spec["process"]["args"] = json!(["sh", "-c", script]);
    });
    assert_eq!(run(&bundle).output, "refused\n /no usk rw,nosuid,nodev,noexec,relatime 0 0\n");
}

#[test]
fn a_tmpfs_has_the_size_mode_and_owner_that_it_says() {
    let change = |spec: &mut serde_json::Value| {
        let options = json!(["size=1m", "mode=750", "uid=5", "gid=6"]);
        add_mount(
            spec,
            json!({ "destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": options }),
        );
        let script = "stat -c '%a %u %g' /t; dd if=/dev/zero of=/t/x bs=2M count=1 2>/dev/null || echo full; grep ' /t ' /proc/mounts";
        spec["process"]["args"] = json!(["sh", "-c", script]);
    };
    for runtime in [Runtime::usk(), Runtime::runc()] {
        let output = runtime.verb(&Bundle::with(change), &["run", &new_id()]).output;
        let shown = "750 5 6\nfull\ntmpfs /t tmpfs rw,relatime,size=1024k,mode=750,uid=5,gid=6";
        assert!(output.starts_with(shown), "{output}");
    }
}

#[test]
fn the_file_system_of_devices_has_the_size_and_mode_that_it_says() {
    let run = |runtime: &Runtime, options: &serde_json::Value| {
        let bundle = Bundle::with(|spec| {
            let mounts = spec["mounts"].as_array_mut().expect("a list");
            let dev = mounts.iter_mut().find(|mount| mount["destination"] == "/dev").expect("it is there");
            dev["options"] = options.clone();
            let script = "stat -c %a /dev; dd if=/dev/zero of=/dev/x bs=2M count=1 2>/dev/null || echo full";
            spec["process"]["args"] = json!(["sh", "-c", script]);
        });
        runtime.verb(&bundle, &["run", &new_id()]).output
    };
    for runtime in [Runtime::usk(), Runtime::runc()] {
        assert_eq!(run(&runtime, &json!(["nosuid", "mode=755", "size=1m"])), "755\nfull\n");
    }
    assert_eq!(run(&Runtime::usk(), &json!(["mode=711"])), "711\n");
}

#[test]
fn terminals_have_the_owner_mode_and_number_that_their_file_system_says() {
    let run = |runtime: &Runtime, options: &[&str]| {
        let bundle = Bundle::with(|spec| {
            let mounts = spec["mounts"].as_array_mut().expect("a list");
            let devpts =
                mounts.iter_mut().find(|mount| mount["destination"] == "/dev/pts").expect("it is there");
            devpts["options"] = json!(options);
            let script = "grep -o ' /dev/pts .*' /proc/mounts; stat -c '%a %u %g' /dev/pts/ptmx; \
                          for open in 3 4 5; do eval \"exec $open<>/dev/pts/ptmx\" || exit; \
                          stat -c '%n %a %u %g' /dev/pts/$((open - 3)); done";
            spec["process"]["args"] = json!(["sh", "-c", script]);
        });
        runtime.verb(&bundle, &["run", &new_id()])
    };
    for runtime in [Runtime::usk(), Runtime::runc()] {
        let outcome = run(&runtime, &["nosuid", "noexec", "uid=7", "mode=640", "ptmxmode=4660", "max=2"]);
        let shown = " /dev/pts devpts rw,nosuid,noexec,relatime,uid=7,mode=640,ptmxmode=4660,max=2 0 0\n\
                     4660 0 0\n/dev/pts/0 640 7 0\n/dev/pts/1 640 7 0\n";
        assert_eq!(outcome.output, shown);
        assert!(outcome.error.contains("No space left on device"), "{outcome:?}");
        let shown = " /dev/pts devpts rw,nosuid,noexec,relatime,gid=5,mode=600,ptmxmode=600,max=0 0 0\n\
                     600 0 0\n/dev/pts/0 600 0 5\n/dev/pts/1 600 0 5\n/dev/pts/2 600 0 5\n";
        assert_eq!(run(&runtime, &["nosuid", "noexec", "gid=5", "ptmxmode=600", "max=0"]).output, shown);
        // Nobody may make terminals where nothing says who may.
        let outcome = run(&runtime, &["nosuid", "noexec"]);
        let shown = " /dev/pts devpts rw,nosuid,noexec,relatime,mode=600,ptmxmode=000 0 0\n0 0 0\n";
        assert_eq!(outcome.output, shown);
        assert!(outcome.error.contains("Permission denied"), "{outcome:?}");
        assert_ne!(run(&runtime, &["max=1048577"]).status, 0);
    }
}

#[test]
fn a_tmpfs_begins_with_what_it_covers_where_asked_and_keeps_its_size() {
    let bundle = Bundle::with(|spec| {
        for (destination, options) in [
            ("/etc", json!(["tmpcopyup", "size=1m"])),
            ("/new", json!(["tmpcopyup", "mode=700"])),
            ("/root", json!([])),
        ] {
            add_mount(
                spec,
                json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options }),
            );
        }
        let script = "ls /etc /root; echo more >> /etc/passwd; tail -n1 /etc/passwd; stat -c %a /new; \
                      dd if=/dev/zero of=/etc/x bs=2M count=1 2>/dev/null || echo full";
        spec["process"]["args"] = json!(["sh", "-c", script]);
    });
    fs::write(bundle.rootfs().join("root/hidden"), "").expect("a file can be written");
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/tail")).expect("a link can be made");
    let outcome = run(&bundle);
    assert_eq!(outcome.output, "/etc:\npasswd\n\n/root:\nmore\n700\nfull\n", "{outcome:?}");
    let below = fs::read_to_string(bundle.rootfs().join("etc/passwd")).expect("a file");
    assert!(!below.contains("more"));
}

#[test]
fn masked_paths_are_empty_and_read_only_ones_refuse_writes() {
    let bundle = Bundle::with(|spec| {
        spec["linux"]["maskedPaths"] = json!(["/etc", "/proc/meminfo", "/not/there"]);
        spec["linux"]["readonlyPaths"] = json!(["/tmp", "/not/there"]);
        let script = "ls /etc | wc -l; wc -c < /proc/meminfo; touch /tmp/x 2>/dev/null || echo refused";
        spec["process"]["args"] = json!(["sh", "-c", script]);
    });
    assert_eq!(run(&bundle).output, "0\n0\nrefused\n");
}

#[test]
fn read_only_places_keep_what_is_masked_and_mounted_below_them() {
    let script = "cat /data/secret /proc/version /data/vol/inner /data/open; \
                  touch /data/x 2>/dev/null || echo refused; touch /data/vol/x && echo made; \
                  touch /data/closed/x 2>/dev/null || echo refused";
    for runtime in [Runtime::usk(), Runtime::runc()] {
        let bundle = Bundle::of_command(&["true"]);
        let (data, volume) = (bundle.file("data"), bundle.file("volume"));
        for directory in ["vol", "closed"].map(|name| data.join(name)).iter().chain([&volume]) {
            fs::create_dir_all(directory).expect("a directory can be made");
        }
        for file in [data.join("secret"), data.join("open"), volume.join("inner")] {
            let name = file.file_name().expect("it has a name").to_str().expect("text");
            fs::write(&file, format!("{name}\n")).expect("a file can be written");
        }
        bundle.configure(|spec| {
            let bind = |destination, source| json!({ "destination": destination, "type": "bind", "source": source, "options": ["rbind"] });
            add_mount(spec, bind("/data", &data));
            add_mount(spec, bind("/data/vol", &volume));
            add_mount(spec, bind("/data/closed", &volume));
            spec["linux"]["maskedPaths"] = json!(["/data/secret", "/proc/version"]);
            spec["linux"]["readonlyPaths"] = json!(["/data", "/data/closed", "/proc"]);
            spec["process"]["args"] = json!(["sh", "-c", script]);
        });
        let outcome = runtime.verb(&bundle, &["run", &new_id()]);
        assert_eq!(outcome.output, "inner\nopen\nrefused\nmade\nrefused\n", "{outcome:?}");
    }
}

#[test]
fn a_bind_mount_can_show_other_owners_than_its_files_have() {
    const OWNER: u32 = 1234;
    let bundle = Bundle::of_command(&["true"]);
    let source = bundle.file("shared");
    fs::create_dir(&source).expect("a directory can be made");
    for (name, owner) in [("roots", OWNER), ("nobodys", OWNER + 1)] {
        fs::write(source.join(name), "").expect("a file can be written");
        chown(source.join(name), Some(owner), Some(owner)).expect("it can be given away");
    }
    chown(&source, Some(OWNER), Some(OWNER)).expect("it can be given away");
    let map = json!([{ "containerID": OWNER, "hostID": 0, "size": 1 }]);
    bundle.configure(|spec| {
        let script = "stat -c %u:%g /x/roots /x/nobodys; touch /x/made && stat -c %u:%g /x/made";
        spec["process"]["args"] = json!(["sh", "-c", script]);
        let mount = json!({
            "destination": "/x", "type": "bind", "source": source, "options": ["rbind", "ridmap"],
            "uidMappings": map, "gidMappings": map,
        });
        add_mount(spec, mount);
    });
    let outcome = run(&bundle);
    assert_eq!(outcome.output, "0:0\n65534:65534\n0:0\n", "{outcome:?}");
    assert_eq!(fs::metadata(source.join("made")).expect("a file").uid(), OWNER);
}

#[test]
fn what_cannot_be_mounted_is_named() {
    for (mount, field) in [
        (json!({ "destination": "/x", "type": "ext4", "source": "/dev/vda" }), "mounts[5]: type:"),
        (json!({ "destination": "/x", "type": "bind", "source": "/not/there" }), "mounts[5]: source:"),
        (json!({ "destination": "/x", "type": "bind" }), "mounts[5]: source:"),
        (json!({ "destination": "", "type": "tmpfs" }), "mounts[5]: destination:"),
        (json!({ "destination": "/x", "type": "tmpfs", "options": ["size=moon"] }), "mounts[5]: options:"),
        (json!({ "destination": "/x", "type": "tmpfs", "options": ["idmap"] }), "mounts[5]: options:"),
        (
            json!({ "destination": "/x", "type": "tmpfs", "uidMappings": [{ "containerID": 0, "hostID": 5, "size": 1 }] }),
            "mounts[5]: uidMappings, gid",
        ),
    ] {
        let bundle = Bundle::with(|spec| add_mount(spec, mount));
        let outcome = run(&bundle);
        assert_eq!(outcome.status, 1);
        assert!(outcome.error.contains(field), "{field}: {outcome:?}");
    }
}

#[test]
fn devices_that_the_kernel_has_are_where_they_shall_be() {
    let bundle = Bundle::with(|spec| {
        spec["linux"]["devices"] = json!([
            { "path": "/dev/inner/nothing", "type": "c", "major": 1, "minor": 3, "fileMode": 0o20640, "uid": 5, "gid": 6 },
            { "path": "/dev/zero", "type": "u", "major": 1, "minor": 5, "fileMode": 0o600 },
            { "path": "/dev/tube", "type": "p", "fileMode": 0o622 },
        ]);
        let script = "stat -c '%F %t:%T %a %u %g' /dev/inner/nothing /dev/zero /dev/tube; head -c 3 /dev/zero | wc -c; \
                      echo x > /dev/inner/nothing && cat /dev/inner/nothing; echo through > /dev/tube & cat /dev/tube";
        spec["process"]["args"] = json!(["sh", "-c", script]);
    });
    let expected = "character special file 1:3 640 5 6\ncharacter special file 1:5 600 0 0\n\
                    fifo 0:0 622 0 0\n3\nthrough\n";
    let outcome = run(&bundle);
    assert_eq!(outcome.output, expected, "{outcome:?}");
}

#[test]
fn binds_of_devices_show_those_of_the_sandboxs_kernel() {
    let script = "stat -c '%F %t:%T' /app/.env /dev/random /new/tty; cat /app/.env; echo x > /app/.env; \
                  cat /etc/passwd; head -c 3 /dev/random | wc -c; head -c 1 /closed";
    let expected = "character special file 1:3\ncharacter special file 1:9\ncharacter special file 5:0\n3\n";
    for (runtime, read_only) in [(Runtime::usk(), false), (Runtime::usk(), true), (Runtime::runc(), false)] {
        let bundle = Bundle::with(|spec| {
            for (source, destination, option) in [
                ("/dev/null", "/app/.env", "ro"),
                ("/dev/urandom", "/dev/random", "rw"),
                ("/dev/tty", "/new/tty", "rw"),
                ("/dev/null", "/etc/passwd", "rw"),
                ("/dev/zero", "/closed", "nodev"),
            ] {
                let options = json!(["rbind", option]);
                add_mount(
                    spec,
                    json!({ "destination": destination, "type": "bind", "source": source, "options": options }),
                );
            }
            spec["root"]["readonly"] = json!(read_only);
            spec["process"]["args"] = json!(["sh", "-c", script]);
        });
        let outcome = runtime.verb(&bundle, &["run", &new_id()]);
        assert_eq!(outcome.output, expected, "{outcome:?}");
        assert!(outcome.error.contains("/closed: Permission denied"), "{outcome:?}");
    }
}

#[test]
fn binds_of_sockets_and_of_other_devices_of_the_host_are_refused() {
    let bundle = Bundle::of_command(&["true"]);
    let socket = bundle.file("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket can be made");
    for source in [socket.as_path(), std::path::Path::new("/dev/ptmx")] {
        bundle.configure(|spec| {
            add_mount(
                spec,
                json!({ "destination": "/x", "type": "bind", "source": source, "options": ["bind"] }),
            );
        });
        let outcome = run(&bundle);
        let problem =
            format!("mounts[5]: source: cannot show {}: it is neither a directory", source.display());
        assert!(outcome.status == 1 && outcome.error.contains(&problem), "{outcome:?}");
    }
}

#[test]
fn devices_that_the_kernel_has_not_are_there_and_cannot_be_opened() {
    let bundle = Bundle::with(|spec| {
        spec["linux"]["devices"] = json!([
            { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666 },
            { "path": "/dev/inner/disk", "type": "b", "major": 254, "minor": 0, "fileMode": 0o660, "gid": 6 },
        ]);
        let script =
            "stat -c '%F %t:%T %a %u %g' /dev/fuse /dev/inner/disk; cat /dev/fuse; cat /dev/inner/disk";
        spec["process"]["args"] = json!(["sh", "-c", script]);
    });
    let outcome = run(&bundle);
    assert_eq!(outcome.output, "character special file a:e5 666 0 0\nblock special file fe:0 660 0 6\n");
    for name in ["/dev/fuse", "/dev/inner/disk"] {
        let line = format!("cat: can't open '{name}': No such device or address\n");
        assert!(outcome.error.contains(&line), "{outcome:?}");
    }
}

#[test]
fn devices_that_cannot_be_are_refused() {
    for (device, problem) in [
        (json!({ "path": "/etc/null", "type": "c", "major": 1, "minor": 3 }), "linux.devices[0]: path: "),
        (json!({ "path": "/dev/../etc/x", "type": "c", "major": 1, "minor": 3 }), "linux.devices[0]: path: "),
        (json!({ "path": "/dev/x", "type": "c", "major": -1, "minor": 3 }), "linux.devices[0]: major: "),
        (json!({ "path": "/dev/x", "type": "b", "major": 8, "minor": -1 }), "linux.devices[0]: minor: "),
        (json!({ "path": "/dev/x", "type": "a", "major": 8, "minor": 1 }), "linux.devices[0]: type: "),
    ] {
        let bundle = Bundle::with(|spec| spec["linux"]["devices"] = json!([device]));
        let outcome = run(&bundle);
        assert_eq!(outcome.status, 1);
        assert!(outcome.error.contains(problem), "{problem}: {outcome:?}");
    }
}

#[test]
fn a_bind_of_the_hosts_cgroups_shows_the_containers_own() {
    let cgroups = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/memory", "/sys/fs/cgroup"]
        .into_iter()
        .find(|path| std::path::Path::new(path).join("cgroup.procs").exists())
        .expect("the host has cgroups");
    // As Podman has it for systemd: below those that the container has already.
    for (own, destination) in [(false, "/cgroups"), (true, "/sys/fs/cgroup/systemd")] {
        let bundle = Bundle::with(|spec| {
            if own {
                add_mount(
                    spec,
                    json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup" }),
                );
            }
            let options = json!(["bind", "nodev", "noexec", "nosuid"]);
            add_mount(
                spec,
                json!({ "destination": destination, "type": "bind", "source": cgroups, "options": options }),
            );
            let shown = if own { "/sys/fs/cgroup" } else { destination };
            let script = format!("cat {shown}/cgroup.procs; echo 1 > {shown}/cgroup.procs || echo refused");
            spec["process"]["args"] = json!(["sh", "-c", script]);
        });
        let outcome = run(&bundle);
        assert!(outcome.status == 0 && outcome.output.starts_with("1\n"), "{outcome:?}");
        assert!(outcome.output.ends_with("refused\n"), "{outcome:?}");
    }
}
