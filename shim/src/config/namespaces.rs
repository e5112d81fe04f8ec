//! Namespaces. The sandbox's kernel has its own of every kind. Of the host's some matter, as engines look for them at the
//! container's process: the network, which they set up there, the names, which other containers of a pod join, and for the same
//! reason that of interprocess communication, although no object of the guests' is in it. The clocks of the sandbox are the host's,
//! and so a time namespace of the host's counts.

use std::path::PathBuf;

use anyhow::{Result, bail};
use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType, Spec};

use crate::log;

/// Where a namespace of the container's process comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is the caller's.
    Callers,
    /// It is made.
    New,
    /// It is joined.
    Joined(PathBuf),
}

/// The namespaces of the container's process that are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespaces {
    /// Interfaces, routes, ports.
    pub network: Origin,
    /// Host and domain name.
    pub names: Origin,
    /// System V objects and POSIX message queues: those of the host, which no guest reaches.
    pub ipc: Origin,
    /// What is seen of cgroups.
    pub cgroup: Origin,
    /// What monotonic clocks show.
    pub clocks: Origin,
    /// What tools of the host find at the container's process: the container's files in a new one. None is joined.
    pub mounts: Origin,
    /// The one whose users are the container's.
    pub users: Option<PathBuf>,
}

pub(super) fn namespaces(spec: &Spec) -> Result<Namespaces> {
    let mut found = Namespaces {
        network: Origin::Callers,
        names: Origin::Callers,
        ipc: Origin::Callers,
        cgroup: Origin::Callers,
        clocks: Origin::Callers,
        mounts: Origin::Callers,
        users: None,
    };
    let Some(linux) = spec.linux() else { return Ok(found) };
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let path = namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty());
        if let Some(path) = path
            && !path.is_absolute()
        {
            bail!("linux.namespaces[{index}].path: {path:?} is not absolute");
        }
        let is_twice =
            |(at, earlier): (usize, &LinuxNamespace)| at < index && earlier.typ() == namespace.typ();
        if linux.namespaces().iter().flatten().enumerate().any(is_twice) {
            bail!("linux.namespaces[{index}].type: {} is there twice", namespace.typ());
        }
        match (namespace.typ(), path) {
            (LinuxNamespaceType::Network, None) => found.network = Origin::New,
            (LinuxNamespaceType::Network, Some(path)) => found.network = Origin::Joined(path.clone()),
            (LinuxNamespaceType::Uts, None) => found.names = Origin::New,
            (LinuxNamespaceType::Uts, Some(path)) => found.names = Origin::Joined(path.clone()),
            (LinuxNamespaceType::Mount, None) => found.mounts = Origin::New,
            (LinuxNamespaceType::Mount, Some(_)) => bail!(
                "linux.namespaces[{index}].path: the mounts of a sandbox are its own: leave the path out, and list in 'mounts' what \
                 the container shall see"
            ),
            (LinuxNamespaceType::User, Some(path)) => found.users = Some(path.clone()),
            (LinuxNamespaceType::Pid, Some(_)) => bail!(
                "linux.namespaces[{index}].path: the processes of a sandbox are its own, and those of other containers are not \
                 among them: leave the path out, or run both in one container"
            ),
            (LinuxNamespaceType::Time, None) => found.clocks = Origin::New,
            (LinuxNamespaceType::Time, Some(path)) => found.clocks = Origin::Joined(path.clone()),
            (LinuxNamespaceType::Ipc, None) => found.ipc = Origin::New,
            // The objects are the sandbox's own in any case: the containers of a pod, which engines let join one another, do
            // not share them.
            (LinuxNamespaceType::Ipc, Some(path)) => {
                log::debug(&format!(
                    "linux.namespaces[{index}]: the container has its own System V objects and message queues, not those \
                     of {}",
                    path.display()
                ));
                found.ipc = Origin::Joined(path.clone());
            }
            (LinuxNamespaceType::Cgroup, None) => found.cgroup = Origin::New,
            (LinuxNamespaceType::Cgroup, Some(path)) => found.cgroup = Origin::Joined(path.clone()),
            (_, None) => {}
        }
    }
    Ok(found)
}

/// How much the clocks of a new time namespace are ahead of the host's, as `/proc/PID/timens_offsets` takes it
/// (time_namespaces(7)).
pub(super) fn clock_offsets(linux: &Linux, clocks: &Origin) -> Result<String> {
    let mut lines = String::new();
    for (clock, offset) in linux.time_offsets().iter().flatten() {
        if !["monotonic", "boottime"].contains(&clock.as_str()) {
            bail!(
                "linux.timeOffsets: of the clocks 'monotonic' and 'boottime' can be shifted, not {clock:?}"
            );
        }
        let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        if (seconds, nanoseconds) == (0, 0) {
            continue;
        }
        if *clocks != Origin::New {
            bail!(
                "linux.timeOffsets: {clock}: its secs and nanosecs are not 0, and the host shifts clocks in a new time namespace only: \
                 add one to linux.namespaces, without a path"
            );
        }
        lines.push_str(&format!("{clock} {seconds} {nanoseconds}\n"));
    }
    Ok(lines)
}
