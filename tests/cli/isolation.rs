//! What the processes of a sandbox can reach, seen from the host.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use procfs::process::{FDTarget, Process};

use crate::caller::{Caller, is_root};
use crate::sandbox::{Held, PLATFORMS, everybody};

fn namespaces(pid: i32) -> HashMap<OsString, u64> {
    let all = Process::new(pid).unwrap().namespaces().unwrap();
    all.0.into_iter().map(|(kind, namespace)| (kind, namespace.identifier)).collect()
}

fn differs(pid: i32, kind: &str) -> bool {
    let kind = OsString::from(kind);
    namespaces(pid)[&kind] != namespaces(std::process::id() as i32)[&kind]
}

/// A number in hexadecimal of `/proc/PID/status`.
fn status_bits(pid: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

const CAPABILITY_SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

#[test]
fn the_sentry_and_its_stubs_have_namespaces_of_their_own() {
    for (caller, platform) in everybody() {
        let held = Held::start(caller, platform, &[]);
        let stubs = held.stubs();
        assert!(!stubs.is_empty());
        for pid in stubs.iter().map(|stub| stub.pid).chain([held.sentry]) {
            for kind in ["user", "pid", "mnt", "ipc", "uts", "net"] {
                assert!(differs(pid, kind), "{caller:?}: {kind} of {pid}");
            }
        }
    }
}

#[test]
fn sentry_and_gofer_are_a_session_of_their_own_which_neither_leads() {
    for (caller, platform) in everybody() {
        let held = Held::start(caller, platform, &[]);
        let stat = |pid| Process::new(pid).and_then(|process| process.stat()).expect("a process");
        let (monitor, sentry, gofer) = (stat(held.monitor()), stat(held.sentry), stat(held.gofer));
        assert_eq!(sentry.session, gofer.session);
        for pid in [monitor.session, sentry.pid, gofer.pid] {
            assert_ne!(sentry.session, pid);
        }
        assert_eq!((sentry.pgrp, gofer.pgrp), (sentry.pid, gofer.pid));
        assert_eq!((sentry.tty_nr, gofer.tty_nr), (0, 0));
    }
}

#[test]
fn the_gofer_has_namespaces_of_its_own() {
    for (caller, platform) in everybody() {
        let held = Held::start(caller, platform, &[]);
        for kind in ["pid", "mnt", "ipc", "uts", "net"] {
            assert!(differs(held.gofer, kind), "{caller:?}: {kind}");
        }
        let privileged = caller == Caller::Myself && is_root();
        assert_eq!(differs(held.gofer, "user"), !privileged);
        // One empty network does for both, where the gofer may join the sentry's.
        for (kind, is_shared) in
            [("net", privileged), ("ipc", privileged), ("uts", privileged), ("pid", false), ("mnt", false)]
        {
            let of = |pid| namespaces(pid)[&OsString::from(kind)];
            assert_eq!(of(held.gofer) == of(held.sentry), is_shared, "{caller:?}: {kind}");
        }
    }
}

/// Runs a shell script among mounts of its own, with `$usk` and a `/run` in which there is nothing; then holds a sandbox there.
fn held_after(script: &str) -> Held {
    let mut command = Command::new("unshare");
    let hold = "mount -t tmpfs none /run && eval \"$script\" && exec \"$usk\" hold --status-fd 1 nothing";
    command.args(["--mount", "--propagation", "private", "sh", "-ec", hold]);
    command.env("usk", env!("CARGO_BIN_EXE_usk")).env("script", script).current_dir("/");
    Held::start_command(command)
}

/// The host may take the mounts of `unshare` to be younger than a namespace that is made after it, and not keep that one there.
const FOUND: &str = r#"until "$usk" run true; [ "$(stat -fc %T /run/usk/mnt)" = nsfs ]; do touch -d yesterday /run/usk; done"#;

/// As it may take those of `unshare` itself.
const KEPT_AMONG_THE_HOSTS: &str = "unshare --mount=/run/usk/mnt --propagation unchanged true";

fn namespace_of(pid: i32, kind: &str) -> u64 {
    namespaces(pid)[&OsString::from(kind)]
}

/// What a sandbox has been started beside.
fn kept(held: &Held, kind: &str) -> u64 {
    fs::metadata(format!("/proc/{}/root/run/usk/{kind}", held.monitor())).unwrap().ino()
}

#[test]
fn sandboxes_of_a_privileged_caller_share_namespaces_in_which_there_is_nothing() {
    if !is_root() {
        return;
    }
    let [one, other] = PLATFORMS.map(|platform| Held::start(Caller::Myself, platform, &[]));
    for (kind, is_shared) in
        [("net", true), ("ipc", true), ("uts", true), ("mnt", true), ("pid", false), ("user", false)]
    {
        assert_eq!(namespace_of(one.sentry, kind) == namespace_of(other.sentry, kind), is_shared, "{kind}");
    }
    assert_ne!(namespace_of(one.gofer, "mnt"), namespace_of(other.gofer, "mnt"));
    let network = fs::read_to_string(format!("/proc/{}/net/dev", one.sentry)).unwrap();
    let names: Vec<_> = network.lines().skip(2).map(|line| line.split(':').next().unwrap().trim()).collect();
    assert_eq!(names, ["lo"]);
    let addresses = fs::read_to_string(format!("/proc/{}/net/fib_trie", one.sentry)).unwrap();
    assert_eq!(addresses, "", "the loopback is down");
}

#[test]
fn a_first_sandbox_leaves_its_empty_namespaces_to_the_next_ones() {
    if !is_root() {
        return;
    }
    let held = held_after(FOUND);
    for kind in ["net", "ipc", "uts", "mnt"] {
        assert_eq!(kept(&held, kind), namespace_of(held.sentry, kind), "{kind}");
    }
}

#[test]
fn namespaces_that_are_missing_are_made_again_after_a_while() {
    if !is_root() {
        return;
    }
    let held = held_after(&format!("{FOUND}; umount /run/usk/net; touch -d yesterday /run/usk; {FOUND}"));
    assert_eq!(kept(&held, "net"), namespace_of(held.sentry, "net"));
    // In place of the others, not on top of them.
    let mounts = Process::new(held.monitor()).unwrap().mountinfo().unwrap();
    let mounts = || mounts.iter().filter(|mount| mount.mount_point.starts_with("/run/usk"));
    assert!(mounts().count() >= 4);
    assert!(!mounts().any(|mount| mounts().any(|below| below.mnt_id == mount.pid)));
}

/// Runs a shell script, with `$usk` and `$etc`, a directory for settings, among the mounts that a sandbox has been started among.
fn beside(held: &Held, script: &str) {
    let mut command = Command::new("nsenter");
    command.args(["--mount", "--target", &held.monitor().to_string(), "sh", "-ec", script]);
    let output = command.env("usk", env!("CARGO_BIN_EXE_usk")).env("etc", "/run/etc").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

const UNINSTALL: &str = r#""$usk" uninstall --etc "$etc" podman"#;

#[test]
fn uninstalling_removes_shared_namespaces_and_leaves_them_to_who_is_in_them() {
    if !is_root() {
        return;
    }
    let held = held_after(FOUND);
    let its_own = || ["net", "ipc", "uts", "mnt"].map(|kind| namespace_of(held.sentry, kind));
    // The host's own are below what lies over its `/run`.
    let mounts = || Process::new(held.monitor()).unwrap().mountinfo().unwrap().into_iter();
    let mounts = || mounts().filter(|mount| mount.mount_point.starts_with("/run/usk")).count();
    let (before, mounted) = (its_own(), mounts());
    beside(&held, &format!("{UNINSTALL}; [ ! -e /run/usk ]; {UNINSTALL}"));
    assert_eq!(mounted - mounts(), 4);
    beside(&held, FOUND);
    assert_eq!(its_own(), before);
    let made_again = ["net", "ipc", "uts", "mnt"].map(|kind| kept(&held, kind));
    assert!(made_again.iter().all(|made| !before.contains(made)), "{made_again:?} {before:?}");
}

#[test]
fn sandboxes_start_while_shared_namespaces_are_removed() {
    if !is_root() {
        return;
    }
    let held = held_after("true");
    beside(
        &held,
        &format!(r#"for _ in $(seq 20); do "$usk" run true & {UNINSTALL}; {UNINSTALL}; wait $!; done"#),
    );
}

#[test]
fn namespaces_in_which_there_is_something_are_not_used() {
    if !is_root() {
        return;
    }
    let files = format!("umount /run/usk/mnt; until {KEPT_AMONG_THE_HOSTS}; do :; done");
    for (what, script) in [
        ("the loopback is up", "nsenter --net=/run/usk/net ip link set lo up"),
        ("another interface", "nsenter --net=/run/usk/net ip link add other type bridge"),
        ("files", &files),
        ("the host's own", "umount /run/usk/net; mount --bind /proc/self/ns/net /run/usk/net"),
        ("none", "umount /run/usk/net"),
        ("others may have been there", "chmod 777 /run/usk"),
    ] {
        let held = held_after(&format!("{FOUND}; {script}"));
        for kind in ["net", "ipc", "uts", "mnt"] {
            assert_ne!(namespace_of(held.sentry, kind), kept(&held, kind), "{what}: {kind}");
            assert!(differs(held.sentry, kind), "{what}: {kind}");
        }
        assert_eq!(namespace_of(held.gofer, "net"), namespace_of(held.sentry, "net"), "{what}");
        let root = PathBuf::from(format!("/proc/{}/root", held.sentry));
        assert_eq!(fs::read_dir(root).unwrap().count(), 0, "{what}");
    }
}

#[test]
fn the_sentry_and_its_stubs_have_no_capability_and_cannot_gain_any() {
    for (caller, platform) in everybody() {
        let held = Held::start(caller, platform, &[]);
        for pid in held.stubs().iter().map(|stub| stub.pid).chain([held.sentry]) {
            for set in CAPABILITY_SETS {
                assert_eq!(status_bits(pid, set), 0, "{caller:?}: {set} of {pid}");
            }
            assert_eq!(status_bits(pid, "NoNewPrivs"), 1);
            assert_eq!(status_bits(pid, "Seccomp"), 2);
        }
    }
}

#[test]
fn the_gofer_keeps_only_what_files_need() {
    // CAP_CHOWN to CAP_FSETID.
    const FILES: u64 = 0b1_1111;
    for (caller, platform) in everybody() {
        let held = Held::start(caller, platform, &["-v", "/usr/share:/data"]);
        let privileged = caller == Caller::Myself && is_root();
        let allowed = if privileged { FILES } else { 0 };
        for set in CAPABILITY_SETS {
            assert_eq!(status_bits(held.gofer, set) & !allowed, 0, "{caller:?}: {set}");
        }
        assert_eq!(status_bits(held.gofer, "NoNewPrivs"), 1);
    }
}

#[test]
fn a_privileged_callers_sentry_is_a_user_that_nobody_else_is() {
    if !is_root() {
        return;
    }
    let held = Held::start(Caller::Myself, PLATFORMS[0], &[]);
    for pid in held.stubs().iter().map(|stub| stub.pid).chain([held.sentry]) {
        let status = Process::new(pid).unwrap().status().unwrap();
        for id in [status.ruid, status.euid, status.suid, status.fuid, status.rgid, status.egid] {
            assert!(id >= 0x7000_0000 || id == 65534, "{id}");
        }
        assert!(status.groups.is_empty());
    }
}

#[test]
fn the_sentrys_root_is_empty_and_read_only() {
    for (caller, platform) in everybody() {
        let held = Held::start(caller, platform, &[]);
        for pid in held.stubs().iter().map(|stub| stub.pid).chain([held.sentry]) {
            let root = PathBuf::from(format!("/proc/{pid}/root"));
            assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
            assert!(fs::write(root.join("file"), b"").is_err());
            let mounts = Process::new(pid).unwrap().mountinfo().unwrap();
            assert_eq!(mounts.0.len(), 1, "{:?}", mounts.0);
            assert_eq!(mounts.0[0].fs_type, "tmpfs");
            assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
        }
    }
}

#[test]
fn the_sentry_has_only_the_descriptors_it_was_given() {
    for (caller, platform) in everybody() {
        let held = Held::start(caller, platform, &[]);
        for descriptor in Process::new(held.sentry).unwrap().fd().unwrap() {
            let descriptor = descriptor.unwrap();
            let known = descriptor.fd <= 2
                || matches!(
                    descriptor.target,
                    FDTarget::Socket(_) | FDTarget::AnonInode(_) | FDTarget::MemFD(_)
                );
            assert!(known, "{descriptor:?}");
        }
    }
}

#[test]
fn the_gofer_sees_its_exports_and_nothing_else() {
    for (caller, platform) in everybody() {
        let shared = tempfile::tempdir().unwrap();
        fs::set_permissions(shared.path(), PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(shared.path().join("file"), b"text").unwrap();
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let volume = format!("{}:/data:rw", shared.path().display());
        let held = Held::start(caller, platform, &["--rootfs", root.path().to_str().unwrap(), "-v", &volume]);
        let inside = PathBuf::from(format!("/proc/{}/root", held.gofer));
        let mut names: Vec<_> =
            fs::read_dir(&inside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["0", "1", "empty"]);
        assert_eq!(fs::read_dir(inside.join("0")).unwrap().count(), 0);
        assert_eq!(fs::read(inside.join("1/file")).unwrap(), b"text");
        assert!(fs::write(inside.join("0/new"), b"").is_err(), "the root is read-only");
        assert!(fs::write(inside.join("new"), b"").is_err(), "the gofer's own root is read-only");
        fs::write(inside.join("1/new"), b"").expect("the volume is writable");
    }
}

#[test]
fn the_gofers_descriptors_lead_nowhere_else() {
    for (caller, platform) in everybody() {
        let held = Held::start(caller, platform, &[]);
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", held.gofer)).unwrap();
        let own: Vec<&str> = mounts.lines().map(|line| line.split(' ').next().unwrap()).collect();
        for entry in fs::read_dir(format!("/proc/{}/fdinfo", held.gofer)).unwrap() {
            let entry = entry.unwrap();
            let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
            let path = fs::read_link(format!("/proc/{}/fd/{number}", held.gofer)).unwrap();
            if number == 2 || !path.is_absolute() {
                continue;
            }
            // A directory is on one of the gofer's own mounts, or it is the root of a mount that hangs nowhere:
            // neither has a `..` that leads to the host.
            let info = fs::read_to_string(entry.path()).unwrap();
            let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).unwrap().trim();
            assert!(own.contains(&mount) || path == Path::new("/"), "{number}: {}", path.display());
        }
    }
}

#[test]
fn what_is_hidden_by_a_link_that_climbs_above_the_root_appears_empty() {
    let [links, elsewhere] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for directory in [&links, &elsewhere] {
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    }
    fs::write(elsewhere.path().join("key"), b"secret").unwrap();
    let below_root = elsewhere.path().strip_prefix("/").unwrap();
    let link = links.path().join("link");
    std::os::unix::fs::symlink(Path::new(&"../".repeat(20)).join(below_root), &link).unwrap();
    for (caller, platform) in everybody() {
        let held = Held::start(caller, platform, &["--hide", link.to_str().unwrap()]);
        let shown = PathBuf::from(format!("/proc/{}/root/0", held.gofer)).join(below_root);
        assert_eq!(fs::read_dir(shown).unwrap().count(), 0, "{caller:?}");
    }
}

#[test]
fn secrets_and_the_hosts_kernel_interfaces_appear_empty() {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for secret in [".ssh", ".aws", ".gnupg", ".kube", ".docker", ".config/gh", ".config/other", "work"] {
        fs::create_dir_all(home.path().join(secret)).unwrap();
        fs::write(home.path().join(secret).join("key"), b"secret").unwrap();
    }
    fs::write(home.path().join(".netrc"), b"secret").unwrap();
    for (caller, platform) in everybody() {
        let mut command = caller.usk();
        let volume = format!("{}:/somewhere", home.path().display());
        let netrc = home.path().join(".netrc");
        command.env("HOME", home.path()).args(["hold", "--status-fd", "1", "--platform", platform]);
        command.args([
            "-v",
            &volume,
            "--hide",
            netrc.to_str().unwrap(),
            "--hide",
            "/somewhere/work",
            "nothing",
        ]);
        let held = Held::start_command(command);
        let inside = PathBuf::from(format!("/proc/{}/root", held.gofer));
        let shown = [inside.join("0").join(home.path().strip_prefix("/").unwrap()), inside.join("1")];
        for home in &shown {
            for secret in [".ssh", ".aws", ".gnupg", ".kube", ".docker", ".config/gh"] {
                assert_eq!(fs::read_dir(home.join(secret)).unwrap().count(), 0, "{secret}");
            }
            assert_eq!(fs::read(home.join(".config/other/key")).unwrap(), b"secret");
        }
        assert_eq!(fs::read(shown[0].join(".netrc")).unwrap(), b"");
        assert_eq!(fs::read(shown[0].join("work/key")).unwrap(), b"secret");
        assert_eq!(fs::read_dir(shown[1].join("work")).unwrap().count(), 0);
        for interface in ["proc", "sys", "dev"] {
            assert_eq!(fs::read_dir(inside.join("0").join(interface)).unwrap().count(), 0, "{interface}");
        }
    }
}
