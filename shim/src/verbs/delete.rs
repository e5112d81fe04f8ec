//! `usk-oci delete`: nothing of a container is left, whatever happened to it.

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::time::Duration;

use crate::command_line::DeleteArguments;
use crate::container::{Container, for_hooks};
use crate::entry::Settings;
use crate::hooks;
use crate::protocol::Status;
use crate::state::Directory;

/// How long a container, or who else makes or deletes it, may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long another verb may take without being told to end.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

pub(crate) fn delete(settings: &Settings, arguments: &DeleteArguments) -> Result<i32> {
    for id in &arguments.ids {
        delete_one(settings, id, arguments.force)?;
    }
    Ok(0)
}

fn delete_one(settings: &Settings, id: &str, force: bool) -> Result<()> {
    let mut directory = match Directory::open(&settings.root, id) {
        Ok(directory) => directory,
        Err(_) if force => return Ok(()),
        Err(error) => return Err(error),
    };
    if !directory.lock(LOCK_PATIENCE)? {
        // Who makes it gives up without a monitor.
        if force && let Ok(making) = Container::open(&settings.root, id) {
            end(&making)?;
        }
        if !force || !directory.lock(PATIENCE)? {
            bail!("cannot delete container {id} that is not stopped: {}", Status::Creating.name());
        }
    }
    if !directory.is_current() {
        if force {
            return Ok(());
        }
        bail!("container does not exist");
    }
    let state = match directory.load() {
        Ok(state) => state,
        // Whoever made the directory was ended before anything else was made.
        Err(_) if force => return directory.remove(),
        Err(error) => return Err(error),
    };
    let container = Container { directory, state };
    match container.status() {
        Ok(Status::Stopped) => {}
        Ok(Status::Created) => end(&container)?,
        _ if force => end(&container)?,
        Ok(status) => bail!("cannot delete container {id} that is not stopped: {}", status.name()),
        Err(error) => return Err(error),
    }
    remove(container)
}

/// Deletes a container that has stopped, for who has made it; somebody else may have been faster.
pub(super) fn delete_own(mut container: Container) -> Result<()> {
    if !container.directory.lock(PATIENCE)? {
        bail!("somebody else deletes the container, and does not end");
    }
    remove(container)
}

/// Ends a container by ending its monitor, and waits until it has gone.
fn end(container: &Container) -> Result<()> {
    let Some(process) = container.process() else { return Ok(()) };
    let _ = process.signal(libc::SIGKILL);
    // What is stopped cannot end.
    if container.state.cgroups.is_frozen() {
        container.state.cgroups.freeze(false)?;
    }
    let mut polled = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    if poll(&mut polled, patience).context("cannot wait for the container")? == 0 {
        bail!("the container's process {} does not end", container.state.pid);
    }
    Ok(())
}

/// Removes what is left of a container that has stopped, and that the caller has locked. Of one that has been removed
/// nothing is left: what has its name is another's.
pub(super) fn remove(container: Container) -> Result<()> {
    let Container { directory, state } = container;
    if !directory.is_current() {
        return Ok(());
    }
    state.cgroups.remove()?;
    directory.remove()?;
    hooks::run_all("poststop", &state.poststop, &for_hooks(&state, Status::Stopped));
    Ok(())
}
