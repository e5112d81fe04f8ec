//! From the command line to a verb, and from errors to one line and an exit status.

use std::ffi::OsString;

use clap::Parser;

use crate::command_line::{CommandLine, Verb};
use crate::usage::usage;
use crate::{bench, doctor, image, install, randomize_addresses, run};

/// Exit status when usk itself fails, as with `env(1)` and Docker.
pub(crate) const FAILURE: i32 = 125;

/// Does what the process's arguments ask for and returns the exit status.
pub fn main() -> i32 {
    randomize_addresses();
    let command_line = match CommandLine::try_parse_from(std::env::args_os().collect::<Vec<OsString>>()) {
        Ok(command_line) => command_line,
        Err(error) => return usage(&error, "usk", "usk run --help", FAILURE),
    };
    match command_line.verb {
        Verb::Run(arguments) => run::run(*arguments),
        Verb::Doctor(arguments) => doctor::doctor(&arguments),
        Verb::Bench(arguments) => bench::bench(&arguments),
        Verb::Image(arguments) => image::image(&arguments),
        Verb::Install(arguments) => install::install(&arguments),
        Verb::Uninstall(arguments) => install::uninstall(&arguments),
        Verb::Hold(arguments) => run::hold(*arguments),
    }
}
