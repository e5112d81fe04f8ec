//! Who runs the command: root and an ordinary user, where the tests are run by root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The number of Debian's user `nobody` and group `nogroup`.
const NOBODY: u32 = 65534;

/// Who runs the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Whoever runs the tests.
    Myself,
    /// A user without any privilege; only root can become one.
    Ordinary,
}

impl Caller {
    /// Everybody who can be played here.
    pub(crate) fn all() -> Vec<Caller> {
        if is_root() { vec![Caller::Myself, Caller::Ordinary] } else { vec![Caller::Myself] }
    }

    /// The user and group that the tests have become for this caller, if they have.
    pub(crate) fn user(self) -> Option<u32> {
        (self == Caller::Ordinary).then_some(NOBODY)
    }

    /// `usk`, run by this caller, from `/`.
    pub(crate) fn usk(self) -> Command {
        let mut command = match self {
            Caller::Myself => Command::new(env!("CARGO_BIN_EXE_usk")),
            Caller::Ordinary => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]);
                command.args(["--clear-groups", "--"]);
                command.arg(public_binary());
                command
            }
        };
        command.current_dir("/");
        command
    }
}

/// Whether the tests are run by root.
pub(crate) fn is_root() -> bool {
    procfs_uid() == 0
}

fn procfs_uid() -> u32 {
    procfs::process::Process::myself().and_then(|myself| myself.status()).expect("own status").euid
}

/// A copy of the command that everybody can reach.
fn public_binary() -> &'static Path {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let directory = std::env::temp_dir().join(format!("usk-tests-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory for the copy");
        fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).expect("a public directory");
        let copy = directory.join("usk");
        fs::copy(env!("CARGO_BIN_EXE_usk"), &copy).expect("a copy of the command");
        fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).expect("a public command");
        copy
    })
}
