//! Users that a container shares with another, by the path of a user namespace. Those of usk's containers are in the namespace of
//! the gofer alone: what a container has is in its state. Another runtime's are in the namespace of its process.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use usk::spec::UserMap;
use usk_platform::host::namespaces::IdRange;

use crate::container::Container;
use crate::state::{Directory, Maps};

/// The users of the container that has this process. Where the configuration says whom they are on the host, it must be right.
pub(crate) fn joined(root: &Path, process: i32, wanted: Option<&UserMap>) -> Result<Option<UserMap>> {
    let maps = match container_of(root, process)? {
        Some(container) => container.state.users,
        None => Some(of_namespace(process)?),
    };
    let found = maps.map(|maps| maps.ranges()).transpose()?;
    if wanted.is_some_and(|wanted| Some(wanted) != found.as_ref()) {
        bail!(
            "linux.uidMappings, linux.gidMappings: they are not those of process {process}, whose users linux.namespaces joins: \
             leave them out"
        );
    }
    Ok(found)
}

fn container_of(root: &Path, process: i32) -> Result<Option<Container>> {
    let all = Directory::all(root)?;
    let mut there = all.iter().filter_map(|id| Container::open(root, id).ok());
    Ok(there.find(|container| container.state.pid == process && container.process().is_some()))
}

/// The maps as the host shows them: to whom they are on it, as far as this runtime's users are the host's.
fn of_namespace(process: i32) -> Result<Maps> {
    let identity = |process: &str| -> Result<(u64, u64)> {
        let path = format!("/proc/{process}/ns/user");
        let namespace =
            std::fs::metadata(&path).with_context(|| format!("linux.namespaces: cannot look at {path}"))?;
        Ok((namespace.dev(), namespace.ino()))
    };
    if identity(&process.to_string())? == identity("self")? {
        bail!(
            "linux.namespaces: the users of process {process} are the host's: leave the path out, and say by uidMappings and \
             gidMappings whom the container's are on the host"
        );
    }
    let map = |file: &str| {
        let path = format!("/proc/{process}/{file}");
        std::fs::read_to_string(&path).with_context(|| format!("linux.namespaces: cannot read {path}"))
    };
    Ok(Maps { users: map("uid_map")?, groups: map("gid_map")? })
}

impl Maps {
    /// Those of a container, to remember.
    pub(crate) fn of(map: &UserMap) -> Maps {
        let line = |range: &IdRange| format!("{} {} {}\n", range.inner, range.outer, range.count);
        let lines = |ranges: &[IdRange]| ranges.iter().map(line).collect();
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
