//! Standard output, of which a reader may have had enough.

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};
use serde::Serialize;

/// Writes a line. If nobody reads any more, the verb ends as one that a closed pipe ends, without a word.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(128 + libc::SIGPIPE),
        written => written.context("cannot write to standard output"),
    }
}

/// Writes a value as JSON, over several lines.
pub(crate) fn pretty(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string_pretty(value).context("cannot write it as JSON")?)
}

/// Writes a list as JSON in one line; runc writes null for none.
pub(crate) fn list<T: Serialize>(all: &[T]) -> Result<()> {
    let json = if all.is_empty() { Ok("null".into()) } else { serde_json::to_string(all) };
    line(&json.context("cannot write it as JSON")?)
}
