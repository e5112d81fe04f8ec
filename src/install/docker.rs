//! Docker's `daemon.json`: `runtimes.NAME.path`.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::Change;

pub(super) fn edit(old: Option<&str>, name: &str, change: Change<'_>) -> Result<String> {
    let old = old.filter(|text| !text.trim().is_empty()).unwrap_or("{}");
    let mut settings: Map<String, Value> = serde_json::from_str(old).context("it is no JSON object")?;
    let runtimes = settings.entry("runtimes").or_insert_with(|| json!({}));
    let runtimes = runtimes.as_object_mut().context("its runtimes are no JSON object")?;
    match change {
        Change::Set(path) => {
            runtimes.insert(name.into(), json!({ "path": path }));
        }
        Change::Remove => {
            runtimes.remove(name);
        }
    }
    if runtimes.is_empty() {
        settings.remove("runtimes");
    }
    Ok(serde_json::to_string_pretty(&settings)? + "\n")
}
