//! From the command line to a [`SandboxSpec`]: everything that needs a look at the host happens here, before any
//! process is made. All errors name what failed, why, and what to do.

mod environment;
mod exports;
mod secrets;
mod users;

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use usk_platform::host::{credentials, signals};

pub(crate) use exports::file_identity;
pub use exports::{Layout, kernel_mounts, open_export, open_in_root};
pub use users::home;

use crate::command_line::RunArguments;
use crate::spec::{Export, Limits, ProcessSpec, SandboxSpec, Workload};

/// What to make.
#[derive(Debug)]
pub struct Plan {
    /// For the sentry.
    pub spec: SandboxSpec,
    /// For the gofer.
    pub exports: Vec<Export>,
}

/// Resolves what the arguments name.
pub fn plan(arguments: RunArguments, workload: Workload) -> Result<Plan> {
    let caller = credentials::identity().context("cannot read the caller's user and groups")?;
    let layout = exports::layout(&arguments, &caller)?;
    let user = users::resolve(arguments.user.as_ref(), &layout, &caller)?;
    let environment = environment::environment(&arguments, &layout, &user)?;
    let workdir = exports::workdir(arguments.workdir.as_deref(), &layout)?;
    let strace = match &arguments.strace {
        None => None,
        Some(path) if path.as_os_str().is_empty() => Some(duplicate_standard_error()?),
        Some(path) => Some(append_to(path, "--strace")?),
    };
    let log = arguments.log.as_deref().map(|path| append_to(path, "--log")).transpose()?;
    let process = ProcessSpec {
        environment,
        workdir,
        runs_plain_files: true,
        terminal: arguments.terminal,
        ignored_signals: signals::ignored().0,
        ..ProcessSpec::new(arguments.command, user)
    };
    let spec = SandboxSpec {
        process,
        command_is_init: false,
        descriptors: Vec::new(),
        gated: false,
        hostname: arguments.hostname,
        domainname: None,
        mounts: layout.mounts,
        masked: Vec::new(),
        read_only: Vec::new(),
        limits: Limits { memory: arguments.memory, tasks: arguments.pids_limit },
        platform: arguments.platform,
        no_patch: arguments.no_patch,
        strace,
        log,
        filter_log: arguments.filter_log,
        workload,
    };
    Ok(Plan { spec, exports: layout.exports })
}

fn append_to(path: &Path, option: &str) -> Result<OwnedFd> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    Ok(file.with_context(|| format!("cannot open {} for {option}", path.display()))?.into())
}

fn duplicate_standard_error() -> Result<OwnedFd> {
    use std::os::fd::AsFd;
    std::io::stderr().as_fd().try_clone_to_owned().context("cannot list system calls on standard error")
}
