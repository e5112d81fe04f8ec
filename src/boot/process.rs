//! A process that the operator asks for: who it is, where it starts, what it runs.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use anyhow::{Error, anyhow};
use usk_abi::Errno;
use usk_abi::signal::SignalSet;
use usk_sentry::SysError;
use usk_sentry::loader::Arguments;
use usk_sentry::seccomp::Filters;
use usk_sentry::task::{
    ALL_CAPABILITIES, Credentials, Limit, MainProcess, ProgramRequest, Resource, ResourceLimits, find_program,
};
use usk_sentry::vfs::{FdTable, FsContext, MountNamespace, NameContext, WalkOptions};

use crate::spec::ProcessSpec;

/// Where a program is looked for when the environment has no `PATH` (`confstr(_CS_PATH)`, and what shells use).
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Exit status when the command was found and could not be executed.
const NOT_EXECUTABLE: u8 = 126;
/// Exit status when the command was not found.
const NOT_FOUND: u8 = 127;
/// Exit status when usk itself failed.
pub(super) const FAILURE: u8 = 125;

/// Bytes of a file without a known format that tell whether it is text.
const LOOKED_AT: usize = 128;

/// What all processes have that the operator asks for.
pub(super) struct Common {
    /// What they may call.
    pub(super) seccomp: Option<Arc<Filters>>,
    /// `personality(2)`
    pub(super) personality: u32,
}

/// Why the command does not run.
pub(super) struct Refusal {
    /// usk's exit status.
    pub(super) status: u8,
    /// What to tell the operator.
    pub(super) error: Error,
}

/// Finds the program and everything it starts with, so that nothing is left that can fail but the start itself.
pub(super) fn prepare(
    namespace: &Arc<MountNamespace>,
    files: FdTable,
    spec: &ProcessSpec,
    common: &Common,
) -> Result<MainProcess, Refusal> {
    let credentials = credentials(spec);
    let fs = FsContext::new(namespace.clone());
    fs.set_umask(spec.umask);
    let workdir = spec.workdir.as_os_str().as_bytes();
    if spec.make_workdir {
        make_directories(namespace, workdir);
    }
    let cwd = {
        let names = fs.names(&credentials, None);
        names.resolve(&names.root, workdir, WalkOptions::DIRECTORY).map_err(|errno| Refusal {
            status: FAILURE,
            error: anyhow!(
                "cannot start in {}: {errno}; choose another working directory",
                spec.workdir.display()
            ),
        })?
    };
    fs.set_cwd(cwd);
    let mut limits = ResourceLimits::default();
    for limit in &spec.limits {
        let place = usize::try_from(limit.resource).ok().and_then(|resource| limits.0.get_mut(resource));
        *place.ok_or_else(|| failure(Errno::EINVAL))? = Limit { soft: limit.soft, hard: limit.hard };
    }
    let request = {
        let names = fs.names(&credentials, None);
        find(&names, spec, limits.soft(Resource::Stack))?
    };
    Ok(MainProcess {
        request,
        files: Arc::new(files),
        fs: Arc::new(fs),
        limits,
        ignored_signals: SignalSet(spec.ignored_signals),
        oom_score_adj: spec.oom_score_adj,
        seccomp: common.seccomp.clone(),
        nice: spec.nice,
        policy: spec.policy,
        io_priority: spec.io_priority,
        personality: common.personality,
        no_new_privs: spec.no_new_privs,
    })
}

/// What a start that the host or the sandbox's limits refuse is reported as.
pub(super) fn failure(errno: Errno) -> Refusal {
    Refusal { status: FAILURE, error: anyhow!("cannot start the process: {errno}") }
}

fn credentials(spec: &ProcessSpec) -> Credentials {
    let mut credentials = Credentials::user(spec.user.uid, spec.user.gid);
    // As setgroups(2) does, which runtimes call.
    let mut groups = spec.user.groups.clone();
    groups.sort_unstable();
    credentials.groups = groups.into();
    if let Some(sets) = spec.capabilities {
        credentials.effective = sets.effective & ALL_CAPABILITIES;
        credentials.permitted = sets.permitted & ALL_CAPABILITIES;
        credentials.inheritable = sets.inheritable & ALL_CAPABILITIES;
        credentials.bounding = sets.bounding & ALL_CAPABILITIES;
        credentials.ambient = sets.ambient & sets.permitted & sets.inheritable & ALL_CAPABILITIES;
    }
    credentials
}

/// Makes a directory and its parents; where that fails, using it fails and says why.
fn make_directories(namespace: &Arc<MountNamespace>, path: &[u8]) {
    namespace.with_names(|names| {
        for (end, _) in path.iter().enumerate().skip(1).filter(|&(_, &byte)| byte == b'/') {
            let _ = names.make_directory(&names.root, &path[..end], 0o755);
        }
        let _ = names.make_directory(&names.root, path, 0o755);
    });
}

/// Finds the command as `execvp(3)` does: along `PATH` unless its name has a slash.
fn find(
    names: &NameContext<'_>,
    spec: &ProcessSpec,
    stack_limit: u64,
) -> Result<usk_sentry::task::ExecuteRequest, Refusal> {
    let strings = |list: &[std::ffi::OsString]| list.iter().map(|text| text.as_bytes().to_vec()).collect();
    let arguments: Vec<Vec<u8>> = strings(&spec.arguments);
    let environment: Vec<Vec<u8>> = strings(&spec.environment);
    let command = arguments.first().cloned().unwrap_or_default();
    let is_path = command.contains(&b'/');
    let candidates: Vec<Vec<u8>> = if command.is_empty() {
        Vec::new()
    } else if is_path {
        vec![command.clone()]
    } else {
        let path = environment.iter().find_map(|entry| entry.strip_prefix(b"PATH="));
        path.unwrap_or(DEFAULT_PATH)
            .split(|byte| *byte == b':')
            .map(|directory| match directory {
                b"" => command.clone(),
                directory => [directory, b"/", &command].concat(),
            })
            .collect()
    };
    let mut last = Errno::ENOENT;
    for candidate in candidates {
        let request = ProgramRequest {
            start: &names.cwd,
            name: &candidate,
            options: WalkOptions::FOLLOW,
            shown_name: candidate.clone(),
            is_unreachable: false,
            arguments: Arguments { arguments: arguments.clone(), environment: environment.clone() },
            stack_limit,
            randomize: true,
            no_new_privs: spec.no_new_privs,
        };
        match find_program(names, request) {
            Ok(found) => return Ok(found),
            // A shell would run a file without a known format as a script; so does execvp(3).
            Err(SysError::Errno(Errno::ENOEXEC))
                if spec.runs_plain_files && looks_like_a_script(names, &candidate) =>
            {
                return as_script(names, spec, stack_limit, &candidate);
            }
            // Keep looking as execvp(3) does; a file that is there and refused is the better explanation.
            Err(SysError::Errno(Errno::ENOENT | Errno::ENOTDIR)) => {
                if exists(names, &candidate) {
                    return Err(refuse(&candidate, Errno::ENOENT, true));
                }
            }
            // A directory of PATH that may not be searched is no reason to say that something was found.
            Err(SysError::Errno(errno @ (Errno::EACCES | Errno::ESTALE | Errno::ENODEV))) => {
                if is_path || exists(names, &candidate) {
                    last = errno;
                }
            }
            Err(SysError::Errno(errno)) => return Err(refuse(&candidate, errno, true)),
            Err(SysError::Restart(_)) => return Err(refuse(&candidate, Errno::EINTR, true)),
        }
    }
    Err(refuse(&command, last, last != Errno::ENOENT))
}

fn exists(names: &NameContext<'_>, name: &[u8]) -> bool {
    names.resolve(&names.cwd, name, WalkOptions::FOLLOW).is_ok()
}

/// As shells tell: the first line has no zero byte.
fn looks_like_a_script(names: &NameContext<'_>, name: &[u8]) -> bool {
    let mut sink = usk_sentry::BytesSink::new(LOOKED_AT);
    let Ok(file) = names.open_program(&names.cwd, name, WalkOptions::FOLLOW) else { return false };
    let is_read = file.ops.read(&file, &mut sink, 0).is_ok();
    let line = sink.bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    is_read && !line.contains(&0)
}

/// Runs a file without a known format by `/bin/sh`.
fn as_script(
    names: &NameContext<'_>,
    spec: &ProcessSpec,
    stack_limit: u64,
    script: &[u8],
) -> Result<usk_sentry::task::ExecuteRequest, Refusal> {
    let mut arguments = vec![b"/bin/sh".to_vec(), script.to_vec()];
    arguments.extend(spec.arguments.iter().skip(1).map(|text| text.as_bytes().to_vec()));
    let environment = spec.environment.iter().map(|text| text.as_bytes().to_vec()).collect();
    let request = ProgramRequest {
        start: &names.cwd,
        name: b"/bin/sh",
        options: WalkOptions::FOLLOW,
        shown_name: b"/bin/sh".to_vec(),
        is_unreachable: false,
        arguments: Arguments { arguments, environment },
        stack_limit,
        randomize: true,
        no_new_privs: spec.no_new_privs,
    };
    find_program(names, request).map_err(|_| refuse(script, Errno::ENOEXEC, true))
}

/// The line that tells why, in the words of a shell, with what to do.
fn refuse(name: &[u8], errno: Errno, is_there: bool) -> Refusal {
    let name = String::from_utf8_lossy(name);
    let (status, error) = match errno {
        Errno::ENOENT if is_there => (
            NOT_EXECUTABLE,
            anyhow!(
                "cannot run {name}: its interpreter is not there; install it, or choose another --rootfs"
            ),
        ),
        Errno::ENOENT => {
            (NOT_FOUND, anyhow!("cannot run {name}: not found; check the name and PATH inside the sandbox"))
        }
        Errno::EACCES => {
            (NOT_EXECUTABLE, anyhow!("cannot run {name}: permission denied; is it a file, and executable?"))
        }
        Errno::ENOEXEC => (
            NOT_EXECUTABLE,
            anyhow!("cannot run {name}: not a 64-bit x86 program; use one built for x86-64 Linux"),
        ),
        Errno::ELIBBAD => {
            (NOT_EXECUTABLE, anyhow!("cannot run {name}: its interpreter is not a 64-bit x86 program"))
        }
        other => (NOT_EXECUTABLE, anyhow!("cannot run {name}: {other}")),
    };
    Refusal { status, error }
}
