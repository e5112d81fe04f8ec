//! `usk-oci list`.

use anyhow::Result;

use super::state::{Shown, shown};
use crate::command_line::{ListArguments, ListFormat};
use crate::container::Container;
use crate::entry::Settings;
use crate::log;
use crate::output;
use crate::protocol::Status;
use crate::state::Directory;

pub(crate) fn list(settings: &Settings, arguments: &ListArguments) -> Result<i32> {
    let mut containers = Vec::new();
    for id in Directory::all(&settings.root)? {
        // One that is broken, or goes this moment, does not keep the others from being listed.
        let found = Container::open(&settings.root, &id);
        match found.and_then(|container| container.status().map(|status| (container, status))) {
            Ok(found) => containers.push(found),
            Err(error) => log::warn(&format!("{id}: {error:#}")),
        }
    }
    if arguments.quiet {
        for (container, _) in &containers {
            output::line(&container.state.id)?;
        }
        return Ok(0);
    }
    match arguments.format {
        ListFormat::Json => {
            let all: Vec<Shown<'_>> =
                containers.iter().map(|(container, status)| shown(container, *status)).collect();
            output::list(&all)?;
        }
        ListFormat::Table => print_table(&containers)?,
    }
    Ok(0)
}

fn print_table(containers: &[(Container, Status)]) -> Result<()> {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from)];
    for (container, status) in containers {
        let state = &container.state;
        let pid = if *status == Status::Stopped { 0 } else { state.pid };
        rows.push([
            state.id.clone(),
            pid.to_string(),
            status.name().into(),
            state.bundle.display().to_string(),
            state.created.clone(),
            super::state::owner(state.owner),
        ]);
    }
    // As runc's: three spaces between, and at least 12 wide.
    let widths: Vec<usize> = (0..6)
        .map(|column| rows.iter().map(|row| row[column].len() + 3).max().unwrap_or(0).max(12))
        .collect();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths).take(5) {
            line.push_str(&format!("{cell:width$}"));
        }
        output::line(&format!("{line}{}", row[5]))?;
    }
    Ok(())
}
