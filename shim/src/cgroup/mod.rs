//! The cgroups of a container: version 1, version 2, and hosts that have both. cgroups(7).
//!
//! Where systemd keeps the host's cgroups, it is asked for them ([`systemd`]).
//!
//! The container's process (the monitor) is a member, and so is what it makes. The sandbox's own processes are in a cgroup
//! below, named [`SANDBOX`], in the hierarchy that freezes: a paused container's monitor still answers.

mod hierarchies;
mod limits;
mod systemd;
mod usage;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};
use usk::cgroup::{Cgroup, Version};

use crate::log;

pub use hierarchies::{Hierarchies, Hierarchy};
pub(crate) use limits::DEFAULT_PERIOD_US;
pub use systemd::{Keeper, Scope};
pub use usage::{Usage, usage};

/// Name of the cgroup of the sandbox's own processes.
const SANDBOX: &str = "usk-sandbox";

/// The cgroups of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// One for each hierarchy; exactly one with version 2. Empty where the caller may make none.
    pub places: Vec<Place>,
    /// systemd's unit for them, where it keeps them.
    #[serde(default)]
    pub scope: Option<Scope>,
}

/// The cgroup of a container in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Controllers; empty with version 2.
    pub controllers: Vec<String>,
    /// Directory.
    pub path: PathBuf,
}

impl Place {
    fn version(&self) -> Version {
        if self.controllers.is_empty() { Version::V2 } else { Version::V1 }
    }
}

/// Where a container's cgroups shall be: `wanted` is its `cgroupsPath`.
pub fn plan(wanted: &Path, id: &str) -> Result<Membership> {
    let hierarchies = Hierarchies::current()?;
    let path = |hierarchy: &Hierarchy| match wanted.strip_prefix("/") {
        Ok(absolute) => hierarchy.mount.join(absolute),
        Err(_) if wanted == Path::new("") => hierarchy.divisible().join(id),
        Err(_) => hierarchy.divisible().join(wanted),
    };
    let escapes = wanted.components().any(|component| component == std::path::Component::ParentDir);
    if escapes || wanted.as_os_str().as_encoded_bytes().contains(&0) {
        bail!("linux.cgroupsPath: {wanted:?} is no path of a cgroup");
    }
    Ok(Membership::at(&hierarchies, path))
}

/// The same where systemd makes them.
pub fn plan_scope(scope: Scope) -> Result<Membership> {
    let hierarchies = Hierarchies::current()?;
    let cgroup = scope.cgroup()?;
    let membership = Membership::at(&hierarchies, |hierarchy| hierarchy.mount.join(&cgroup));
    Ok(Membership { scope: Some(scope), ..membership })
}

impl Membership {
    fn at(hierarchies: &Hierarchies, path: impl Fn(&Hierarchy) -> PathBuf) -> Membership {
        let place = |hierarchy: &Hierarchy| Place {
            controllers: hierarchy.controllers.clone(),
            path: path(hierarchy),
        };
        Membership { places: hierarchies.0.iter().map(place).collect(), scope: None }
    }

    /// Makes the cgroups and their limits. With `lenient`, none at all are made where the host refuses and no limit is
    /// asked for: then the membership is empty. Those of systemd are made when they are entered.
    pub fn make(&mut self, resources: Option<&LinuxResources>, lenient: bool) -> Result<()> {
        if self.scope.is_some() {
            return Ok(());
        }
        match self.make_all() {
            Ok(()) => {}
            Err(_) if lenient && resources.is_none_or(limits::is_nothing) => {
                self.remove()?;
                self.places.clear();
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.write_limits(resources)
    }

    fn make_all(&self) -> Result<()> {
        for place in &self.places {
            let describe = || {
                format!(
                    "cannot make the cgroup {}: run as root, or in a delegated cgroup",
                    place.path.display()
                )
            };
            match place.version() {
                Version::V1 => fs::create_dir_all(&place.path).with_context(describe)?,
                Version::V2 => hierarchies::make_with_controllers(&place.path).with_context(describe)?,
            }
            if place.controllers.iter().any(|name| name == "cpuset") {
                hierarchies::fill_cpuset(&place.path)?;
            }
            if place.version() == Version::V2 || place.controllers.iter().any(|name| name == "freezer") {
                fs::create_dir_all(place.path.join(SANDBOX)).with_context(describe)?;
            }
        }
        Ok(())
    }

    /// Changes limits.
    pub fn limit(&self, resources: &LinuxResources) -> Result<()> {
        if let Some(scope) = &self.scope {
            scope.limit(resources, self.is_unified())?;
        }
        self.write_limits(Some(resources))
    }

    fn write_limits(&self, resources: Option<&LinuxResources>) -> Result<()> {
        resources.map_or(Ok(()), |resources| limits::set(self, resources))
    }

    /// Puts this process into the cgroups.
    pub fn enter(&self, resources: Option<&LinuxResources>) -> Result<()> {
        if let Some(scope) = &self.scope {
            // systemd makes a scope around processes that are there.
            scope.start(resources, self.is_unified())?;
            self.make_all()?;
            self.write_limits(resources)?;
        }
        for place in &self.places {
            fs::write(place.path.join("cgroup.procs"), "0")
                .with_context(|| format!("cannot enter the cgroup {}", place.path.display()))?;
        }
        Ok(())
    }

    /// The cgroup of the sandbox's own processes, if there is one.
    pub fn sandbox(&self) -> Result<Option<Cgroup>> {
        let Some(place) = self.freezing() else { return Ok(None) };
        Cgroup::existing(place.version(), place.path.join(SANDBOX)).map(Some)
    }

    fn freezing(&self) -> Option<&Place> {
        self.places.iter().find(|place| {
            place.version() == Version::V2 || place.controllers.iter().any(|name| name == "freezer")
        })
    }

    /// The cgroup with this controller.
    pub fn with_controller(&self, controller: &str) -> Option<&Path> {
        let has = |place: &&Place| {
            place.version() == Version::V2 || place.controllers.iter().any(|name| name == controller)
        };
        self.places.iter().find(has).map(|place| place.path.as_path())
    }

    /// Whether there is one cgroup for all controllers.
    pub fn is_unified(&self) -> bool {
        self.places.iter().any(|place| place.version() == Version::V2)
    }

    /// Stops or continues everything in the sandbox, and waits until that is so.
    ///
    /// A guest thread that waits for the sentry does so in the host's kernel in a way that only SIGKILL interrupts, and the
    /// host does not count it as frozen: the cgroup may stay `FREEZING` for as long as it is paused. It has stopped all
    /// the same once nothing runs, since whatever returns from the host's kernel is frozen there.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let Some(place) = self.freezing() else {
            bail!("the container has no cgroup that can stop it: run as root, or in a delegated cgroup");
        };
        let path = place.path.join(SANDBOX);
        let order = |frozen: bool| {
            let (file, value) = freezer(place.version(), frozen);
            fs::write(path.join(file), value)
                .with_context(|| format!("cannot write {}", path.join(file).display()))
        };
        order(frozen)?;
        if !frozen {
            return Ok(());
        }
        for _ in 0..FREEZE_TRIES {
            if !has_running_threads(&path) {
                return Ok(());
            }
            // Threads stop when they next enter the host's kernel; it offers nothing to wait for with version 1.
            std::thread::sleep(Duration::from_millis(1));
        }
        order(false)?;
        bail!("the sandbox's processes do not stop in time");
    }

    /// A way to continue everything in the sandbox from where its cgroup has no path any more; `None` where nothing stops it.
    pub fn thaw(&self) -> Option<Thaw> {
        let place = self.freezing()?;
        let (file, value) = freezer(place.version(), false);
        let file = File::options().write(true).open(place.path.join(SANDBOX).join(file)).ok()?;
        Some(Thaw { file, value })
    }

    /// Whether everything in the sandbox has been told to stop.
    pub fn is_frozen(&self) -> bool {
        let Some(place) = self.freezing() else { return false };
        let file = match place.version() {
            Version::V1 => "freezer.self_freezing",
            Version::V2 => "cgroup.freeze",
        };
        fs::read_to_string(place.path.join(SANDBOX).join(file)).is_ok_and(|value| value.trim() == "1")
    }

    /// How many processes the host has killed because the memory limit was reached.
    pub fn out_of_memory_kills(&self) -> u64 {
        let Some(path) = self.with_controller("memory") else { return 0 };
        let file = if self.is_unified() { "memory.events" } else { "memory.oom_control" };
        let events = fs::read_to_string(path.join(file)).unwrap_or_default();
        events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
    }

    /// Host ids of all processes.
    pub fn processes(&self) -> Vec<i32> {
        let mut found = Vec::new();
        if let Some(place) = self.freezing().or(self.places.first()) {
            for path in [place.path.clone(), place.path.join(SANDBOX)] {
                found.extend(members(&path));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Removes the cgroups. Their processes must be ending; the host takes a moment to notice. Those that have been told to stop
    /// are continued: with version 1 they cannot end before.
    pub fn remove(&self) -> Result<()> {
        if self.is_frozen()
            && let Some(thaw) = self.thaw()
        {
            thaw.now();
        }
        if let Some(scope) = &self.scope
            && let Err(error) = scope.stop()
        {
            // What is left of it is an error below.
            log::warn(&format!("{error:#}"));
        }
        for place in &self.places {
            for path in [place.path.join(SANDBOX), place.path.clone()] {
                remove_directory(&path)?;
            }
        }
        Ok(())
    }
}

/// See [`Membership::thaw`].
pub struct Thaw {
    file: File,
    value: &'static str,
}

impl Thaw {
    /// Continues everything. A cgroup that is gone holds nobody.
    pub fn now(&self) {
        let _ = (&self.file).write_all(self.value.as_bytes());
    }
}

/// The file that stops or continues a cgroup, and what to write to it.
fn freezer(version: Version, frozen: bool) -> (&'static str, &'static str) {
    match (version, frozen) {
        (Version::V1, true) => ("freezer.state", "FROZEN"),
        (Version::V1, false) => ("freezer.state", "THAWED"),
        (Version::V2, true) => ("cgroup.freeze", "1"),
        (Version::V2, false) => ("cgroup.freeze", "0"),
    }
}

/// How often a freezer is asked, a millisecond apart.
const FREEZE_TRIES: u32 = 2000;
/// How long processes that have been ended may take to leave a cgroup: on a busy host they do so one after the other.
const REMOVE_PATIENCE: Duration = Duration::from_secs(10);

/// Whether a thread of the cgroup is running, or about to.
fn has_running_threads(cgroup: &Path) -> bool {
    // Version 2 calls the file of threads otherwise.
    let lists = ["tasks", "cgroup.threads"].map(|file| fs::read_to_string(cgroup.join(file)));
    let threads = lists.into_iter().flatten().next().unwrap_or_default();
    threads.lines().any(|thread| {
        let stat = fs::read_to_string(format!("/proc/{thread}/stat")).unwrap_or_default();
        stat.rfind(')').and_then(|end| stat.get(end + 2..)).is_some_and(|rest| rest.starts_with('R'))
    })
}

fn remove_directory(path: &Path) -> Result<()> {
    let deadline = Instant::now() + REMOVE_PATIENCE;
    loop {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => {
                return removed.with_context(|| {
                    format!("cannot remove the cgroup {}{}", path.display(), describe_processes(path))
                });
            }
        }
    }
}

/// Host ids of the processes in one cgroup.
fn members(cgroup: &Path) -> Vec<i32> {
    let list = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    list.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Who is in a cgroup that cannot be removed, for people: numbers, names and states as in proc(5).
fn describe_processes(cgroup: &Path) -> String {
    let describe = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let end = stat.rfind(')').and_then(|end| stat.get(..end + 3)).unwrap_or(&stat);
        end.to_owned()
    };
    let found: Vec<String> = members(cgroup).into_iter().map(describe).collect();
    if found.is_empty() { String::new() } else { format!(", in which there is still {}", found.join(", ")) }
}
