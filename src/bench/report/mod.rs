//! The results for people and for machines: a table to read at once, and files to keep.

mod csv;
mod goals;
mod html;
mod json;
mod numbers;
mod summary;
mod svg;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::results::{Results, Section};

pub(crate) use table::text;

/// Writes all files into this directory, which is made if it is missing, and returns their names.
pub(crate) fn write(results: &Results, directory: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut files =
        vec![("results.json".to_owned(), json::json(results)?), ("results.csv".into(), csv::csv(results))];
    let mut pictures = Vec::new();
    for section in Section::ALL {
        if let Some(picture) = svg::svg(results, section)? {
            files.push((format!("{}.svg", section.name()), picture.clone()));
            pictures.push((section, picture));
        }
    }
    files.push(("report.html".into(), html::html(results, &pictures)));
    let mut written = Vec::new();
    for (name, text) in files {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}
