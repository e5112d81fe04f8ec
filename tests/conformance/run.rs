//! One run of a family on one runtime, done when the first of its cases is asked for.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tempfile::TempDir;

use crate::family::{Family, GIVEN};
use crate::support::runtime::{self, Runtime};
use crate::support::watched;

/// A program that reports no case for this long hangs. Its own watchdog ends a case after 10 s.
const SILENCE: Duration = Duration::from_secs(30);

/// After a case that took the whole runtime down, the run goes on with the next case; this many times at most.
const RESTARTS_MAX: usize = 5;

/// The outcomes of a family's cases on one runtime.
pub(crate) struct FamilyRun {
    runtime: Runtime,
    family: Arc<Family>,
    /// The only case to run, when one is asked for.
    only: Option<String>,
    outcomes: OnceLock<HashMap<String, Result<(), String>>>,
}

impl FamilyRun {
    /// A run to be done later.
    pub(crate) fn new(runtime: Runtime, family: Arc<Family>, only: Option<String>) -> Self {
        Self { runtime, family, only, outcomes: OnceLock::new() }
    }

    /// How `case` ended; does the run if that is the first question.
    pub(crate) fn outcome(&self, case: &str) -> Result<(), String> {
        let outcomes = self.outcomes.get_or_init(|| self.run());
        outcomes.get(case).cloned().unwrap_or_else(|| Err("not run: the runtime died too often".to_owned()))
    }

    fn run(&self) -> HashMap<String, Result<(), String>> {
        let mut outcomes = HashMap::new();
        let mut after: Option<String> = None;
        for _ in 0..=RESTARTS_MAX {
            let ending = self.run_program(after.as_deref(), &mut outcomes);
            let Some(missing) = self.expected().find(|case| !outcomes.contains_key(*case)) else { break };
            outcomes.insert(missing.to_owned(), Err(format!("the runtime ended in this case: {ending}")));
            after = Some(missing.to_owned());
        }
        outcomes
    }

    fn expected(&self) -> impl Iterator<Item = &str> {
        let only = self.only.as_deref();
        self.family.cases.iter().map(String::as_str).filter(move |case| only.is_none_or(|only| only == *case))
    }

    /// Runs the program's cases behind `after`, adds their outcomes and describes how the program ended.
    fn run_program(&self, after: Option<&str>, outcomes: &mut HashMap<String, Result<(), String>>) -> String {
        let scratch = match runtime::scratch_directory() {
            Ok(scratch) => scratch,
            Err(error) => return format!("no scratch directory: {error}"),
        };
        // They are a thousand, and few programs ask for them.
        let given = match self.family.wants_files.then(given_files).transpose() {
            Ok(given) => given,
            Err(error) => return format!("no given files: {error}"),
        };
        let variable = given.as_ref().map(|given| format!("{GIVEN}={}", given.path().display()));
        let options: Vec<&str> = variable.iter().flat_map(|variable| ["-e", variable]).collect();
        let mut command = self.runtime.command(&self.family.program, scratch.path(), &options);
        command.envs(given.as_ref().map(|given| (GIVEN, given.path())));
        if let Some(only) = &self.only {
            command.args(["--case", only]);
        } else if let Some(after) = after {
            command.args(["--after", after]);
        }
        let ending = watched::lines(command, SILENCE, |line| {
            if let Some((case, outcome)) = parse(&line) {
                outcomes.insert(case.to_owned(), outcome);
            }
        });
        match ending {
            Ok(ending) => ending.describe(),
            Err(error) => format!("it does not start: {error}"),
        }
    }
}

/// Files of the host's for cases that are about what was there before the sandbox: directories by number that have the same, small
/// files in `read`, directories in `empty`, and trees in `tree` whose files contain their names. They go when the result is dropped.
fn given_files() -> std::io::Result<TempDir> {
    let all = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    for number in 1..=19 {
        let directory = all.path().join(number.to_string());
        fs::create_dir_all(directory.join("directory"))?;
        for file in ["file", "directory/file"]
            .map(str::to_owned)
            .into_iter()
            .chain((0..7).map(|n| format!("file{n}")))
        {
            fs::write(directory.join(file), "given\n")?;
        }
        symlink("directory", directory.join("link"))?;
    }
    for directory in
        ["empty/1", "empty/2", "read/1", "read/2", "read/3", "read/4"].map(|name| all.path().join(name))
    {
        fs::create_dir_all(&directory)?;
        for number in (0..8).filter(|_| !directory.starts_with(all.path().join("empty"))) {
            fs::write(directory.join(number.to_string()), format!("number {number}\n"))?;
        }
    }
    for directory in (1..=13).flat_map(|tree| (0..12).map(move |number| format!("tree/{tree}/d{number}"))) {
        let directory = all.path().join(directory);
        fs::create_dir_all(directory.join("d"))?;
        for file in ["a", "b", "c", "e", "f", "d/g"].map(|name| directory.join(name)) {
            let name = file.file_name().unwrap_or_default().as_encoded_bytes();
            fs::write(&file, [name, b"\n"].concat())?;
        }
    }
    fs::set_permissions(all.path(), fs::Permissions::from_mode(0o755))?;
    Ok(all)
}

/// Reads `ok CASE` (with an optional ` # skip REASON`) or `not ok CASE: MESSAGE`.
fn parse(line: &str) -> Option<(&str, Result<(), String>)> {
    if let Some(rest) = line.strip_prefix("not ok ") {
        let (case, message) = rest.split_once(": ").unwrap_or((rest, "no message"));
        return Some((case, Err(message.to_owned())));
    }
    let rest = line.strip_prefix("ok ")?;
    Some((rest.split_once(" # ").map_or(rest, |(case, _)| case), Ok(())))
}
