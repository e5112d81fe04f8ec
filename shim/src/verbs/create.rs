//! `usk-oci create`: everything that can fail, up to the command itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;
use usk_platform::host::descriptors;

use super::delete::remove;
use crate::cgroup::{self, Membership, Scope};
use crate::command_line::CreateArguments;
use crate::config;
use crate::console;
use crate::container::{Container, for_hooks};
use crate::entry::Settings;
use crate::monitor::{self, Newborn, Task};
use crate::protocol::Status;
use crate::state::{Directory, Maps, State, start_time};
use crate::timestamp;
use crate::users;

pub(crate) fn create(settings: &Settings, arguments: &CreateArguments) -> Result<i32> {
    make(settings, arguments, Terminal::Engines).context("usk-oci create failed")?;
    Ok(0)
}

/// Where a container's terminal comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Terminal {
    /// The engine is sent one: nobody else is there.
    Engines,
    /// The caller stays, and it is the caller's.
    Callers,
}

/// A container that has been created.
pub(super) struct Created {
    pub(super) directory: Directory,
    pub(super) state: State,
    pub(super) newborn: Newborn,
    /// Whether the command has a terminal.
    pub(super) has_terminal: bool,
}

/// Makes a container. What has been made of it is removed if that fails.
pub(super) fn make(settings: &Settings, arguments: &CreateArguments, from: Terminal) -> Result<Created> {
    let bundle = std::fs::canonicalize(&arguments.bundle)
        .with_context(|| format!("cannot use the bundle {}", arguments.bundle.display()))?;
    let (spec, raw) = config::read(&bundle)?;
    // The verb is a process of its own: engines give it relative paths all the same.
    let mut container = config::container(&spec, &bundle)?;
    if let Some(path) = &container.namespaces.users {
        let wanted = container.plan.spec.users.take();
        container.plan.spec.users = users::joined(&settings.root, path, wanted.as_ref())?;
    }
    let sandbox = &mut container.plan.spec;
    let listening = listening();
    if listening > 0 {
        sandbox.process.environment.push(format!("LISTEN_FDS={listening}").into());
        sandbox.process.environment.push("LISTEN_PID=1".into());
    }
    sandbox.descriptors = passed_on(listening.saturating_add(arguments.preserve_fds))?;
    let has_terminal = container.plan.spec.process.terminal;
    check_console(arguments.console_socket.as_deref(), has_terminal, from)?;
    let annotations = spec.annotations().clone().unwrap_or_default().into_iter().collect();
    let cgroups = plan_cgroups(settings, &container.cgroups_path, &arguments.id, &annotations)?;
    let mut state = State {
        id: arguments.id.clone(),
        pid: 0,
        start_time: 0,
        bundle,
        rootfs: container.rootfs.clone(),
        created: timestamp::now_precise(),
        annotations,
        owner: geteuid().as_raw(),
        cgroups,
        reaches_host: container.reaches_host,
        users: container.plan.spec.users.as_ref().map(Maps::of),
        start_container: container.hooks.start_container.clone(),
        poststart: container.hooks.poststart.clone(),
        poststop: container.hooks.poststop.clone(),
        process: raw.get("process").cloned().unwrap_or_default(),
    };
    let mut directory = Directory::make(&settings.root, &arguments.id)?;
    match begin(settings, arguments, container, &mut state, &directory) {
        Ok(newborn) => {
            directory.unlock();
            Ok(Created { directory, state, newborn, has_terminal })
        }
        Err(error) => {
            // The failure is what counts, not that something is left.
            let _ = remove(Container { directory, state });
            Err(error)
        }
    }
}

fn plan_cgroups(
    settings: &Settings,
    path: &Path,
    id: &str,
    annotations: &BTreeMap<String, String>,
) -> Result<Membership> {
    match settings.systemd {
        Some(keeper) => cgroup::plan_scope(Scope::of(path, id, keeper)?.with_properties(annotations)?),
        None => cgroup::plan(path, id),
    }
}

/// How many descriptors of socket activation there are, which come first; only those that are meant for this process count
/// (sd_listen_fds(3)).
fn listening() -> u32 {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let is_meant = number("LISTEN_PID") == Some(std::process::id());
    number("LISTEN_FDS").filter(|_| is_meant).unwrap_or(0)
}

/// So many descriptors beside the standard ones that the caller wants the command to have.
pub(super) fn passed_on(count: u32) -> Result<Vec<OwnedFd>> {
    const FIRST: i32 = 3;
    (FIRST..)
        .take(count as usize)
        .map(|number| {
            let passed: File = descriptors::inherited(number)
                .with_context(|| format!("--preserve-fds: descriptor {number} is not open"))?
                .into();
            let metadata = passed.metadata();
            if metadata.with_context(|| format!("--preserve-fds: cannot look at descriptor {number}"))?.is_dir() {
                bail!(
                    "--preserve-fds: descriptor {number} is a directory, which would show more of the host than 'mounts' say: bind it \
                     there instead"
                );
            }
            Ok(passed.into())
        })
        .collect()
}

fn check_console(socket: Option<&Path>, has_terminal: bool, from: Terminal) -> Result<()> {
    match (socket, has_terminal, from) {
        (None, true, Terminal::Engines) => {
            bail!("cannot allocate tty if usk-oci will detach without setting console socket")
        }
        (Some(_), false, _) | (Some(_), true, Terminal::Callers) => {
            bail!("cannot use console socket if usk-oci will not detach or allocate tty")
        }
        _ => Ok(()),
    }
}

fn begin(
    settings: &Settings,
    arguments: &CreateArguments,
    container: config::Container,
    state: &mut State,
    directory: &Directory,
) -> Result<Newborn> {
    // Before anything is made elsewhere: what the state names is removed with the container.
    directory.save(state)?;
    state.cgroups.make(container.resources.as_ref(), settings.lenient_cgroups)?;
    let terminal = match &arguments.console_socket {
        Some(socket) => Some(console::make(socket, container.window)?),
        None => None,
    };
    let task = Task { container, state: state.clone(), terminal };
    let newborn = monitor::spawn(task, directory)?;
    state.pid = newborn.process.pid();
    state.start_time = start_time(state.pid).unwrap_or(0);
    directory.save(state)?;
    let created = newborn.wait_until_created(&for_hooks(state, Status::Creating), &state.bundle);
    created.map_err(|error| match state.cgroups.out_of_memory_kills() {
        0 => error,
        _ => error.context(
            "linux.resources.memory.limit: it is too low, the host has ended a process for want of memory",
        ),
    })?;
    if let Some(path) = &arguments.pid_file
        && let Err(error) = write_pid(path, state.pid)
    {
        let _ = newborn.process.send_signal(libc::SIGKILL);
        let _ = newborn.process.wait();
        return Err(error);
    }
    Ok(newborn)
}

/// Writes a process id, wholly or not at all: engines watch for the file. Whatever has the temporary file's name stays, and is
/// not followed if it is a link: others may write to the directory.
pub(super) fn write_pid(path: &Path, pid: i32) -> Result<()> {
    let describe = || format!("cannot write {}", path.display());
    let name = path.file_name().with_context(describe)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let temporary = path.with_file_name(hidden);
    let mut file =
        File::create_new(&temporary).with_context(|| format!("cannot make {}", temporary.display()))?;
    let written = write!(file, "{pid}").and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // The failure is what counts.
        let _ = std::fs::remove_file(&temporary);
    }
    written.with_context(describe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_id_is_written_through_no_link() {
        let place = tempfile::tempdir().unwrap();
        let [path, hidden, other] = ["pid", ".pid", "other"].map(|name| place.path().join(name));
        std::fs::write(&other, "others").unwrap();
        std::os::unix::fs::symlink(&other, &hidden).unwrap();
        assert!(write_pid(&path, 7).is_err());
        assert_eq!(std::fs::read(&other).unwrap(), b"others");
        assert!(hidden.is_symlink() && !path.exists());
        std::fs::remove_file(&hidden).unwrap();
        write_pid(&path, 7).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"7");
        assert!(!hidden.exists());
    }
}
