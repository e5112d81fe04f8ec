//! systemd, where it keeps the cgroups: a container is a transient scope of its, which is asked for over D-Bus
//! (org.freedesktop.systemd1(5), systemd.scope(5)). Whoever writes below systemd's cgroups without telling it has them taken away
//! at the next occasion.
//!
//! [`Scope`] is what a container remembers; [`bus`] speaks the protocol, [`properties`] turns limits into systemd's.

mod bus;
mod properties;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};
use zbus::{OwnedObjectPath, OwnedVariant};

use bus::{Bus, Object, Refusal};
use properties::Property;

/// There where systemd is process 1 (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

const MANAGER: Object = Object {
    name: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
const PROPERTIES: Object = Object { interface: "org.freedesktop.DBus.Properties", ..MANAGER };
const BUS: Object =
    Object { name: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };

/// What a job does with others on the same unit.
const MODE: &str = "replace";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// A container's unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Its name, with `.scope`.
    name: String,
    /// The unit that it belongs to.
    slice: String,
    /// Whose systemd keeps it.
    keeper: Keeper,
    /// More properties, as annotations of the container give them.
    #[serde(default)]
    properties: Vec<(String, String)>,
}

/// Which of the host's systemds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keeper {
    /// Process 1.
    System,
    /// An ordinary user's own.
    User,
}

impl Scope {
    /// The unit that a `cgroupsPath` of the form `slice:prefix:name` means.
    pub fn of(wanted: &Path, id: &str, keeper: Keeper) -> Result<Scope> {
        let text = wanted.to_str().unwrap_or_default();
        let default = match keeper {
            Keeper::System => "system.slice",
            Keeper::User => "user.slice",
        };
        let (slice, prefix, name) = match text.split(':').collect::<Vec<_>>()[..] {
            [""] => (default, "usk-oci", id),
            ["", prefix, name] => (default, prefix, name),
            [slice, prefix, name] => (slice, prefix, name),
            _ => bail!(
                "linux.cgroupsPath: expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {text:?} instead"
            ),
        };
        ensure!(!name.ends_with(".slice"), "linux.cgroupsPath: a container cannot be the slice {name:?}");
        let name = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        let scope = Scope { name, slice: slice.into(), keeper, properties: Vec::new() };
        scope.path_in_tree()?;
        Ok(scope)
    }

    /// With what the annotations `org.systemd.property.NAME` say.
    pub fn with_properties<'a>(
        mut self,
        annotations: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<Scope> {
        self.properties = properties::of_annotations(annotations)?;
        Ok(self)
    }

    /// Where systemd puts it, relative to the root of each hierarchy.
    pub fn cgroup(&self) -> Result<PathBuf> {
        let above = self.connect()?.control_group()?;
        Ok(Path::new(above.trim_matches('/')).join(self.path_in_tree()?))
    }

    /// `a-b.slice` lies in `a.slice`, and `-.slice` is the root: systemd.slice(5).
    fn path_in_tree(&self) -> Result<PathBuf> {
        let wrong = || format!("linux.cgroupsPath: invalid slice name {:?}", self.slice);
        let stem = self.slice.strip_suffix(".slice").with_context(wrong)?;
        let mut path = PathBuf::new();
        if stem != "-" {
            let is_name = |part: &str| !part.is_empty() && !part.contains('/');
            ensure!(stem.split('-').all(is_name), wrong());
            for (end, _) in stem.match_indices('-') {
                path.push(format!("{}.slice", stem.get(..end).unwrap_or_default()));
            }
            path.push(&self.slice);
        }
        ensure!(!self.name.contains('/'), "linux.cgroupsPath: invalid unit name {:?}", self.name);
        path.push(&self.name);
        Ok(path)
    }

    /// Has systemd make it around this process.
    pub fn start(&self, resources: Option<&LinuxResources>, unified: bool) -> Result<()> {
        let mut properties = properties::of_scope(&self.name, &self.slice, std::process::id());
        properties.extend(resources.map(|limits| properties::of_limits(limits, unified)).unwrap_or_default());
        for (name, text) in &self.properties {
            properties.push(properties::parse(name, text)?);
        }
        let describe = || format!("unable to start unit {:?}", self.name);
        self.connect()?.start(&self.name, &properties).with_context(describe)
    }

    /// Has systemd change its limits.
    pub fn limit(&self, resources: &LinuxResources, unified: bool) -> Result<()> {
        let properties = properties::of_limits(resources, unified);
        if properties.is_empty() {
            return Ok(());
        }
        let describe = || format!("unable to set properties of unit {:?}", self.name);
        self.connect()?.set_properties(&self.name, &properties).with_context(describe)
    }

    /// Has systemd end and forget it. It may be gone already: systemd ends a scope with its last process.
    pub fn stop(&self) -> Result<()> {
        self.connect()?.stop(&self.name).with_context(|| format!("unable to stop unit {:?}", self.name))
    }

    fn connect(&self) -> Result<Manager> {
        Manager::connect(self.keeper)
    }
}

/// A systemd that listens.
struct Manager(Bus);

impl Manager {
    /// By way of the bus, which is there for everybody to use; where there is none yet, by the socket that systemctl(1) uses.
    fn connect(keeper: Keeper) -> Result<Manager> {
        let (bus, own) = match keeper {
            Keeper::System => {
                ensure!(
                    Path::new(BOOTED).is_dir(),
                    "systemd not running on this host, cannot use systemd cgroups manager"
                );
                ("/run/dbus/system_bus_socket".into(), "/run/systemd/private".into())
            }
            Keeper::User => {
                let directory = std::env::var_os("XDG_RUNTIME_DIR").context(
                    "cannot reach the user's systemd: XDG_RUNTIME_DIR is not set, as it is in a login session",
                )?;
                let directory = PathBuf::from(directory);
                (session_bus().unwrap_or_else(|| directory.join("bus")), directory.join("systemd/private"))
            }
        };
        let by_bus = Bus::connect(&bus).and_then(Manager::greet);
        by_bus.or_else(|error| {
            let direct = Bus::connect(&own).map(Manager);
            direct.map_err(|_| error.context(format!("cannot reach systemd at {}", bus.display())))
        })
    }

    /// A bus passes on whose signals are asked for.
    fn greet(mut bus: Bus) -> Result<Manager> {
        bus.call::<_, (String,)>(BUS, "Hello", &())?;
        let rule = format!("type='signal',interface='{}',member='JobRemoved'", MANAGER.interface);
        bus.call::<_, ()>(BUS, "AddMatch", &(rule,))?;
        Ok(Manager(bus))
    }

    /// The cgroup that all its units are in.
    fn control_group(&mut self) -> Result<String> {
        let (value,): (OwnedVariant,) =
            self.0.call(PROPERTIES, "Get", &(MANAGER.interface, "ControlGroup"))?;
        String::try_from(value).context("systemd does not tell its cgroup")
    }

    fn start(&mut self, name: &str, properties: &[Property]) -> Result<()> {
        let none: [(&str, &[Property]); 0] = [];
        let call = (name, MODE, properties, &none[..]);
        let outcome = match self.0.call(MANAGER, "StartTransientUnit", &call) {
            // One that has failed stays until it is forgotten.
            Err(error) if is_refusal(&error, UNIT_EXISTS) && self.forget(name).is_ok() => {
                self.0.call(MANAGER, "StartTransientUnit", &call)
            }
            outcome => outcome,
        };
        let (job,): (OwnedObjectPath,) = outcome?;
        match &self.wait_for(&job)?[..] {
            "done" => Ok(()),
            result => {
                // What it is about is said; that nothing is left is an extra.
                let _ = self.forget(name);
                bail!("systemd says {result:?}: see 'systemctl status {name}'")
            }
        }
    }

    fn stop(&mut self, name: &str) -> Result<()> {
        if let Ok((job,)) = self.0.call::<_, (OwnedObjectPath,)>(MANAGER, "StopUnit", &(name, MODE)) {
            self.wait_for(&job)?;
        }
        // Only one that has failed is still known.
        let _ = self.forget(name);
        Ok(())
    }

    fn forget(&mut self, name: &str) -> Result<()> {
        self.0.call(MANAGER, "ResetFailedUnit", &(name,))
    }

    fn set_properties(&mut self, name: &str, properties: &[Property]) -> Result<()> {
        // Until the unit ends, not for ever.
        const RUNTIME: bool = true;
        self.0.call(MANAGER, "SetUnitProperties", &(name, RUNTIME, properties))
    }

    /// Waits until a job is finished. Returns how that went.
    fn wait_for(&mut self, job: &OwnedObjectPath) -> Result<String> {
        loop {
            let signal = self.0.signal()?;
            if signal.member != "JobRemoved" {
                continue;
            }
            let (_, path, _, result): (u32, OwnedObjectPath, String, String) = signal.arguments()?;
            if path == *job {
                return Ok(result);
            }
        }
    }
}

fn is_refusal(error: &anyhow::Error, name: &str) -> bool {
    error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.name == name)
}

/// The path of the user's bus, where the environment names one. dbus-daemon(1) has the form of addresses.
fn session_bus() -> Option<PathBuf> {
    let addresses = std::env::var("DBUS_SESSION_BUS_ADDRESS").ok()?;
    let options = addresses.split(';').find_map(|address| address.strip_prefix("unix:"))?;
    options.split(',').find_map(|option| option.strip_prefix("path=")).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(wanted: &str) -> Result<Scope> {
        Scope::of(Path::new(wanted), "id", Keeper::System)
    }

    #[test]
    fn a_slice_lies_in_the_slices_that_its_name_names() {
        let path = |wanted| scope(wanted).unwrap().path_in_tree().unwrap();
        assert_eq!(
            path("machine-a-b.slice:libpod:x"),
            Path::new("machine.slice/machine-a.slice/machine-a-b.slice/libpod-x.scope")
        );
        assert_eq!(path(""), Path::new("system.slice/usk-oci-id.scope"));
        assert_eq!(path("-.slice:p:n"), Path::new("p-n.scope"));
    }

    #[test]
    fn what_names_no_unit_is_refused() {
        for wrong in [
            "/a/b",
            "a:b",
            "a:b:c",
            "a--b.slice:p:n",
            "-a.slice:p:n",
            "a/b.slice:p:n",
            ".slice:p:n",
            "a.slice:p:/n",
            "a.slice:p:n.slice",
        ] {
            assert!(scope(wrong).is_err(), "{wrong}");
        }
    }
}
