//! containerd's `config.toml`: a runtime of the CRI plugin that is containerd's own shim for runc, with another program.

use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use toml_edit::{DocumentMut, Item, Table, TableLike, value};

use super::Change;

/// What the plugin is called in each version of the file: containerd 1.x writes 2, containerd 2.x writes 3.
const PLUGINS: [(i64, &str); 2] = [(2, "io.containerd.grpc.v1.cri"), (3, "io.containerd.cri.v1.runtime")];
const SHIM: &str = "io.containerd.runc.v2";
/// What containers run on where nobody says otherwise.
const DEFAULT: &str = "runc";
/// Says that the default's entry is ours to take out.
const MARK: &str = "# Of usk install: where runtimes are listed, containerd 1.x knows none by itself, and without its default no CRI.";

pub(super) fn edit(old: Option<&str>, name: &str, change: Change<'_>) -> Result<String> {
    let mut settings = parse(old)?;
    if settings.get("version").is_none() {
        if !settings.is_empty() {
            bail!(
                "it has no version, as before containerd 1.3: write 'version = 2', with plugins under their full names"
            );
        }
        settings.insert("version", value(version_of_installed()));
    }
    let version = settings.get("version").and_then(Item::as_integer);
    let plugin = PLUGINS.iter().find(|(known, _)| Some(*known) == version);
    let (_, plugin) = plugin.context("its version is neither 2 nor 3")?;
    let place = ["plugins", plugin, "containerd", "runtimes"];
    match change {
        Change::Remove => {
            let runtimes = descend(settings.as_table_mut(), &place)?;
            if runtimes.len() == 2 && runtimes.get(DEFAULT).is_some_and(is_marked) {
                runtimes.remove(DEFAULT);
            }
            take_out(settings.as_table_mut(), &place, name);
        }
        Change::Set(path) => {
            let mut options = Table::new();
            options.insert("BinaryName", value(path.to_string_lossy().as_ref()));
            let mut runtime = Table::new();
            runtime.insert("runtime_type", value(SHIM));
            runtime.insert("options", Item::Table(options));
            let runtimes = descend(settings.as_table_mut(), &place)?;
            if version == Some(2) && name != DEFAULT && runtimes.get(DEFAULT).is_none() {
                runtimes.insert(DEFAULT, Item::Table(default_runtime()));
            }
            runtimes.insert(name, Item::Table(runtime));
        }
    }
    Ok(settings.to_string())
}

/// runc, as containerd has it where no runtimes are listed.
fn default_runtime() -> Table {
    let mut runc = Table::new();
    runc.insert("runtime_type", value(SHIM));
    runc.decor_mut().set_prefix(format!("\n{MARK}\n"));
    runc
}

fn is_marked(runtime: &Item) -> bool {
    let before = runtime.as_table().and_then(|table| table.decor().prefix()?.as_str());
    before.is_some_and(|before| before.contains(MARK))
}

/// The text of a file, which may be missing.
pub(super) fn parse(text: Option<&str>) -> Result<DocumentMut> {
    let parsed = text.unwrap_or_default().parse::<DocumentMut>();
    parsed
        .map_err(|error| anyhow!("it is no TOML: {}", error.message().lines().collect::<Vec<_>>().join(", ")))
}

/// Takes an entry out of the table at this path, and tables that are empty without it. Whether it was there.
pub(super) fn take_out(from: &mut dyn TableLike, path: &[&str], name: &str) -> bool {
    let Some((first, rest)) = path.split_first() else { return from.remove(name).is_some() };
    let Some(inner) = from.get_mut(first).and_then(Item::as_table_like_mut) else { return false };
    let was_there = take_out(inner, rest, name);
    if was_there && inner.is_empty() {
        from.remove(first);
    }
    was_there
}

/// The table at this path; what is missing of it is made.
pub(super) fn descend<'a>(from: &'a mut dyn TableLike, path: &[&str]) -> Result<&'a mut dyn TableLike> {
    let mut at = from;
    for name in path {
        let mut missing = Table::new();
        // Not shown unless it has something of its own.
        missing.set_implicit(true);
        let entry = at.entry(name).or_insert(Item::Table(missing));
        at = entry.as_table_like_mut().with_context(|| format!("its {name} is no table"))?;
    }
    Ok(at)
}

/// The version of the file that the installed containerd writes; that of containerd 1.x if there is none.
fn version_of_installed() -> i64 {
    let output = Command::new("containerd").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    // "containerd github.com/containerd/containerd/v2 v2.0.0 …" or "… 1.6.20~ds1 …"
    let is_second = text.split_whitespace().any(|word| word.trim_start_matches('v').starts_with("2."));
    if is_second { 3 } else { 2 }
}
