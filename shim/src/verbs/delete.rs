//! `usk-oci delete`: nothing of a container is left, whatever happened to it.

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

use crate::command_line::DeleteArguments;
use crate::container::{Container, for_hooks};
use crate::entry::Settings;
use crate::hooks;
use crate::protocol::Status;
use crate::state::Directory;

/// How long a container may take to end, in milliseconds.
const PATIENCE_MS: u16 = 10_000;

pub(crate) fn delete(settings: &Settings, arguments: &DeleteArguments) -> Result<i32> {
    for id in &arguments.ids {
        delete_one(settings, id, arguments.force)?;
    }
    Ok(0)
}

fn delete_one(settings: &Settings, id: &str, force: bool) -> Result<()> {
    let directory = match Directory::open(&settings.root, id) {
        Ok(directory) => directory,
        Err(_) if force => return Ok(()),
        Err(error) => return Err(error),
    };
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

/// Ends a container by ending its monitor, and waits until it has gone.
fn end(container: &Container) -> Result<()> {
    let Some(process) = container.process() else { return Ok(()) };
    let _ = process.signal(libc::SIGKILL);
    // What is stopped cannot end.
    if container.state.cgroups.is_frozen() {
        container.state.cgroups.freeze(false)?;
    }
    let mut polled = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    if poll(&mut polled, PollTimeout::from(PATIENCE_MS)).context("cannot wait for the container")? == 0 {
        bail!("the container's process {} does not end", container.state.pid);
    }
    Ok(())
}

/// Removes what is left of a container that has stopped.
pub(super) fn remove(container: Container) -> Result<()> {
    let Container { directory, state } = container;
    state.cgroups.remove()?;
    directory.remove()?;
    hooks::run_all("poststop", &state.poststop, &for_hooks(&state, Status::Stopped));
    Ok(())
}
