//! runc's command line: the verbs and their options.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{go_flags, log};

/// Run containers on a user-space kernel, as an OCI runtime.
#[derive(Parser, Debug)]
#[command(name = "usk-oci", disable_version_flag = true, args_override_self = true)]
pub struct CommandLine {
    /// What holds for every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// Options of every verb.
#[derive(Args, Debug)]
pub struct Global {
    /// Write messages of interest to developers, too
    #[arg(long)]
    pub debug: bool,

    /// Append messages to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// How messages look
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: log::Format,

    /// Directory for the containers' state [default: /run/usk-oci, or below XDG_RUNTIME_DIR for an ordinary user]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Have systemd make the cgroups: cgroupsPath is slice:prefix:name
    #[arg(long)]
    pub systemd_cgroup: bool,

    /// Go on without cgroups that cannot be made: true, false or auto
    #[arg(long, default_value = "auto", value_name = "true|false|auto", value_parser = rootless)]
    pub rootless: Rootless,

    /// Accepted for runc's sake: there are no checkpoints yet
    #[arg(long, value_name = "FILE", hide = true)]
    pub criu: Option<PathBuf>,

    /// Print the version
    #[arg(long, short = 'v')]
    pub version: bool,
}

/// Whether cgroups may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rootless {
    /// They may.
    True,
    /// They may not.
    False,
    /// They may for an ordinary user.
    Auto,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Create a container
    Create(CreateArguments),
    /// Run the command of a container that has been created
    Start(Id),
    /// Create a container, run its command, and wait for it
    Run(RunArguments),
    /// Print the state of a container
    State(Id),
    /// Send a signal to a container's first process
    Kill(KillArguments),
    /// Remove a container
    Delete(DeleteArguments),
    /// List containers
    List(ListArguments),
    /// Run another process in a container
    Exec(ExecArguments),
    /// List a container's processes
    Ps(PsArguments),
    /// Stop all processes of a container for a while
    Pause(Id),
    /// Continue them
    Resume(Id),
    /// Print what a container uses
    Events(EventsArguments),
    /// Change a container's limits
    Update(UpdateArguments),
    /// Write a configuration to begin with
    Spec(SpecArguments),
    /// Print what this runtime knows, as JSON
    Features,
    /// Not yet
    Checkpoint(Later),
    /// Not yet
    Restore(Later),
}

/// A container.
#[derive(Args, Debug)]
pub struct Id {
    /// Name of the container
    pub id: String,
}

/// Options of `create`.
#[derive(Args, Debug, Clone)]
pub struct CreateArguments {
    /// Directory of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub bundle: PathBuf,

    /// Socket that is sent the terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,

    /// File to write the process id to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// Accepted for runc's sake
    #[arg(long)]
    pub no_pivot: bool,

    /// Accepted for runc's sake: there are no keyrings
    #[arg(long)]
    pub no_new_keyring: bool,

    /// Pass so many descriptors on beside the standard ones
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    pub preserve_fds: u32,

    /// Name of the container
    pub id: String,
}

/// Options of `run`.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// As for `create`.
    #[command(flatten)]
    pub create: CreateArguments,

    /// Do not wait for the command
    #[arg(short, long)]
    pub detach: bool,

    /// Keep the container when its command has ended
    #[arg(long)]
    pub keep: bool,

    /// Accepted for runc's sake
    #[arg(long)]
    pub no_subreaper: bool,
}

/// Options of `kill`.
#[derive(Args, Debug)]
pub struct KillArguments {
    /// Send it to all processes of the container
    #[arg(short, long)]
    pub all: bool,

    /// Name of the container
    pub id: String,

    /// Signal, by name or number
    #[arg(default_value = "SIGTERM", allow_negative_numbers = true)]
    pub signal: String,
}

/// Options of `delete`.
#[derive(Args, Debug)]
pub struct DeleteArguments {
    /// Also if it runs, or is broken
    #[arg(short, long)]
    pub force: bool,

    /// Names of containers
    #[arg(required = true)]
    pub ids: Vec<String>,
}

/// How lists look.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Options of `list`.
#[derive(Args, Debug)]
pub struct ListArguments {
    /// How the list looks
    #[arg(short, long, value_enum, default_value = "table")]
    pub format: ListFormat,

    /// Print names only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Options of `ps`.
#[derive(Args, Debug)]
pub struct PsArguments {
    /// How the list looks
    #[arg(short, long, value_enum, default_value = "table")]
    pub format: ListFormat,

    /// Name of the container
    pub id: String,

    /// Options of ps(1) [default: -ef]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<String>,
}

/// Options of `exec`.
#[derive(Args, Debug)]
pub struct ExecArguments {
    /// Socket that is sent the terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,

    /// Directory to start in
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,

    /// Set an environment variable
    #[arg(short, long, value_name = "K=V")]
    pub env: Vec<String>,

    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// User and group, by number
    #[arg(short, long, value_name = "UID[:GID]", allow_hyphen_values = true)]
    pub user: Option<String>,

    /// Supplementary group
    #[arg(short = 'g', long, value_name = "GID")]
    pub additional_gids: Vec<u32>,

    /// File with the process in JSON, as in a configuration
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,

    /// Do not wait for it
    #[arg(short, long)]
    pub detach: bool,

    /// File to write the process id to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// Accepted for runc's sake
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,

    /// Accepted for runc's sake
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,

    /// Executing programs gains no privileges
    #[arg(long)]
    pub no_new_privs: bool,

    /// Add a capability
    #[arg(short, long, value_name = "CAPABILITY")]
    pub cap: Vec<String>,

    /// Pass so many descriptors on beside the standard ones
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    pub preserve_fds: u32,

    /// Cgroup below the container's, of which there is none: /
    #[arg(long, value_name = "[CONTROLLERS:]CGROUP")]
    pub cgroup: Vec<String>,

    /// Also if the container is paused
    #[arg(long)]
    pub ignore_paused: bool,

    /// Name of the container
    pub id: String,

    /// Command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// Options of `events`.
#[derive(Args, Debug)]
pub struct EventsArguments {
    /// Time between two events: 5s, 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = usk::values::parse_duration)]
    pub interval: std::time::Duration,

    /// Print what is used now, and leave
    #[arg(long)]
    pub stats: bool,

    /// Name of the container
    pub id: String,
}

/// Options of `update`.
#[derive(Args, Debug)]
pub struct UpdateArguments {
    /// File with the resources in JSON, as in a configuration; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub resources: Option<PathBuf>,

    /// Weight of block I/O, 10 to 1000
    #[arg(long, value_name = "N")]
    pub blkio_weight: Option<u16>,

    /// Period of the CPU's quota in microseconds
    #[arg(long, value_name = "N")]
    pub cpu_period: Option<u64>,

    /// CPU time in each period in microseconds
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,

    /// Weight of CPU time
    #[arg(long, value_name = "N")]
    pub cpu_share: Option<u64>,

    /// Period of real-time CPU time in microseconds
    #[arg(long, value_name = "N")]
    pub cpu_rt_period: Option<u64>,

    /// Real-time CPU time in each period in microseconds
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub cpu_rt_runtime: Option<i64>,

    /// CPUs to use
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,

    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,

    /// Bytes of memory
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = limit_in_bytes)]
    pub memory: Option<i64>,

    /// Bytes of memory that are left when memory is short
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = limit_in_bytes)]
    pub memory_reservation: Option<i64>,

    /// Bytes of memory and swap together; -1 is no limit
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = limit_in_bytes)]
    pub memory_swap: Option<i64>,

    /// Most processes and threads
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,

    /// Accepted for runc's sake
    #[arg(long, hide = true)]
    pub l3_cache_schema: Option<String>,

    /// Accepted for runc's sake
    #[arg(long, hide = true)]
    pub mem_bw_schema: Option<String>,

    /// Name of the container
    pub id: String,
}

/// Options of `spec`.
#[derive(Args, Debug)]
pub struct SpecArguments {
    /// Directory to write it to
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,

    /// For an ordinary user
    #[arg(long)]
    pub rootless: bool,
}

/// Whatever a verb that is not there yet is asked.
#[derive(Args, Debug)]
pub struct Later {
    /// Options and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

fn rootless(text: &str) -> Result<Rootless, String> {
    match go_flags::parse_bool(text) {
        Some(true) => Ok(Rootless::True),
        Some(false) => Ok(Rootless::False),
        None if text == "auto" => Ok(Rootless::Auto),
        None => Err("it is none of true, false and auto".into()),
    }
}

/// `512M`; `-1` is no limit.
fn limit_in_bytes(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => usk::values::parse_size(text)
            .and_then(|bytes| i64::try_from(bytes).map_err(|_| format!("'{text}' is too much"))),
    }
}
