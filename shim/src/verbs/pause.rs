//! `usk-oci pause` and `resume`.

use anyhow::{Result, bail};

use crate::container::Container;
use crate::entry::Settings;
use crate::protocol::{NOT_RUNNING, Status};

pub(crate) fn pause(settings: &Settings, id: &str) -> Result<i32> {
    let container = Container::open(&settings.root, id)?;
    match container.status()? {
        Status::Running | Status::Created => container.state.cgroups.freeze(true)?,
        _ => bail!(NOT_RUNNING),
    }
    Ok(0)
}

pub(crate) fn resume(settings: &Settings, id: &str) -> Result<i32> {
    let container = Container::open(&settings.root, id)?;
    if !container.state.cgroups.is_frozen() {
        bail!("container not paused");
    }
    container.state.cgroups.freeze(false)?;
    Ok(0)
}
