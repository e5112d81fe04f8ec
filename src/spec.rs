//! What a sandbox shall be, with every name of the host already resolved. The monitor makes it, the sentry's process
//! receives it by being forked.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use usk_platform::host::signals::SignalSet;

use crate::command_line::PlatformChoice;

/// Everything the sentry needs to know to boot.
#[derive(Debug)]
pub struct SandboxSpec {
    /// The program and its arguments; at least one.
    pub arguments: Vec<OsString>,
    /// `K=V` strings, in order, each name once.
    pub environment: Vec<OsString>,
    /// Directory to start in; absolute.
    pub workdir: PathBuf,
    /// Who the first process is.
    pub user: User,
    /// `uname -n`.
    pub hostname: String,
    /// The root and what is mounted below it, in the order in which to mount.
    pub mounts: Vec<Mount>,
    /// Bounds on resources.
    pub limits: Limits,
    /// How guest code runs.
    pub platform: PlatformChoice,
    /// Call sites are not patched.
    pub no_patch: bool,
    /// Whether standard input, output and error become a terminal of the sandbox's own, connected to the host's.
    /// Otherwise the three host descriptors are the guest's as they are. Either way they are numbered 0, 1, 2.
    pub terminal: bool,
    /// Signals that the first process starts with as ignored.
    pub ignored_signals: SignalSet,
    /// Where to list system calls.
    pub strace: Option<OwnedFd>,
    /// Where the kernel's own messages go.
    pub log: Option<OwnedFd>,
    /// Print how long each step of the start took.
    pub timings: bool,
    /// Log unknown host calls instead of dying of them.
    pub filter_log: bool,
    /// What to do once set up.
    pub workload: Workload,
}

/// What a sandbox is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Boot the kernel and run the command.
    Kernel,
    /// Set up everything, report, and wait to be ended. For `usk doctor` and for tests.
    Hold,
}

/// The identity of the first process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// One file system of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where; absolute and normalised. `/` comes first and once.
    pub destination: PathBuf,
    /// What.
    pub source: MountSource,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A host file or directory that the gofer serves.
    Export {
        /// Index among the gofer's exports.
        export: usize,
        /// Who writes, and where to.
        access: ExportAccess,
    },
    /// Empty, in the sentry's memory.
    Tmpfs {
        /// Bytes it can hold.
        size: Option<u64>,
    },
}

/// What becomes of writes to an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportAccess {
    /// They are refused (`EROFS`).
    ReadOnly,
    /// They go to a layer in the sentry and are gone at the end.
    Overlay,
    /// They change the host's files.
    ReadWrite,
}

/// Bounds on resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory; held by the host's cgroup, shown by the guest's `/proc/meminfo` and `sysinfo(2)`.
    pub memory: Option<u64>,
    /// Guest processes and threads; held by the sentry.
    pub tasks: Option<u32>,
}

/// A host file or directory that the gofer shall serve.
#[derive(Debug)]
pub struct Export {
    /// Canonical host path.
    pub source: PathBuf,
    /// The same, opened with `O_PATH` before any process was made.
    pub descriptor: OwnedFd,
    /// Whether it is a directory.
    pub directory: bool,
    /// Whether the gofer may change it.
    pub writable: bool,
    /// Whether nobody outside is expected to change it meanwhile, so that names and absences may be remembered.
    pub exclusive: bool,
    /// Places inside, relative to the source, that must appear empty.
    pub hidden: Vec<Hidden>,
}

/// A place inside an export that must appear empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Path relative to the export's root.
    pub path: PathBuf,
    /// Whether it is an error if there is no such place: somebody named it.
    pub required: bool,
}
