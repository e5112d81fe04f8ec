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

    #[test]
    fn patterns_are_parts_of_section_and_name() {
        let only = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>();
        assert!(is_selected(&[], Section::Micro, "getppid"));
        assert!(is_selected(&only(&["micro"]), Section::Micro, "getppid"));
        assert!(is_selected(&only(&["x", "::get"]), Section::Micro, "getppid"));
        assert!(!is_selected(&only(&["io"]), Section::Micro, "getppid"));
    }
}
