//! Options that say which files the command sees and what becomes of its writes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::caller::{Caller, is_root};
use crate::guest::{Outcome, directory_of, run, shell, text, usk_run};
use crate::sandbox::{PLATFORMS, everybody};

/// A root file system that holds busybox and nothing else.
fn busybox_root(caller: Caller) -> tempfile::TempDir {
    let root = directory_of(caller);
    for directory in ["bin", "etc", "tmp", "work"] {
        fs::create_dir(root.path().join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", root.path().join("bin/busybox")).unwrap();
    for name in ["sh", "cat", "echo", "ls", "id", "env", "mount"] {
        symlink("busybox", root.path().join("bin").join(name)).unwrap();
    }
    fs::write(root.path().join("etc/passwd"), "guest:x:1234:5678::/work:/bin/sh\n").unwrap();
    fs::write(root.path().join("etc/group"), "friends:x:99:guest\n").unwrap();
    root
}

#[test]
fn another_root_is_all_that_the_command_sees() {
    for (caller, platform) in everybody() {
        let root = busybox_root(caller);
        let options = ["--rootfs", text(root.path())];
        let list = shell(caller, platform, &options, "ls /").succeeded();
        assert_eq!(list, "bin\ndev\netc\nproc\nsys\ntmp\nwork\n", "{caller:?} {platform}");
        let home =
            shell(caller, platform, &options, "echo $PATH; [ -e /usr ] || echo nothing else").succeeded();
        assert!(home.contains("/bin") && home.ends_with("nothing else\n"), "{home}");
        // What is written stays in the sandbox.
        let written = "echo new > /etc/new && rm /etc/group && cat /etc/new && ls /etc";
        assert_eq!(shell(caller, platform, &options, written).succeeded(), "new\nnew\npasswd\n");
        assert!(!root.path().join("etc/new").exists() && root.path().join("etc/group").exists());
    }
}

#[test]
fn names_of_users_are_those_of_the_root() {
    for (caller, platform) in everybody() {
        let root = busybox_root(caller);
        let options = ["--rootfs", text(root.path()), "-u", "guest"];
        let script = "id -u; id -g; id -G; echo $HOME";
        assert_eq!(shell(caller, platform, &options, script).succeeded(), "1234\n5678\n5678 99\n/work\n");
    }
}

#[test]
fn volumes_are_read_only_unless_they_say_otherwise() {
    for (caller, platform) in everybody() {
        let (one, other) = (directory_of(caller), directory_of(caller));
        for directory in [&one, &other] {
            let file = directory.path().join("file");
            fs::write(&file, "before\n").unwrap();
            fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
        }
        let read_only = format!("{}:/read", text(one.path()));
        let writable = format!("{}:/write:rw", text(other.path()));
        let script = "cat /read/file /write/file; echo after > /read/file; echo $?; rm /read/file; echo $?; \
                      echo after > /write/file; echo $?; echo new > /write/new; echo $?";
        let outcome = shell(caller, platform, &["-v", &read_only, "-v", &writable], script);
        let output: Vec<&str> = outcome.stdout.split_whitespace().collect();
        assert_eq!(output[..2], ["before", "before"], "{outcome:?}");
        assert!(output[2] != "0" && output[3] != "0", "{outcome:?}");
        assert_eq!(output[4..], ["0", "0"], "{caller:?} {platform}: {outcome:?}");
        assert_eq!(outcome.stderr.matches("Read-only file system").count(), 2, "{outcome:?}");
        assert_eq!(fs::read_to_string(one.path().join("file")).unwrap(), "before\n");
        assert_eq!(fs::read_to_string(other.path().join("file")).unwrap(), "after\n");
        assert_eq!(fs::read_to_string(other.path().join("new")).unwrap(), "new\n");
    }
}

#[test]
fn files_can_be_volumes_and_volumes_can_lie_in_volumes() {
    for (caller, platform) in everybody() {
        let (outer, inner) = (directory_of(caller), directory_of(caller));
        fs::write(outer.path().join("name"), "outer\n").unwrap();
        fs::create_dir(outer.path().join("inner")).unwrap();
        fs::write(inner.path().join("name"), "inner\n").unwrap();
        fs::write(inner.path().join("single"), "a file\n").unwrap();
        // In an order that is not the one in which they must be mounted.
        let volumes = [
            format!("{}:/outer/inner/made", text(&inner.path().join("single"))),
            format!("{}:/outer/inner:rw", text(inner.path())),
            format!("{}:/outer", text(outer.path())),
            format!("{}:/etc/hostname", text(&inner.path().join("single"))),
        ];
        fs::write(inner.path().join("made"), "").unwrap();
        let options: Vec<&str> = volumes.iter().flat_map(|volume| ["-v", volume]).collect();
        let script = "cat /outer/name /outer/inner/name /outer/inner/made /etc/hostname; ls /outer/inner";
        let output = shell(caller, platform, &options, script).succeeded();
        assert_eq!(output, "outer\ninner\na file\na file\nmade\nname\nsingle\n", "{caller:?} {platform}");
    }
}

#[test]
fn device_files_as_volumes_are_those_of_the_sandboxs_kernel() {
    for (caller, platform) in everybody() {
        let options =
            ["-v", "/dev/null:/etc/hostname", "-v", "/dev/zero:/dev/random", "-v", "/dev/full:/new/full"];
        let script = "cat /etc/hostname; echo x > /etc/hostname; head -c 2 /dev/random | tr '\\0' 0; echo; \
                      stat -c %t:%T /etc/hostname /dev/random /new/full; echo x > /new/full || echo full";
        let outcome = shell(caller, platform, &options, script);
        assert_eq!(outcome.stdout, "00\n1:3\n1:5\n1:7\nfull\n", "{caller:?} {platform}: {outcome:?}");
    }
}

#[test]
fn places_of_volumes_are_made_where_they_are_missing() {
    for (caller, platform) in everybody() {
        let root = busybox_root(caller);
        let data = directory_of(caller);
        fs::write(data.path().join("file"), "data\n").unwrap();
        let volume = format!("{}:/deep/down/here", text(data.path()));
        let single = format!("{}:/deep/single", text(&data.path().join("file")));
        let options = ["--rootfs", text(root.path()), "-v", &volume, "-v", &single];
        let output = shell(caller, platform, &options, "cat /deep/down/here/file /deep/single").succeeded();
        assert_eq!(output, "data\ndata\n");
        assert!(!root.path().join("deep").exists());
    }
}

#[test]
fn a_temporary_file_system_is_empty_and_holds_what_it_may() {
    for (caller, platform) in everybody() {
        let options = ["--tmpfs", "/usr/share:size=64k", "--tmpfs", "/srv"];
        let script = "ls -A /usr/share /srv | wc -w; cd /usr/share; head -c 100000 /dev/zero > full; echo $?; \
                      wc -c < full; head -c 100000 /dev/zero > /srv/fits; echo $?";
        let outcome = shell(caller, platform, &options, script);
        // The two lines that `ls` names the directories by.
        assert_eq!(outcome.stdout, "2\n1\n65536\n0\n", "{caller:?} {platform}: {outcome:?}");
        assert!(outcome.stderr.contains("No space left on device"), "{outcome:?}");
    }
}

#[test]
fn a_read_only_root_refuses_writes_and_the_rest_does_not() {
    for (caller, platform) in everybody() {
        let data = directory_of(caller);
        let volume = format!("{}:/mnt:rw", text(data.path()));
        let options = ["--read-only", "--tmpfs", "/tmp", "-v", &volume];
        let script = "echo x > /etc/new; echo $?; mkdir /new; echo $?; echo x > /tmp/file; echo $?; echo x > /mnt/file; \
                      echo $?; echo x > /dev/null; echo $?";
        let outcome = shell(caller, platform, &options, script);
        let output: Vec<&str> = outcome.stdout.split_whitespace().collect();
        assert!(output[0] != "0" && output[1] != "0", "{outcome:?}");
        assert_eq!(output[2..], ["0", "0", "0"], "{caller:?} {platform}: {outcome:?}");
        assert!(data.path().join("file").exists());
    }
}

#[test]
fn hidden_files_and_directories_appear_empty() {
    for (caller, platform) in everybody() {
        let data = directory_of(caller);
        fs::create_dir(data.path().join("secrets")).unwrap();
        fs::write(data.path().join("secrets/key"), "secret").unwrap();
        fs::write(data.path().join("password"), "secret").unwrap();
        let volume = format!("{}:/mnt", text(data.path()));
        let options =
            ["-v", &volume, "--hide", "/mnt/secrets", "--hide", "/mnt/password", "--hide", "/usr/include"];
        let script = "ls -A /mnt/secrets /usr/include | wc -w; wc -c < /mnt/password; cat /mnt/secrets/key";
        let outcome = shell(caller, platform, &options, script);
        assert_eq!(outcome.stdout, "2\n0\n", "{caller:?} {platform}: {outcome:?}");
        assert!(!format!("{outcome:?}").contains("secret\""), "{outcome:?}");
    }
}

#[test]
fn volumes_keep_their_permissions_and_links() {
    for (caller, platform) in everybody() {
        let data = directory_of(caller);
        fs::write(data.path().join("file"), "text\n").unwrap();
        fs::set_permissions(data.path().join("file"), PermissionsExt::from_mode(0o640)).unwrap();
        symlink("file", data.path().join("link")).unwrap();
        symlink("/etc/passwd", data.path().join("absolute")).unwrap();
        let volume = format!("{}:/mnt", text(data.path()));
        let command = ["stat", "-c", "%a %N", "/mnt/file", "/mnt/link", "/mnt/absolute"];
        let output = run(caller, platform, &["-v", &volume], &command).succeeded();
        let expected = "640 '/mnt/file'\n777 '/mnt/link' -> 'file'\n777 '/mnt/absolute' -> '/etc/passwd'\n";
        assert_eq!(output, expected);
    }
}

/// Maps a file to be read, and then a page of it as code over that, as a loader does.
const MAPS_CODE: &str = "\
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
fd = os.open(sys.argv[1], os.O_RDONLY)
whole = libc.mmap(None, 4 * 4096, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_DENYWRITE, fd, 0)
code, fixed = mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE | 0x10
mapped = libc.mmap(whole + 4096, 4096, code, fixed, fd, 4096)
print(mapped == whole + 4096, os.strerror(ctypes.get_errno()))
";

#[test]
fn code_on_a_mount_without_programs_is_refused_as_natively() {
    if !is_root() {
        // Only root can mount.
        return;
    }
    let directory = directory_of(Caller::Myself);
    let script = "mount -t tmpfs -o noexec none $0; head -c 65536 /dev/zero > $0/file; exec \"$@\"";
    let file = format!("{}/file", text(directory.path()));
    let command = ["/usr/bin/python3", "-c", MAPS_CODE, &file];
    let with_mount = |command: &Command| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-ec", script, text(directory.path())]);
        unshare.arg(command.get_program()).args(command.get_args());
        unshare.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Outcome::from(unshare.output().expect("unshare runs")).succeeded()
    };
    let mut native = Command::new(command[0]);
    native.args(&command[1..]);
    let natively = with_mount(&native);
    assert_eq!(natively, "False Operation not permitted\n");
    for platform in PLATFORMS {
        assert_eq!(with_mount(&usk_run(Caller::Myself, platform, &[], &command)), natively, "{platform}");
    }
}
