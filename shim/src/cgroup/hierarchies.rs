//! Which hierarchies of cgroups the host has, and where this process is in them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Controllers that a container's cgroup of version 2 shall have, where the host has them.
const CONTROLLERS: [&str; 6] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];

/// All hierarchies that containers are placed in: those of version 1 if there are any with a controller, else version 2's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies(pub Vec<Hierarchy>);

/// One hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Version 1's controllers, or `name=NAME`; empty with version 2.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// This process's own cgroup.
    pub own: PathBuf,
}

impl Hierarchy {
    /// Where a cgroup that is named relative to this process's own is made. With version 2 that is beside it: one that holds
    /// processes has no children with limits (cgroups(7), "no internal processes"). So does runc.
    pub(super) fn divisible(&self) -> &Path {
        let is_dividing = !self.controllers.is_empty() || self.own == self.mount;
        self.own.parent().filter(|_| !is_dividing).unwrap_or(&self.own)
    }
}

impl Hierarchies {
    /// Looks at the host.
    pub fn current() -> Result<Hierarchies> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the host's mounts")?;
        let own = fs::read_to_string("/proc/self/cgroup").context("cannot read the own cgroup")?;
        Ok(find(&mounts, &own))
    }
}

fn find(mounts: &str, own: &str) -> Hierarchies {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for line in mounts.lines() {
        let Some((fields, rest)) = line.split_once(" - ") else { continue };
        let mut fields = fields.split(' ').skip(3);
        let (Some(root), Some(mount)) = (fields.next(), fields.next()) else { continue };
        let mut rest = rest.split(' ');
        let (kind, options) = (rest.next().unwrap_or_default(), rest.nth(1).unwrap_or_default());
        let place = |controllers: Vec<String>, wanted: &dyn Fn(&str) -> bool| {
            let own = own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let names = fields.next()?;
                wanted(names).then(|| fields.next())?
            })?;
            // In a container the mount may show only a part of the tree, with the own cgroup as its root.
            let inside = Path::new(own).strip_prefix(root).unwrap_or(Path::new(""));
            let mount = PathBuf::from(mount);
            Some(Hierarchy { controllers, own: mount.join(inside), mount })
        };
        match kind {
            "cgroup" => {
                let Some(names) = own.lines().filter_map(|line| line.split(':').nth(1)).find(|names| {
                    !names.is_empty()
                        && names.split(',').all(|name| options.split(',').any(|option| option == name))
                }) else {
                    continue;
                };
                let controllers = names.split(',').map(str::to_owned).collect();
                first.extend(place(controllers, &|other| other == names));
            }
            "cgroup2" => second.extend(place(Vec::new(), &str::is_empty)),
            _ => {}
        }
    }
    // A hierarchy that is mounted at several places is still one.
    first.dedup_by(|one, other| one.controllers == other.controllers);
    let has_controllers = first
        .iter()
        .any(|hierarchy: &Hierarchy| hierarchy.controllers.iter().any(|name| !name.starts_with("name=")));
    if has_controllers {
        return Hierarchies(first);
    }
    second.truncate(1);
    Hierarchies(second)
}

/// Makes a cgroup of version 2, and has its ancestors pass their controllers on.
pub(super) fn make_with_controllers(path: &Path) -> Result<()> {
    let mut made = PathBuf::new();
    for component in path.components() {
        // The parent is a cgroup if it has this file.
        let switches = made.join("cgroup.subtree_control");
        if switches.exists() {
            for controller in CONTROLLERS {
                // Which controllers there are is the host's affair; a limit that needs one says so.
                let _ = fs::write(&switches, format!("+{controller}"));
            }
        }
        made.push(component);
        if !made.exists() {
            fs::create_dir(&made)?;
        }
    }
    Ok(())
}

/// A new cgroup of version 1 has no CPUs and no memory until somebody says which: the nearest ancestor's.
pub(super) fn fill_cpuset(path: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        fill(path, file, 0).with_context(|| format!("cannot set {}", path.join(file).display()))?;
    }
    Ok(())
}

/// Most levels of cgroups that are looked at.
const MAX_DEPTH: u32 = 64;

fn fill(path: &Path, file: &str, depth: u32) -> std::io::Result<String> {
    let own = fs::read_to_string(path.join(file))?;
    if !own.trim().is_empty() || depth >= MAX_DEPTH {
        return Ok(own);
    }
    match path.parent() {
        Some(parent) if parent.join(file).exists() => {
            let inherited = fill(parent, file, depth + 1)?;
            fs::write(path.join(file), inherited.trim())?;
            Ok(inherited)
        }
        _ => Ok(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "30 1 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                          31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                          34 30 0:30 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n\
                          40 30 0:36 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                          41 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn a_hybrid_host_has_those_of_version_1() {
        let own = "8:cpu,cpuacct:/\n4:memory:/a/b\n1:name=systemd:/x\n0::/x\n";
        let found = find(HYBRID, own);
        let names: Vec<_> = found.0.iter().map(|hierarchy| hierarchy.controllers.join(",")).collect();
        assert_eq!(names, ["cpu,cpuacct", "memory", "name=systemd"]);
        assert_eq!(found.0[1].own, Path::new("/sys/fs/cgroup/memory/a/b"));
        assert_eq!(found.0[1].divisible(), found.0[1].own);
    }

    #[test]
    fn a_unified_host_has_one() {
        let mounts = "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let found = find(mounts, "0::/user.slice\n");
        assert_eq!(found.0.len(), 1);
        assert_eq!(found.0[0].own, Path::new("/sys/fs/cgroup/user.slice"));
        assert!(found.0[0].controllers.is_empty());
        // Who asks is in it.
        assert_eq!(found.0[0].divisible(), Path::new("/sys/fs/cgroup"));
        assert_eq!(find(mounts, "0::/\n").0[0].divisible(), Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn a_container_sees_its_own_cgroup_as_the_mount() {
        let mounts = "30 1 0:26 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let found = find(mounts, "4:memory:/docker/1\n");
        assert_eq!(found.0[0].own, Path::new("/sys/fs/cgroup/memory"));
    }
}
