//! One program test: where it is, what it expects, and running it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::support::runtime::{self, Runtime};
use crate::support::watched::{self, Output};

/// The time limit of a test that names none.
const DEFAULT_LIMIT: Duration = Duration::from_secs(60);

/// The environment of every run but for `HOME`, which is the working directory.
const ENVIRONMENT: &[(&str, &str)] =
    &[("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8"), ("TERM", "dumb"), ("TZ", "UTC")];

/// How much of an output a report shows, in bytes.
const SHOWN_BYTES: usize = 2000;

/// A program test.
pub(crate) struct Program {
    name: String,
    source: PathBuf,
    status: i32,
    limit: Duration,
    compare_stderr: bool,
    options: Vec<String>,
    native: bool,
    native_result: OnceLock<Result<Outcome, String>>,
}

/// What a run is compared by.
#[derive(Clone)]
struct Outcome {
    status: i32,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// All program tests, by name.
///
/// # Errors
///
/// One line that says which file cannot be read or understood.
pub(crate) fn find_all() -> Result<Vec<Arc<Program>>, String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let entries = fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut programs = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_harness = path.ends_with("main.rs") || path.ends_with("program.rs");
        if !is_harness && matches!(extension, Some("sh" | "py" | "pl" | "js" | "c" | "rs")) {
            programs.push(Arc::new(Program::read(path)?));
        }
    }
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(programs)
}

impl Program {
    fn read(source: PathBuf) -> Result<Self, String> {
        let text = fs::read_to_string(&source).map_err(|error| format!("{}: {error}", source.display()))?;
        let name =
            source.file_stem().and_then(|stem| stem.to_str()).ok_or("a program without a name")?.to_owned();
        let mut program = Self {
            name,
            source,
            status: 0,
            limit: DEFAULT_LIMIT,
            compare_stderr: true,
            options: Vec::new(),
            native: true,
            native_result: OnceLock::new(),
        };
        for line in text.lines().take(20) {
            let Some((_, settings)) = line.split_once("usk-test:") else { continue };
            for word in settings.split_whitespace().filter(|word| *word != "*/") {
                program.set(word).ok_or_else(|| format!("{}: {word:?}", program.source.display()))?;
            }
        }
        Ok(program)
    }

    fn set(&mut self, word: &str) -> Option<()> {
        match word.split_once('=')? {
            ("status", status) => self.status = status.parse().ok()?,
            ("limit", seconds) => self.limit = Duration::from_secs(seconds.parse().ok()?),
            ("stderr", "any") => self.compare_stderr = false,
            ("options", options) => self.options = options.split(',').map(str::to_owned).collect(),
            ("native", "no") => self.native = false,
            _ => return None,
        }
        Some(())
    }

    /// The test's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it can run natively.
    pub(crate) fn runs_natively(&self) -> bool {
        self.native
    }

    /// Runs it on `runtime` and compares.
    pub(crate) fn check(&self, runtime: Runtime) -> Result<(), String> {
        if runtime == Runtime::Native {
            let outcome = self.native_outcome()?;
            return if outcome.status == self.status { Ok(()) } else { Err(outcome.describe(self.status)) };
        }
        let outcome = self.run(runtime)?;
        if outcome.status != self.status {
            return Err(outcome.describe(self.status));
        }
        let expected = if self.native {
            self.native_outcome()?
        } else {
            let file = self.source.with_extension("expected");
            let stdout = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            Outcome { status: self.status, stdout, stderr: Vec::new() }
        };
        same("standard output", &expected.stdout, &outcome.stdout)?;
        if self.native && self.compare_stderr {
            same("standard error", &expected.stderr, &outcome.stderr)?;
        }
        Ok(())
    }

    fn native_outcome(&self) -> Result<Outcome, String> {
        self.native_result.get_or_init(|| self.run(Runtime::Native)).clone()
    }

    fn run(&self, runtime: Runtime) -> Result<Outcome, String> {
        let scratch =
            runtime::scratch_directory().map_err(|error| format!("no scratch directory: {error}"))?;
        let home = if runtime == Runtime::Native { scratch.path() } else { Path::new("/tmp") };
        let mut options = self.options.clone();
        for (name, value) in ENVIRONMENT.iter().copied().chain([("HOME", home.to_str().unwrap_or("/"))]) {
            options.extend(["-e".to_owned(), format!("{name}={value}")]);
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let (program, argument) = self.command()?;
        let mut command = runtime.command(&program, scratch.path(), &options);
        command.args(argument);
        if runtime == Runtime::Native {
            command.env_clear().envs(ENVIRONMENT.iter().copied()).env("HOME", home);
        }
        let output =
            watched::output(command, self.limit).map_err(|error| format!("it does not start: {error}"))?;
        if output.ending.timed_out {
            return Err(format!("not finished after {:?}: {}", self.limit, output.ending.describe()));
        }
        Ok(Outcome::from(output))
    }

    /// The program to run, and its argument.
    fn command(&self) -> Result<(PathBuf, Option<PathBuf>), String> {
        let interpreter = match self.source.extension().and_then(|extension| extension.to_str()) {
            Some("sh") => "/bin/bash",
            Some("py") => "/usr/bin/python3",
            Some("pl") => "/usr/bin/perl",
            Some("js") => "/usr/bin/node",
            Some("c") => {
                let compiler = ["gcc", "-std=gnu17", "-O1", "-g", "-Wall", "-pthread"];
                return Ok((self.compile(&compiler)?, None));
            }
            _ => {
                let compiler = ["rustc", "--edition=2024", "-O", "-Ctarget-feature=+crt-static"];
                return Ok((self.compile(&compiler)?, None));
            }
        };
        Ok((PathBuf::from(interpreter), Some(self.source.clone())))
    }

    /// Compiles the source if the program is missing or older.
    fn compile(&self, compiler: &[&str]) -> Result<PathBuf, String> {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs");
        fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let program = directory.join(&self.name);
        let time = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        if time(&program).is_some_and(|compiled| Some(compiled) > time(&self.source)) {
            return Ok(program);
        }
        // Two tests may compile the same program at the same time: each writes its own file and renames it.
        let unique = format!("new-{}-{:?}", std::process::id(), std::thread::current().id());
        let fresh = program.with_extension(unique.replace(['(', ')'], ""));
        let output = Command::new(compiler[0])
            .args(&compiler[1..])
            .arg("-o")
            .arg(&fresh)
            .arg(&self.source)
            .output()
            .map_err(|error| format!("{}: {error}", compiler[0]))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        fs::rename(&fresh, &program).map_err(|error| format!("{}: {error}", program.display()))?;
        Ok(program)
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            status: watched::shell_status(output.ending.status),
            stdout: output.stdout,
            stderr: output.ending.stderr,
        }
    }
}

impl Outcome {
    /// A report for a status that is not `expected`.
    fn describe(&self, expected: i32) -> String {
        format!(
            "exit status {}, expected {expected}\nstandard output ends with:\n{}\nstandard error ends with:\n{}",
            self.status,
            tail(&self.stdout),
            tail(&self.stderr)
        )
    }
}

fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(SHOWN_BYTES)..]).into_owned()
}

/// Fails with the first differing line.
fn same(what: &str, expected: &[u8], actual: &[u8]) -> Result<(), String> {
    if expected == actual {
        return Ok(());
    }
    let (expected, actual) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(actual));
    let line = expected.lines().zip(actual.lines()).take_while(|(one, other)| one == other).count();
    let shown =
        |text: &str| text.lines().skip(line).take(5).map(|line| format!("  {line}\n")).collect::<String>();
    Err(format!(
        "{what} differs in line {}\nexpected:\n{}got:\n{}",
        line + 1,
        shown(&expected),
        shown(&actual)
    ))
}
