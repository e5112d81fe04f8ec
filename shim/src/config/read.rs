//! Reading what people and engines wrote: bounded, lenient where runc is, with the name of the field in each error.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use oci_spec::runtime::{LinuxResources, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use usk_abi::capability;

use crate::log;

/// Most bytes of a configuration.
const MAX_BYTES: u64 = 16 << 20;

/// Reads the configuration of a bundle, and returns it as it was as well.
pub fn read(bundle: &Path) -> Result<(Spec, Value)> {
    let path = bundle.join("config.json");
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("JSON specification file config.json not found")
        }
        file => file.with_context(|| format!("cannot open {}", path.display()))?,
    };
    parse_spec(&bounded(file, &path)?)
}

/// Understands the text of a configuration.
pub fn parse_spec(text: &[u8]) -> Result<(Spec, Value)> {
    let mut value: Value = serde_json::from_slice(text).context("config.json")?;
    if !value.is_object() {
        bail!("config.json: it is no object");
    }
    if let Some(process) = value.get_mut("process") {
        be_lenient(process);
    }
    if let Some(Value::Object(linux)) = value.get_mut("linux") {
        drop_empty_profile(linux);
    }
    let spec = typed(&value).context("config.json")?;
    Ok((spec, value))
}

/// Reads the process of `exec --process`.
pub fn read_process(path: &Path) -> Result<Process> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut value = serde_json::from_slice(&bounded(file, path)?)
        .with_context(|| format!("cannot understand {}", path.display()))?;
    be_lenient(&mut value);
    typed(&value).with_context(|| path.display().to_string())
}

/// Reads the resources of `update --resources`.
pub fn read_resources(path: &Path) -> Result<LinuxResources> {
    let text = if path == Path::new("-") {
        bounded(std::io::stdin().lock(), path)?
    } else {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        bounded(file, path)?
    };
    let value =
        serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", path.display()))?;
    typed(&value).with_context(|| path.display().to_string())
}

fn bounded(input: impl Read, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut input = input.take(MAX_BYTES + 1);
    input.read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("{} is longer than 16 MiB", path.display());
    }
    Ok(bytes)
}

/// The value as a structure; an error begins with the path of the field.
fn typed<T: DeserializeOwned>(value: &Value) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let field = error.path().to_string();
        anyhow!("{field}: {}", error.into_inner())
    })
}

/// What runc takes and the types do not.
fn be_lenient(process: &mut Value) {
    drop_unknown_capabilities(process);
    if let Some(Value::Array(flags)) = process.pointer_mut("/scheduler/flags") {
        // The types have another name than the specification.
        for flag in flags.iter_mut().filter(|flag| **flag == "SCHED_FLAG_RESET_ON_FORK") {
            *flag = "SCHED_RESET_ON_FORK".into();
        }
    }
    // Nobody is root.
    if let Value::Object(fields) = process
        && fields.get("user").is_none_or(Value::is_null)
    {
        fields.insert("user".into(), serde_json::json!({ "uid": 0, "gid": 0 }));
    }
}

/// A profile for system calls without a default and without rules is none.
fn drop_empty_profile(linux: &mut Map<String, Value>) {
    let is_empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    };
    if let Some(Value::Object(profile)) = linux.get("seccomp")
        && is_empty(profile.get("defaultAction"))
        && is_empty(profile.get("syscalls"))
    {
        linux.remove("seccomp");
    }
}

/// Capabilities that nobody knows are passed over with a warning, as with runc: the configuration may be made for a newer
/// kernel.
fn drop_unknown_capabilities(process: &mut Value) {
    let Some(Value::Object(sets)) = process.get_mut("capabilities") else { return };
    let mut unknown = Vec::new();
    for set in sets.values_mut() {
        let Value::Array(names) = set else { continue };
        names.retain(|name| match name {
            Value::String(name) if !capability::NAMES.contains(&name.as_str()) => {
                if !unknown.contains(name) {
                    unknown.push(name.clone());
                }
                false
            }
            _ => true,
        });
    }
    if !unknown.is_empty() {
        unknown.sort();
        log::warn(&format!("ignoring unknown or unavailable capabilities: [{}]", unknown.join(" ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_field() {
        for (text, field) in [
            (r#"{"ociVersion":"1.0.0","process":{"cwd":"/","args":[1]}}"#, "process.args[0]"),
            (
                r#"{"ociVersion":"1.0.0","linux":{"resources":{"memory":{"limit":"x"}}}}"#,
                "linux.resources.memory.limit",
            ),
            (r#"{"ociVersion":"1.0.0","mounts":[{"destination":3}]}"#, "mounts[0].destination"),
            (
                r#"{"ociVersion":"1.0.0","linux":{"namespaces":[{"type":"moon"}]}}"#,
                "linux.namespaces[0].type",
            ),
        ] {
            let error = format!("{:#}", parse_spec(text.as_bytes()).unwrap_err());
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn unknown_capabilities_and_fields_are_passed_over() {
        let text = r#"{"ociVersion":"1.0.0","moon":1,"process":{"cwd":"/","capabilities":{"bounding":
            ["CAP_CHOWN","CAP_MOON"]}}}"#;
        let (spec, _) = parse_spec(text.as_bytes()).unwrap();
        let process = spec.process().as_ref().unwrap();
        let bounding = process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap();
        assert_eq!(bounding.len(), 1);
    }
}
