//! Container runtimes with the command line of runc: runc, crun, gVisor's runsc. Each job is a bundle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::unistd::{getegid, geteuid};
use serde_json::{Value, json};

use super::{Invocation, Job, SANDBOX_SCRATCH};
use crate::bench::place::Place;

/// What Docker leaves to root in a container.
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Where gVisor's runsc has the programs that it starts, its sentry among them: a directory beside itself, or beside what
/// a link to it leads to. Before July 2026 it was all of them.
const SIDECARS: &str = "gvisor-bin";

/// The programs that a runsc starts.
pub(super) fn sidecars(runsc: &Path) -> Vec<PathBuf> {
    let resolved = fs::canonicalize(runsc).unwrap_or_else(|_| runsc.to_owned());
    let listed =
        [runsc, &resolved].into_iter().find_map(|runsc| fs::read_dir(runsc.parent()?.join(SIDECARS)).ok());
    listed.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// A bundle for this job, and the command that runs it.
pub(super) fn invocation(
    program: &Path,
    options: &[String],
    place: &Place,
    job: &Job,
    environment: &[(String, String)],
) -> Result<Invocation> {
    let root = place.root().context("container runtimes need root: run as root")?;
    let id = format!("usk-bench-{}-{}", std::process::id(), place.next_number());
    let bundle = place.bundles().join(&id);
    fs::create_dir_all(&bundle).with_context(|| format!("cannot make {}", bundle.display()))?;
    let text = configuration(root, job, environment).to_string();
    fs::write(bundle.join("config.json"), text).context("cannot write a container's config.json")?;
    let command_for = |verb: &[&str]| {
        let mut command = Command::new(program);
        command.arg("--root").arg(place.bundles().join("state")).args(options).args(verb);
        command.env_clear().envs(environment.iter().cloned());
        command
    };
    let mut command = command_for(&["run", "--bundle"]);
    command.arg(&bundle).arg(&id);
    let clean_up = Some(command_for(&["delete", "--force", &id]));
    Ok(Invocation { command, needs_root: true, clean_up, directory: Some(bundle) })
}

fn configuration(root: &Path, job: &Job, environment: &[(String, String)]) -> Value {
    let arguments: Vec<_> = job.arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    let environment: Vec<_> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let user = job.user.unwrap_or(geteuid().as_raw());
    let group = job.user.unwrap_or(getegid().as_raw());
    let capabilities = if user == 0 { CAPABILITIES } else { &[] };
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    let namespaces = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({ "type": kind }));
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": user, "gid": group },
            "args": arguments,
            "env": environment,
            "cwd": SANDBOX_SCRATCH,
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
            "noNewPrivileges": true,
        },
        "root": { "path": root, "readonly": true },
        "hostname": "bench",
        "mounts": [
            mount("/proc", "proc", &[]),
            mount("/dev", "tmpfs", &["nosuid", "mode=755"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
            mount(SANDBOX_SCRATCH, "tmpfs", &["nosuid", "nodev", "mode=1777"]),
        ],
        "linux": { "namespaces": namespaces },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sidecars_of_runsc_are_found_through_a_link_too() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().canonicalize().unwrap();
        let (installed, link) = (top.join("opt/runsc"), top.join("runsc"));
        let sentry = top.join("opt/gvisor-bin/gvisor_sentry");
        fs::create_dir_all(sentry.parent().unwrap()).unwrap();
        fs::write(&installed, "").unwrap();
        assert!(sidecars(&installed).is_empty());
        fs::write(&sentry, "").unwrap();
        std::os::unix::fs::symlink(&installed, &link).unwrap();
        assert_eq!(sidecars(&installed), std::slice::from_ref(&sentry));
        assert_eq!(sidecars(&link), [sentry]);
    }
}
