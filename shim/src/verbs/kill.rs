//! `usk-oci kill`.

use anyhow::{Result, bail};

use crate::command_line::KillArguments;
use crate::container::Container;
use crate::entry::Settings;
use crate::protocol::{NOT_RUNNING, Reply, Request};
use crate::signals;

pub(crate) fn kill(settings: &Settings, arguments: &KillArguments) -> Result<i32> {
    let container = Container::open(&settings.root, &arguments.id)?;
    let signal = match arguments.signal.as_str() {
        // As where none is named.
        "" => libc::SIGTERM,
        name => signals::parse(name)?,
    };
    let connection = match container.connect()? {
        Some(connection) => connection,
        // With --all there is nobody left to signal, which is what the caller wants.
        None if arguments.all => return Ok(0),
        None => bail!(NOT_RUNNING),
    };
    if signal == 0 {
        return Ok(0);
    }
    let reply = connection.ask(Request::Signal { signal, all: arguments.all }, None)?;
    // What is stopped cannot end.
    if signal == libc::SIGKILL && container.state.cgroups.is_frozen() {
        container.state.cgroups.freeze(false)?;
    }
    match reply {
        Reply::Done => Ok(0),
        Reply::Failed(message) => bail!(message),
        other => bail!("the container's monitor answers {other:?}"),
    }
}
