//! What the operator is told: lines on standard error, and JSON lines on `--status-fd`.

use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, Write};

use serde::Serialize;

/// Why a sandbox ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The command ended by itself.
    Exit,
    /// A signal ended the command.
    Signal,
    /// `--timeout` ended it.
    Timeout,
    /// `--memory` ended it.
    Memory,
    /// The command could not be started.
    NotStarted,
    /// usk failed.
    Error,
}

/// An event, one JSON object in a line.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The command runs.
    Started {
        /// Process id of the monitor.
        monitor: u32,
        /// Host process id of the sentry.
        sentry: i32,
        /// Host process id of the gofer.
        gofer: i32,
    },
    /// The sandbox is gone.
    Exited(Ending),
}

/// How a sandbox ended.
#[derive(Clone, Debug, Serialize)]
pub struct Ending {
    /// usk's exit status.
    pub status: i32,
    /// The command's exit status, if it exited.
    pub code: Option<i32>,
    /// The signal that ended the command, if one did.
    pub signal: Option<i32>,
    /// Why.
    pub reason: Reason,
    /// The limit that was hit, also if the command survived it: `memory` or `timeout`.
    pub limit: Option<&'static str>,
    /// What went wrong.
    pub message: Option<String>,
    /// System calls that the kernel does not implement and that were made.
    pub unimplemented: Vec<Unimplemented>,
}

/// A system call that the kernel does not implement.
#[derive(Clone, Debug, Serialize)]
pub struct Unimplemented {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its number on x86-64.
    pub number: u32,
    /// How often it was made.
    pub count: u64,
}

impl Unimplemented {
    /// A call and how often it was made.
    pub fn new(number: u32, count: u64) -> Unimplemented {
        Unimplemented { name: usk_syscalls::syscall_name(number.into()), number, count }
    }
}

/// Where messages go.
#[derive(Debug, Default)]
pub struct Reporter {
    /// What `--status-fd` names.
    pub status: Option<File>,
    /// JSON instead of text on standard error.
    pub json: bool,
}

impl Reporter {
    /// Writes an event to the status descriptor. A reader that has gone away is no reason to complain.
    pub fn event(&mut self, event: &Event) {
        if let Some(status) = &mut self.status
            && let Ok(mut line) = serde_json::to_vec(event)
        {
            line.push(b'\n');
            if let Err(error) = status.write_all(&line)
                && error.kind() != ErrorKind::BrokenPipe
            {
                self.status = None;
                self.line(&format!("cannot write to --status-fd: {error}"));
            }
        }
    }

    /// Writes a line for the operator.
    pub fn line(&self, text: &str) {
        #[derive(Serialize)]
        struct Message<'a> {
            usk: &'a str,
        }
        let line = match serde_json::to_string(&Message { usk: text }) {
            Ok(json) if self.json => json,
            _ => format!("usk: {text}"),
        };
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}
