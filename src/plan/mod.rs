//! From the command line to a [`SandboxSpec`]: everything that needs a look at the host happens here, before any
//! process is made. All errors name what failed, why, and what to do.

mod command;
mod environment;
mod exports;
mod overlay;
mod resolve;
mod secrets;
mod users;

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::fcntl::Flock;
use usk_platform::host::{credentials, signals};

pub(crate) use exports::file_identity;
pub use exports::{
    Layout, kernel_device, kernel_mounts, open_export, open_in_root, open_inner, translate_owners,
};
pub use overlay::{Layer, Overlay, overlay_export};
pub use users::home;

use crate::command_line::{PlatformChoice, RunArguments};
use crate::image;
use crate::spec::{Export, Limits, ProcessSpec, SandboxSpec, Workload};
use crate::values::UserSpec;

/// What to make.
#[derive(Debug)]
pub struct Plan {
    /// For the sentry.
    pub spec: SandboxSpec,
    /// For the gofer.
    pub exports: Vec<Export>,
    /// Keeps what the gofer shows of an image as long as it is needed. For the monitor.
    pub lease: Option<Flock<File>>,
}

/// Resolves what the arguments name.
pub fn plan(arguments: RunArguments, workload: Workload) -> Result<Plan> {
    ensure!(
        !(arguments.spin && arguments.platform == PlatformChoice::Ptrace),
        "--spin is for the trap platform: leave out --platform=ptrace"
    );
    let caller = credentials::identity().context("cannot read the caller's user and groups")?;
    let cache = arguments.image_cache.as_deref();
    let image = arguments.image.as_ref().map(|image| image::prepare(image, cache)).transpose()?;
    let settings = image.as_ref().map(|image| &image.settings);
    let layout = exports::layout(&arguments, image.as_ref(), &caller)?;
    let root = UserSpec { user: "0".into(), group: None };
    let images_user = settings.map(|settings| settings.user.as_ref().unwrap_or(&root));
    let user = users::resolve(arguments.user.as_ref().or(images_user), &layout, &caller)?;
    let environment = environment::environment(&arguments, settings, &layout, &user)?;
    let images_workdir = settings.map(|settings| settings.workdir.as_path());
    let make_workdir =
        arguments.workdir.is_none() && images_workdir.is_some_and(|path| path != Path::new("/"));
    let workdir = exports::workdir(arguments.workdir.as_deref().or(images_workdir), &layout)?;
    let command = command::command(&arguments, settings)?;
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
        make_workdir,
        terminal: arguments.terminal,
        ignored_signals: signals::ignored().0,
        ..ProcessSpec::new(command, user)
    };
    let spec = SandboxSpec {
        process,
        command_is_init: false,
        descriptors: Vec::new(),
        gated: false,
        hostname: arguments.hostname,
        domainname: None,
        settings: Vec::new(),
        users: None,
        mounts: layout.mounts,
        devices: Vec::new(),
        masked: Vec::new(),
        read_only: Vec::new(),
        seccomp: None,
        personality: 0,
        limits: Limits { memory: arguments.memory, tasks: arguments.pids_limit, processor: None },
        platform: arguments.platform,
        no_patch: arguments.no_patch,
        spin: arguments.spin,
        tiers: arguments.tiers,
        receipt: arguments.report.is_some(),
        strace,
        log,
        filter_log: arguments.filter_log,
        workload,
    };
    Ok(Plan { spec, exports: layout.exports, lease: image.map(|image| image.lease) })
}

fn append_to(path: &Path, option: &str) -> Result<OwnedFd> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    Ok(file.with_context(|| format!("cannot open {} for {option}", path.display()))?.into())
}

fn duplicate_standard_error() -> Result<OwnedFd> {
    use std::os::fd::AsFd;
    std::io::stderr().as_fd().try_clone_to_owned().context("cannot list system calls on standard error")
}
