//! `usk-oci ps`: the host's processes behind a container.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command_line::{ListFormat, PsArguments};
use crate::container::Container;
use crate::entry::Settings;
use crate::output;
use crate::protocol::Status;

pub(crate) fn ps(settings: &Settings, arguments: &PsArguments) -> Result<i32> {
    let container = Container::open(&settings.root, &arguments.id)?;
    let mut pids = container.state.cgroups.processes();
    if pids.is_empty() && container.status()? != Status::Stopped {
        pids.push(container.state.pid);
    }
    if arguments.format == ListFormat::Json {
        output::list(&pids)?;
        return Ok(0);
    }
    let defaults = ["-ef".to_owned()];
    let options = if arguments.options.is_empty() { &defaults[..] } else { &arguments.options };
    let output = Command::new("ps").args(options).output().context("cannot run ps")?;
    if !output.status.success() {
        bail!("ps failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header
        .split_whitespace()
        .position(|name| name == "PID")
        .context("couldn't find PID field in ps output")?;
    output::line(header)?;
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid: i32| pids.contains(&pid)) {
            output::line(line)?;
        }
    }
    Ok(0)
}
