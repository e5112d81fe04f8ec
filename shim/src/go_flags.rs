//! Arguments as runc takes them, written as clap takes them.
//!
//! runc's options are those of Go's package `flag`: a name may follow one dash or two, what is on or off may say so (`--detach=false`), a value
//! may begin with a dash, and an empty one is none. Options end at the first argument that is no option.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::{Arg, ArgAction, Command};

/// Rewrites a command line, whose first member names the program. What is not understood stays as it is, for clap to say so.
pub(crate) fn for_clap(command: &Command, arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let mut rewritten: Vec<OsString> = arguments.next().into_iter().collect();
    let mut level = command;
    while let Some(argument) = arguments.next() {
        if let Some((option, value)) = option(level, &argument) {
            let value = value.map(OsStr::to_owned);
            rewritten.extend(match option.get_action() {
                ArgAction::SetTrue => switch(option, value.as_deref(), argument),
                _ => setting(option, value.or_else(|| arguments.next()), argument),
            });
        } else if let Some(verb) = level.find_subcommand(&argument) {
            level = verb;
            rewritten.push(argument);
        } else {
            rewritten.push(argument);
            break;
        }
    }
    rewritten.extend(arguments);
    rewritten
}

/// The option that an argument names, and the value that is in the same argument.
fn option<'a, 'b>(level: &'a Command, argument: &'b OsStr) -> Option<(&'a Arg, Option<&'b OsStr>)> {
    let text = argument.as_bytes().strip_prefix(b"-")?;
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (name, value) = match text.iter().position(|&byte| byte == b'=') {
        Some(at) => (&text[..at], Some(OsStr::from_bytes(&text[at + 1..]))),
        None => (text, None),
    };
    let name = std::str::from_utf8(name).ok()?;
    let is_named = |option: &&Arg| {
        option.get_long() == Some(name) || option.get_short().is_some_and(|short| name.chars().eq([short]))
    };
    level.get_arguments().find(is_named).map(|option| (option, value))
}

/// What is on or off: off, as it is anyway, is nothing.
fn switch(option: &Arg, value: Option<&OsStr>, argument: OsString) -> Option<OsString> {
    match value.map(|value| value.to_str().and_then(parse_bool)) {
        None | Some(Some(true)) => Some(long(option).unwrap_or(argument)),
        Some(Some(false)) => None,
        Some(None) => Some(argument),
    }
}

/// What has a value: an empty one is none, but in a list of values.
fn setting(option: &Arg, value: Option<OsString>, argument: OsString) -> Option<OsString> {
    let (Some(mut text), Some(value)) = (long(option), value) else { return Some(argument) };
    if value.is_empty() && matches!(option.get_action(), ArgAction::Set) {
        return None;
    }
    text.push("=");
    text.push(value);
    Some(text)
}

fn long(option: &Arg) -> Option<OsString> {
    option.get_long().map(|name| format!("--{name}").into())
}

/// As `ParseBool` of Go's package `strconv`.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::command_line::CommandLine;

    fn rewritten(line: &[&str]) -> Vec<String> {
        let arguments = [&["usk-oci"], line].concat().into_iter().map(OsString::from);
        let all = for_clap(&CommandLine::command(), arguments);
        all.into_iter().skip(1).map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn options_are_written_with_two_dashes_and_their_values() {
        for (line, wanted) in [
            (&["-root", "/r", "--debug=true", "state", "a"][..], &["--root=/r", "--debug", "state", "a"][..]),
            (
                &["exec", "-d=1", "-user=3", "-e", "A=b", "a", "ls"],
                &["exec", "--detach", "--user=3", "--env=A=b", "a", "ls"],
            ),
            (&["exec", "--tty=false", "--cwd", "", "-e", "", "a"], &["exec", "--env=", "a"]),
            (&["update", "--cpu-quota", "-1", "a"], &["update", "--cpu-quota=-1", "a"]),
        ] {
            assert_eq!(rewritten(line), wanted);
        }
    }

    #[test]
    fn what_is_no_option_of_the_verb_and_what_follows_stays() {
        for line in [
            &["exec", "a", "ls", "-detach", "--tty=false"][..],
            &["exec", "--", "-d=true"],
            &["exec", "--detach=moon", "--moon=1", "-d=true", "a"],
            &["exec", "-td", "-d=true", "a"],
            &["moon", "-d=true"],
            &["state", "--"],
            &["--root"],
            &[],
        ] {
            assert_eq!(rewritten(line), line);
        }
    }
}
