//! Messages in the forms of runc's `--log` and `--log-format`: engines read the last error there.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::timestamp;

/// How lines look.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=error msg="…"`
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`
    Json,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Written with `--debug` only.
    Debug,
    /// Something asked for is not as it would be with another runtime.
    Warning,
    /// The verb has failed.
    Error,
}

struct Log {
    file: Option<File>,
    format: Format,
    debug: bool,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Says where messages go from now on: to a file, or to standard error. Once.
pub fn begin(path: Option<&Path>, format: Format, debug: bool) -> Result<()> {
    let open = |path: &Path| {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .with_context(|| format!("cannot open the log file {}", path.display()))
    };
    let file = path.map(open).transpose()?;
    let _ = LOG.set(Log { file, format, debug });
    Ok(())
}

/// The descriptor that messages go to, if it is not standard error.
pub fn descriptor() -> Option<BorrowedFd<'static>> {
    LOG.get().and_then(|log| log.file.as_ref()).map(AsFd::as_fd)
}

/// Whether messages go to standard error.
pub fn is_standard_error() -> bool {
    LOG.get().is_none_or(|log| log.file.is_none())
}

/// Writes a line. A log that cannot be written is no reason to fail.
pub fn write(level: Level, message: &str) {
    let (file, format, debug) = match LOG.get() {
        Some(log) => (log.file.as_ref(), log.format, log.debug),
        None => (None, Format::Text, false),
    };
    if level == Level::Debug && !debug {
        return;
    }
    let line = line(level, message, format, &timestamp::now());
    let _ = match file {
        Some(mut file) => file.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}

/// Writes a line that is of interest only to who looks for it.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Writes a line about something that is not as asked for.
pub fn warn(message: &str) {
    write(Level::Warning, message);
}

fn line(level: Level, message: &str, format: Format, time: &str) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        level: Level,
        msg: &'a str,
        time: &'a str,
    }
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    match format {
        Format::Json => {
            let json = serde_json::to_string(&Line { level, msg: message, time });
            format!("{}\n", json.unwrap_or_default())
        }
        Format::Text => {
            let level = match level {
                Level::Debug => "debug",
                Level::Warning => "warning",
                Level::Error => "error",
            };
            format!("time={} level={level} msg={}\n", quoted(time), quoted(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_those_of_runc() {
        let time = "2024-02-29T23:59:59Z";
        assert_eq!(
            line(Level::Error, "no \"x\"", Format::Json, time),
            "{\"level\":\"error\",\"msg\":\"no \\\"x\\\"\",\"time\":\"2024-02-29T23:59:59Z\"}\n"
        );
        assert_eq!(
            line(Level::Warning, "no \"x\"", Format::Text, time),
            "time=\"2024-02-29T23:59:59Z\" level=warning msg=\"no \\\"x\\\"\"\n"
        );
    }
}
