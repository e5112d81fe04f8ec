//! What a command says of arguments that it does not understand.

use clap::error::ErrorKind;

/// Prints what clap has to say: help and version in full on standard output, errors in one line that names `command` and says
/// that `help` tells more. Returns the exit status, `failure` unless nothing is wrong.
pub fn usage(error: &clap::Error, command: &str, help: &str, failure: i32) -> i32 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed standard output is no reason to fail.
            let _ = error.print();
            0
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            failure
        }
        _ => {
            eprintln!("{command}: {}; see '{help}'", usage_line(error));
            failure
        }
    }
}

/// What is wrong, in one line.
pub fn usage_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}
