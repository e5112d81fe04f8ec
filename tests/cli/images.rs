//! `usk run --image`: images become roots, without an engine.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use procfs::process::{Process, all_processes};
use serde_json::json;
use tempfile::TempDir;
use usk_abi::capability::FileCapabilities;

use crate::caller::{Caller, is_root};
use crate::guest::{Outcome, directory_of, text};
use crate::image_maker::{ImageMaker, Item, LayerMaker, Stored, busybox, describe, write_index};
use crate::sandbox::everybody;

/// `usk run` of an image, with these options, and perhaps a command.
fn usk(caller: Caller, cache: &Path, image: &str, options: &[&str], command: &[&str]) -> Command {
    let mut usk = caller.usk();
    usk.args(["run", "--image", image, "--image-cache", text(cache)]).args(options);
    if !command.is_empty() {
        usk.arg("--").args(command);
    }
    usk.stdin(Stdio::null());
    usk
}

fn run(caller: Caller, cache: &Path, image: &str, options: &[&str], command: &[&str]) -> Outcome {
    usk(caller, cache, image, options, command).output().expect("usk can be started").into()
}

fn callers() -> Vec<Caller> {
    Caller::all()
}

fn private_cache(caller: Caller) -> TempDir {
    let cache = directory_of(caller);
    fs::set_permissions(cache.path(), PermissionsExt::from_mode(0o700)).unwrap();
    cache
}

fn oci(layout: &TempDir) -> String {
    format!("oci:{}", text(layout.path()))
}

/// Two layers over busybox, with everything that a layer can change.
fn layered() -> ImageMaker {
    let lower = LayerMaker::new()
        .directory("data/")
        .file("data/kept", "lower\n")
        .file("data/gone", "lower\n")
        .file("data/changed", "lower\n")
        .directory("opaque/")
        .file("opaque/old", "lower\n")
        .directory("tree/")
        .directory("tree/deep/")
        .file("tree/deep/file", "lower\n")
        .file("becomes-directory", "lower\n")
        .finish();
    let upper = LayerMaker::new()
        .file("data/.wh.gone", "")
        .file("data/changed", "upper\n")
        .directory("opaque/")
        .file("opaque/new", "upper\n")
        .file("opaque/.wh..wh..opq", "")
        .file(".wh.tree", "")
        .directory("becomes-directory/")
        .file("becomes-directory/file", "upper\n")
        .add("data/linked", Item::HardLink("/data/changed"), 0o644, (0, 0))
        .finish();
    let config = json!({
        "Entrypoint": ["/bin/sh", "-c", "echo \"$@\"; id -u; id -g; id -G; pwd; echo $GREETING $HOME $PATH", "name"],
        "Cmd": ["from", "the image"],
        "Env": ["GREETING=hello=you", "PATH=/bin"],
        "User": "app",
        "WorkingDir": "/made/for it",
    });
    ImageMaker::new(config)
        .layer(busybox(), Stored::Gzip)
        .layer(lower, Stored::Zstd)
        .layer(upper, Stored::Plain)
}

const SAID: &str = "1234\n5678\n5678 99\n/made/for it\nhello=you /home/app /bin\n";

#[test]
fn an_image_says_what_runs_as_whom_and_where() {
    for (caller, platform) in everybody() {
        let layout = layered().layout(caller);
        let (_directory, archive) = layered().docker_archive(caller);
        let cache = private_cache(caller);
        let references = [
            oci(&layout),
            format!("{}:latest", oci(&layout)),
            format!("docker-archive:{}", text(&archive)),
            format!("docker-archive:{}:example/box:1", text(&archive)),
        ];
        for image in references {
            let options = ["--platform", platform];
            let said = run(caller, cache.path(), &image, &options, &[]).succeeded();
            assert_eq!(said, format!("from the image\n{SAID}"), "{caller:?} {platform} {image}");
            let said = run(caller, cache.path(), &image, &options, &["another", "command"]).succeeded();
            assert_eq!(said, format!("another command\n{SAID}"), "{caller:?} {platform} {image}");
        }
    }
}

#[test]
fn the_command_line_has_the_last_word() {
    for caller in callers() {
        let (layout, cache) = (layered().layout(caller), private_cache(caller));
        let run =
            |options: &[&str], command: &[&str]| run(caller, cache.path(), &oci(&layout), options, command);
        let script = "id -u; pwd; echo $GREETING";
        let options = ["--entrypoint", "", "-u", "7", "-w", "/data", "-e", "GREETING=bye"];
        assert_eq!(run(&options, &["sh", "-c", script]).succeeded(), "7\n/data\nbye\n", "{caller:?}");
        assert_eq!(run(&["--entrypoint", "/bin/pwd"], &[]).succeeded(), "/made/for it\n", "{caller:?}");
        assert!(run(&["--entrypoint", ""], &[]).refused(125).contains("no command"));
        let environment = run(&["--entrypoint", "/bin/env", "--clear-env"], &[]).succeeded();
        assert_eq!(environment, "", "{caller:?}");
    }
}

#[test]
fn layers_lie_over_each_other() {
    for caller in callers() {
        let (layout, cache) = (layered().layout(caller), private_cache(caller));
        let script = "ls /data /opaque /becomes-directory; ls -d /tree; cat /data/changed /data/linked; \
                      stat -c '%h %n' /data/kept /data/linked /bin/busybox; stat -c %Y /data /data/kept";
        let outcome = run(caller, cache.path(), &oci(&layout), &["--entrypoint", ""], &["sh", "-c", script]);
        let expected = "/becomes-directory:\nfile\n\n/data:\nchanged\nkept\nlinked\n\n/opaque:\nnew\n\
                        upper\nupper\n1 /data/kept\n2 /data/linked\n1 /bin/busybox\n1000000000\n1000000000\n";
        assert_eq!(outcome.stdout, expected, "{caller:?} {outcome:?}");
        assert!(outcome.stderr.contains("/tree"), "{outcome:?}");
    }
}

#[test]
fn what_is_written_is_gone_and_the_cache_stays_as_it_was() {
    for caller in callers() {
        let (layout, cache) = (layered().layout(caller), private_cache(caller));
        let script = "cat /data/changed; echo new > /data/changed; touch /data/new; cat /data/changed; ls /data | wc -l";
        let options = ["--entrypoint", "", "-u", "0"];
        for _ in 0..2 {
            let said = run(caller, cache.path(), &oci(&layout), &options, &["sh", "-c", script]).succeeded();
            assert_eq!(said, "upper\nnew\n4\n", "{caller:?}");
        }
    }
}

#[test]
fn owners_and_set_user_id_bits_are_the_images_for_every_caller() {
    for caller in callers() {
        let layer = LayerMaker::new()
            .add("home/app/", Item::Directory, 0o700, (1234, 5678))
            .add("home/app/mine", Item::File(b"secret\n".to_vec()), 0o000, (1234, 5678))
            .add("home/app/other", Item::File(b"root's\n".to_vec()), 0o600, (0, 0))
            .add("home/app/link", Item::Symlink("mine"), 0o777, (1234, 99))
            .add("suid", Item::File(b"".to_vec()), 0o4111, (0, 0))
            .finish();
        let image = ImageMaker::new(json!({ "User": "app" }))
            .layer(busybox(), Stored::Gzip)
            .layer(layer, Stored::Gzip);
        let (layout, cache) = (image.layout(caller), private_cache(caller));
        let script = "cd /home/app; stat -c '%u %g %a %n' . mine other link /suid /bin /home; \
                      cat mine; cat other; echo x > new && cat new";
        let outcome = run(caller, cache.path(), &oci(&layout), &[], &["sh", "-c", script]);
        let expected = "1234 5678 700 .\n1234 5678 0 mine\n0 0 600 other\n1234 99 777 link\n0 0 4111 /suid\n\
                        0 0 755 /bin\n0 0 755 /home\nx\n";
        assert_eq!(outcome.stdout, expected, "{caller:?} {outcome:?}");
        assert_eq!(outcome.stderr.matches("Permission denied").count(), 2, "{outcome:?}");
        let root = run(caller, cache.path(), &oci(&layout), &["-u", "0"], &["cat", "/home/app/mine"]);
        assert_eq!(root.succeeded(), "secret\n", "{caller:?}");
        // Nobody on the host gets anything of it.
        let mut places = vec![cache.path().to_owned()];
        while let Some(place) = places.pop() {
            let metadata = fs::symlink_metadata(&place).unwrap();
            assert_eq!(metadata.mode() & 0o7000, 0, "{place:?}");
            assert_eq!(metadata.uid(), fs::metadata(cache.path()).unwrap().uid(), "{place:?}");
            if metadata.is_dir() {
                places.extend(fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    }
}

#[test]
fn capabilities_of_an_images_files_are_given_inside_and_to_nobody_on_the_host() {
    const NET_RAW: FileCapabilities =
        FileCapabilities { permitted: 1 << 13, inheritable: 0, effective: true, root: 0 };
    let program =
        fs::read("/bin/busybox").expect("busybox-static is not installed: run tests/install-packages");
    let with = |value: &[u8]| {
        let layer = LayerMaker::new().with_capabilities(value);
        let layer = layer
            .add("bin/busybox-able", Item::File(program.clone()), 0o755, (0, 0))
            .symlink("bin/grep", "busybox");
        let layer = layer.add("bin/busybox-same", Item::HardLink("bin/busybox-able"), 0o755, (0, 0));
        ImageMaker::new(json!({ "User": "app" }))
            .layer(busybox(), Stored::Gzip)
            .layer(layer.finish(), Stored::Gzip)
    };
    for caller in callers() {
        let (layout, cache) = (with(&NET_RAW.to_value()).layout(caller), private_cache(caller));
        let shown = |command: &[&str]| run(caller, cache.path(), &oci(&layout), &[], command).succeeded();
        let effective = |program: &str| shown(&[program, "grep", "CapEff", "/proc/self/status"]);
        assert_eq!(effective("/bin/busybox-able"), "CapEff:\t0000000000002000\n", "{caller:?}");
        assert_eq!(effective("/bin/busybox-same"), "CapEff:\t0000000000002000\n", "{caller:?}");
        assert_eq!(effective("/bin/busybox"), "CapEff:\t0000000000000000\n", "{caller:?}");
        // Written to, by root, it has none any more.
        let script = "echo >> /bin/busybox-able; /bin/busybox su app -c '/bin/busybox-able grep CapEff /proc/self/status'";
        let written = run(caller, cache.path(), &oci(&layout), &["-u", "0"], &["sh", "-c", script]);
        assert_eq!(written.succeeded(), "CapEff:\t0000000000000000\n", "{caller:?}");
        let mut places = vec![cache.path().to_owned()];
        while let Some(place) = places.pop() {
            if fs::symlink_metadata(&place).unwrap().is_dir() {
                places.extend(fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                let mut value = [0; 64];
                let found = rustix::fs::lgetxattr(&place, "security.capability", &mut value[..]);
                assert!(found.is_err(), "{place:?}");
            }
        }
    }
    let caller = callers()[0];
    let (layout, cache) = (with(b"something else").layout(caller), private_cache(caller));
    let refused = run(caller, cache.path(), &oci(&layout), &[], &["true"]);
    assert!(refused.stderr.contains("capabilities are none"), "{refused:?}");
}

#[test]
fn the_first_manifest_for_this_machine_is_taken_wherever_it_is() {
    let caller = Caller::Myself;
    let (layout, cache) = (directory_of(caller), private_cache(caller));
    let path = layout.path();
    let for_machine = |architecture: &'static str, says: &str, platform: bool| {
        let config = json!({ "Cmd": ["/bin/echo", says] });
        let mut image = ImageMaker::new(config).layer(busybox(), Stored::Gzip);
        image.architecture = architecture;
        let mut entry = image.store(path);
        if platform {
            entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        }
        entry
    };
    let inner = json!({ "schemaVersion": 2, "manifests": [
        { "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{}", "0".repeat(64)),
          "size": 2, "platform": { "os": "unknown", "architecture": "unknown" } },
        for_machine("arm64", "arm", true),
        for_machine("amd64", "this", true),
        for_machine("amd64", "too late", true),
    ]});
    let kind = "application/vnd.oci.image.index.v1+json";
    let mut index = describe(path, kind, inner.to_string().as_bytes());
    index["annotations"] = json!({ "org.opencontainers.image.ref.name": "many" });
    let mut other = for_machine("arm64", "arm", false);
    other["annotations"] = json!({ "org.opencontainers.image.ref.name": "arm" });
    write_index(path, &[index, other]);
    let image = |tag: &str| format!("oci:{}:{tag}", text(path));
    assert_eq!(run(caller, cache.path(), &image("many"), &[], &[]).succeeded(), "this\n");
    let refusal = run(caller, cache.path(), &image("arm"), &[], &[]).refused(125);
    assert!(refusal.contains("linux/arm64"), "{refusal}");
    let refusal = run(caller, cache.path(), &image("none"), &[], &[]).refused(125);
    assert!(refusal.contains("no image none") && refusal.contains("many, arm"), "{refusal}");
    let refusal = run(caller, cache.path(), &oci(&layout), &[], &[]).refused(125);
    assert!(refusal.contains("several images"), "{refusal}");
}

#[test]
fn volumes_of_an_image_stay_writable_in_a_read_only_root() {
    for caller in callers() {
        let layer = LayerMaker::new()
            .add("data/", Item::Directory, 0o755, (1234, 5678))
            .file("data/there", "already\n")
            .symlink("outside", "/../../../../../../data")
            .finish();
        let config = json!({ "User": "app", "Volumes": { "/data": {}, "/outside": {}, "/new": {} } });
        let image = ImageMaker::new(config).layer(busybox(), Stored::Gzip).layer(layer, Stored::Gzip);
        let (layout, cache) = (image.layout(caller), private_cache(caller));
        let script = "cat /data/there; echo x > /data/x && cat /data/x; ls /new; echo x > /x || echo refused";
        let outcome = run(caller, cache.path(), &oci(&layout), &["--read-only"], &["sh", "-c", script]);
        assert_eq!(outcome.stdout, "already\nx\nrefused\n", "{caller:?} {outcome:?}");
    }
}

#[test]
fn many_first_runs_at_the_same_time_unpack_once() {
    for caller in callers() {
        let (layout, cache) = (layered().layout(caller), private_cache(caller));
        let start = || {
            let mut command = usk(caller, cache.path(), &oci(&layout), &["--entrypoint", "/bin/pwd"], &[]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("usk can be started")
        };
        let children: Vec<_> = (0..6).map(|_| start()).collect();
        for child in children {
            let outcome = Outcome::from(child.wait_with_output().expect("it ends"));
            assert_eq!(outcome.succeeded(), "/made/for it\n", "{caller:?}");
        }
        let count = |name: &str| fs::read_dir(cache.path().join("images-1").join(name)).unwrap().count();
        assert_eq!((count("layers"), count("roots"), count("unfinished")), (3, 1, 0));
    }
}

#[test]
fn layers_are_shared_by_images_and_read_once() {
    let caller = Caller::Myself;
    let cache = private_cache(caller);
    let config = || json!({ "Cmd": ["/bin/cat", "/file"] });
    let one = LayerMaker::new().file("file", "one\n").finish();
    let other = LayerMaker::new().file("file", "other\n").finish();
    let one =
        ImageMaker::new(config()).layer(busybox(), Stored::Gzip).layer(one, Stored::Gzip).layout(caller);
    let other =
        ImageMaker::new(config()).layer(busybox(), Stored::Zstd).layer(other, Stored::Gzip).layout(caller);
    assert_eq!(run(caller, cache.path(), &oci(&one), &[], &[]).succeeded(), "one\n");
    assert_eq!(run(caller, cache.path(), &oci(&other), &[], &[]).succeeded(), "other\n");
    assert_eq!(fs::read_dir(cache.path().join("images-1/layers")).unwrap().count(), 3);
    // What is in the cache needs no layers any more, only to be named.
    for blob in fs::read_dir(one.path().join("blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        if fs::read(&path).unwrap().starts_with(&[0x1f, 0x8b]) {
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(run(caller, cache.path(), &oci(&one), &[], &[]).succeeded(), "one\n");
}

/// An image so large that unpacking it takes a while.
fn large(caller: Caller) -> TempDir {
    let large = LayerMaker::new().add("large", Item::File(vec![b'x'; 64 << 20]), 0o644, (0, 0)).finish();
    let image = ImageMaker::new(json!({ "Cmd": ["/bin/wc", "-c", "/large"] }));
    image.layer(large, Stored::Plain).layer(busybox(), Stored::Gzip).layout(caller)
}

#[test]
fn the_process_that_unpacks_has_the_cache_and_nothing_else() {
    // Others may not look at it.
    if !is_root() {
        return;
    }
    for caller in callers() {
        let (layout, cache) = (large(caller), private_cache(caller));
        let mut command = usk(caller, cache.path(), &oci(&layout), &[], &[]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("usk can be started");
        let monitor = i32::try_from(child.id()).expect("a process id");
        let is_unpacker = |process: &Process| {
            let ready = process.status().is_ok_and(|status| status.seccomp == Some(2));
            ready && process.stat().is_ok_and(|stat| stat.ppid == monitor && stat.comm == "usk-unpack")
        };
        let unpacker = loop {
            let found = all_processes().expect("processes").flatten().find(is_unpacker);
            if let Some(found) = found {
                break found;
            }
            assert!(child.try_wait().expect("it can be waited for").is_none(), "it was too quick");
        };
        let pid = rustix::process::Pid::from_raw(unpacker.pid).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it can be stopped");
        let status = unpacker.status().expect("its status");
        assert_eq!(
            (status.capeff, status.capprm, status.capinh, status.capbnd),
            (0, 0, 0, Some(0)),
            "{caller:?}"
        );
        assert_eq!((status.nonewprivs, status.seccomp), (Some(1), Some(2)), "{caller:?}");
        let root = format!("/proc/{}/root", unpacker.pid);
        let mut names: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["layers", "lock", "roots", "unfinished"], "{caller:?}");
        let mounts = unpacker.mountinfo().expect("its mounts").0;
        assert_eq!(mounts.len(), 1, "{caller:?} {mounts:?}");
        for namespace in ["net", "pid", "ipc", "uts", "mnt"] {
            let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
            assert_ne!(link(&unpacker.pid.to_string()), link("self"), "{caller:?} {namespace}");
        }
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("it can go on");
        let outcome = Outcome::from(child.wait_with_output().expect("it ends"));
        assert_eq!(outcome.stdout, "67108864 /large\n", "{caller:?}");
    }
}

#[test]
fn what_was_interrupted_is_not_mistaken_for_a_layer() {
    let caller = Caller::Myself;
    let cache = private_cache(caller);
    let layout = large(caller);
    let unfinished = cache.path().join("images-1/unfinished/layer/tree");
    let mut child = usk(caller, cache.path(), &oci(&layout), &[], &[]).spawn().expect("usk can be started");
    while !unfinished.exists() {
        assert!(child.try_wait().expect("it can be waited for").is_none(), "it was too quick");
        std::thread::yield_now();
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    assert!(unfinished.exists());
    assert_eq!(fs::read_dir(cache.path().join("images-1/layers")).unwrap().count(), 0);
    assert_eq!(run(caller, cache.path(), &oci(&layout), &[], &[]).succeeded(), "67108864 /large\n");
    assert!(!unfinished.exists());
}

#[test]
fn hostile_layers_are_refused_by_the_name_of_their_entry() {
    let caller = Caller::Myself;
    let cases: Vec<(&str, LayerMaker, &str)> = vec![
        ("../outside", LayerMaker::new().file("../outside", "x"), "'..'"),
        ("a/../../outside", LayerMaker::new().file("a/../../outside", "x"), "'..'"),
        ("out/file", LayerMaker::new().symlink("out", "/tmp").file("out/file", "x"), "not followed"),
        ("out/d/", LayerMaker::new().symlink("out", ".").directory("out/d/"), "not followed"),
        ("hard", LayerMaker::new().add("hard", Item::HardLink("/etc/passwd"), 0o644, (0, 0)), "etc/passwd"),
        ("hard", LayerMaker::new().add("hard", Item::HardLink("../../etc/passwd"), 0o644, (0, 0)), "'..'"),
        (
            "hard",
            LayerMaker::new().symlink("l", "/etc").add("hard", Item::HardLink("l/passwd"), 0o644, (0, 0)),
            "l/passwd",
        ),
        ("disk", LayerMaker::new().add("disk", Item::Device, 0o666, (0, 0)), "device"),
        ("a/.wh...", LayerMaker::new().file("a/.wh...", ""), "no name"),
        ("file", LayerMaker::new().add("file", Item::Directory, 0o755, (u64::from(u32::MAX), 0)), "owner"),
    ];
    for (entry, layer, why) in cases {
        let cache = private_cache(caller);
        let layout = ImageMaker::new(json!({})).layer(layer.finish(), Stored::Plain).layout(caller);
        let refusal = run(caller, cache.path(), &oci(&layout), &[], &["true"]).refused(125);
        assert!(refusal.contains(&format!("entry {entry}: ")) && refusal.contains(why), "{entry}: {refusal}");
        for name in ["layers", "roots", "unfinished"] {
            let directory = cache.path().join("images-1").join(name);
            assert_eq!(fs::read_dir(directory).unwrap().count(), 0, "{entry}: {name}");
        }
    }
}

#[test]
fn a_hard_link_to_a_layer_below_is_refused_by_its_name() {
    // Layers are unpacked by themselves, as Docker does it: what is linked to is part of the same layer.
    let caller = Caller::Myself;
    let link = LayerMaker::new().add("bin/again", Item::HardLink("bin/busybox"), 0o755, (0, 0));
    let image = ImageMaker::new(json!({})).layer(busybox(), Stored::Gzip).layer(link.finish(), Stored::Gzip);
    let (layout, cache) = (image.layout(caller), private_cache(caller));
    let refusal = run(caller, cache.path(), &oci(&layout), &[], &["true"]).refused(125);
    assert!(refusal.contains("entry bin/again: ") && refusal.contains("bin/busybox"), "{refusal}");
}

#[test]
fn absolute_names_are_those_of_the_root_and_devices_in_dev_are_the_sandboxs_own() {
    let caller = Caller::Myself;
    let cache = private_cache(caller);
    let layer = LayerMaker::new()
        .file("//absolute", "inside\n")
        .directory("dev/")
        .add("dev/sda", Item::Device, 0o666, (0, 0))
        .finish();
    let image = ImageMaker::new(json!({ "Cmd": ["sh", "-c", "cat /absolute; ls /dev/null; ls /dev/sda"] }));
    let layout = image.layer(busybox(), Stored::Gzip).layer(layer, Stored::Gzip).layout(caller);
    let outcome = run(caller, cache.path(), &oci(&layout), &[], &[]);
    assert_eq!(outcome.stdout, "inside\n/dev/null\n");
    assert!(!Path::new("/absolute").exists());
}

#[test]
fn what_is_damaged_or_missing_is_said_in_one_line() {
    let caller = Caller::Myself;
    let image = || ImageMaker::new(json!({ "Cmd": ["true"] })).layer(busybox(), Stored::Gzip);
    let blob = |layout: &TempDir, is: fn(&[u8]) -> bool| {
        let mut blobs =
            fs::read_dir(layout.path().join("blobs/sha256")).unwrap().map(|blob| blob.unwrap().path());
        blobs.find(|path| is(&fs::read(path).unwrap())).unwrap()
    };
    let is_layer: fn(&[u8]) -> bool = |bytes| bytes.starts_with(&[0x1f, 0x8b]);
    let is_manifest: fn(&[u8]) -> bool =
        |bytes| bytes.windows(8).any(|part| part == b"\"layers\"") && bytes.starts_with(b"{\"config\"");
    let refusal = |layout: &TempDir| {
        let cache = private_cache(caller);
        run(caller, cache.path(), &oci(layout), &[], &[]).refused(125)
    };
    let layout = image().layout(caller);
    let layer = blob(&layout, is_layer);
    let bytes = fs::read(&layer).unwrap();
    fs::write(&layer, &bytes[..bytes.len() / 2]).unwrap();
    assert!(refusal(&layout).contains("layer 1 of 1"), "{}", refusal(&layout));
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&layer, flipped).unwrap();
    assert!(refusal(&layout).contains("layer 1 of 1"), "{}", refusal(&layout));
    fs::remove_file(&layer).unwrap();
    assert!(refusal(&layout).contains("missing"), "{}", refusal(&layout));
    fs::write(blob(&layout, is_manifest), "{}").unwrap();
    assert!(refusal(&layout).contains("damaged"), "{}", refusal(&layout));
    fs::write(layout.path().join("index.json"), "[").unwrap();
    assert!(refusal(&layout).contains("index.json"), "{}", refusal(&layout));
    fs::remove_file(layout.path().join("oci-layout")).unwrap();
    assert!(refusal(&layout).contains("no image layout"), "{}", refusal(&layout));

    let cache = private_cache(caller);
    let (_directory, archive) = image().docker_archive(caller);
    let reference = format!("docker-archive:{}", text(&archive));
    let bytes = fs::read(&archive).unwrap();
    fs::write(&archive, &bytes[..bytes.len() / 2]).unwrap();
    let truncated = run(caller, cache.path(), &reference, &[], &[]).refused(125);
    assert!(truncated.contains("truncated"), "{truncated}");
    for (reference, why) in [
        ("oci:/no/such/place", "No such file"),
        ("docker-archive:/no/such/place", "No such file"),
        ("docker-archive:/usr", "write oci:"),
        ("oci:/etc/passwd", "docker-archive:"),
        ("docker://debian", "oci:DIR"),
        ("docker-archive:/etc/passwd", "not a tar archive"),
    ] {
        let refusal = run(caller, cache.path(), reference, &[], &["true"]).refused(125);
        assert!(refusal.contains(why), "{reference}: {refusal}");
    }
}

#[test]
fn a_full_disk_is_said_to_be_full_and_leaves_nothing() {
    let caller = Caller::Myself;
    let large = LayerMaker::new().add("large", Item::File(vec![b'x'; 8 << 20]), 0o644, (0, 0)).finish();
    let layout = ImageMaker::new(json!({ "Cmd": ["true"] })).layer(large, Stored::Gzip).layout(caller);
    let place = directory_of(caller);
    let usk = caller.usk();
    let script = "mount -t tmpfs -o size=2m,mode=700 full \"$1\" && \"$2\" run --image \"$3\" --image-cache \"$1\"; \
                  echo $?; find \"$1\" -path '*un*/*'";
    // In mounts of its own, which nobody else sees.
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh", text(place.path())]);
    let outcome =
        Outcome::from(command.arg(usk.get_program()).arg(oci(&layout)).output().expect("unshare runs"));
    assert_eq!(outcome.stdout, "125\n", "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    for word in ["entry large", "No space left", "usk image prune"] {
        assert!(outcome.stderr.contains(word), "{word}: {outcome:?}");
    }
}

#[test]
fn a_cache_that_others_may_change_is_refused() {
    let caller = Caller::Myself;
    let (layout, cache) = (layered().layout(caller), directory_of(caller));
    fs::set_permissions(cache.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let refusal = run(caller, cache.path(), &oci(&layout), &[], &[]).refused(125);
    assert!(refusal.contains("others may change it"), "{refusal}");
}

#[test]
fn images_are_listed_and_pruned_but_not_under_a_running_sandbox() {
    for caller in callers() {
        let (layout, cache) = (layered().layout(caller), private_cache(caller));
        let image = |verb: &str| {
            let mut usk = caller.usk();
            usk.args(["image", verb, "--image-cache", text(cache.path())]);
            Outcome::from(usk.output().expect("usk can be started")).succeeded()
        };
        assert_eq!(image("list").lines().count(), 1);
        let script = "echo ready; cat; cat /data/kept";
        let mut command =
            usk(caller, cache.path(), &oci(&layout), &["--entrypoint", ""], &["sh", "-c", script]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("usk can be started");
        let mut ready = [0; 6];
        let mut output = child.stdout.take().expect("a pipe");
        std::io::Read::read_exact(&mut output, &mut ready).expect("it is ready");
        let listed = image("list");
        let line = listed.lines().nth(1).expect("a root");
        assert!(line.contains(text(layout.path())) && line.contains("yes"), "{listed}");
        assert_eq!(image("prune"), "removed 0 roots and 0 layers\n");
        drop(child.stdin.take());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut output, &mut rest).expect("it goes on");
        assert_eq!(rest, "lower\n");
        assert!(child.wait().expect("it ends").success());
        assert!(image("list").contains("no"), "{listed}");
        assert_eq!(image("prune"), "removed 1 root and 3 layers\n");
        assert_eq!(image("list").lines().count(), 1);
        assert!(run(caller, cache.path(), &oci(&layout), &[], &[]).succeeded().starts_with("from the image"));
    }
}
