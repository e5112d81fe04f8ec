//! What can be asked for: the verbs and their options.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::image::{Reference, parse_reference};
use crate::values::{
    NamedProgram, Tmpfs, UserSpec, Volume, parse_duration, parse_hostname, parse_runtime, parse_runtime_name,
    parse_size, parse_tmpfs, parse_user, parse_volume,
};

/// Run programs that nobody vetted on a kernel of their own, in a user process.
#[derive(Parser, Debug)]
#[command(
    name = "usk",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Subcommand, Debug)]
// Only the verb that is asked for learns its options: to describe all takes a tenth of a millisecond more.
#[command(defer = true)]
pub enum Verb {
    /// Run a command in a sandbox
    Run(Box<RunArguments>),
    /// Say what this host offers, what usk will use, and how to get what is missing
    Doctor(DoctorArguments),
    /// Measure usk beside the other runtimes that are found here
    Bench(BenchArguments),
    /// Look at the images that were unpacked, or remove them
    Image(ImageArguments),
    /// Tell container engines about usk as a runtime: Docker, containerd, Podman
    Install(InstallArguments),
    /// Take usk out of container engines' settings, and remove what root's sandboxes leave in /run/usk
    Uninstall(InstallArguments),
    /// Set a sandbox up and keep it, without a command, until a signal ends it: for tests of its isolation
    #[command(hide = true)]
    Hold(Box<RunArguments>),
}

/// How guest code runs.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformChoice {
    /// seccomp traps and user notification: fast, Linux 5.19 or newer
    Trap,
    /// PTRACE_SYSEMU: slow, for hosts without user notification
    Ptrace,
}

/// Where calls are answered.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiers {
    /// what needs nobody else at once, where the program runs
    All,
    /// all by the kernel's own process
    #[value(name = "2")]
    Second,
}

const RUN_ABOUT: &str = "Run a command in a sandbox

The command's system calls are answered by usk's own kernel, a user process that sees no file and no network of the
host. Without options the command sees the host's root directory as it is, except for secrets; what it writes goes to a
layer of its own and is gone when it ends. It has no network. Nothing needs to be installed or downloaded.";

const RUN_AFTER: &str = "Secrets: ~/.ssh ~/.aws ~/.gnupg ~/.kube ~/.docker ~/.config/gh of the caller, of root, and of the \
user that sudo was called by appear empty, wherever a directory that holds them is visible. Name one with -v to show it.

Environment: PATH, HOME, LANG and TERM are passed on; -e, --env-file and --inherit-env add to them, --clear-env begins \
with nothing.

Exit status: the command's own; 128+N if signal N ended it; 124 if --timeout did; 125 if usk itself failed; 126 if the \
command cannot be executed; 127 if it was not found; 137 if a limit ended it.

Examples:
  usk run -- python3 script.py
  usk run -v .:/work:rw -w /work -- make test
  usk run --rootfs ./debian -it -- bash
  usk run --image oci:./layout:latest -- sh -c 'cat /etc/os-release'
  usk run -m 512M --pids-limit 64 --timeout 60s -- ./untrusted";

const IMAGE_HELP: &str = "Use a container image: its files become the root, and it says what to run, as whom, and where

oci:DIR[:TAG] is an OCI image layout, oci-archive:FILE[:TAG] one in a tar archive, docker-archive:FILE[:NAME] what 'docker save' \
writes. COMMAND takes the place of the image's; its entry point stays.";

/// How a report is written.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    /// tables to read
    Text,
    /// one object in one line
    Json,
}

/// Options of `usk run`.
#[derive(Args, Debug)]
#[command(long_about = RUN_ABOUT, after_long_help = RUN_AFTER)]
pub struct RunArguments {
    /// Directory that becomes the root instead of the host's
    #[arg(long, value_name = "DIR", help_heading = "Files")]
    pub rootfs: Option<PathBuf>,

    /// Use a container image: its files become the root, and it says what to run, as whom, and where
    #[arg(long, value_name = "IMAGE", value_parser = parse_reference, conflicts_with = "rootfs", long_help = IMAGE_HELP,
          help_heading = "Files")]
    pub image: Option<Reference>,

    /// Directory that keeps unpacked images [default: /var/cache/usk for root, else ~/.cache/usk]
    #[arg(long, value_name = "DIR", requires = "image", help_heading = "Files")]
    pub image_cache: Option<PathBuf>,

    /// Show a host directory or file in the sandbox, read-only unless it says :rw
    #[arg(short, long = "volume", value_name = "SRC:DST[:ro|rw]", value_parser = parse_volume, help_heading = "Files")]
    pub volumes: Vec<Volume>,

    /// Put an empty temporary file system there
    #[arg(long, value_name = "DST[:size=N]", value_parser = parse_tmpfs, help_heading = "Files")]
    pub tmpfs: Vec<Tmpfs>,

    /// Refuse writes to the root, instead of keeping them in a layer that is discarded
    #[arg(long, help_heading = "Files")]
    pub read_only: bool,

    /// Make this file or directory of the sandbox appear empty
    #[arg(long, value_name = "PATH", help_heading = "Files")]
    pub hide: Vec<PathBuf>,

    /// Run this instead of the image's entry point and command; with nothing in it, COMMAND alone
    #[arg(long, value_name = "PROGRAM", requires = "image", help_heading = "Process")]
    pub entrypoint: Option<OsString>,

    /// Directory to start in [default: the current one if it exists in the sandbox, else /]
    #[arg(short, long, value_name = "DIR", help_heading = "Process")]
    pub workdir: Option<PathBuf>,

    /// Set an environment variable; K alone takes the caller's value
    #[arg(short, long = "env", value_name = "K[=V]", help_heading = "Process")]
    pub environment: Vec<OsString>,

    /// Set the variables that a file lists, one K=V or K a line
    #[arg(long, value_name = "FILE", help_heading = "Process")]
    pub env_file: Vec<PathBuf>,

    /// Pass the caller's whole environment on
    #[arg(long, conflicts_with = "clear_env", help_heading = "Process")]
    pub inherit_env: bool,

    /// Pass nothing on, not even PATH
    #[arg(long, help_heading = "Process")]
    pub clear_env: bool,

    /// User and group in the sandbox; names are looked up in the sandbox's /etc/passwd and /etc/group [default: the
    /// caller's ids]
    #[arg(short, long, value_name = "UID[:GID]", value_parser = parse_user, help_heading = "Process")]
    pub user: Option<UserSpec>,

    /// Host name in the sandbox
    #[arg(long, value_name = "NAME", default_value = "localhost", value_parser = parse_hostname, help_heading = "Process")]
    pub hostname: String,

    /// Keep standard input open, as it always is (for those used to Docker)
    #[arg(short, help_heading = "Process")]
    pub interactive: bool,

    /// Give the command a terminal of the sandbox's own, connected to the caller's
    #[arg(short = 't', help_heading = "Process")]
    pub terminal: bool,

    /// End the sandbox after this time: 60s, 5m, 1.5h
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Limits")]
    pub timeout: Option<Duration>,

    /// Limit the memory of everything in the sandbox: 512M, 2G
    #[arg(short, long, value_name = "SIZE", value_parser = parse_size, help_heading = "Limits")]
    pub memory: Option<u64>,

    /// Limit the number of processes and threads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Limits")]
    pub pids_limit: Option<u32>,

    /// How guest code runs
    #[arg(long, value_enum, default_value = "trap", help_heading = "Kernel")]
    pub platform: PlatformChoice,

    /// Leave the program's code as it is: no call site is rewritten
    #[arg(long, help_heading = "Kernel")]
    pub no_patch: bool,

    /// Spend idle processor time on faster calls; needs two processors
    #[arg(long, conflicts_with = "no_patch", help_heading = "Kernel")]
    pub spin: bool,

    /// Where calls are answered
    #[arg(long, value_enum, default_value = "all", help_heading = "Kernel")]
    pub tiers: Tiers,

    /// List system calls on standard error or in a file
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "",
          value_parser = OsStringValueParser::new().map(PathBuf::from), help_heading = "Kernel")]
    pub strace: Option<PathBuf>,

    /// Append the kernel's own messages to a file
    #[arg(long, value_name = "FILE", help_heading = "Kernel")]
    pub log: Option<PathBuf>,

    /// Write what happens to an open descriptor, as JSON lines: started, exited with status, reason and limit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..), help_heading = "Kernel")]
    pub status_fd: Option<i32>,

    /// Say at the end what the run has cost
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Kernel")]
    pub report: Option<ReportFormat>,

    /// Write the report to this file instead
    #[arg(long, value_name = "FILE", requires = "report", help_heading = "Kernel")]
    pub report_file: Option<PathBuf>,

    /// Write usk's own messages on standard error as JSON lines
    #[arg(long, help_heading = "Kernel")]
    pub json: bool,

    /// Write a time line of the start and the end to a file, for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE", help_heading = "Kernel")]
    pub trace_start: Option<PathBuf>,

    /// Log calls that the sentry's filter does not know instead of ending it: for finding out what a filter lacks
    #[arg(long, hide = true)]
    pub filter_log: bool,

    /// Command and arguments
    #[arg(trailing_var_arg = true, value_name = "COMMAND", required_unless_present = "image")]
    pub command: Vec<OsString>,
}

/// Options of `usk doctor`.
#[derive(Args, Debug)]
pub struct DoctorArguments {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `usk image`.
#[derive(Args, Debug)]
pub struct ImageArguments {
    /// What to do
    #[command(subcommand)]
    pub verb: ImageVerb,

    /// Directory that keeps unpacked images [default: /var/cache/usk for root, else ~/.cache/usk]
    #[arg(long = "image-cache", value_name = "DIR", global = true)]
    pub cache: Option<PathBuf>,
}

/// What `usk image` does.
#[derive(Subcommand, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageVerb {
    /// List the roots of images that were unpacked
    List,
    /// Remove all that no running sandbox uses
    Prune,
}

const BENCH_ABOUT: &str = "Measure usk beside the other runtimes that are found here

Single operations, whole commands, and the life of sandboxes, natively and under bubblewrap, runc, crun, gVisor and usk,
in turn. Prints tables and writes JSON, CSV, SVG and one page of HTML. Needs cc; as root it measures most.";

/// Options of `usk bench`.
#[derive(Args, Debug)]
#[command(long_about = BENCH_ABOUT)]
pub struct BenchArguments {
    /// Measure only what has this in its name, as --list shows it; can be repeated
    #[arg(long, value_name = "PART")]
    pub only: Vec<String>,

    /// Measure only under runtimes that have this in their names, and natively; can be repeated
    #[arg(long, value_name = "PART")]
    pub on: Vec<String>,

    /// Leave out runtimes that have this in their names; can be repeated
    #[arg(long, value_name = "PART")]
    pub not_on: Vec<String>,

    /// Rounds in which each runtime has its turn [default: 5, with --quick 2]
    #[arg(long, value_name = "N", value_parser = parse_rounds)]
    pub runs: Option<usize>,

    /// Less of everything, in under two minutes
    #[arg(long)]
    pub quick: bool,

    /// Use this program for a runtime (bubblewrap, crun, runc, runsc, usk), or for another of its kind: runsc-new=PATH
    #[arg(long = "runtime", value_name = "NAME=PATH", value_parser = parse_runtime)]
    pub runtimes: Vec<NamedProgram>,

    /// Fail when usk's ratio to native of a measurement is more than half above the one in this file
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,

    /// Write usk's ratios to native to this file, for --baseline
    #[arg(long, value_name = "FILE")]
    pub save_baseline: Option<PathBuf>,

    /// Directory for the files
    #[arg(long, value_name = "DIR", default_value = "usk-bench")]
    pub output: PathBuf,

    /// List what can be measured, and measure nothing
    #[arg(long)]
    pub list: bool,
}

/// More rounds than anybody waits for.
const ROUNDS_MAX: usize = 1000;

fn parse_rounds(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(rounds) if (1..=ROUNDS_MAX).contains(&rounds) => Ok(rounds),
        _ => Err(format!("expected a number from 1 to {ROUNDS_MAX}")),
    }
}

/// Options of `usk install` and `usk uninstall`.
#[derive(Args, Debug)]
pub struct InstallArguments {
    /// Only these engines [default: those that are there]
    #[arg(value_enum, value_name = "ENGINE")]
    pub engines: Vec<EngineChoice>,

    /// What the runtime is called there
    #[arg(long, value_name = "NAME", default_value = "usk", value_parser = parse_runtime_name)]
    pub name: String,

    /// The OCI runtime [default: usk-oci beside this program]
    #[arg(long, value_name = "FILE")]
    pub runtime: Option<PathBuf>,

    /// Where engines have their settings
    #[arg(long, value_name = "DIR", default_value = "/etc")]
    pub etc: PathBuf,
}

/// A container engine.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// daemon.json
    Docker,
    /// config.toml
    Containerd,
    /// containers.conf
    Podman,
}
