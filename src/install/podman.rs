//! Podman's `containers.conf`: `engine.runtimes.NAME` is a list of places to look for the runtime in.

use anyhow::Result;
use toml_edit::{Array, value};

use super::Change;
use super::containerd::{descend, parse, take_out};

pub(super) fn edit(old: Option<&str>, name: &str, change: Change<'_>) -> Result<String> {
    let mut settings = parse(old)?;
    let place = ["engine", "runtimes"];
    match change {
        Change::Remove => {
            take_out(settings.as_table_mut(), &place, name);
        }
        Change::Set(path) => {
            let places: Array = std::iter::once(path.to_string_lossy().as_ref()).collect();
            descend(settings.as_table_mut(), &place)?.insert(name, value(places));
        }
    }
    Ok(settings.to_string())
}
