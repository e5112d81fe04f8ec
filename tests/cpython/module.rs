//! A module of the regression tests, and a run of it on one runtime.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::runtime::{self, Runtime};
use crate::support::watched;

/// The interpreter whose tests are run: the distribution's.
const PYTHON: &str = "/usr/bin/python3";
/// Writes the outcomes; handed to the interpreter as text, so that no file of the host has to show in the sandbox.
const REPORT: &str = include_str!("report.py");
/// What begins a line with an outcome.
const MARK: &str = "usk-test ";
/// Most time for one module on one runtime: several times what the longest takes.
const LIMIT: Duration = Duration::from_secs(300);

/// A module.
#[derive(Clone, Copy)]
pub(crate) struct Module {
    /// Its name, as `python3 -m test` takes it.
    pub(crate) name: &'static str,
    /// Patterns of tests that are left out.
    pub(crate) without: &'static [&'static str],
    /// Debian leaves it out: where no other interpreter has it either, it is skipped, visibly.
    pub(crate) may_be_absent: bool,
}

impl Module {
    /// A module, all of it.
    pub(crate) const fn new(name: &'static str) -> Self {
        Module { name, without: &[], may_be_absent: false }
    }

    /// The same without the tests that match these patterns.
    pub(crate) const fn without(self, without: &'static [&'static str]) -> Self {
        Module { without, ..self }
    }

    /// A module that Debian leaves out.
    pub(crate) const fn not_from_debian(name: &'static str) -> Self {
        Module { may_be_absent: true, ..Module::new(name) }
    }

    /// Whether no interpreter of this machine has it, and none needs to.
    pub(crate) fn is_skipped(&self) -> bool {
        self.may_be_absent && interpreter_with(self.name).is_none()
    }

    /// Runs it to its end.
    ///
    /// # Errors
    ///
    /// When it could not be run, or did not come to its end.
    pub(crate) fn run(&self, runtime: Runtime) -> Result<Outcomes, String> {
        let ignored: Vec<&str> = self.without.iter().flat_map(|pattern| ["-i", pattern]).collect();
        self.run_with(runtime, &ignored)
    }

    /// Runs one of its tests.
    ///
    /// # Errors
    ///
    /// When it could not be run, or did not come to its end.
    pub(crate) fn run_only(&self, runtime: Runtime, test: &str) -> Result<Outcomes, String> {
        self.run_with(runtime, &["-m", &format!("test.{test}")])
    }

    fn run_with(&self, runtime: Runtime, options: &[&str]) -> Result<Outcomes, String> {
        let Some(python) = interpreter_with(self.name) else {
            return Err(format!(
                "no python3 has test.{}: tests/install-packages installs what Debian has",
                self.name
            ));
        };
        let scratch =
            runtime::scratch_directory().map_err(|error| format!("no scratch directory: {error}"))?;
        let mut command = runtime.command(python, scratch.path(), &[]);
        command.args(["-c", REPORT, "-v"]).args(options).arg(self.name);
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

/// The first interpreter that has this module of the tests: the distribution's, else the one on the caller's path.
fn interpreter_with(module: &str) -> Option<&'static Path> {
    static INTERPRETERS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let interpreters = INTERPRETERS.get_or_init(|| {
        let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        let other = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
        [Some(PYTHON.into()), other.map(|path| path.trim().into())].into_iter().flatten().collect()
    });
    let has_module = |python: &&PathBuf| {
        let script =
            format!("import importlib.util; exit(importlib.util.find_spec('test.{module}') is None)");
        Command::new(python).args(["-c", &script]).status().is_ok_and(|status| status.success())
    };
    interpreters.iter().find(has_module).map(PathBuf::as_path)
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
