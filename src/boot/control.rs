//! What happens between the start of the first process and the end of the last.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use usk_abi::Signal;
use usk_abi::signal::SignalInfo;
use usk_platform::host::child::{self, Exit};
use usk_sentry::gofer::GoferClient;
use usk_sentry::task::ExitStatus;
use usk_sentry::{Kernel, Report};

use super::lists::Lists;
use crate::control::{SandboxControl, ToMonitor, ToSandbox};

/// Exit status of a sentry that lost its gofer or its monitor.
const LOST: i32 = 1;

/// Tells the monitor whenever the main process stops, for it to stop too: the operator's shell waits for that.
pub(super) fn report_stops(kernel: &Kernel, control: &SandboxControl) -> Result<()> {
    let control = control.try_clone().context("cannot duplicate the control socket")?;
    kernel.on_main_stop(move |signal| {
        // A monitor that is gone is noticed by the listener.
        let _ = control.send(&ToMonitor::Stopped(signal.number()));
    });
    Ok(())
}

/// Obeys the monitor until the main process has ended, and reports how it did.
pub(super) fn run(
    kernel: &Arc<Kernel>,
    control: &SandboxControl,
    gofer: &Arc<GoferClient>,
    lists: &Lists,
) -> Result<i32> {
    gofer.on_failure(|failure| {
        tracing::error!(%failure, "the gofer is gone or broken");
        child::exit(LOST);
    });
    std::thread::scope(|scope| {
        let listener = std::thread::Builder::new().name("control".into()).stack_size(64 << 10);
        listener.spawn_scoped(scope, || listen(kernel, control)).context("cannot start a thread")?;
        let report = kernel.wait_until_finished();
        for failure in lists.failures() {
            control.send(&ToMonitor::Log(failure)).context("the monitor is gone")?;
        }
        tell(control, &report)?;
        // The process's end takes everything with it: guest processes die with their PID namespace's first.
        child::exit(0)
    })
}

/// Carries out what the monitor says. Without a monitor there is no sandbox.
fn listen(kernel: &Arc<Kernel>, control: &SandboxControl) {
    loop {
        match control.receive() {
            Ok(Some(ToSandbox::Signal(number))) => {
                if let Some(signal) = Signal::from_number(number) {
                    forward(kernel, signal);
                }
            }
            Ok(Some(ToSandbox::Terminate)) => {
                // Whether the monitor still hears it or not.
                let _ = tell_calls(control, &kernel.unimplemented());
                child::exit(0);
            }
            Ok(Some(ToSandbox::Resize { .. } | ToSandbox::Go)) => forward(kernel, Signal::SIGWINCH),
            Ok(None) | Err(_) => child::exit(LOST),
        }
    }
}

/// Sends a signal to the process group that the operator's terminal would send it to.
fn forward(kernel: &Kernel, signal: Signal) {
    let group = kernel.foreground_process_group();
    // A group that has just ended needs no signal.
    let _ = kernel.signal_process_group(group, SignalInfo::kernel(signal));
}

fn tell(control: &SandboxControl, report: &Report) -> Result<()> {
    tell_calls(control, &report.unimplemented)?;
    let exit = match report.status {
        ExitStatus::Exited(code) => Exit::Code(code & 0xff),
        ExitStatus::Signaled { signal, .. } => Exit::Signal(signal.number()),
    };
    control.send(&ToMonitor::Exited(exit)).context("the monitor is gone")
}

fn tell_calls(control: &SandboxControl, calls: &BTreeMap<u64, u64>) -> Result<()> {
    if calls.is_empty() {
        return Ok(());
    }
    let number = |number: &u64| u32::try_from(*number).unwrap_or(u32::MAX);
    let calls = calls.iter().map(|(call, count)| (number(call), *count)).collect();
    control.send(&ToMonitor::Unimplemented(calls)).context("the monitor is gone")
}
