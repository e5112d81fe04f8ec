//! What happens between the start of the first process and the end of the last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use usk_abi::Signal;
use usk_abi::signal::SignalInfo;
use usk_platform::host::child::{self, Exit};
use usk_platform::host::{count_processors, own_memory, timeline};
use usk_sentry::file::HostPoller;
use usk_sentry::gofer::GoferClient;
use usk_sentry::task::{ExitStatus, MainProcess, reserve_main, spawn_beside, spawn_main, watch_for_lost};
use usk_sentry::vfs::MountNamespace;
use usk_sentry::{Costs, Kernel, Report};

use super::lists::Lists;
use super::process::{self, Common, Refusal};
use super::streams;
use crate::control::{MAX_COSTS, NewLimits, SandboxControl, ToMonitor, ToSandbox};
use crate::spec::ProcessSpec;

/// Exit status of a sentry that lost its gofer or its monitor.
const LOST: i32 = 1;
/// How long a command runs before sentry and monitor see to what they keep in memory: short ones do not pay for it.
pub(crate) const SETTLED: Duration = Duration::from_millis(250);
/// Most bytes of a description of a process that joins.
const MAX_PROCESS: u64 = 16 << 20;
/// Stack of the thread that hears the monitor, and prepares what joins, in bytes.
const LISTENER_STACK: usize = 512 << 10;
/// Stack of the thread that reports ends, in bytes.
const REPORTER_STACK: usize = 64 << 10;

/// A kernel that runs, and what is needed to act upon it.
pub(super) struct Running<'a> {
    pub(super) kernel: Arc<Kernel>,
    pub(super) namespace: Arc<MountNamespace>,
    /// What every process that joins has in common with the command.
    pub(super) common: Common,
    pub(super) poller: Arc<HostPoller>,
    pub(super) control: &'a SandboxControl,
    pub(super) gofer: Arc<GoferClient>,
    pub(super) lists: Lists,
}

/// Tells the monitor whenever the main process stops, for it to stop too: the operator's shell waits for that.
pub(super) fn report_stops(kernel: &Kernel, control: &SandboxControl) -> Result<()> {
    let control = control.try_clone().context("cannot duplicate the control socket")?;
    kernel.on_main_stop(move |signal| {
        // A monitor that is gone is noticed by the listener.
        let _ = control.send(&ToMonitor::Stopped(signal.number()));
    });
    Ok(())
}

/// Starts the command, when the monitor says so if it is `gated`, obeys the monitor until it has ended, and reports how it
/// did.
pub(super) fn run(running: &Running<'_>, main: MainProcess, gated: bool) -> Result<i32> {
    let Running { kernel, control, gofer, lists, .. } = running;
    gofer.on_failure(|failure| {
        tracing::error!(%failure, "the gofer is gone or broken");
        child::exit(LOST);
    });
    reserve_main(kernel).context("cannot start the first process")?;
    let (gate, opened) = mpsc::sync_channel(0);
    std::thread::scope(|scope| {
        let mut hear = Some(|| {
            let listener = std::thread::Builder::new().name("control".into()).stack_size(LISTENER_STACK);
            listener.spawn_scoped(scope, || listen(running, gate)).context("cannot start a thread")
        });
        if gated && let Some(hear) = hear.take() {
            hear()?;
            control.send(&ToMonitor::Prepared).context("the monitor is gone")?;
            opened.recv().context("the monitor is gone")?;
        }
        if let Err(errno) = spawn_main(kernel, main) {
            let Refusal { status, error } = process::failure(errno);
            let message = format!("{error:#}");
            control.send(&ToMonitor::Failed { status, message }).context("the monitor is gone")?;
            child::exit(status.into());
        }
        drop(opened);
        // What the monitor has said meanwhile lies in the socket, and a stub that has been ended is found now.
        if let Some(hear) = hear {
            hear()?;
        }
        watch_for_lost(kernel).context("cannot watch the stubs")?;
        control.send(&ToMonitor::Started).context("the monitor is gone")?;
        // The end may be sudden.
        timeline::flush();
        // What starting took is not needed any more; what serving needs comes back.
        let report = kernel.wait_until_finished(SETTLED, own_memory::let_go_of_code);
        timeline::resume("the command");
        for failure in lists.failures() {
            control.send(&ToMonitor::Log(failure)).context("the monitor is gone")?;
        }
        timeline::flush();
        tell_costs(control, kernel.costs(gofer))?;
        tell(control, &report)?;
        // The process's end takes everything with it: guest processes die with their PID namespace's first.
        child::exit(0)
    })
}

/// Carries out what the monitor says. Without a monitor there is no sandbox.
fn listen(running: &Running<'_>, gate: mpsc::SyncSender<()>) {
    let Running { kernel, control, .. } = running;
    let mut exits = Exits::default();
    loop {
        let (message, descriptors) = match control.receive_with_descriptors() {
            Ok(Some(received)) => received,
            Ok(None) | Err(_) => child::exit(LOST),
        };
        match message {
            ToSandbox::Signal(number) => forward(kernel, number),
            ToSandbox::Terminate => {
                // Whether the monitor still hears it or not.
                let _ = tell_calls(control, &kernel.unimplemented());
                let _ = tell_costs(control, kernel.costs(&running.gofer));
                child::exit(0);
            }
            ToSandbox::Resize { .. } => forward(kernel, Signal::SIGWINCH.number()),
            ToSandbox::SignalProcess { process: 0, signal } => {
                signal_process(kernel, kernel.main_pid(), signal)
            }
            ToSandbox::SignalProcess { process, signal } => {
                signal_process(kernel, i32::try_from(process).unwrap_or(0), signal);
            }
            ToSandbox::SignalTerminal { process, signal } => {
                signal_terminal(kernel, i32::try_from(process).unwrap_or(0), signal);
            }
            ToSandbox::SignalAll(signal) => signal_all(kernel, signal),
            ToSandbox::Execute(ticket) => {
                let answering = Arc::clone(&exits.answering);
                let _answer_first = answering.lock();
                let answer = match join(running, descriptors, ticket, &mut exits) {
                    Ok(pid) => ToMonitor::Joined { ticket, process: pid.unsigned_abs() },
                    Err(refusal) => ToMonitor::Refused {
                        ticket,
                        status: refusal.status,
                        message: format!("{:#}", refusal.error),
                    },
                };
                if control.send(&answer).is_err() {
                    child::exit(LOST);
                }
            }
            ToSandbox::Limit(new) => change_limits(kernel, new),
            ToSandbox::Start => {
                // A command that runs already needs no start. What is said next may be about the command: the second time nobody
                // listens, and it ends when the command is there.
                let _ = gate.send(());
                let _ = gate.send(());
            }
            ToSandbox::Go => {}
        }
    }
}

fn change_limits(kernel: &Kernel, new: NewLimits) {
    // The cgroup may have other processors now; this thread was never bound to some of them.
    count_processors();
    let NewLimits { memory, tasks, quota_us, period_us } = new;
    let bound = |value: u64| (value != u64::MAX).then_some(value);
    if memory != 0 {
        kernel.limits.set_memory(bound(memory));
    }
    if tasks != 0 {
        kernel.limits.set_tasks(bound(tasks));
    }
    if quota_us != 0 {
        kernel.limits.set_processor(bound(quota_us).map(|quota_us| (quota_us, period_us)));
    }
}

/// Starts a process beside the main one: the first descriptor holds its [`ProcessSpec`], the others become its own.
fn join(
    running: &Running<'_>,
    descriptors: Vec<OwnedFd>,
    ticket: u32,
    exits: &mut Exits,
) -> Result<i32, Refusal> {
    let unusable = |error| Refusal { status: process::FAILURE, error };
    let Running { kernel, namespace, common, poller, .. } = running;
    let mut descriptors = descriptors.into_iter();
    let spec = descriptors.next().ok_or_else(|| unusable(anyhow!("no process was described")))?;
    let spec = read_process(spec).map_err(unusable)?;
    let streams: Vec<OwnedFd> = descriptors.collect();
    let (files, terminal) = if spec.terminal {
        let (files, terminal) =
            streams::open_terminal((kernel, namespace), poller, streams, (spec.user.uid, spec.user.gid))
                .map_err(unusable)?;
        (files, Some(terminal))
    } else {
        let streams = streams.into_iter().map(Some).collect();
        (streams::open(poller, streams, spec.user.uid).map_err(unusable)?, None)
    };
    let table = streams::table(files).map_err(unusable)?;
    let prepared = process::prepare(namespace, table, &spec, common)?;
    let exits = exits.reported_to(running.control).map_err(unusable)?;
    let at_exit = Box::new(move |status| {
        // Nobody listens any more once the sandbox ends.
        let _ = exits.send((ticket, status));
    });
    spawn_beside(kernel, prepared, terminal, at_exit).map_err(process::failure)
}

fn read_process(description: OwnedFd) -> Result<ProcessSpec> {
    let mut bytes = Vec::new();
    File::from(description)
        .take(MAX_PROCESS + 1)
        .read_to_end(&mut bytes)
        .context("cannot read the description of a process")?;
    if bytes.len() as u64 > MAX_PROCESS {
        bail!("the description of a process is longer than 16 MiB: use fewer arguments and variables");
    }
    serde_json::from_slice(&bytes).context("cannot understand the description of a process")
}

/// How processes end that have joined.
#[derive(Default)]
struct Exits {
    /// Where that is said.
    reporter: Option<mpsc::Sender<(u32, ExitStatus)>>,
    /// Held until a join is answered: the process may end before its beginning has been told.
    answering: Arc<Mutex<()>>,
}

impl Exits {
    /// Where to say how a process has ended. The monitor is told by a thread of its own: who ends a process must not wait.
    fn reported_to(&mut self, control: &SandboxControl) -> Result<mpsc::Sender<(u32, ExitStatus)>> {
        if let Some(reporter) = &self.reporter {
            return Ok(reporter.clone());
        }
        let control = control.try_clone().context("cannot duplicate the control socket")?;
        let answering = Arc::clone(&self.answering);
        let (exits, ended) = mpsc::channel();
        let report = move || {
            for (ticket, status) in ended {
                let _after_the_answer = answering.lock();
                // A monitor that is gone is noticed by the listener.
                let _ = control.send(&ToMonitor::Left { ticket, exit: exit(status) });
            }
        };
        let reporter = std::thread::Builder::new().name("exits".into()).stack_size(REPORTER_STACK);
        reporter.spawn(report).context("cannot start a thread")?;
        Ok(self.reporter.insert(exits).clone())
    }
}

/// Passes on a signal that the caller's process group was sent: what a terminal's keys and windows send goes to who is in
/// the foreground inside; anything else was meant for the command.
fn forward(kernel: &Kernel, number: i32) {
    let Some(signal) = Signal::from_number(number) else { return };
    let group = match signal {
        Signal::SIGHUP | Signal::SIGTERM | Signal::SIGUSR1 | Signal::SIGUSR2 => kernel.main_process_group(),
        _ => kernel.foreground_process_group(),
    };
    // A group that has just ended needs no signal.
    let _ = kernel.signal_process_group(group, SignalInfo::kernel(signal));
}

/// Sends a signal to one process, as somebody outside the sandbox does.
fn signal_process(kernel: &Kernel, pid: i32, number: i32) {
    if let Some(signal) = Signal::from_number(number)
        && let Ok(group) = kernel.find_group(pid)
    {
        let _ = kernel.signal_group(&group, SignalInfo::kernel(signal));
    }
}

/// Sends a signal to the process group in the foreground of a process's terminal, or to the process if it has none.
fn signal_terminal(kernel: &Kernel, pid: i32, number: i32) {
    let Some(signal) = Signal::from_number(number) else { return };
    match kernel.terminals.of_session(pid) {
        Some(terminal) => {
            let _ = kernel.signal_process_group(terminal.jobs().foreground(), SignalInfo::kernel(signal));
        }
        None => signal_process(kernel, pid, number),
    }
}

/// Sends a signal to every process.
fn signal_all(kernel: &Kernel, number: i32) {
    let Some(signal) = Signal::from_number(number) else { return };
    let groups: Vec<_> = {
        let table = kernel.tasks.lock();
        table.processes().map(|(_, process)| process.group.clone()).collect()
    };
    for group in groups {
        let _ = kernel.signal_group(&group, SignalInfo::kernel(signal));
    }
}

fn tell(control: &SandboxControl, report: &Report) -> Result<()> {
    tell_calls(control, &report.unimplemented)?;
    control.send(&ToMonitor::Exited(exit(report.status))).context("the monitor is gone")
}

fn exit(status: ExitStatus) -> Exit {
    match status {
        ExitStatus::Exited(code) => Exit::Code(code & 0xff),
        ExitStatus::Signaled { signal, .. } => Exit::Signal(signal.number()),
    }
}

fn tell_calls(control: &SandboxControl, calls: &BTreeMap<u64, u64>) -> Result<()> {
    if calls.is_empty() {
        return Ok(());
    }
    let number = |number: &u64| u32::try_from(*number).unwrap_or(u32::MAX);
    let calls = calls.iter().map(|(call, count)| (number(call), *count)).collect();
    control.send(&ToMonitor::Unimplemented(calls)).context("the monitor is gone")
}

/// For the receipt, if somebody wants one.
fn tell_costs(control: &SandboxControl, costs: Option<Costs>) -> Result<()> {
    let Some(Costs { calls, totals }) = costs else { return Ok(()) };
    let calls = calls.chunks(MAX_COSTS).map(|calls| ToMonitor::Calls(calls.to_vec()));
    for message in calls.chain([ToMonitor::Totals(totals)]) {
        control.send(&message).context("the monitor is gone")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use usk_platform::host::message_socket::MessageSocket;

    use super::*;

    #[test]
    fn an_end_is_told_after_the_answer_to_its_beginning() {
        let (ours, theirs) = MessageSocket::pair().expect("a pair");
        let control = SandboxControl(ours);
        let mut exits = Exits::default();
        let mut buffer = [0; 64];
        let mut hear = || {
            let length = theirs.receive(&mut buffer).expect("a message").expect("somebody is there");
            ToMonitor::decode(&buffer[..length]).expect("it is understood")
        };
        for ticket in 0..200 {
            let answering = Arc::clone(&exits.answering);
            let answer_first = answering.lock();
            let ended = exits.reported_to(&control).expect("a reporter");
            ended.send((ticket, ExitStatus::Exited(0))).expect("the reporter listens");
            std::thread::yield_now();
            let joined = ToMonitor::Joined { ticket, process: 9 };
            control.send(&joined).expect("room");
            drop(answer_first);
            assert_eq!(hear(), joined);
            assert_eq!(hear(), ToMonitor::Left { ticket, exit: Exit::Code(0) });
        }
    }
}
