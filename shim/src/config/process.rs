//! The `process` of a configuration, and of `exec`.

use std::ffi::OsString;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Capabilities, PosixRlimitType, Process};
use usk::spec::{CapabilitySets, ProcessSpec, ResourceLimit, User};
use usk_abi::capability;

use super::mounts::clean;

/// Most that `/proc/PID/oom_score_adj` takes, up and down.
const OOM_SCORE: i32 = 1000;

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
    let identity =
        User { uid: user.uid(), gid: user.gid(), groups: user.additional_gids().clone().unwrap_or_default() };
    let score = process.oom_score_adj().unwrap_or(0);
    if !(-OOM_SCORE..=OOM_SCORE).contains(&score) {
        bail!("process.oomScoreAdj: {score} is not between -1000 and 1000");
    }
    Ok(ProcessSpec {
        environment: environment(process)?,
        workdir,
        umask: user.umask().unwrap_or(0o022) & 0o777,
        capabilities: process.capabilities().as_ref().map(capabilities),
        no_new_privs: process.no_new_privileges().unwrap_or(false),
        limits: limits(process)?,
        oom_score_adj: score,
        terminal: process.terminal().unwrap_or(false),
        ..ProcessSpec::new(arguments, identity)
    })
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

fn bits(set: Option<&Capabilities>) -> u64 {
    let name = |capability| match serde_json::to_value(capability) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    };
    let number = |name: String| capability::NAMES.iter().position(|known| *known == name);
    set.into_iter().flatten().filter_map(|capability| number(name(capability))).fold(0, |all, n| all | 1 << n)
}

/// Whether a capability has this name, for `exec --cap`.
pub fn check_capability(name: &str) -> Result<()> {
    if capability::NAMES.contains(&name) { Ok(()) } else { bail!("unknown capability {name:?}") }
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
