//! From the command line to a verb, and from errors to one line and an exit status.

use std::ffi::OsString;

use clap::Parser;
use clap::error::ErrorKind;

use crate::command_line::{CommandLine, Verb};
use crate::{bench, doctor, image, install, run};

/// Exit status when usk itself fails, as with `env(1)` and Docker.
pub(crate) const FAILURE: i32 = 125;

/// Does what the process's arguments ask for and returns the exit status.
pub fn main() -> i32 {
    let command_line = match CommandLine::try_parse_from(std::env::args_os().collect::<Vec<OsString>>()) {
        Ok(command_line) => command_line,
        Err(error) => return usage(&error),
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

/// Prints what clap has to say: help and version in full on standard output, errors in one line.
fn usage(error: &clap::Error) -> i32 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed standard output is no reason to fail.
            let _ = error.print();
            0
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            FAILURE
        }
        _ => {
            let text = error.to_string();
            let paragraph = text.split("\n\n").next().unwrap_or_default();
            let line: Vec<&str> = paragraph.split_whitespace().collect();
            let line = line.join(" ");
            let line = line.strip_prefix("error: ").unwrap_or(&line);
            eprintln!("usk: {line}; see 'usk run --help'");
            FAILURE
        }
    }
}
