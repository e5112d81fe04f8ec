//! From a bundle's `config.json` to a plan of the `usk` library. Errors name the field.

mod devices;
mod mounts;
mod namespaces;
mod overlay;
mod process;
mod read;
mod seccomp;
mod sysctl;
mod users;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, Spec};
use usk::command_line::{PlatformChoice, Tiers};
use usk::control::NewLimits;
use usk::plan::Plan;
use usk::spec::{Limits, SandboxSpec, Workload};

pub use namespaces::{Namespaces, Origin};
pub use process::{WindowSize, check_mounting, is_capability, process};
pub use read::{parse_spec, read, read_process, read_resources};

use crate::cgroup::DEFAULT_PERIOD_US;
use crate::hooks::Hook;
use crate::log;

/// What a bundle asks for.
#[derive(Debug)]
pub struct Container {
    /// For the library.
    pub plan: Plan,
    /// Absolute path.
    pub rootfs: PathBuf,
    /// The namespaces of the container's process.
    pub namespaces: Namespaces,
    /// How much the clocks of a new time namespace are ahead, as the host takes it.
    pub clock_offsets: String,
    /// What the sandbox may use.
    pub resources: Option<LinuxResources>,
    /// Where in the tree of cgroups; empty is anywhere.
    pub cgroups_path: PathBuf,
    /// Size of the terminal, if it has one.
    pub window: Option<WindowSize>,
    /// What is run around the container.
    pub hooks: AllHooks,
    /// What is mounted inside would have to show on the host ([`check_mounting`]).
    pub reaches_host: bool,
}

/// Hooks by when they are run.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct AllHooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

/// Turns a configuration into a plan. `bundle` is absolute.
pub fn container(spec: &Spec, bundle: &Path) -> Result<Container> {
    let wanted = spec.process().as_ref().context("process property must not be empty")?;
    let root = spec.root().as_ref().context("root: it is missing")?;
    let rootfs = bundle.join(root.path());
    let rootfs = std::fs::canonicalize(&rootfs)
        .with_context(|| format!("root.path: invalid rootfs {}", rootfs.display()))?;
    let mut process = process(wanted)?;
    let layout = mounts::layout(spec, &rootfs, bundle, &process)?;
    // One that joins later has no directory made for it, as with runc.
    process.make_workdir = true;
    let root_descriptor = &layout.exports.first().context("root: it is missing")?.descriptor;
    set_home(&mut process, root_descriptor);
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().clone());
    let (namespaces, hostname) = (namespaces::namespaces(spec)?, hostname(spec)?);
    let mut clock_offsets = String::new();
    if let Some(linux) = linux {
        clock_offsets = namespaces::clock_offsets(linux, &namespaces.clocks)?;
        note_what_means_less(linux, wanted);
    }
    let paths = |list: Option<&Vec<String>>, field: &str| -> Result<Vec<PathBuf>> {
        let clean = |path: &String| mounts::clean(Path::new(path));
        let check =
            |path: &String| clean(path).with_context(|| format!("{field}: {path:?} is not an absolute path"));
        list.into_iter().flatten().map(check).collect()
    };
    let masked = linux.and_then(|linux| linux.masked_paths().as_ref());
    let read_only = linux.and_then(|linux| linux.readonly_paths().as_ref());
    let sysctl = sysctl::settings(spec, &namespaces)?;
    let sandbox = SandboxSpec {
        gated: true,
        hostname,
        domainname: sysctl.domainname.or_else(|| spec.domainname().clone()),
        settings: sysctl.values,
        users: users::users(spec)?,
        command_is_init: true,
        descriptors: Vec::new(),
        mounts: layout.mounts,
        devices: devices::devices(linux)?,
        masked: paths(masked, "linux.maskedPaths")?,
        read_only: paths(read_only, "linux.readonlyPaths")?,
        seccomp: linux.and_then(|linux| linux.seccomp().as_ref()).map(seccomp::program).transpose()?,
        personality: process::personality(linux),
        limits: limits(resources.as_ref()),
        platform: PlatformChoice::Trap,
        no_patch: false,
        spin: false,
        tiers: Tiers::All,
        receipt: false,
        strace: None,
        log: None,
        filter_log: false,
        workload: Workload::Kernel,
        process,
    };
    Ok(Container {
        plan: Plan { spec: sandbox, exports: layout.exports, lease: None },
        rootfs,
        namespaces,
        clock_offsets,
        resources,
        cgroups_path: linux.and_then(|linux| linux.cgroups_path().clone()).unwrap_or_default(),
        window: process::window(wanted)?,
        hooks: hooks(spec)?,
        reaches_host: layout.reaches_host,
    })
}

/// `HOME` where it is not set is that of the user's account, as with runc.
pub fn set_home(process: &mut usk::spec::ProcessSpec, root: &OwnedFd) {
    if process.environment.iter().any(|variable| variable.as_bytes().starts_with(b"HOME=")) {
        return;
    }
    let mut home = OsString::from("HOME=");
    home.push(usk::plan::home(process.user.uid, root));
    process.environment.push(home);
}

/// The name that the configuration gives; empty if it gives none.
fn hostname(spec: &Spec) -> Result<String> {
    match spec.hostname() {
        Some(name) if !name.is_empty() => {
            usk::values::parse_hostname(name).map_err(|problem| anyhow::anyhow!("hostname: {problem}"))
        }
        _ => Ok(String::new()),
    }
}

/// Bounds that the kernel itself keeps or shows.
fn limits(resources: Option<&LinuxResources>) -> Limits {
    let memory = resources.and_then(|resources| resources.memory().as_ref()?.limit());
    let tasks = resources.and_then(|resources| Some(resources.pids().as_ref()?.limit()));
    Limits {
        memory: memory.and_then(|bytes| u64::try_from(bytes).ok()).filter(|&bytes| bytes > 0),
        tasks: tasks.and_then(|count| u32::try_from(count).ok()).filter(|&count| count > 0),
        processor: resources.and_then(|resources| processor(resources.cpu().as_ref()?)),
    }
}

/// Microseconds of processor time in each period, and the period.
fn processor(cpu: &LinuxCpu) -> Option<(u64, u64)> {
    let quota = cpu.quota().and_then(|quota| u64::try_from(quota).ok()).filter(|&quota| quota > 0)?;
    Some((quota, cpu.period().filter(|&period| period > 0).unwrap_or(DEFAULT_PERIOD_US)))
}

/// What `update` changes of the bounds that the kernel itself keeps or shows.
pub fn new_limits(resources: &LinuxResources) -> NewLimits {
    let amount = |value: Option<i64>| match value {
        None => 0,
        // Negative is without a bound.
        Some(value) => u64::try_from(value).unwrap_or(u64::MAX),
    };
    let cpu = resources.cpu().as_ref();
    let (quota_us, period_us) = match cpu.and_then(processor) {
        Some(both) => both,
        None => (amount(cpu.and_then(LinuxCpu::quota)), 0),
    };
    NewLimits {
        memory: amount(resources.memory().as_ref().and_then(LinuxMemory::limit)),
        tasks: amount(resources.pids().as_ref().map(LinuxPids::limit)),
        quota_us,
        period_us,
    }
}

/// What another kernel than the host's makes meaningless, or does not do yet, is told to who looks for it.
fn note_what_means_less(linux: &oci_spec::runtime::Linux, process: &oci_spec::runtime::Process) {
    let note = |is_set: bool, field: &str| {
        if is_set {
            log::debug(&format!("{field} has no effect: the guest's kernel is not the host's"));
        }
    };
    note(process.apparmor_profile().as_ref().is_some_and(|name| !name.is_empty()), "process.apparmorProfile");
    note(process.selinux_label().as_ref().is_some_and(|label| !label.is_empty()), "process.selinuxLabel");
    note(linux.mount_label().as_ref().is_some_and(|label| !label.is_empty()), "linux.mountLabel");
    note(linux.intel_rdt().is_some(), "linux.intelRdt");
    let propagation = linux.rootfs_propagation().as_deref();
    note(matches!(propagation, Some("shared" | "rshared")), "linux.rootfsPropagation");
    note(linux.memory_policy().is_some(), "linux.memoryPolicy");
    note(linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()), "linux.netDevices");
    note(process.exec_cpu_affinity().is_some(), "process.execCPUAffinity");
}

#[allow(deprecated)]
fn hooks(spec: &Spec) -> Result<AllHooks> {
    let Some(hooks) = spec.hooks() else { return Ok(AllHooks::default()) };
    let convert = |list: &Option<Vec<oci_spec::runtime::Hook>>, kind: &str| -> Result<Vec<Hook>> {
        list.iter()
            .flatten()
            .enumerate()
            .map(|(index, hook)| {
                if !hook.path().is_absolute() {
                    bail!("hooks.{kind}[{index}].path: {:?} is not absolute", hook.path());
                }
                let timeout_s = match hook.timeout() {
                    None => None,
                    Some(timeout) => {
                        let positive = u64::try_from(timeout).ok().filter(|&timeout| timeout > 0);
                        Some(positive.with_context(|| {
                            format!("hooks.{kind}[{index}].timeout: {timeout} is not a positive number")
                        })?)
                    }
                };
                Ok(Hook {
                    path: hook.path().clone(),
                    args: hook.args().clone().unwrap_or_default(),
                    env: hook.env().clone().unwrap_or_default(),
                    timeout_s,
                })
            })
            .collect()
    };
    Ok(AllHooks {
        prestart: convert(hooks.prestart(), "prestart")?,
        create_runtime: convert(hooks.create_runtime(), "createRuntime")?,
        create_container: convert(hooks.create_container(), "createContainer")?,
        start_container: convert(hooks.start_container(), "startContainer")?,
        poststart: convert(hooks.poststart(), "poststart")?,
        poststop: convert(hooks.poststop(), "poststop")?,
    })
}
