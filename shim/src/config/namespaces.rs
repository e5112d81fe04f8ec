//! Namespaces. The sandbox's kernel has its own of every kind; of the host's only the network matters: engines look for
//! it at the container's process, and set it up there.

use std::path::PathBuf;

use anyhow::{Result, bail};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::log;

/// Where the network namespace of the container's process comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// It is the caller's.
    Callers,
    /// It is made.
    New,
    /// It is joined.
    Joined(PathBuf),
}

pub(super) fn network(spec: &Spec) -> Result<Network> {
    let mut network = Network::Callers;
    let Some(linux) = spec.linux() else { return Ok(network) };
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let path = namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty());
        if let Some(path) = path
            && !path.is_absolute()
        {
            bail!("linux.namespaces[{index}].path: {path:?} is not absolute");
        }
        match (namespace.typ(), path) {
            (LinuxNamespaceType::Network, None) => network = Network::New,
            (LinuxNamespaceType::Network, Some(path)) => network = Network::Joined(path.clone()),
            (LinuxNamespaceType::Mount | LinuxNamespaceType::User, Some(_)) => bail!(
                "linux.namespaces[{index}].path: the sandbox's mounts and users are its own; it cannot join others"
            ),
            (kind, Some(path)) => log::debug(&format!(
                "linux.namespaces[{index}]: {kind:?} {} is not joined: the guest's kernel is not the host's",
                path.display()
            )),
            (_, None) => {}
        }
    }
    Ok(network)
}
