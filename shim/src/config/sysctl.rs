//! `linux.sysctl`: settings of the kernel. As with runc, only those of the container's own namespaces; the sandbox's
//! kernel keeps them.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::namespaces::Namespaces;
use super::namespaces::Origin;
use crate::log;

/// Those of System V objects and of POSIX message queues, which the kernel knows.
const IPC: [&str; 13] = [
    "fs.mqueue.msg_default",
    "fs.mqueue.msg_max",
    "fs.mqueue.msgsize_default",
    "fs.mqueue.msgsize_max",
    "fs.mqueue.queues_max",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];
/// Those of the network that the kernel knows.
const NETWORK: [&str; 1] = ["net.core.somaxconn"];

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// For the kernel, by names with dots.
    pub(super) values: Vec<(String, String)>,
    /// `kernel.domainname`
    pub(super) domainname: Option<String>,
}

pub(super) fn settings(spec: &Spec, namespaces: &Namespaces) -> Result<Settings> {
    let mut found = Settings::default();
    let Some(linux) = spec.linux() else { return Ok(found) };
    let empty = HashMap::new();
    let mut wanted: Vec<_> = linux.sysctl().as_ref().unwrap_or(&empty).iter().collect();
    wanted.sort();
    let has = |kind| linux.namespaces().iter().flatten().any(|namespace| namespace.typ() == kind);
    for (written, value) in wanted {
        let name = with_dots(written);
        add(&mut found, &name, value, &has, namespaces)
            .with_context(|| format!("linux.sysctl: sysctl {written:?}"))?;
    }
    Ok(found)
}

fn add(
    found: &mut Settings,
    name: &str,
    value: &str,
    has: &impl Fn(LinuxNamespaceType) -> bool,
    namespaces: &Namespaces,
) -> Result<()> {
    let is_queue = name.starts_with("fs.mqueue.");
    if IPC.contains(&name) || is_queue {
        if !has(LinuxNamespaceType::Ipc) {
            bail!("it is not allowed in the hosts ipc namespace");
        }
        if !IPC.contains(&name) {
            bail!("usk's kernel has no setting of this name");
        }
        check_numbers(name, value)?;
    } else if name.starts_with("net.") {
        if namespaces.network == Origin::Callers {
            bail!("it is not allowed in host network namespace");
        }
        if !NETWORK.contains(&name) {
            log::debug(&format!("linux.sysctl: {name} has no effect: the sandbox has no network"));
            return Ok(());
        }
        check_numbers(name, value)?;
    } else if name == "kernel.domainname" && has(LinuxNamespaceType::Uts) {
        found.domainname = Some(value.to_owned());
        return Ok(());
    } else if name == "kernel.hostname" && has(LinuxNamespaceType::Uts) {
        bail!("it is not allowed as it conflicts with the OCI \"hostname\" field");
    } else {
        bail!("it is not in a separate kernel namespace (linux.namespaces)");
    }
    found.values.push((name.to_owned(), value.to_owned()));
    Ok(())
}

/// A value is one number, that of `kernel.sem` up to four.
fn check_numbers(name: &str, value: &str) -> Result<()> {
    let most = if name == "kernel.sem" { 4 } else { 1 };
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    if !(1..=most).contains(&words.len()) || words.iter().any(|word| word.parse::<u64>().is_err()) {
        bail!("{value:?} is no value for it");
    }
    Ok(())
}

/// The name with dots between its parts. Where it is written with slashes, dots are slashes (sysctl(8)).
fn with_dots(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('/') => name
            .chars()
            .map(|c| match c {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: serde_json::Value, kinds: &[&str]) -> Result<Settings> {
        let kinds: Vec<_> = kinds.iter().map(|kind| serde_json::json!({ "type": kind })).collect();
        let spec = serde_json::json!({
            "ociVersion": "1.2.0", "linux": { "sysctl": values, "namespaces": kinds },
        });
        let spec: Spec = serde_json::from_value(spec).unwrap();
        settings(&spec, &super::super::namespaces::namespaces(&spec)?)
    }

    #[test]
    fn names_with_slashes_are_the_same() {
        assert_eq!(with_dots("net/ipv4/conf/eno2.100.rp_filter"), "net.ipv4.conf.eno2/100/rp_filter");
        assert_eq!(with_dots("kernel.shmmax"), "kernel.shmmax");
        let found = with(serde_json::json!({ "kernel/shmmax": "5", "kernel.sem": "1 2" }), &["ipc"]).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(found.values, [pair("kernel.sem", "1 2"), pair("kernel.shmmax", "5")]);
    }

    #[test]
    fn a_setting_of_the_whole_machine_is_refused_as_runc_does() {
        for (name, value, kinds, problem) in [
            ("kernel.shmmax", "5", &[][..], "in the hosts ipc namespace"),
            ("net.core.somaxconn", "5", &["ipc"], "in host network namespace"),
            ("kernel.panic", "5", &["ipc", "uts"], "not in a separate kernel namespace"),
            ("kernel.domainname", "x", &["ipc"], "not in a separate kernel namespace"),
            ("kernel.hostname", "x", &["uts"], "conflicts with the OCI \"hostname\" field"),
            ("vm.swappiness", "5", &["ipc"], "not in a separate kernel namespace"),
            ("fs.mqueue.msg_max", "5", &["uts"], "in the hosts ipc namespace"),
            ("fs.mqueue.moon", "5", &["ipc"], "no setting of this name"),
            ("kernel.shmmax", "much", &["ipc"], "\"much\" is no value"),
            ("kernel.sem", "1 2 3 4 5", &["ipc"], "is no value"),
        ] {
            let error = format!("{:#}", with(serde_json::json!({ name: value }), kinds).unwrap_err());
            assert!(error.starts_with(&format!("linux.sysctl: sysctl {name:?}: ")), "{error}");
            assert!(error.contains(problem), "{error}");
        }
    }
}
