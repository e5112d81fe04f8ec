//! `usk doctor`: what this host offers, what usk will use, and how to get what is missing.
//!
//! It looks, and then it tries: a sandbox is set up for each platform, as `usk run` would do it, without a command.

mod examine;
mod trial;

use std::io::Write;

use serde::Serialize;

use crate::command_line::DoctorArguments;

/// Exit status when no sandbox can be made here.
const UNFIT: i32 = 1;

/// How good a part of the host is for usk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As it should be.
    Good,
    /// usk works without it; something is slower or not available.
    Limited,
    /// usk does not work like this.
    Missing,
}

/// What was found out about one part of the host.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    name: &'static str,
    state: State,
    found: String,
    /// What to do, unless all is good.
    cure: Option<String>,
}

impl Finding {
    fn new(name: &'static str, state: State, found: impl Into<String>, cure: &str) -> Finding {
        let cure = (state != State::Good).then(|| cure.to_owned());
        Finding { name, state, found: found.into(), cure }
    }
}

/// Everything, in the form of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    fit: bool,
    /// The platform that works and is best: `trap` or `ptrace`.
    platform: Option<&'static str>,
    findings: Vec<Finding>,
}

/// Examines the host, prints the report and returns the exit status.
pub(crate) fn doctor(arguments: &DoctorArguments) -> i32 {
    let mut findings = examine::host();
    let mut platform = None;
    for name in ["trap", "ptrace"] {
        let finding = trial::sandbox(name);
        if finding.state == State::Good && platform.is_none() {
            platform = Some(name);
        }
        findings.push(finding);
    }
    if platform.is_some() {
        // One platform that works is enough.
        for finding in findings.iter_mut().filter(|finding| finding.name.starts_with("sandbox")) {
            if finding.state == State::Missing {
                finding.state = State::Limited;
            }
        }
    }
    let report = Report { version: env!("CARGO_PKG_VERSION"), fit: platform.is_some(), platform, findings };
    let text = if arguments.json {
        serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
    } else {
        describe(&report)
    };
    // A reader that has gone away is no reason to fail.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if report.fit { 0 } else { UNFIT }
}

fn describe(report: &Report) -> String {
    let mut text = format!("usk {}\n\n", report.version);
    for finding in &report.findings {
        let state = match finding.state {
            State::Good => "good",
            State::Limited => "limited",
            State::Missing => "MISSING",
        };
        text += &format!("  {state:8} {:24} {}\n", finding.name, finding.found);
        if let Some(cure) = &finding.cure {
            text += &format!("  {:8} {:24} -> {cure}\n", "", "");
        }
    }
    text += &match report.platform {
        Some(platform) => format!("\nSandboxes work here, on the {platform} platform.\n"),
        None => "\nSandboxes do not work here: see what is MISSING.\n".to_owned(),
    };
    text
}
