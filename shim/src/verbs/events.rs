//! `usk-oci events`.

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::cgroup::{Usage, usage};
use crate::command_line::EventsArguments;
use crate::container::Container;
use crate::entry::Settings;
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
        serde_json::to_string(&event).map(|line| println!("{line}")).context("cannot write an event")
    };
    if arguments.stats {
        print("stats", Some(usage(cgroups)))?;
        return Ok(0);
    }
    let mut kills = cgroups.out_of_memory_kills();
    while container.status()? != Status::Stopped {
        print("stats", Some(usage(cgroups)))?;
        std::thread::sleep(arguments.interval);
        let now = cgroups.out_of_memory_kills();
        if now > kills {
            print("oom", None)?;
            kills = now;
        }
    }
    Ok(0)
}
