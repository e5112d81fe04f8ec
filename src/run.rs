//! `usk run`: plan, launch, watch.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use usk_platform::host::descriptors;
use usk_platform::host::timeline::{self, Steps};

use crate::cgroup::Cgroup;
use crate::command_line::RunArguments;
use crate::entry::FAILURE;
use crate::monitor::{Monitor, TerminalGuard, forwarded_signals};
use crate::plan;
use crate::receipt::{Heard, Order};
use crate::sandbox;
use crate::spec::Workload;
use crate::status::{Ending, Event, Reason, Reporter};

/// Runs a command in a sandbox and returns the exit status.
pub(crate) fn run(arguments: RunArguments) -> i32 {
    with_reporter(arguments, Workload::Kernel)
}

/// Keeps a sandbox without a command.
pub(crate) fn hold(arguments: RunArguments) -> i32 {
    with_reporter(arguments, Workload::Hold)
}

fn with_reporter(arguments: RunArguments, workload: Workload) -> i32 {
    let mut reporter = Reporter { status: None, json: arguments.json };
    let begun = Instant::now();
    let outcome = open_status(arguments.status_fd).and_then(|status| {
        reporter.status = status;
        if let Some(path) = &arguments.trace_start {
            begin_timeline(path)?;
        }
        start(arguments, workload, begun, &mut reporter)
    });
    let ending = outcome.unwrap_or_else(|error| Ending {
        status: FAILURE,
        code: None,
        signal: None,
        reason: Reason::Error,
        limit: None,
        message: Some(format!("{error:#}")),
        unimplemented: Vec::new(),
    });
    if let Some(message) = &ending.message {
        reporter.line(message);
    }
    let status = ending.status;
    reporter.event(&Event::Exited(ending));
    if let Err(error) = timeline::finish() {
        reporter
            .line(&format!("what --trace-start shows is incomplete: {error}; name a file that can take it"));
    }
    status
}

fn open_status(number: Option<i32>) -> Result<Option<File>> {
    let Some(number) = number else { return Ok(None) };
    let descriptor = descriptors::inherited(number).with_context(|| {
        format!("cannot write to descriptor {number}: open it for usk, for example with {number}>status.json")
    })?;
    Ok(Some(descriptor.into()))
}

fn begin_timeline(path: &Path) -> Result<()> {
    // Several processes write to it, each behind what is there.
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).custom_flags(OFlag::O_APPEND.bits());
    let file = options.open(path).and_then(timeline::begin);
    file.with_context(|| format!("cannot write {} for --trace-start", path.display()))
}

fn start(
    arguments: RunArguments,
    workload: Workload,
    begun: Instant,
    reporter: &mut Reporter,
) -> Result<Ending> {
    let mut steps = Steps::begin();
    let timeout = arguments.timeout;
    let order = Order::new(&arguments)?;
    let terminal = TerminalGuard::new(arguments.terminal)?;
    let mut plan = plan::plan(arguments, workload)?;
    // Until the end of this function, and for nobody else.
    let _lease = plan.lease.take();
    let planned = begun.elapsed();
    steps.done("plan");
    let cgroup = plan.spec.limits.memory.map(Cgroup::with_memory_limit).transpose()?;
    steps.done("make a cgroup");
    // Before the first process exists, so that no signal ends the monitor between.
    let signals = forwarded_signals()?;
    let mut heard = Heard::default();
    let sandbox = match sandbox::launch(plan, cgroup.as_ref()) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            remove(cgroup, reporter);
            return Err(error);
        }
    };
    steps.done("make the processes");
    // Unpacking an image is not the command's time.
    let deadline = timeout.map(|timeout| begun + planned + timeout);
    let ending = Monitor {
        sandbox: &sandbox,
        cgroup: cgroup.as_ref(),
        signals,
        deadline,
        terminal: &terminal,
        reporter,
        heard: &mut heard,
        out_of_time: false,
        settles: None,
    }
    .watch();
    steps.done("watch");
    sandbox.end();
    steps.done("end the processes");
    drop(terminal);
    let ending = ending.with_memory(cgroup.as_ref());
    remove(cgroup, reporter);
    steps.done("remove the cgroup");
    if let Some(order) = order
        && let Err(line) = order.write(&heard, &ending, begun.elapsed())
    {
        reporter.line(&line);
    }
    Ok(ending)
}

fn remove(cgroup: Option<Cgroup>, reporter: &Reporter) {
    if let Some(Err(error)) = cgroup.map(Cgroup::remove) {
        reporter.line(&format!("{error:#}"));
    }
}
