//! Users that a container shares with another, by the path of a user namespace. Those of usk's containers are in the namespace of
//! the gofer alone: what a container has is in its state. Others are asked of the host.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use usk::spec::UserMap;
use usk_abi::Errno;
use usk_platform::host::namespaces::{IdRange, lines};
use usk_platform::host::user_namespace::maps_of;

use crate::container::Container;
use crate::state::{Directory, Maps};

/// The users of the user namespace at a path. Where the configuration says whom they are on the host, it must be right.
pub(crate) fn joined(root: &Path, path: &Path, wanted: Option<&UserMap>) -> Result<Option<UserMap>> {
    let found = match container_of(root, path)? {
        Some(container) => container.state.users,
        None => {
            Some(maps_at(path).with_context(|| format!("linux.namespaces: cannot join {}", path.display()))?)
        }
    };
    let found = found.map(|maps| maps.ranges()).transpose()?;
    if wanted.is_some_and(|wanted| Some(wanted) != found.as_ref()) {
        bail!(
            "linux.uidMappings, linux.gidMappings: they are not those of {}, which linux.namespaces joins: leave them out",
            path.display()
        );
    }
    Ok(found)
}

/// The container that is meant by the path of its process's namespace.
fn container_of(root: &Path, path: &Path) -> Result<Option<Container>> {
    let Some(process) = process_of(path) else { return Ok(None) };
    let all = Directory::all(root)?;
    let mut there = all.iter().filter_map(|id| Container::open(root, id).ok());
    Ok(there.find(|container| container.state.pid == process && container.process().is_some()))
}

/// `/proc/PID/ns/user`
fn process_of(path: &Path) -> Option<i32> {
    let process = path.strip_prefix("/proc").ok()?.parent()?.parent()?.to_str()?;
    process.parse().ok().filter(|_| path.ends_with("ns/user"))
}

fn maps_at(path: &Path) -> Result<Maps> {
    let namespace = File::open(path)?;
    let [users, groups] = maps_of(namespace.as_fd()).map_err(|error| match error {
        Errno::EINVAL => anyhow!(
            "it is none but this runtime's users: leave the path out, and say by uidMappings and gidMappings whom the \
             container's are on the host"
        ),
        other => other.into(),
    })?;
    Ok(Maps { users, groups })
}

impl Maps {
    /// Those of a container, to remember.
    pub(crate) fn of(map: &UserMap) -> Maps {
        Maps { users: lines(&map.users), groups: lines(&map.groups) }
    }

    fn ranges(&self) -> Result<UserMap> {
        let range = |line: &str| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
            let mut next = || numbers.next().flatten();
            Some(IdRange { inner: next()?, outer: next()?, count: next()? })
        };
        let ranges = |text: &str| -> Result<Vec<IdRange>> {
            let ranges: Option<Vec<IdRange>> = text.lines().map(range).collect();
            ranges.with_context(|| format!("linux.namespaces: cannot understand the map {text:?}"))
        };
        Ok(UserMap { users: ranges(&self.users)?, groups: ranges(&self.groups)? })
    }
}
