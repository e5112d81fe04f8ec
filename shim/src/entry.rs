//! From the command line to a verb, and from errors to a line where engines look for it.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::cgroup::Keeper;
use crate::command_line::{CommandLine, Global, Rootless, Verb};
use crate::go_flags;
use crate::log;
use crate::state::OCI_VERSION;
use crate::verbs;

/// Exit status when a verb fails, as with runc.
pub(crate) const FAILURE: i32 = 1;
/// Exit status when there is no such verb, as with runc.
const NO_SUCH_VERB: i32 = 3;
/// Exit status when `exec` fails before the process runs, as with runc.
pub(crate) const EXEC_FAILURE: i32 = 255;

/// What holds for every verb, decided.
pub(crate) struct Settings {
    /// Where containers' directories are.
    pub(crate) root: PathBuf,
    /// Which systemd keeps the cgroups, if any does: `cgroupsPath` is `slice:prefix:name` then.
    pub(crate) systemd: Option<Keeper>,
    /// Whether cgroups may be missing.
    pub(crate) lenient_cgroups: bool,
}

/// Does what the process's arguments ask for and returns the exit status.
pub fn main() -> i32 {
    usk::randomize_addresses();
    let arguments = go_flags::for_clap(&CommandLine::command(), std::env::args_os());
    let command_line = match CommandLine::try_parse_from(&arguments) {
        Ok(command_line) => command_line,
        Err(error) => return refuse(&error, &arguments),
    };
    let CommandLine { global, verb } = command_line;
    let Some(verb) = verb else { return introduce(&global) };
    let begun = settings(&global);
    let is_exec = matches!(verb, Verb::Exec(_));
    let outcome = begun.and_then(|settings| carry_out(&settings, verb));
    outcome.unwrap_or_else(|error| {
        let message = format!("{error:#}");
        log::write(log::Level::Error, &message);
        if !log::is_standard_error() {
            eprintln!("{message}");
        }
        if is_exec { EXEC_FAILURE } else { FAILURE }
    })
}

/// What is said where no verb is: the version where that is asked for, else what verbs there are.
fn introduce(global: &Global) -> i32 {
    if global.version {
        println!("usk-oci version {}\nspec: {OCI_VERSION}", env!("CARGO_PKG_VERSION"));
        return 0;
    }
    // Where nobody reads it nothing can be done about that.
    let _ = CommandLine::command().print_long_help();
    0
}

/// Says what is wrong with the arguments, also where an engine looks for errors; what they say about that is looked for among them.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> i32 {
    let failure = if error.kind() == ErrorKind::InvalidSubcommand { NO_SUCH_VERB } else { FAILURE };
    let status = usk::usage(error, "usk-oci", "usk-oci --help", failure);
    let rest = CommandLine::command().ignore_errors(true).try_get_matches_from(arguments).ok();
    let global = rest.and_then(|rest| Global::from_arg_matches(&rest).ok());
    if let Some(global) = global.filter(|global| status != 0 && global.log.is_some())
        && log::begin(global.log.as_deref(), global.log_format, global.debug).is_ok()
    {
        log::write(log::Level::Error, &usk::usage_line(error));
    }
    status
}

fn settings(global: &Global) -> Result<Settings> {
    log::begin(global.log.as_deref(), global.log_format, global.debug)?;
    let is_root = nix::unistd::geteuid().is_root() && !is_in_user_namespace();
    let own = || match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) if !is_root => PathBuf::from(directory).join("usk-oci"),
        _ => PathBuf::from("/run/usk-oci"),
    };
    let root = global.root.clone().unwrap_or_else(own);
    Ok(Settings {
        root: std::path::absolute(&root)?,
        systemd: global.systemd_cgroup.then_some(if is_root { Keeper::System } else { Keeper::User }),
        lenient_cgroups: match global.rootless {
            Rootless::True => true,
            Rootless::False => false,
            Rootless::Auto => !is_root,
        },
    })
}

/// Whether this process's users are not the host's: root is an ordinary user of the host then.
fn is_in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn carry_out(settings: &Settings, verb: Verb) -> Result<i32> {
    match verb {
        Verb::Create(arguments) => verbs::create(settings, &arguments),
        Verb::Start(arguments) => verbs::start(settings, &arguments.id),
        Verb::Run(arguments) => verbs::run(settings, &arguments),
        Verb::State(arguments) => verbs::state(settings, &arguments.id),
        Verb::Kill(arguments) => verbs::kill(settings, &arguments),
        Verb::Delete(arguments) => verbs::delete(settings, &arguments),
        Verb::List(arguments) => verbs::list(settings, &arguments),
        Verb::Exec(arguments) => verbs::exec(settings, arguments),
        Verb::Ps(arguments) => verbs::ps(settings, &arguments),
        Verb::Pause(arguments) => verbs::pause(settings, &arguments.id),
        Verb::Resume(arguments) => verbs::resume(settings, &arguments.id),
        Verb::Events(arguments) => verbs::events(settings, &arguments),
        Verb::Update(arguments) => verbs::update(settings, arguments),
        Verb::Spec(arguments) => verbs::spec(&arguments),
        Verb::Features => verbs::features(),
        Verb::Checkpoint(_) => verbs::later("checkpoint"),
        Verb::Restore(_) => verbs::later("restore"),
    }
}
