//! What was measured, and what was not and why.

use serde::Serialize;

use super::machine::Machine;
use super::statistics::{self, Summary};

/// Everything, in the form that the reports are made of.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    /// Where it was measured.
    pub(crate) machine: Machine,
    /// How.
    pub(crate) settings: Settings,
    /// The runtimes, native first; each row's cells are in their order.
    pub(crate) runtimes: Vec<RuntimeLine>,
    /// Runtimes that were looked for and are not measured, and why.
    pub(crate) absent: Vec<Absence>,
    /// The measurements.
    pub(crate) rows: Vec<Row>,
}

/// The options that the figures depend on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    /// `--quick`
    pub(crate) quick: bool,
    /// Rounds asked for: how often each runtime has its turn at each measurement.
    pub(crate) rounds: usize,
    /// `--only`
    pub(crate) only: Vec<String>,
}

/// A runtime that takes part.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RuntimeLine {
    /// Its name in tables.
    pub(crate) name: String,
    /// What kind of isolation it is.
    pub(crate) class: Class,
    /// What it says of its version.
    pub(crate) version: String,
    /// How it is started, with the changing parts in capitals.
    pub(crate) command: String,
}

/// The kinds of isolation that the summary compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Class {
    /// None.
    Native,
    /// Namespaces of the host's kernel.
    Container,
    /// gVisor's kernel in user space.
    Gvisor,
    /// usk.
    Usk,
}

/// A runtime that does not take part.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Absence {
    /// Its name.
    pub(crate) name: String,
    /// Why.
    pub(crate) reason: String,
}

/// What kind of thing is measured: a table each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Section {
    /// Single operations.
    Micro,
    /// Commands that mostly talk to the kernel, timed inside of a running sandbox.
    Io,
    /// The same for the second time in that sandbox, which then knows the files.
    IoAgain,
    /// The same for the first time, with the sandbox's start and end.
    IoWithStart,
    /// Commands that mostly compute, timed inside of a running sandbox.
    Compute,
    /// The same, with the sandbox's start and end.
    ComputeWithStart,
    /// Starting, keeping and ending sandboxes.
    Life,
}

impl Section {
    /// In the order of the reports.
    pub(crate) const ALL: [Section; 7] = [
        Section::Micro,
        Section::Io,
        Section::IoAgain,
        Section::IoWithStart,
        Section::Compute,
        Section::ComputeWithStart,
        Section::Life,
    ];

    /// As `--only` and file names have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Section::Micro => "micro",
            Section::Io => "io",
            Section::IoAgain => "io-again",
            Section::IoWithStart => "io-with-start",
            Section::Compute => "compute",
            Section::ComputeWithStart => "compute-with-start",
            Section::Life => "life",
        }
    }

    /// As people read it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Section::Micro => "Single operations",
            Section::Io => "I/O-heavy commands, in a running sandbox",
            Section::IoAgain => "I/O-heavy commands, again in the same sandbox",
            Section::IoWithStart => "I/O-heavy commands, with the sandbox's start and end",
            Section::Compute => "Compute-heavy commands, in a running sandbox",
            Section::ComputeWithStart => "Compute-heavy commands, with the sandbox's start and end",
            Section::Life => "Life cycle",
        }
    }
}

/// One measurement under every runtime.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// The table it belongs to.
    pub(crate) section: Section,
    /// Its name for machines.
    pub(crate) id: String,
    /// Its name for people.
    pub(crate) title: String,
    /// What the samples are in.
    pub(crate) unit: &'static str,
    /// Whether more is better.
    pub(crate) more_is_better: bool,
    /// One for each runtime.
    pub(crate) cells: Vec<Cell>,
}

/// One measurement under one runtime.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cell {
    /// The samples of each round; a round that the time did not suffice for is empty.
    Rounds(Vec<Vec<f64>>),
    /// Why there is nothing.
    Missing(String),
}

impl Row {
    /// A row to be filled: one empty cell for each runtime.
    pub(crate) fn new(section: Section, id: &str, title: &str, unit: &'static str, runtimes: usize) -> Row {
        Row {
            section,
            id: id.into(),
            title: title.into(),
            unit,
            more_is_better: false,
            cells: vec![Cell::Rounds(Vec::new()); runtimes],
        }
    }

    /// Whether this runtime has not failed here so far: one failure is enough.
    pub(crate) fn is_open(&self, runtime: usize) -> bool {
        matches!(self.cells.get(runtime), Some(Cell::Rounds(_)))
    }

    /// Adds the samples that a runtime gave in a round.
    pub(crate) fn add(&mut self, runtime: usize, round: usize, samples: &[f64]) {
        if let Some(Cell::Rounds(rounds)) = self.cells.get_mut(runtime) {
            rounds.resize(rounds.len().max(round + 1), Vec::new());
            if let Some(place) = rounds.get_mut(round) {
                place.extend_from_slice(samples);
            }
        }
    }

    /// Says why a runtime gives nothing here. What it gave in earlier rounds is dropped: half a measurement misleads.
    pub(crate) fn fail(&mut self, runtime: usize, reason: &str) {
        if let Some(cell) = self.cells.get_mut(runtime) {
            *cell = Cell::Missing(reason.into());
        }
    }

    /// Gives every cell without samples a reason.
    pub(crate) fn close(&mut self, reason: &str) {
        for cell in &mut self.cells {
            if matches!(cell, Cell::Rounds(rounds) if rounds.iter().all(Vec::is_empty)) {
                *cell = Cell::Missing(reason.into());
            }
        }
    }

    /// The figures of a runtime.
    pub(crate) fn summary(&self, runtime: usize) -> Option<Summary> {
        match self.cells.get(runtime)? {
            Cell::Rounds(rounds) => statistics::summarize(rounds),
            Cell::Missing(_) => None,
        }
    }

    /// How many times the native figure a runtime's is. The first runtime is native.
    pub(crate) fn ratio(&self, runtime: usize) -> Option<f64> {
        self.ratio_between(runtime, 0)
    }

    /// How many times the figure of `base` a runtime's is.
    pub(crate) fn ratio_between(&self, runtime: usize, base: usize) -> Option<f64> {
        match (self.cells.get(runtime)?, self.cells.get(base)?) {
            (Cell::Rounds(ours), Cell::Rounds(base)) => statistics::ratio(ours, base),
            _ => None,
        }
    }
}

impl Results {
    /// The rows of one table.
    pub(crate) fn rows(&self, section: Section) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.section == section)
    }

    /// Every missing cell's reason, with the runtimes and rows that it is for: what is missing for one reason is one line.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let mut gaps: Vec<Gap<'_>> = Vec::new();
        for (index, runtime) in self.runtimes.iter().enumerate() {
            for row in &self.rows {
                let Some(Cell::Missing(reason)) = row.cells.get(index) else { continue };
                match gaps
                    .iter_mut()
                    .find(|gap| gap.runtimes == [runtime.name.as_str()] && gap.reason == reason)
                {
                    Some(gap) => gap.rows.push(row),
                    None => gaps.push(Gap { runtimes: vec![runtime.name.as_str()], reason, rows: vec![row] }),
                }
            }
        }
        let mut merged: Vec<Gap<'_>> = Vec::new();
        for gap in gaps {
            let is_same = |other: &&mut Gap<'_>| {
                other.reason == gap.reason
                    && other.rows.iter().map(|row| &row.id).eq(gap.rows.iter().map(|row| &row.id))
            };
            match merged.iter_mut().find(is_same) {
                Some(other) => other.runtimes.extend(gap.runtimes),
                None => merged.push(gap),
            }
        }
        let absent = self.absent.iter().map(|absence| format!("{}: {}", absence.name, absence.reason));
        let missing = merged.iter().map(|gap| {
            format!("{}: {} ({})", gap.runtimes.join(", "), gap.reason, self.names(&gap.rows).join(", "))
        });
        absent.chain(missing).collect()
    }

    /// The names of these rows; a section that they are all of is named alone.
    fn names(&self, rows: &[&Row]) -> Vec<String> {
        let mut names = Vec::new();
        for section in Section::ALL {
            let of_section: Vec<_> = rows.iter().filter(|row| row.section == section).collect();
            if of_section.len() > 1 && of_section.len() == self.rows(section).count() {
                names.push(format!("all of {}", section.name()));
            } else {
                names.extend(of_section.iter().map(|row| format!("{}::{}", section.name(), row.id)));
            }
        }
        names
    }
}

/// Cells that are missing for one reason.
struct Gap<'a> {
    runtimes: Vec<&'a str>,
    reason: &'a str,
    rows: Vec<&'a Row>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small set of results with a bit of everything: figures, something missing, someone absent.
    pub(crate) fn sample() -> Results {
        let runtime = |name: &str, class| RuntimeLine {
            name: name.into(),
            class,
            version: "1 <beta> & \"more\"".into(),
            command: format!("{name} COMMAND"),
        };
        let runtimes = vec![
            runtime("native", Class::Native),
            runtime("bubblewrap", Class::Container),
            runtime("usk trap", Class::Usk),
        ];
        let row = |section, id: &str, unit, values: [&[f64]; 3]| {
            let mut row = Row::new(section, id, &format!("title of {id} <&>, \"quoted\""), unit, 3);
            for (runtime, samples) in values.into_iter().enumerate() {
                row.add(runtime, 0, samples);
            }
            row.close("it refused, with a <tag>");
            row
        };
        let rows = vec![
            row(Section::Micro, "getppid", "µs", [&[0.1, 0.1, 0.2], &[0.1], &[3.0, 3.1]]),
            row(Section::Micro, "tcp", "µs", [&[30.0], &[31.0], &[]]),
            row(Section::Io, "find", "ms", [&[70.0], &[72.0], &[140.0]]),
            row(Section::Compute, "nbody", "ms", [&[100.0], &[101.0], &[102.0]]),
            row(Section::Life, "start_warm", "ms", [&[1.0], &[4.0], &[7.0]]),
            row(Section::Life, "memory_alone", "MiB", [&[1.3], &[2.2], &[9.0]]),
        ];
        Results {
            machine: Machine::unknown(),
            settings: Settings { quick: true, rounds: 1, only: Vec::new() },
            runtimes,
            absent: vec![Absence { name: "runsc kvm".into(), reason: "no /dev/kvm".into() }],
            rows,
        }
    }

    #[test]
    fn a_failure_drops_what_earlier_rounds_gave_and_keeps_its_reason() {
        let mut row = Row::new(Section::Micro, "x", "x", "µs", 2);
        row.add(1, 0, &[1.0]);
        row.fail(1, "first");
        row.add(1, 1, &[2.0]);
        row.close("second");
        assert_eq!(row.cells[1], Cell::Missing("first".into()));
        assert_eq!(row.cells[0], Cell::Missing("second".into()));
        assert_eq!((row.summary(1), row.ratio(1)), (None, None));
    }

    #[test]
    fn rounds_keep_their_places() {
        let mut row = Row::new(Section::Micro, "x", "x", "µs", 2);
        row.add(0, 0, &[1.0]);
        row.add(0, 1, &[2.0]);
        row.add(1, 1, &[6.0]);
        assert_eq!(row.cells[1], Cell::Rounds(vec![vec![], vec![6.0]]));
        assert_eq!(row.ratio(1), Some(3.0));
    }

    #[test]
    fn every_missing_cell_and_absent_runtime_has_its_line() {
        let expected = ["runsc kvm: no /dev/kvm", "usk trap: it refused, with a <tag> (micro::tcp)"];
        assert_eq!(sample().reasons(), expected);
    }

    #[test]
    fn what_is_missing_for_one_reason_is_one_line() {
        let mut results = sample();
        for row in results.rows.iter_mut().filter(|row| row.section != Section::Compute) {
            row.fail(1, "broken");
            row.fail(2, "broken");
        }
        let expected = "bubblewrap, usk trap: broken (all of micro, io::find, all of life)";
        assert_eq!(results.reasons(), ["runsc kvm: no /dev/kvm", expected]);
    }
}
