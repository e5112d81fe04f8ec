//! What a sandbox shall be, with every name of the host already resolved. The monitor makes it, the sentry's process
//! receives it by being forked.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use usk_abi::seccomp::SockFilter;
use usk_gofer::{HiddenNames, Owners};
use usk_platform::host::namespaces::IdRange;

use crate::command_line::{PlatformChoice, Tiers};

/// Everything the sentry needs to know to boot.
#[derive(Debug)]
pub struct SandboxSpec {
    /// The command.
    pub process: ProcessSpec,
    /// The command is process 1 of its sandbox, with all that this means, instead of having an init above it.
    pub command_is_init: bool,
    /// Descriptors of the host that the command has beside the standard ones, numbered from 3.
    pub descriptors: Vec<OwnedFd>,
    /// Wait for [`ToSandbox::Start`](crate::control::ToSandbox::Start) before the command runs.
    pub gated: bool,
    /// `uname -n`.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// Settings of `/proc/sys`, by names with dots.
    pub settings: Vec<(String, String)>,
    /// What the sandbox's users are on the host, if they are others.
    pub users: Option<UserMap>,
    /// The root and what is mounted below it, in the order in which to mount.
    pub mounts: Vec<Mount>,
    /// Device files and FIFOs below `/dev` besides those that are always there.
    pub devices: Vec<DeviceFile>,
    /// Places that appear empty in the sandbox; those that do not exist are passed over.
    pub masked: Vec<PathBuf>,
    /// Places below which nothing can be written; those that do not exist are passed over.
    pub read_only: Vec<PathBuf>,
    /// A program of `seccomp(2)` that is laid over the calls of the command, and of every process that joins.
    pub seccomp: Option<Vec<SockFilter>>,
    /// `personality(2)` of the command, and of every process that joins.
    pub personality: u32,
    /// Bounds on resources.
    pub limits: Limits,
    /// How guest code runs.
    pub platform: PlatformChoice,
    /// Call sites are not patched.
    pub no_patch: bool,
    /// Threads look for each other's words on two processors before they sleep.
    pub spin: bool,
    /// Where calls are answered.
    pub tiers: Tiers,
    /// What the run costs is counted.
    pub receipt: bool,
    /// Where to list system calls.
    pub strace: Option<OwnedFd>,
    /// Where the kernel's own messages go.
    pub log: Option<OwnedFd>,
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

/// A process that the operator asks for: the sandbox's first, or one that joins it. It may cross from one process to
/// another, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// The program and its arguments; at least one.
    pub arguments: Vec<OsString>,
    /// `K=V` strings, in order, each name once.
    pub environment: Vec<OsString>,
    /// Directory to start in; absolute.
    pub workdir: PathBuf,
    /// Whether a file without a known format is run by the shell, as `execvp(3)` does it; else it is an error.
    pub runs_plain_files: bool,
    /// Whether a directory to start in that does not exist is made.
    pub make_workdir: bool,
    /// Who the process is.
    pub user: User,
    /// Permissions that new files do not get.
    pub umask: u32,
    /// Its capabilities inside the sandbox; `None` is all for user 0, and none for others.
    pub capabilities: Option<CapabilitySets>,
    /// Whether executing a program can gain no privileges inside the sandbox.
    pub no_new_privs: bool,
    /// Limits that differ from the usual ones.
    pub limits: Vec<ResourceLimit>,
    /// `/proc/PID/oom_score_adj`, as the guest sees it.
    pub oom_score_adj: i32,
    /// `nice(2)` value, as the guest sees it.
    pub nice: i32,
    /// Policy of `sched_setscheduler(2)`, as the guest sees it, with `SCHED_RESET_ON_FORK`.
    pub policy: u32,
    /// `ioprio_set(2)` value, as the guest sees it.
    pub io_priority: u32,
    /// Whether standard input, output and error become a terminal of the sandbox's own, connected to the host's.
    /// Otherwise the three host descriptors are the guest's as they are. Either way they are numbered 0, 1, 2.
    pub terminal: bool,
    /// Signals that the process starts with as ignored: bit `n - 1` is signal `n`.
    pub ignored_signals: u64,
}

impl ProcessSpec {
    /// A process with nothing special about it.
    pub fn new(arguments: Vec<OsString>, user: User) -> ProcessSpec {
        ProcessSpec {
            arguments,
            environment: Vec::new(),
            workdir: "/".into(),
            runs_plain_files: false,
            make_workdir: false,
            user,
            umask: 0o022,
            capabilities: None,
            no_new_privs: false,
            limits: Vec::new(),
            oom_score_adj: 0,
            nice: 0,
            policy: 0,
            io_priority: 0,
            terminal: false,
            ignored_signals: 0,
        }
    }
}

/// The identity of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// The five sets of capabilities(7): bit `n` is the capability numbered `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct CapabilitySets {
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub bounding: u64,
    pub ambient: u64,
}

/// A limit of setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// `RLIMIT_*`
    pub resource: u32,
    /// In force.
    pub soft: u64,
    /// The most that the soft one may be raised to.
    pub hard: u64,
}

/// Users and groups of the sandbox, and what they are on the host: whose files appear as whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserMap {
    /// Users; 0 is among them.
    pub users: Vec<IdRange>,
    /// Groups; 0 is among them.
    pub groups: Vec<IdRange>,
}

/// One file system of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where; absolute and normalised. `/` comes first and once.
    pub destination: PathBuf,
    /// What.
    pub source: MountSource,
    /// What cannot be done through it.
    pub restrictions: Restrictions,
    /// What `/proc/mounts` says it was mounted from; `None` is what the kernel calls it.
    pub name: Option<String>,
}

/// What cannot be done through a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// Nothing can be written.
    pub read_only: bool,
    /// Set-user-ID bits mean nothing.
    pub no_suid: bool,
    /// Device files cannot be opened.
    pub no_devices: bool,
    /// Nothing can be executed.
    pub no_execute: bool,
}

impl Restrictions {
    /// What a mount of the host's files has at least.
    pub const FOREIGN: Restrictions =
        Restrictions { read_only: false, no_suid: true, no_devices: true, no_execute: false };
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
    Tmpfs(Tmpfs),
    /// The sandbox's POSIX message queues (`mq_overview(7)`).
    Queues,
    /// The kernel's own `proc(5)`.
    Proc,
    /// The kernel's own `sysfs(5)`.
    Sys,
    /// The sandbox's own cgroup, to look at.
    Cgroup,
    /// The kernel's own device files, with `pts` below, and `shm` if no other mount is there. Its destination is `/dev`.
    Dev(DevOptions),
    /// The file of a character device that the kernel has, on another file.
    Device {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
}

/// How `/dev` is made, and the files of terminals below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevOptions {
    /// What holds the files.
    pub tmpfs: Tmpfs,
    /// What shows the terminals.
    pub terminals: Devpts,
}

impl Default for DevOptions {
    fn default() -> Self {
        let tmpfs = Tmpfs { permissions: 0o755, ..Tmpfs::of_size(None) };
        let terminals = Devpts { permissions: 0o620, master_permissions: 0o666, ..Devpts::default() };
        DevOptions { tmpfs, terminals }
    }
}

/// A file system of terminals. What no option says is as on Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Devpts {
    /// Owner of terminals' files; whoever opens the terminal if `None`.
    pub user: Option<u32>,
    /// Group of terminals' files; that of whoever opens the terminal if `None`.
    pub group: Option<u32>,
    /// Permissions of terminals' files.
    pub permissions: u32,
    /// Permissions of `ptmx`.
    pub master_permissions: u32,
    /// Most terminals at one time, where 0 is no limit; nothing is said about it if `None`.
    pub most: Option<u32>,
}

impl Default for Devpts {
    fn default() -> Self {
        Devpts { user: None, group: None, permissions: 0o600, master_permissions: 0, most: None }
    }
}

/// A device file or a FIFO below `/dev`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFile {
    /// Where; absolute, normalised, and not `/dev` itself.
    pub path: PathBuf,
    /// What.
    pub kind: DeviceKind,
    /// Permission bits.
    pub permissions: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What a file of `/dev` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DeviceKind {
    /// A character device. One that the kernel has not cannot be opened.
    Character { major: u32, minor: u32 },
    /// A block device, of which the kernel has none.
    Block { major: u32, minor: u32 },
    /// `fifo(7)`
    Fifo,
}

/// A file system in the sentry's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tmpfs {
    /// Bytes it can hold.
    pub size: Option<u64>,
    /// Permissions of its root.
    pub permissions: u32,
    /// Owner of its root.
    pub uid: u32,
    /// Group of its root.
    pub gid: u32,
}

impl Tmpfs {
    /// One that everybody may write to, as `/tmp` is.
    pub fn of_size(size: Option<u64>) -> Tmpfs {
        Tmpfs { size, permissions: 0o1777, uid: 0, gid: 0 }
    }
}

/// What becomes of writes to an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportAccess {
    /// They are refused (`EROFS`).
    ReadOnly,
    /// They go to a layer in the sentry, of so many bytes at most, and are gone at the end.
    Overlay {
        /// The bound; without one it is that of the sandbox's memory.
        size: Option<u64>,
    },
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
    /// Microseconds of processor time in each period, and the period; held by the host's cgroup, shown in the guest's.
    pub processor: Option<(u64, u64)>,
}

/// A host file or directory that the gofer shall serve.
#[derive(Debug)]
pub struct Export {
    /// Canonical host path.
    pub source: PathBuf,
    /// The same, opened with `O_PATH` before any process was made.
    pub descriptor: OwnedFd,
    /// Whether that is a mount of its own already, which is nowhere yet: one that translates owners, or an overlay.
    pub detached: bool,
    /// Where it is: another mount of the same, for the namespace of the container's process.
    pub twin: Option<OwnedFd>,
    /// Whether it is a directory.
    pub directory: bool,
    /// Whether what is mounted below the source is part of it, instead of what lies under those mounts.
    pub recursive: bool,
    /// What becomes of mounts that the host makes there later.
    pub propagation: Propagation,
    /// Whether the gofer may change it.
    pub writable: bool,
    /// Whether nobody outside is expected to change it meanwhile, so that names and absences may be remembered.
    pub exclusive: bool,
    /// Places inside, relative to the source, that must appear empty.
    pub hidden: Vec<Hidden>,
    /// Names inside that must not appear, whatever the host gives them to later.
    pub hidden_names: HiddenNames,
    /// Whose its files are, if not those that the host says.
    pub owners: Option<Owners>,
}

impl Export {
    /// The same, by another descriptor.
    pub fn try_clone(&self) -> std::io::Result<Export> {
        Ok(Export {
            source: self.source.clone(),
            descriptor: self.descriptor.try_clone()?,
            twin: self.twin.as_ref().map(OwnedFd::try_clone).transpose()?,
            hidden: self.hidden.clone(),
            hidden_names: self.hidden_names.clone(),
            owners: self.owners.clone(),
            ..*self
        })
    }
}

/// Which mounts of an export follow the host's: what is mounted there later, or unmounted, is so in the export as well. No
/// mount of an export's leads the other way. mount_namespaces(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// None does.
    #[default]
    Private,
    /// Those below its root's: slaves.
    SlaveBelow,
    /// All do.
    Slave,
}

/// A place inside an export that must appear empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Path relative to the export's root.
    pub path: PathBuf,
    /// Whether it is an error if there is no such place: somebody named it.
    pub required: bool,
}
