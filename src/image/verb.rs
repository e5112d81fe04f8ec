//! `usk image`: what is in the cache.

use std::io::Write as _;

use anyhow::Result;

use super::cache::Cache;
use super::listing::shown;
use crate::command_line::{ImageArguments, ImageVerb};
use crate::entry::FAILURE;

/// Digits of a root's name that tell it from the others.
const DIGITS: usize = 12;

/// Does what the arguments ask for and returns the exit status.
pub(crate) fn image(arguments: &ImageArguments) -> i32 {
    match act(arguments) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("usk: {error:#}");
            FAILURE
        }
    }
}

fn act(arguments: &ImageArguments) -> Result<()> {
    let cache = Cache::open(arguments.cache.as_deref())?;
    let text = match arguments.verb {
        ImageVerb::List => list(&cache)?,
        ImageVerb::Prune => {
            let (roots, layers) = cache.prune()?;
            format!("removed {} and {}\n", counted(roots, "root"), counted(layers, "layer"))
        }
    };
    // A reader that has seen enough is no reason to fail.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn list(cache: &Cache) -> Result<String> {
    let mut text = format!("{:DIGITS$}  {:>6}  {:>10}  {:4}  IMAGE\n", "ROOT", "LAYERS", "SIZE", "USED");
    for (name, record, is_used) in cache.list()? {
        let digits: String = name.chars().skip_while(|&c| c != '-').skip(1).take(DIGITS).collect();
        let used = if is_used { "yes" } else { "no" };
        text += &match record {
            Some(record) => {
                let mib = record.bytes.div_ceil(1 << 20);
                let layers = record.layers.len();
                let image = shown(record.name.as_bytes());
                format!("{digits:DIGITS$}  {layers:>6}  {mib:>6} MiB  {used:4}  {image}\n")
            }
            None => format!(
                "{digits:DIGITS$}  {:>6}  {:>10}  {used:4}  damaged: say 'usk image prune'\n",
                "?", "?"
            ),
        };
    }
    Ok(text)
}
