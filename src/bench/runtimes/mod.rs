//! The runtimes that are compared: which there are, and how each is started.
//!
//! They are made as alike as they can be: the host's root, which they cannot change, a tmpfs on `/tmp` as working
//! directory, the same environment, no network but loopback, the same user. usk keeps its layer over the root, since that
//! is what its users get. Natively a directory on the host's own tmpfs takes the place of `/tmp`.

mod discover;
mod oci;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::place::Place;
use super::results::Class;

pub(crate) use discover::discover;

/// Where a sandbox's scratch directory is.
const SANDBOX_SCRATCH: &str = "/tmp";

/// What is to be run.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Program and arguments.
    pub(crate) arguments: Vec<OsString>,
    /// User and group, unless it is the caller's: for programs that refuse to be root.
    pub(crate) user: Option<u32>,
}

impl Job {
    /// A job of the caller's user.
    pub(crate) fn new(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Job {
        Job { arguments: arguments.into_iter().map(Into::into).collect(), user: None }
    }
}

/// A command that runs a job.
pub(crate) struct Invocation {
    /// The command.
    pub(crate) command: Command,
    /// Whether it needs [`Place::root`].
    pub(crate) needs_root: bool,
    /// Removes what is left of it after it was killed.
    pub(crate) clean_up: Option<Command>,
    /// A directory that it alone uses.
    pub(crate) directory: Option<PathBuf>,
}

/// One runtime with its options.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    /// Its name in tables.
    pub(crate) name: String,
    /// What it says of its version.
    pub(crate) version: String,
    /// Its program; natively that of the job.
    pub(crate) program: PathBuf,
    /// How it is driven.
    pub(crate) kind: Kind,
}

/// The ways to drive a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No runtime.
    Native,
    /// `bwrap`
    Bubblewrap,
    /// A bundle and the command line of runc.
    Oci {
        /// Options before the verb.
        options: Vec<String>,
        /// gVisor's runsc.
        is_gvisor: bool,
    },
    /// `usk run` with options.
    Usk {
        /// Options of `run`.
        options: Vec<String>,
    },
}

impl Runtime {
    /// No runtime: what the others are compared with.
    pub(crate) fn native() -> Runtime {
        Runtime {
            name: "native".into(),
            version: "the host's kernel".into(),
            program: PathBuf::new(),
            kind: Kind::Native,
        }
    }

    /// Whether this is none.
    pub(crate) fn is_native(&self) -> bool {
        self.kind == Kind::Native
    }

    /// What kind of isolation it is.
    pub(crate) fn class(&self) -> Class {
        match self.kind {
            Kind::Native => Class::Native,
            Kind::Bubblewrap | Kind::Oci { is_gvisor: false, .. } => Class::Container,
            Kind::Oci { is_gvisor: true, .. } => Class::Gvisor,
            Kind::Usk { .. } => Class::Usk,
        }
    }

    /// The programs that a start reads: its own, and those that gVisor's finds beside it.
    pub(crate) fn programs(&self) -> Vec<PathBuf> {
        let mut programs = vec![self.program.clone()];
        if self.class() == Class::Gvisor {
            programs.extend(oci::sidecars(&self.program));
        }
        programs
    }

    /// An empty directory that a job can write to, and starts in.
    pub(crate) fn scratch<'a>(&self, place: &'a Place) -> &'a Path {
        if self.is_native() { place.native_scratch() } else { Path::new(SANDBOX_SCRATCH) }
    }

    /// The command that runs this job.
    pub(crate) fn invocation(&self, place: &Place, job: &Job) -> Result<Invocation> {
        let environment = place.environment(self.scratch(place));
        let command = match &self.kind {
            Kind::Native => native(place, job),
            Kind::Bubblewrap => bubblewrap(&self.program, job, &environment),
            Kind::Usk { options } => usk(&self.program, options, job, &environment),
            Kind::Oci { options, .. } => {
                return oci::invocation(&self.program, options, place, job, &environment);
            }
        };
        let Some(mut command) = command else { anyhow::bail!("there is no command to run") };
        command.env_clear().envs(environment);
        Ok(Invocation { command, needs_root: false, clean_up: None, directory: None })
    }

    /// How it is started, for the reports.
    pub(crate) fn shown_command(&self) -> String {
        let program = self.program.display();
        match &self.kind {
            Kind::Native => "COMMAND".into(),
            Kind::Bubblewrap => format!("{program} {} COMMAND", BUBBLEWRAP.join(" ")),
            Kind::Usk { options } => {
                format!("{program} run {} {} -- COMMAND", USK.join(" "), options.join(" "))
            }
            Kind::Oci { options, .. } => format!("{program} {} run --bundle BUNDLE ID", options.join(" ")),
        }
    }
}

const BUBBLEWRAP: &[&str] = &[
    "--unshare-all",
    "--die-with-parent",
    "--ro-bind",
    "/",
    "/",
    "--dev",
    "/dev",
    "--proc",
    "/proc",
    "--tmpfs",
    SANDBOX_SCRATCH,
    "--chdir",
    SANDBOX_SCRATCH,
];

const USK: &[&str] = &["--tmpfs", SANDBOX_SCRATCH, "-w", SANDBOX_SCRATCH];

fn native(place: &Place, job: &Job) -> Option<Command> {
    let (program, arguments) = job.arguments.split_first()?;
    let mut command = match job.user {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={user}")).arg(format!("--regid={user}"));
            command.arg("--clear-groups").arg(program);
            command
        }
    };
    command.args(arguments).current_dir(place.native_scratch());
    Some(command)
}

fn bubblewrap(program: &Path, job: &Job, environment: &[(String, String)]) -> Option<Command> {
    let mut command = Command::new(program);
    command.args(BUBBLEWRAP);
    if let Some(user) = job.user.map(|user| user.to_string()) {
        command.args(["--uid", &user, "--gid", &user]);
    }
    command.arg("--clearenv");
    for (name, value) in environment {
        command.args(["--setenv", name, value]);
    }
    command.args(&job.arguments);
    Some(command)
}

fn usk(program: &Path, options: &[String], job: &Job, environment: &[(String, String)]) -> Option<Command> {
    let mut command = Command::new(program);
    command.arg("run").args(USK).args(options).arg("--clear-env");
    if let Some(user) = job.user {
        command.args(["-u", &format!("{user}:{user}")]);
    }
    for (name, value) in environment {
        command.args(["-e", &format!("{name}={value}")]);
    }
    command.arg("--").args(&job.arguments);
    Some(command)
}
