//! Bundles: a root of busybox, and a configuration to change.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

/// What the tests call by name inside.
const APPLETS: [&str; 28] = [
    "cat", "chown", "dd", "df", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ls",
    "mkdir", "mount", "ps", "pwd", "rm", "seq", "sh", "sleep", "stat", "stty", "touch", "true", "tty",
    "umask", "wc",
];

/// A bundle in a directory of its own.
pub(crate) struct Bundle {
    directory: TempDir,
}

impl Bundle {
    /// One that runs this shell script without a terminal, in a root that can be written to.
    pub(crate) fn of_script(script: &str) -> Bundle {
        Bundle::of_command(&["sh", "-c", script])
    }

    /// The same with any command.
    pub(crate) fn of_command(arguments: &[&str]) -> Bundle {
        Bundle::with(|spec| spec["process"]["args"] = json!(arguments))
    }

    /// One whose configuration is changed.
    pub(crate) fn with(change: impl FnOnce(&mut Value)) -> Bundle {
        let bundle = Bundle { directory: tempfile::tempdir().expect("a directory can be made") };
        make_root(&bundle.rootfs());
        bundle.configure(change);
        bundle
    }

    /// Writes the configuration anew.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut Value)) {
        let mut spec = configuration();
        change(&mut spec);
        let text = serde_json::to_string_pretty(&spec).expect("the configuration is JSON");
        fs::write(self.path().join("config.json"), text).expect("the configuration can be written");
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// A file that is not part of the root.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

fn make_root(root: &Path) {
    for directory in ["bin", "etc", "tmp", "root", "proc", "sys", "dev"] {
        fs::create_dir_all(root.join(directory)).expect("a directory can be made");
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).exists());
    let busybox = busybox.expect("busybox is not installed: run tests/install-packages");
    fs::copy(busybox, root.join("bin/busybox")).expect("busybox can be copied");
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).expect("a link can be made");
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n")
        .expect("the accounts can be written");
}

/// What `runc spec` writes, of version 1.0.2, with a root that can be written to and no terminal.
fn configuration() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["true"],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "box",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] }
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "mount" }
            ]
        }
    })
}
