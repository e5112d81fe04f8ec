//! `usk-oci events`.

use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use crate::cgroup::{Usage, usage};
use crate::command_line::EventsArguments;
use crate::container::Container;
use crate::entry::Settings;
use crate::output;
use crate::protocol::Status;

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Usage>,
}

pub(crate) fn events(settings: &Settings, arguments: &EventsArguments) -> Result<i32> {
    let container = Container::open(&settings.root, &arguments.id)?;
    if container.status()? == Status::Stopped {
        bail!("container with id {} is not running", arguments.id);
    }
    let cgroups = &container.state.cgroups;
    let print = |kind, data| {
        let event = Event { kind, id: &arguments.id, data };
        output::line(&serde_json::to_string(&event).context("cannot write an event")?)
    };
    if arguments.stats {
        print("stats", Some(usage(cgroups)))?;
        return Ok(0);
    }
    let Some(process) = container.process() else { return Ok(0) };
    let interval = PollTimeout::try_from(arguments.interval).unwrap_or(PollTimeout::MAX);
    let mut kills = cgroups.out_of_memory_kills();
    loop {
        print("stats", Some(usage(cgroups)))?;
        let mut polled = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        let has_ended = poll(&mut polled, interval).context("cannot wait for the container")? > 0;
        let now = cgroups.out_of_memory_kills();
        if now > kills {
            print("oom", None)?;
            kills = now;
        }
        if has_ended {
            return Ok(0);
        }
    }
}
