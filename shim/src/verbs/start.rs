//! `usk-oci start`: the command of a container that has been created runs.

use anyhow::{Result, bail};

use crate::container::{Container, for_hooks};
use crate::entry::Settings;
use crate::hooks;
use crate::log;
use crate::protocol::{Reply, Request, Status};

pub(crate) fn start(settings: &Settings, id: &str) -> Result<i32> {
    let container = Container::open(&settings.root, id)?;
    let Some(connection) = container.connect()? else {
        match container.status()? {
            Status::Creating => bail!("cannot start a container that is being created"),
            _ => bail!("cannot start a container that has stopped"),
        }
    };
    match connection.ask(Request::Start, None)? {
        Reply::Done => {}
        Reply::Failed(message) => bail!(message),
        other => bail!("the container's monitor answers {other:?}"),
    }
    let shown = for_hooks(&container.state, Status::Running);
    // A failure is noted, and the container goes on: the specification wants it so.
    if let Err(error) = hooks::run("poststart", &container.state.poststart, &shown) {
        log::warn(&format!("{error:#}"));
    }
    Ok(0)
}
