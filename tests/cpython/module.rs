//! A module of the regression tests, and a run of it on one runtime.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::runtime::{self, Runtime};
use crate::support::watched;

/// The interpreter whose tests are run: the distribution's.
pub(crate) const PYTHON: &str = "/usr/bin/python3";
/// Writes the outcomes; handed to the interpreter as text, so that no file of the host has to show in the sandbox.
const REPORT: &str = include_str!("report.py");
/// What begins a line with an outcome.
const MARK: &str = "usk-test ";
/// Most time for one module on one runtime.
const LIMIT: Duration = Duration::from_secs(120);

/// A module.
#[derive(Clone, Copy)]
pub(crate) struct Module {
    /// Its name, as `python3 -m test` takes it.
    pub(crate) name: &'static str,
    /// Whether it is short enough for every platform; else it runs on the default platform alone.
    pub(crate) everywhere: bool,
    /// Patterns of tests that are left out.
    pub(crate) without: &'static [&'static str],
}

impl Module {
    /// A module that runs on every platform.
    pub(crate) const fn everywhere(name: &'static str) -> Self {
        Module { name, everywhere: true, without: &[] }
    }

    /// A module that runs on the default platform alone: it takes long.
    pub(crate) const fn default_only(name: &'static str) -> Self {
        Module { name, everywhere: false, without: &[] }
    }

    /// The same without the tests that match these patterns.
    pub(crate) const fn without(self, without: &'static [&'static str]) -> Self {
        Module { without, ..self }
    }

    /// Whether it is run on `runtime`.
    pub(crate) fn runs_on(&self, runtime: Runtime) -> bool {
        self.everywhere || runtime != Runtime::Ptrace
    }

    /// Runs it to its end.
    ///
    /// # Errors
    ///
    /// When it could not be run, or did not come to its end.
    pub(crate) fn run(&self, runtime: Runtime) -> Result<Outcomes, String> {
        let scratch =
            runtime::scratch_directory().map_err(|error| format!("no scratch directory: {error}"))?;
        let mut command = runtime.command(Path::new(PYTHON), scratch.path(), &[]);
        command.args(["-c", REPORT, "-v"]);
        for pattern in self.without {
            command.args(["-i", pattern]);
        }
        command.arg(self.name);
        let output = watched::output(command, LIMIT).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let outcomes: Outcomes = text.lines().filter_map(parse).collect();
        // The runner says so at its end, whether tests failed or not.
        if output.ending.timed_out || !text.contains("Tests result:") {
            let (done, ending) = (outcomes.len(), output.ending.describe());
            let tail: Vec<&str> = text.lines().rev().take(20).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            return Err(format!("ended after {done} tests: {ending}\nstandard output:\n{}", tail.join("\n")));
        }
        Ok(outcomes)
    }
}

/// How each test ended, by its name without the module's.
pub(crate) type Outcomes = BTreeMap<String, String>;

/// Reads a line with an outcome.
fn parse(line: &str) -> Option<(String, String)> {
    let (outcome, test) = line.strip_prefix(MARK)?.split_once(' ')?;
    Some((test.strip_prefix("test.").unwrap_or(test).to_owned(), outcome.to_owned()))
}

/// The native run of a module, done when the first platform is compared with it.
pub(crate) struct NativeRun {
    /// The module.
    pub(crate) module: Module,
    outcomes: OnceLock<Result<Outcomes, String>>,
}

impl NativeRun {
    /// A run to be done later.
    pub(crate) fn new(module: Module) -> Self {
        NativeRun { module, outcomes: OnceLock::new() }
    }

    /// How it ended; does the run if that is the first question.
    pub(crate) fn outcomes(&self) -> &Result<Outcomes, String> {
        self.outcomes.get_or_init(|| self.module.run(Runtime::Native))
    }
}
