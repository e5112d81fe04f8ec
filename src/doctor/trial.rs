//! Trying: a whole sandbox, as `usk run` makes it, without a command.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use usk_abi::Errno;

use super::{Finding, State};
use crate::command_line::{CommandLine, Verb};
use crate::control::{MonitorControl, ToMonitor};
use crate::plan;
use crate::sandbox::{self, Sandbox};
use crate::spec::Workload;

/// More than any set-up takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sets a sandbox up on this platform.
pub(super) fn sandbox(platform: &'static str) -> Finding {
    let name = if platform == "trap" { "sandbox, trap platform" } else { "sandbox, ptrace platform" };
    let begun = Instant::now();
    match try_platform(platform) {
        Ok(()) => Finding::new(
            name,
            State::Good,
            format!("works, set up in {} µs", begun.elapsed().as_micros()),
            "",
        ),
        Err(error) => Finding::new(name, State::Missing, "cannot be set up", &format!("{error:#}")),
    }
}

fn try_platform(platform: &str) -> Result<()> {
    let line = CommandLine::try_parse_from(["usk", "hold", "--platform", platform, "trial"])?;
    let Verb::Hold(arguments) = line.verb else { bail!("the trial's command line is not understood") };
    let sandbox = sandbox::launch(plan::plan(*arguments, Workload::Hold)?, None)?;
    let outcome = wait_until_ready(&sandbox);
    sandbox.end();
    outcome
}

fn wait_until_ready(sandbox: &Sandbox) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for control in [&sandbox.gofer_control, &sandbox.control] {
            if is_ready(control)? {
                return Ok(());
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("it took longer than {} s", PATIENCE.as_secs());
        }
        use std::os::fd::AsFd;
        let wait = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
        let mut polled = [
            wait(sandbox.control.0.as_fd()),
            wait(sandbox.gofer_control.0.as_fd()),
            wait(sandbox.sentry.as_fd()),
            wait(sandbox.gofer.as_fd()),
        ];
        let timeout = PollTimeout::try_from(left.as_millis() as i32 + 1).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the sandbox"),
        }
        let silent = !polled[0].any().unwrap_or(true) && !polled[1].any().unwrap_or(true);
        if silent && (polled[2].any().unwrap_or(true) || polled[3].any().unwrap_or(true)) {
            bail!("a process of the sandbox ended without a word; this is a bug in usk: please report it");
        }
    }
}

fn is_ready(control: &MonitorControl) -> Result<bool> {
    match control.try_receive() {
        Ok(Some(ToMonitor::Ready)) => Ok(true),
        Ok(Some(ToMonitor::Failed { message, .. })) => bail!(message),
        Ok(Some(_)) | Err(Errno::EAGAIN) => Ok(false),
        Ok(None) => {
            bail!("a process of the sandbox ended without a word; this is a bug in usk: please report it")
        }
        Err(error) => Err(error).context("cannot understand the sandbox"),
    }
}
