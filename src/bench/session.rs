//! One run of `usk bench`: what all measurements need to know.

use std::time::Instant;

use super::guest::Guest;
use super::place::Place;
use super::results::{Row, Section};
use super::runtimes::Runtime;

/// What `--only` patterns a measurement is compared with, as `section::id`.
pub(crate) fn is_selected(only: &[String], section: Section, id: &str) -> bool {
    let name = format!("{}::{id}", section.name());
    only.is_empty() || only.iter().any(|pattern| name.contains(pattern.as_str()))
}

/// Whether a runtime is one of those that `--on` and `--not-on` leave.
pub(crate) fn is_runtime_selected(on: &[String], not_on: &[String], name: &str) -> bool {
    let is_named = |patterns: &[String]| patterns.iter().any(|pattern| name.contains(pattern.as_str()));
    (on.is_empty() || is_named(on)) && !is_named(not_on)
}

/// What a cell says that has no figure because of `--quick`.
pub(crate) const TIME_IS_OVER: &str = "not measured: the time of --quick was over";

/// The run.
pub(crate) struct Session {
    /// The directories.
    pub(crate) place: Place,
    /// The programs that are run.
    pub(crate) guest: Guest,
    /// Under what, native first.
    pub(crate) runtimes: Vec<Runtime>,
    /// How often each runtime has its turn.
    pub(crate) rounds: usize,
    /// Less of everything.
    pub(crate) quick: bool,
    /// Which measurements are made.
    pub(crate) only: Vec<String>,
}

impl Session {
    /// Whether this measurement is wanted.
    pub(crate) fn wants(&self, section: Section, id: &str) -> bool {
        is_selected(&self.only, section, id)
    }

    /// An empty row for a measurement.
    pub(crate) fn row(&self, section: Section, id: &str, title: &str, unit: &'static str) -> Row {
        Row::new(section, id, title, unit, self.runtimes.len())
    }

    /// Says what is done, on standard error. `\r` keeps it on one line of a terminal.
    pub(crate) fn progress(&self, what: &str) {
        use std::io::{IsTerminal, Write};
        let mut error = std::io::stderr().lock();
        if error.is_terminal() {
            // Nobody to tell is no reason to fail.
            let _ = write!(error, "\r\x1b[K{what}").and_then(|()| error.flush());
        }
    }
}

/// A point in time after which nothing new is begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Until(pub(crate) Option<Instant>);

impl Until {
    /// Whether it has come.
    pub(crate) fn is_over(self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(|&pattern| pattern.to_owned()).collect()
    }

    #[test]
    fn a_runtime_is_left_out_by_what_it_is_called_and_by_what_it_is_not() {
        let is_selected = |on: &[&str], not_on: &[&str]| {
            ["usk trap", "usk trap, tiers=2", "runc"]
                .map(|name| is_runtime_selected(&only(on), &only(not_on), name))
        };
        assert_eq!(is_selected(&[], &[]), [true, true, true]);
        assert_eq!(is_selected(&["usk"], &[]), [true, true, false]);
        assert_eq!(is_selected(&["usk"], &["tiers"]), [true, false, false]);
        assert_eq!(is_selected(&[], &["tiers", "runc"]), [true, false, false]);
    }

    #[test]
    fn patterns_are_parts_of_section_and_name() {
        assert!(is_selected(&[], Section::Micro, "getppid"));
        assert!(is_selected(&only(&["micro"]), Section::Micro, "getppid"));
        assert!(is_selected(&only(&["x", "::get"]), Section::Micro, "getppid"));
        assert!(!is_selected(&only(&["io"]), Section::Micro, "getppid"));
    }
}
