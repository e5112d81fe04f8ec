//! `usk-oci update`: other limits for a container that is there.

use anyhow::{Context, Result, bail};
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};
use usk::control::NewLimits;

use crate::command_line::UpdateArguments;
use crate::config;
use crate::container::Container;
use crate::entry::Settings;
use crate::protocol::{NOT_RUNNING, Reply, Request, Status};

pub(crate) fn update(settings: &Settings, arguments: UpdateArguments) -> Result<i32> {
    let container = Container::open(&settings.root, &arguments.id)?;
    if container.status()? == Status::Stopped {
        bail!(NOT_RUNNING);
    }
    let resources = match &arguments.resources {
        Some(path) => config::read_resources(path)?,
        None => from_options(&arguments)?,
    };
    container.state.cgroups.limit(&resources)?;
    let NewLimits { memory, tasks, quota_us, period_us } = config::new_limits(&resources);
    let connection = container.connect()?.context(NOT_RUNNING)?;
    match connection.ask(Request::Limit { memory, tasks, quota_us, period_us }, None)? {
        Reply::Done => Ok(0),
        Reply::Failed(message) => bail!(message),
        other => bail!("the container's monitor answers {other:?}"),
    }
}

/// The single options as the structure of a configuration.
fn from_options(arguments: &UpdateArguments) -> Result<LinuxResources> {
    let section = |entries: &[(&str, Option<Value>)]| {
        let set = entries.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?)));
        Value::Object(set.collect::<Map<String, Value>>())
    };
    let mut resources = json!({
        "memory": section(&[
            ("limit", arguments.memory.map(Value::from)),
            ("reservation", arguments.memory_reservation.map(Value::from)),
            ("swap", arguments.memory_swap.map(Value::from)),
        ]),
        "cpu": section(&[
            ("shares", arguments.cpu_share.map(Value::from)),
            ("quota", arguments.cpu_quota.map(Value::from)),
            ("period", arguments.cpu_period.map(Value::from)),
            ("realtimePeriod", arguments.cpu_rt_period.map(Value::from)),
            ("realtimeRuntime", arguments.cpu_rt_runtime.map(Value::from)),
            ("cpus", arguments.cpuset_cpus.clone().map(Value::from)),
            ("mems", arguments.cpuset_mems.clone().map(Value::from)),
        ]),
        "blockIO": section(&[("weight", arguments.blkio_weight.map(Value::from))]),
        "pids": section(&[("limit", arguments.pids_limit.map(Value::from))]),
    });
    if let Value::Object(sections) = &mut resources {
        sections.retain(|_, section| section.as_object().is_some_and(|section| !section.is_empty()));
    }
    serde_json::from_value(resources).context("cannot understand the limits")
}
