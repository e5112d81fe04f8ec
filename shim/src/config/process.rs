//! The `process` of a configuration, and of `exec`.

use std::ffi::OsString;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Capabilities, Linux, LinuxPersonalityDomain, PosixRlimitType, Process};
use usk::spec::{CapabilitySets, ProcessSpec, ResourceLimit, User};
use usk_abi::personality::{PER_LINUX, PER_LINUX32};
use usk_abi::{capability, sched};

use super::mounts::clean;
use crate::log;

/// Most that `/proc/PID/oom_score_adj` takes, up and down.
const OOM_SCORE: i32 = 1000;

/// Most that a user or group can be, as with runc.
const MAX_ID: u32 = 0x7fff_ffff;

/// Levels of a class of `ioprio_set(2)`.
const IO_LEVELS: u32 = 8;

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// A process as the library wants it.
pub fn process(process: &Process) -> Result<ProcessSpec> {
    let arguments: Vec<OsString> = match process.args() {
        Some(arguments) if !arguments.is_empty() => arguments.iter().map(OsString::from).collect(),
        _ => bail!("process.args: args must not be empty"),
    };
    for (index, argument) in process.args().iter().flatten().enumerate() {
        if argument.contains('\0') {
            bail!("process.args[{index}]: it contains a zero byte");
        }
    }
    if arguments.first().is_some_and(|name| name.is_empty()) {
        bail!("process.args[0]: the command is empty");
    }
    let cwd = process.cwd();
    let workdir = clean(cwd)
        .with_context(|| format!("process.cwd: Cwd property must not be empty and absolute: {cwd:?}"))?;
    let user = process.user();
    let score = process.oom_score_adj().unwrap_or(0);
    if !(-OOM_SCORE..=OOM_SCORE).contains(&score) {
        bail!("process.oomScoreAdj: {score} is not between -1000 and 1000");
    }
    let (nice, policy) = scheduling(process)?;
    Ok(ProcessSpec {
        environment: environment(process)?,
        workdir,
        umask: user.umask().unwrap_or(0o022) & 0o777,
        // As with runc, one of which nothing is said has none.
        capabilities: Some(process.capabilities().as_ref().map(capabilities).unwrap_or_default()),
        no_new_privs: process.no_new_privileges().unwrap_or(false),
        limits: limits(process)?,
        oom_score_adj: score,
        nice,
        policy,
        io_priority: io_priority(process)?,
        terminal: process.terminal().unwrap_or(false),
        ..ProcessSpec::new(arguments, identity(user)?)
    })
}

/// Whoever the process is.
fn identity(user: &oci_spec::runtime::User) -> Result<User> {
    let check = |id: u32, field: &str| match id {
        0..=MAX_ID => Ok(id),
        _ => bail!("process.user.{field}: uids and gids must be in range 0-{MAX_ID}"),
    };
    let groups = user.additional_gids().iter().flatten().enumerate();
    Ok(User {
        uid: check(user.uid(), "uid")?,
        gid: check(user.gid(), "gid")?,
        groups: groups
            .map(|(index, &id)| check(id, &format!("additionalGids[{index}]")))
            .collect::<Result<_>>()?,
    })
}

/// Nice value and policy. The kernel remembers them for whoever asks, and leaves the scheduling to the host.
fn scheduling(process: &Process) -> Result<(i32, u32)> {
    use oci_spec::runtime::{LinuxSchedulerFlag as Flag, LinuxSchedulerPolicy as Policy};
    let Some(wanted) = process.scheduler() else { return Ok((0, sched::SCHED_OTHER)) };
    let mut policy = match wanted.policy() {
        Policy::SchedOther => sched::SCHED_OTHER,
        Policy::SchedBatch => sched::SCHED_BATCH,
        Policy::SchedIdle => sched::SCHED_IDLE,
        other => bail!("process.scheduler.policy: usk's kernel does not schedule by {other}"),
    };
    let is_fair = policy != sched::SCHED_IDLE;
    let nice = wanted.nice().unwrap_or(0);
    if is_fair && !(-20..=19).contains(&nice) {
        bail!("process.scheduler.nice: {nice} is not between -20 and 19");
    }
    if wanted.priority().is_some_and(|priority| priority != 0) {
        bail!("process.scheduler.priority: it can only be specified for SCHED_FIFO or SCHED_RR");
    }
    for (field, value) in
        [("runtime", wanted.runtime()), ("deadline", wanted.deadline()), ("period", wanted.period())]
    {
        if value.is_some_and(|value| value != 0) {
            bail!("process.scheduler.{field}: it can only be specified for SCHED_DEADLINE");
        }
    }
    for (index, flag) in wanted.flags().iter().flatten().enumerate() {
        match flag {
            Flag::SchedResetOnFork => policy |= sched::SCHED_RESET_ON_FORK,
            // Nothing has been set before that could be kept.
            Flag::SchedFlagKeepPolicy | Flag::SchedFlagKeepParams => {}
            other => bail!("process.scheduler.flags[{index}]: usk's kernel does not know {other}"),
        }
    }
    Ok((if is_fair { nice } else { 0 }, policy))
}

/// As ioprio_set(2) takes it.
fn io_priority(process: &Process) -> Result<u32> {
    use oci_spec::runtime::IOPriorityClass as Class;
    let Some(wanted) = process.io_priority() else { return Ok(0) };
    let class = match wanted.class() {
        Class::IoprioClassRt => sched::IOPRIO_CLASS_RT,
        Class::IoprioClassBe => sched::IOPRIO_CLASS_BE,
        Class::IoprioClassIdle => sched::IOPRIO_CLASS_IDLE,
    };
    match u32::try_from(wanted.priority()) {
        Ok(level) if level < IO_LEVELS => Ok(sched::ioprio_value(class, level)),
        _ => bail!("process.ioPriority.priority: {} is not between 0 and 7", wanted.priority()),
    }
}

/// The execution domain of a container's processes.
pub(super) fn personality(linux: Option<&Linux>) -> u32 {
    let Some(wanted) = linux.and_then(|linux| linux.personality().as_ref()) else { return PER_LINUX };
    if wanted.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
        log::warn("linux.personality.flags: ignored, as by runc");
    }
    match wanted.domain() {
        LinuxPersonalityDomain::PerLinux => PER_LINUX,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    }
}

/// The size that the terminal shall begin with, if there is a terminal.
pub(super) fn window(process: &Process) -> Result<Option<WindowSize>> {
    if process.terminal() != Some(true) {
        return Ok(None);
    }
    let Some(size) = process.console_size() else { return Ok(None) };
    let side = |value: u64, field: &str| {
        u16::try_from(value).with_context(|| format!("process.consoleSize.{field}: {value} is too large"))
    };
    Ok(Some(WindowSize { rows: side(size.height(), "height")?, columns: side(size.width(), "width")? }))
}

/// `K=V` strings; of two with the same name the later counts.
fn environment(process: &Process) -> Result<Vec<OsString>> {
    let mut variables: Vec<(&str, &str)> = Vec::new();
    for (index, variable) in process.env().iter().flatten().enumerate() {
        let (name, _) = variable
            .split_once('=')
            .filter(|(name, _)| !name.is_empty() && !variable.contains('\0'))
            .with_context(|| format!("process.env[{index}]: invalid environment variable: {variable:?}"))?;
        variables.retain(|(earlier, _)| *earlier != name);
        variables.push((name, variable));
    }
    Ok(variables.into_iter().map(|(_, variable)| variable.into()).collect())
}

fn capabilities(sets: &oci_spec::runtime::LinuxCapabilities) -> CapabilitySets {
    CapabilitySets {
        effective: bits(sets.effective().as_ref()),
        permitted: bits(sets.permitted().as_ref()),
        inheritable: bits(sets.inheritable().as_ref()),
        bounding: bits(sets.bounding().as_ref()),
        ambient: bits(sets.ambient().as_ref()),
    }
}

/// Whether it may mount file systems, or can come to by executing a program.
fn may_mount(process: &ProcessSpec) -> bool {
    let mount = 1 << capability::CAP_SYS_ADMIN;
    process.capabilities.is_none_or(|sets| (sets.permitted | sets.bounding) & mount != 0)
}

fn bits(set: Option<&Capabilities>) -> u64 {
    let name = |capability| match serde_json::to_value(capability) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    };
    let number = |name: String| capability::NAMES.iter().position(|known| *known == name);
    set.into_iter().flatten().filter_map(|capability| number(name(capability))).fold(0, |all, n| all | 1 << n)
}

/// What is mounted inside never shows on the host: who may mount cannot have what says that it does.
pub fn check_mounting(process: &ProcessSpec) -> Result<()> {
    if may_mount(process) {
        bail!(
            "what the container may mount below would not show on the host, as 'shared' has it: say 'rslave', or take \
             CAP_SYS_ADMIN from its process"
        );
    }
    Ok(())
}

/// Whether a capability has this name, for `exec --cap`. As in a configuration, what nobody knows is passed over with a warning.
pub fn is_capability(name: &str) -> bool {
    let is_known = capability::NAMES.contains(&name);
    if !is_known {
        log::warn(&format!("ignoring unknown or unavailable capabilities: [{name}]"));
    }
    is_known
}

fn limits(process: &Process) -> Result<Vec<ResourceLimit>> {
    let mut limits: Vec<ResourceLimit> = Vec::new();
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        let resource = number(limit.typ());
        if limits.iter().any(|earlier| earlier.resource == resource) {
            bail!("process.rlimits[{index}].type: {} is there twice", limit.typ());
        }
        if limit.soft() > limit.hard() {
            bail!("process.rlimits[{index}].soft: it is above the hard limit");
        }
        limits.push(ResourceLimit { resource, soft: limit.soft(), hard: limit.hard() });
    }
    Ok(limits)
}

/// `RLIMIT_*` of getrlimit(2).
fn number(limit: PosixRlimitType) -> u32 {
    match limit {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}
