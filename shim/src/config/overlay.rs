//! The options of an overlay. mount(8), "Mount options for overlay"; the kernel's Documentation/filesystems/overlayfs.rst.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use usk::plan::{Layer, Overlay};

/// Options that are there or not.
const FLAGS: [&str; 3] = ["default_permissions", "userxattr", "volatile"];

/// Options with one of some values.
const CHOICES: [(&str, &[&str]); 7] = [
    ("index", &["on", "off"]),
    ("metacopy", &["on", "off"]),
    ("nfs_export", &["on", "off"]),
    ("redirect_dir", &["on", "off", "follow", "nofollow"]),
    ("uuid", &["on", "off", "auto", "null"]),
    ("verity", &["on", "off", "require"]),
    ("xino", &["on", "off", "auto"]),
];

/// Understands them. Relative paths begin at `base`. Of an option that is there twice the last counts, as for the kernel.
pub(super) fn overlay(options: &[String], base: &Path) -> Result<Overlay> {
    let mut overlay = Overlay::default();
    for option in options {
        add(&mut overlay, option, base).with_context(|| format!("options: {option:?}"))?;
    }
    Ok(overlay)
}

fn add(overlay: &mut Overlay, option: &str, base: &Path) -> Result<()> {
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    };
    let path = || path(value.unwrap_or_default(), base);
    match name {
        "lowerdir" => overlay.lower = layers(value.unwrap_or_default(), base)?,
        "lowerdir+" => overlay.lower.push(Layer { path: path()?, is_data_only: false }),
        "datadir+" => overlay.lower.push(Layer { path: path()?, is_data_only: true }),
        "upperdir" => overlay.upper = Some(path()?),
        "workdir" => overlay.work = Some(path()?),
        _ => overlay.settings.push(setting(name, value)?),
    }
    Ok(())
}

fn setting(name: &str, value: Option<&str>) -> Result<(CString, Option<CString>)> {
    let choices = CHOICES.iter().find(|(choice, _)| *choice == name).map(|(_, values)| *values);
    match (value, choices) {
        (None, None) if FLAGS.contains(&name) => {}
        (Some(value), Some(choices)) if choices.contains(&value) => {}
        (_, Some(choices)) => bail!("it must be one of {}", choices.join(", ")),
        _ => bail!("an overlay has no such option"),
    }
    Ok((CString::new(name)?, value.map(CString::new).transpose()?))
}

/// Directories between colons, the topmost first; one after two colons only has data.
fn layers(list: &str, base: &Path) -> Result<Vec<Layer>> {
    let mut layers = Vec::new();
    let (mut rest, mut is_data_only) = (Some(list), false);
    while let Some(list) = rest {
        let (text, after) = split_layer(list);
        layers.push(Layer { path: path(text, base)?, is_data_only });
        let inner = after.and_then(|after| after.strip_prefix(':'));
        (rest, is_data_only) = (inner.or(after), inner.is_some());
    }
    Ok(layers)
}

/// What is before the first colon that nothing escapes, and what is after it.
fn split_layer(list: &str) -> (&str, Option<&str>) {
    let mut is_escaped = false;
    for (at, letter) in list.char_indices() {
        match letter {
            ':' if !is_escaped => return (&list[..at], Some(&list[at + 1..])),
            _ => is_escaped = letter == '\\' && !is_escaped,
        }
    }
    (list, None)
}

/// A path, in which a backslash stands before a letter that is meant as it is: a colon, a comma, another one.
fn path(text: &str, base: &Path) -> Result<PathBuf> {
    let mut path = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => path.extend(letters.next()),
            _ => path.push(letter),
        }
    }
    if path.is_empty() || path.contains('\0') {
        bail!("a path is missing, or has a zero byte");
    }
    Ok(base.join(path))
}
