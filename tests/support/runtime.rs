//! The runtimes: the host kernel, and usk on each of its platforms.

use std::path::Path;
use std::process::Command;

/// Selects the runtimes of a test run, a comma-separated list of their names. Default: all of them.
const RUNTIMES_VARIABLE: &str = "USK_TEST_RUNTIMES";

/// More options for `usk run`, separated by spaces, to repeat the tests in another configuration.
const OPTIONS_VARIABLE: &str = "USK_TEST_OPTIONS";

/// Where a test program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Runtime {
    /// Straight on the host kernel: the specification.
    Native,
    /// `usk run --platform=trap`.
    Trap,
    /// `usk run --platform=ptrace`.
    Ptrace,
    /// `usk run --platform=trap --no-patch`.
    Unpatched,
    /// `usk run --platform=trap --tiers=2`.
    SecondTier,
}

impl Runtime {
    /// Those that all tests use.
    pub(crate) const ALL: [Self; 3] = [Self::Native, Self::Trap, Self::Ptrace];
    /// Every one there is, for tests of what must not depend on how it is done.
    pub(crate) const EVERY: [Self; 5] =
        [Self::Native, Self::Trap, Self::Ptrace, Self::Unpatched, Self::SecondTier];

    /// The name used in test names, in the expectations and in `USK_TEST_RUNTIMES`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Trap => "trap",
            Self::Ptrace => "ptrace",
            Self::Unpatched => "unpatched",
            Self::SecondTier => "second-tier",
        }
    }

    /// The options of `usk run` that choose it.
    fn choice(self) -> &'static [&'static str] {
        match self {
            Self::Native => &[],
            Self::Trap => &["--platform=trap"],
            Self::Ptrace => &["--platform=ptrace"],
            Self::Unpatched => &["--platform=trap", "--no-patch"],
            Self::SecondTier => &["--platform=trap", "--tiers=2"],
        }
    }

    /// The runtime of that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|runtime| runtime.name() == name)
    }

    /// The runtimes that `USK_TEST_RUNTIMES` selects; without it, `usual`.
    ///
    /// # Panics
    ///
    /// When the variable names a runtime that does not exist: a typing error must not select no test at all.
    pub(crate) fn selected(usual: &[Self]) -> Vec<Self> {
        let Ok(list) = std::env::var(RUNTIMES_VARIABLE) else { return usual.to_vec() };
        list.split(',')
            .map(|name| {
                Self::from_name(name.trim())
                    .unwrap_or_else(|| panic!("{RUNTIMES_VARIABLE}: no runtime is called {name:?}"))
            })
            .collect()
    }

    /// A command that runs `program` on this runtime with `scratch`, an empty directory of the host, as its working
    /// directory; under usk an empty tmpfs on `/tmp` takes that place. `options` are for `usk run` alone.
    pub(crate) fn command(self, program: &Path, scratch: &Path, options: &[&str]) -> Command {
        if self == Self::Native {
            let mut command = Command::new(program);
            command.current_dir(scratch).env("TMPDIR", scratch);
            return command;
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_usk"));
        command.arg("run").args(self.choice());
        command.args(["--tmpfs", "/tmp", "-w", "/tmp"]).args(options);
        if let Ok(more) = std::env::var(OPTIONS_VARIABLE) {
            command.args(more.split_whitespace());
        }
        command.arg("--").arg(program);
        command
    }
}

/// A new empty directory of the host for a native run. It lies on a tmpfs where the host has one at `/dev/shm`, because
/// the sandbox's `/tmp` is a tmpfs as well and file systems differ in what they support.
pub(crate) fn scratch_directory() -> std::io::Result<tempfile::TempDir> {
    let shared_memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("usk-test-");
    builder.tempdir_in(shared_memory).or_else(|_| builder.tempdir())
}
