//! `usk-oci start`: the command of a container that has been created runs.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::runtime::Process;

use super::exec::join;
use crate::config;
use crate::container::{Container, for_hooks};
use crate::entry::Settings;
use crate::hooks::{self, Hook};
use crate::protocol::{NOT_RUNNING, Reply, Request, Status};
use crate::state::State;

pub(crate) fn start(settings: &Settings, id: &str) -> Result<i32> {
    let container = Container::open(&settings.root, id)?;
    let Some(connection) = container.connect()? else {
        match container.status()? {
            Status::Creating => bail!("cannot start a container that is being created"),
            _ => bail!("cannot start a container that has stopped"),
        }
    };
    if container.status()? == Status::Created {
        for (index, hook) in container.state.start_container.iter().enumerate() {
            if let Err(error) = run_inside(&container, hook) {
                // The specification has the container stopped; the error is the hook's in any case.
                let _ = connection.ask(Request::Signal { signal: libc::SIGKILL, all: false }, None);
                return Err(error.context(format!("error running startContainer hook #{index}")));
            }
        }
    }
    match connection.ask(Request::Start, None)? {
        Reply::Done => {}
        Reply::Failed(message) => bail!(message),
        other => bail!("the container's monitor answers {other:?}"),
    }
    let shown = for_hooks(&container.state, Status::Running);
    hooks::run_all("poststart", &container.state.poststart, &shown);
    Ok(0)
}

/// Runs a hook in the container, as the container's user.
fn run_inside(container: &Container, hook: &Hook) -> Result<()> {
    let wanted: Process = serde_json::from_value(container.state.process.clone())
        .context("the container's process is not known")?;
    let mut spec = config::process(&wanted)?;
    let path = hook.path.clone().into_os_string();
    spec.arguments = hook.args.iter().map(Into::into).collect();
    match spec.arguments.first_mut() {
        // What is looked for is what is written first.
        Some(name) => *name = path,
        None => spec.arguments.push(path),
    }
    spec.environment = hook.env.iter().map(Into::into).collect();
    spec.terminal = false;
    // The process is the first to those inside.
    let shown = for_hooks(&State { pid: 1, ..container.state.clone() }, Status::Created);
    let input = hooks::state_file(&shown)?;
    let output = File::options().write(true).open("/dev/null").context("cannot open /dev/null")?;
    let connection = container.connect()?.context(NOT_RUNNING)?;
    join(&connection, &spec, &[input.as_fd(), output.as_fd(), output.as_fd()])?;
    let timeout = hook.timeout_s.map(Duration::from_secs);
    let timeout =
        timeout.map_or(PollTimeout::NONE, |time| PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX));
    let mut polled = [PollFd::new(connection.as_fd(), PollFlags::POLLIN)];
    if poll(&mut polled, timeout).context("cannot wait for the hook")? == 0 {
        // The end of the connection is the hook's.
        bail!("hook ran past specified timeout");
    }
    match connection.receive::<Reply>()? {
        Some((Reply::Left { status: 0 }, _)) => Ok(()),
        Some((Reply::Left { status }, _)) => bail!("error running hook: exit status {status}"),
        _ => bail!(NOT_RUNNING),
    }
}
