//! A cgroup of the sandbox's own, which holds its memory limit: version 1, version 2, and hosts that have both.
//!
//! It is made only when a limit is asked for. The monitor stays outside and removes it. A monitor that is killed cannot:
//! cgroups are therefore named by the monitor's process id and start time, and the next sandbox with a limit removes
//! those of monitors that are gone. cgroups(7).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Begins the names of our cgroups.
const PREFIX: &str = "usk-";

const CURE: &str = "limits need a cgroup that usk may divide: run as root, or under \
                    'systemd-run --user --scope -p Delegate=yes usk run …'";

/// Which interface a cgroup has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// Where cgroups with the memory controller can be made on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its interface.
    pub version: Version,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The calling process's own cgroup.
    pub own: PathBuf,
}

/// The cgroup of one sandbox.
#[derive(Debug)]
pub struct Cgroup {
    version: Version,
    path: PathBuf,
    directory: File,
}

/// Finds the hierarchy that has the memory controller.
pub fn memory_hierarchy() -> Result<Hierarchy> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the host's mounts")?;
    let own = fs::read_to_string("/proc/self/cgroup").context("cannot read the own cgroup")?;
    find_hierarchy(&mounts, &own, &|path| fs::read_to_string(path).unwrap_or_default())
        .with_context(|| format!("the host has no cgroup hierarchy with the memory controller; {CURE}"))
}

/// As [`memory_hierarchy`], from the contents of `/proc/self/mountinfo` and `/proc/self/cgroup`.
fn find_hierarchy(mounts: &str, own: &str, read: &dyn Fn(&Path) -> String) -> Option<Hierarchy> {
    let own_path = |wanted: &dyn Fn(&str) -> bool| {
        own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let controllers = fields.nth(1)?;
            wanted(controllers).then(|| fields.next().map(str::to_owned))?
        })
    };
    let mut unified = None;
    for line in mounts.lines() {
        let (fields, rest) = line.split_once(" - ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let (&[root, mount], mut rest) = (&[*fields.get(3)?, *fields.get(4)?], rest.split(' '));
        let (kind, options) = (rest.next()?, rest.nth(1).unwrap_or_default());
        let mount = PathBuf::from(mount);
        let within = |path: String| {
            // In a container the mount may show only a part of the tree, with the own cgroup as its root.
            let inside = Path::new(&path).strip_prefix(root).unwrap_or(Path::new(""));
            mount.join(inside)
        };
        if kind == "cgroup" && options.split(',').any(|option| option == "memory") {
            let own =
                own_path(&|controllers| controllers.split(',').any(|controller| controller == "memory"))?;
            let own = within(own);
            return Some(Hierarchy { version: Version::V1, mount, own });
        }
        if kind == "cgroup2"
            && unified.is_none()
            && read(&mount.join("cgroup.controllers"))
                .split_whitespace()
                .any(|controller| controller == "memory")
            && let Some(own) = own_path(&|controllers| controllers.is_empty())
        {
            let own = within(own);
            unified = Some(Hierarchy { version: Version::V2, mount, own });
        }
    }
    unified
}

impl Cgroup {
    /// Makes a cgroup that may use `bytes` of memory, swap included.
    pub fn with_memory_limit(bytes: u64) -> Result<Cgroup> {
        let hierarchy = memory_hierarchy()?;
        let parent = match hierarchy.version {
            Version::V1 => hierarchy.own.clone(),
            Version::V2 => divisible_parent(&hierarchy)?,
        };
        sweep(&parent);
        let path = parent.join(own_name()?);
        fs::create_dir(&path)
            .with_context(|| format!("cannot make the cgroup {}: {CURE}", path.display()))?;
        let directory = match File::open(&path) {
            Ok(directory) => directory,
            Err(error) => {
                let _ = fs::remove_dir(&path);
                return Err(error).with_context(|| format!("cannot open the cgroup {}", path.display()));
            }
        };
        let cgroup = Cgroup { version: hierarchy.version, path, directory };
        match cgroup.limit(bytes) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                let _ = fs::remove_dir(&cgroup.path);
                Err(error)
            }
        }
    }

    /// A cgroup that is there already, and that somebody else removes.
    pub fn existing(version: Version, path: PathBuf) -> Result<Cgroup> {
        let directory =
            File::open(&path).with_context(|| format!("cannot open the cgroup {}", path.display()))?;
        Ok(Cgroup { version, path, directory })
    }

    fn limit(&self, bytes: u64) -> Result<()> {
        let set = |file: &str, value: &str| {
            let path = self.path.join(file);
            fs::write(&path, value).with_context(|| format!("cannot set {}: {CURE}", path.display()))
        };
        // Memory that is swapped out counts as well, where the host accounts for swap at all.
        match self.version {
            Version::V1 => {
                set("memory.limit_in_bytes", &bytes.to_string())?;
                if self.path.join("memory.memsw.limit_in_bytes").exists() {
                    set("memory.memsw.limit_in_bytes", &bytes.to_string())?;
                }
            }
            Version::V2 => {
                set("memory.max", &bytes.to_string())?;
                if self.path.join("memory.swap.max").exists() {
                    set("memory.swap.max", "0")?;
                }
            }
        }
        Ok(())
    }

    /// A descriptor for processes to start in; `None` where the host has no such thing (version 1).
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        (self.version == Version::V2).then(|| self.directory.as_fd())
    }

    /// Puts a process into the cgroup, unless it started there.
    pub fn admit(&self, pid: i32) -> Result<()> {
        if self.version == Version::V2 {
            return Ok(());
        }
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
            .with_context(|| format!("cannot put a process into the cgroup {}", self.path.display()))
    }

    /// How many processes the host has killed because the limit was reached.
    pub fn out_of_memory_kills(&self) -> u64 {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let events = fs::read_to_string(self.path.join(file)).unwrap_or_default();
        events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
    }

    /// Removes it. Its processes must have ended; the host takes a moment to notice.
    pub fn remove(self) -> Result<()> {
        for attempt in 0.. {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && attempt < 200 => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot remove the cgroup {}", self.path.display()));
                }
                Ok(()) => break,
            }
        }
        Ok(())
    }
}

/// A cgroup of version 2 whose children can have memory limits. A cgroup that holds processes cannot have such
/// children, except the root; so root uses the root, and a user's process that is alone in a delegated cgroup moves
/// itself into a child.
fn divisible_parent(hierarchy: &Hierarchy) -> Result<PathBuf> {
    let enabled = |path: &Path| {
        let file = path.join("cgroup.subtree_control");
        let on =
            || fs::read_to_string(&file).is_ok_and(|on| on.split_whitespace().any(|name| name == "memory"));
        on() || (fs::write(&file, "+memory").is_ok() && on())
    };
    let writable = |path: &Path| nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok();
    for path in [&hierarchy.own, &hierarchy.mount] {
        if writable(path) && enabled(path) {
            return Ok(path.clone());
        }
    }
    let own = &hierarchy.own;
    let alone = fs::read_to_string(own.join("cgroup.procs"))
        .is_ok_and(|list| list.split_whitespace().eq([std::process::id().to_string()]));
    if alone && own != &hierarchy.mount {
        let leaf = own.join("usk-monitor");
        if (fs::create_dir(&leaf).is_ok() || leaf.is_dir())
            && fs::write(leaf.join("cgroup.procs"), "0").is_ok()
            && enabled(own)
        {
            return Ok(own.clone());
        }
    }
    bail!("cannot limit memory in the cgroup {}: {CURE}", own.display())
}

fn own_name() -> Result<String> {
    let pid = std::process::id();
    let start = start_time(pid).context("cannot read the own start time in /proc")?;
    Ok(format!("{PREFIX}{pid}-{start}"))
}

/// When a process started, in clock ticks since the boot: with the process id it names a process for good.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc_pid_stat(5): field 22; the name in field 2 may contain anything, so count from its last parenthesis.
    stat.get(stat.rfind(')')? + 2..)?.split(' ').nth(19)?.parse().ok()
}

/// Removes the cgroups of monitors that are gone. Those of sandboxes that still end refuse, and wait for the next time.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let monitor = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
        if let Some((pid, start)) = monitor
            && let (Ok(pid), Ok(start)) = (pid.parse(), start.parse())
            && start_time(pid) != Some(start)
        {
            let path = entry.path();
            let empty = || fs::read(path.join("cgroup.procs")).is_ok_and(|processes| processes.is_empty());
            // What has just become empty is busy for a moment longer.
            for _ in 0..20 {
                match fs::remove_dir(&path) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy && empty() => {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                    }
                    _ => break,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "30 1 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                          31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                          34 30 0:30 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n\
                          41 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn a_hybrid_host_uses_the_hierarchy_that_has_memory() {
        let found =
            find_hierarchy(HYBRID, "8:pids:/\n4:memory:/a/b\n0::/x\n", &|_| "hugetlb\n".into()).unwrap();
        assert_eq!(found.version, Version::V1);
        assert_eq!(found.own, Path::new("/sys/fs/cgroup/memory/a/b"));
    }

    #[test]
    fn a_unified_host_needs_the_controller() {
        let mounts = "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let found = find_hierarchy(mounts, "0::/user.slice\n", &|_| "cpu memory\n".into()).unwrap();
        assert_eq!((found.version, found.own), (Version::V2, PathBuf::from("/sys/fs/cgroup/user.slice")));
        assert_eq!(find_hierarchy(mounts, "0::/user.slice\n", &|_| "cpu\n".into()), None);
    }

    #[test]
    fn a_container_sees_its_own_cgroup_as_the_mount() {
        let mounts = "30 1 0:26 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let found = find_hierarchy(mounts, "4:memory:/docker/1\n", &|_| String::new()).unwrap();
        assert_eq!(found.own, Path::new("/sys/fs/cgroup/memory"));
    }
}
