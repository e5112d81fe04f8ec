//! The guest programs of this directory: compiled, and run natively or in a sandbox.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use usk_platform::region;

use crate::support::runtime::Runtime;
use crate::support::watched;

/// Static, so that they need nothing of the root they run in.
const COMPILER_ARGUMENTS: &[&str] =
    &["-std=gnu17", "-O1", "-g", "-Wall", "-Wno-unused-result", "-static", "-pthread"];

/// The host name by which a program knows that it is in a sandbox, as in `guest.h`.
const SANDBOX_NAME: &str = "usk-isolation";

/// What the programs know about the platform's memory: as `REGION_NAME`.
const REGION: [(&str, u64); 22] = [
    ("GUEST_END", region::GUEST_END),
    ("CODE", region::CODE),
    ("CODE_SIZE", region::CODE_SIZE),
    ("END", region::END),
    ("SLOTS", region::SLOTS),
    ("SLOT_SIZE", region::SLOT_SIZE),
    ("MAILBOX", region::MAILBOX),
    ("ORDERS", region::ORDERS),
    ("LEDGERS", region::LEDGERS),
    ("LEDGER_SIZE", region::LEDGER_SIZE),
    ("INLETS", region::INLETS),
    ("INLET_SIZE", region::INLET_SIZE),
    ("LENT", region::LENT),
    ("LENT_CHANGED", region::LENT_CHANGED),
    ("HOST_CALL", region::HOST_CALL),
    ("NOTED", region::NOTED),
    ("NOTED_SIZE", region::NOTED_SIZE),
    ("LEDGER_USED", region::LEDGER_USED),
    ("INLET_FILLED", region::INLET_FILLED),
    ("INLET_BELL", region::INLET_BELL),
    ("MEMORY_WORDS", region::MEMORY_WORDS),
    ("SCRATCH", region::SCRATCH),
];

/// Longer than any guest takes, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What a run came to.
pub(crate) struct Outcome {
    /// The exit status; 128 and the number for a signal.
    pub(crate) status: i32,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error: the guest's, and usk's own.
    pub(crate) stderr: String,
}

/// How each attack of a program ended, by its name.
pub(crate) type Attacks = BTreeMap<String, String>;

/// Compiles `NAME.c` unless that was done before.
///
/// # Panics
///
/// When it does not compile.
pub(crate) fn program(name: &str) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/isolation");
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join("isolation");
    fs::create_dir_all(&output).expect("a directory for the programs");
    let source = sources.join(name).with_extension("c");
    let mut arguments: Vec<String> = COMPILER_ARGUMENTS.iter().map(|&argument| argument.to_owned()).collect();
    arguments.extend(REGION.iter().map(|(name, value)| format!("-DREGION_{name}={value:#x}UL")));
    let mut hasher = DefaultHasher::new();
    arguments.hash(&mut hasher);
    for path in [&source, &sources.join("guest.h")] {
        fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).hash(&mut hasher);
    }
    let program = output.join(format!("{name}-{:016x}", hasher.finish()));
    if !program.exists() {
        // Two tests may do this at the same time: each writes its own file and renames it.
        let fresh = tempfile::NamedTempFile::new_in(&output).expect("a temporary file").into_temp_path();
        let compiled = Command::new("gcc").args(&arguments).arg("-o").arg(&fresh).arg(&source).output();
        let compiled = compiled.expect("gcc runs");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        // A temporary file is for its owner alone, and a process whose program cannot be read is protected by the host.
        fs::set_permissions(&fresh, PermissionsExt::from_mode(0o755)).expect("the program is public");
        fs::rename(&fresh, &program).expect("the program gets its name");
        std::mem::forget(fresh);
    }
    program
}

/// A command that runs `program` on `runtime`; `options` are for `usk run` alone.
pub(crate) fn command(runtime: Runtime, program: &Path, options: &[&str]) -> Command {
    if runtime == Runtime::Native {
        return Command::new(program);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_usk"));
    command.arg("run").arg(format!("--platform={}", runtime.name()));
    command.args(["--hostname", SANDBOX_NAME]).args(options).arg("--").arg(program);
    command
}

/// Runs `command` to its end.
///
/// # Panics
///
/// When it has no end.
pub(crate) fn run(command: Command) -> Outcome {
    let output = watched::output(command, PATIENCE).expect("the command starts");
    assert!(!output.ending.timed_out, "it hangs: {}", output.ending.describe());
    Outcome {
        status: watched::shell_status(output.ending.status),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.ending.stderr).into_owned(),
    }
}

impl Outcome {
    /// Fails unless the guest ended by itself, with success, and usk had nothing to say.
    pub(crate) fn expect_success(self) -> Self {
        assert_eq!(self.status, 0, "standard output:\n{}\nstandard error:\n{}", self.stdout, self.stderr);
        self
    }

    /// Its attacks. Lines of a single word are not among them.
    pub(crate) fn attacks(&self) -> Attacks {
        let lines = self.stdout.lines().filter_map(|line| line.split_once(' '));
        lines.map(|(name, outcome)| (name.to_owned(), outcome.to_owned())).collect()
    }
}

/// Fails unless every attack ended as `expected` says, and names those that did not.
pub(crate) fn expect_attacks<'a>(attacks: &Attacks, expected: impl Fn(&str) -> &'a str) {
    assert!(!attacks.is_empty());
    let wrong: Vec<String> = attacks
        .iter()
        .map(|(name, outcome)| (name, outcome, expected(name)))
        .filter(|(_, outcome, expected)| outcome != expected)
        .map(|(name, outcome, expected)| format!("{name}: {outcome}, not {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
