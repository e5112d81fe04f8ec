//! The monitor: the process that the caller sees. It hands signals in and the exit status out, keeps the time limit,
//! and ends everything when a part is gone. It has one thread, and waits in one place.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use usk_abi::Errno;
use usk_platform::host::child::{self, Exit};
use usk_platform::host::own_memory;
use usk_platform::host::signals::{self, SignalReceiver};
use usk_platform::host::terminal::{self, TerminalSettings};

use crate::boot::SETTLED;
use crate::cgroup::Cgroup;
use crate::control::{MOST_MESSAGES, MonitorControl, ToMonitor, ToSandbox};
use crate::entry::FAILURE;
use crate::receipt::Heard;
use crate::sandbox::Sandbox;
use crate::status::{Ending, Event, Reason, Reporter, Unimplemented};

/// Exit status after a time limit, as with timeout(1).
const TIMED_OUT: i32 = 124;
/// Exit status after a signal is this and the signal's number, as with shells.
const SIGNAL_BASE: i32 = 128;
/// Exit status when a limit ended the command: that of SIGKILL, by which the host enforces it.
const LIMIT_HIT: i32 = 137;

/// How long a sentry that has closed its lanes or was told to leave may take to end, in milliseconds.
const SENTRY_PATIENCE_MS: u16 = 1000;

/// What the caller's signals do to the command is the same as without usk: these are passed on.
const FORWARDED: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// Blocks the forwarded signals and receives them. Those that the caller ignores stay ignored.
pub(crate) fn forwarded_signals() -> Result<SignalReceiver> {
    let numbers: Vec<i32> = FORWARDED
        .iter()
        .map(|&signal| signal as i32)
        .filter(|&signal| !signals::is_ignored(signal))
        .collect();
    SignalReceiver::new(&numbers).context("cannot receive signals")
}

/// Remembers the terminal's settings and restores them when dropped: the sandbox's terminal changes them.
pub(crate) struct TerminalGuard {
    saved: Option<TerminalSettings>,
}

impl TerminalGuard {
    /// With `wanted`, standard input must be a terminal.
    pub(crate) fn new(wanted: bool) -> Result<TerminalGuard> {
        if !wanted {
            return Ok(TerminalGuard { saved: None });
        }
        let input = std::io::stdin();
        if !input.is_terminal() {
            bail!("cannot give the command a terminal: standard input is none; leave -t out");
        }
        // Restoring must work in the background, too.
        signals::ignore(Signal::SIGTTOU as i32).context("cannot ignore SIGTTOU")?;
        let saved = terminal::settings(input.as_fd()).context("cannot read the terminal's settings")?;
        Ok(TerminalGuard { saved: Some(saved) })
    }

    fn restore(&self) {
        if let Some(saved) = &self.saved {
            // A terminal that has hung up needs no settings.
            let _ = terminal::restore(std::io::stdin().as_fd(), saved);
        }
    }

    fn is_used(&self) -> bool {
        self.saved.is_some()
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Watches one sandbox.
pub(crate) struct Monitor<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) cgroup: Option<&'a Cgroup>,
    pub(crate) signals: SignalReceiver,
    pub(crate) deadline: Option<Instant>,
    pub(crate) terminal: &'a TerminalGuard,
    pub(crate) reporter: &'a mut Reporter,
    /// What the receipt will say.
    pub(crate) heard: &'a mut Heard,
    /// Whether the time is up, and the sentry has been told to leave.
    pub(crate) out_of_time: bool,
    /// When the monitor sees to what it keeps in memory.
    pub(crate) settles: Option<Instant>,
}

impl Monitor<'_> {
    /// Waits until the command or a part of the sandbox has ended. The caller ends what is left.
    pub(crate) fn watch(mut self) -> Ending {
        let mut unimplemented = Vec::new();
        let mut ending = loop {
            match self.step(&mut unimplemented) {
                Ok(None) => {}
                Ok(Some(ending)) => break ending,
                Err(error) => break failure(format!("{error:#}")),
            }
        };
        if self.out_of_time {
            ending = timed_out();
        }
        ending.unimplemented = unimplemented;
        ending
    }

    /// Waits for one thing to happen and deals with it.
    fn step(&mut self, unimplemented: &mut Vec<Unimplemented>) -> Result<Option<Ending>> {
        let now = Instant::now();
        if self.settles.is_some_and(|settles| settles <= now) {
            self.settles = None;
            own_memory::let_go_of_code();
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            if self.out_of_time {
                return Ok(Some(timed_out()));
            }
            // It has something to say, and may take a moment for that.
            self.out_of_time = true;
            self.deadline = Some(now + Duration::from_millis(SENTRY_PATIENCE_MS.into()));
            self.tell(ToSandbox::Terminate)?;
            return Ok(None);
        }
        let next = self.deadline.into_iter().chain(self.settles).min();
        let timeout = next.map_or(PollTimeout::NONE, |next| {
            let left = next.saturating_duration_since(now);
            // Rounded up, or the last millisecond is spent spinning; a month is more than poll(2) can wait.
            PollTimeout::try_from(left.as_millis().min(1 << 30) as i32 + 1).unwrap_or(PollTimeout::MAX)
        });
        let wait = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
        let mut polled = [
            wait(self.signals.as_fd()),
            wait(self.sandbox.control.0.as_fd()),
            wait(self.sandbox.gofer_control.0.as_fd()),
            wait(self.sandbox.sentry.as_fd()),
            wait(self.sandbox.gofer.as_fd()),
        ];
        match poll(&mut polled, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the sandbox"),
        }
        let happened = |index: usize| polled[index].any().unwrap_or(true);
        let [signal, control, gofer_control, sentry, gofer] = std::array::from_fn(happened);
        if signal {
            self.pass_signals()?;
        }
        // What a process said comes before the fact that it is gone; the gofer's failure is the cause of the sentry's.
        if gofer_control && let Some(ending) = self.hear(&self.sandbox.gofer_control, unimplemented)? {
            return Ok(Some(ending));
        }
        if control && let Some(ending) = self.hear(&self.sandbox.control, unimplemented)? {
            return Ok(Some(ending));
        }
        if sentry {
            return self.explain_end_of("sentry").map(Some);
        }
        if gofer {
            return self.explain_end_of_gofer().map(Some);
        }
        Ok(None)
    }

    /// The gofer has ended. If it left in order, because its lanes were closed, the sentry is ending, and takes longer
    /// because its stubs end first.
    fn explain_end_of_gofer(&self) -> Result<Ending> {
        let in_order = self.sandbox.gofer.peek().context("cannot wait for the gofer")? == Exit::Code(0);
        let mut polled = [PollFd::new(self.sandbox.sentry.as_fd(), PollFlags::POLLIN)];
        if in_order
            && poll(&mut polled, PollTimeout::from(SENTRY_PATIENCE_MS))
                .context("cannot wait for the sentry")?
                > 0
        {
            return self.explain_end_of("sentry");
        }
        self.explain_end_of("gofer")
    }

    fn pass_signals(&self) -> Result<()> {
        while let Some(signal) = self.signals.next().context("cannot receive a signal")? {
            if signal == Signal::SIGWINCH as i32
                && self.terminal.is_used()
                && let Ok(size) = terminal::window_size(std::io::stdin().as_fd())
            {
                self.tell(ToSandbox::Resize { rows: size.rows, columns: size.columns })?;
                continue;
            }
            self.tell(ToSandbox::Signal(signal))?;
        }
        Ok(())
    }

    /// Sends to the sentry. One that is gone is noticed elsewhere; one that does not listen misses the message.
    fn tell(&self, message: ToSandbox) -> Result<()> {
        match self.sandbox.control.send(message) {
            Ok(()) | Err(Errno::EPIPE | Errno::EAGAIN | Errno::ECONNRESET) => Ok(()),
            Err(error) => Err(error).context("cannot reach the sentry"),
        }
    }

    /// Deals with what a process has said, until it has said everything or the end.
    fn hear(
        &mut self,
        from: &MonitorControl,
        unimplemented: &mut Vec<Unimplemented>,
    ) -> Result<Option<Ending>> {
        for _ in 0..MOST_MESSAGES {
            let message = match from.try_receive() {
                Ok(Some(message)) => message,
                Ok(None) | Err(Errno::EAGAIN) => return Ok(None),
                Err(error) => {
                    return Err(error).context("cannot understand the sandbox, which may be taken over");
                }
            };
            match message {
                // Answers to what this monitor does not ask for are passed over.
                ToMonitor::Ready
                | ToMonitor::Prepared
                | ToMonitor::Joined { .. }
                | ToMonitor::Refused { .. }
                | ToMonitor::Left { .. } => {}
                ToMonitor::Started => {
                    self.heard.started();
                    self.settles = Some(Instant::now() + SETTLED);
                    self.reporter.event(&Event::Started {
                        monitor: std::process::id(),
                        sentry: self.sandbox.sentry.pid(),
                        gofer: self.sandbox.gofer.pid(),
                    });
                }
                ToMonitor::Stopped(_) => self.stop()?,
                ToMonitor::Exited(exit) => return Ok(Some(ended(exit))),
                ToMonitor::Failed { status, message } => {
                    let reason =
                        if i32::from(status) == FAILURE { Reason::Error } else { Reason::NotStarted };
                    return Ok(Some(Ending { status: status.into(), reason, ..failure(message) }));
                }
                ToMonitor::Calls(calls) => self.heard.calls(calls),
                ToMonitor::Totals(totals) => self.heard.totals(totals),
                ToMonitor::Log(line) => self.reporter.line(&line),
                ToMonitor::Unimplemented(calls) => {
                    *unimplemented =
                        calls.into_iter().map(|(number, count)| Unimplemented::new(number, count)).collect();
                }
            }
        }
        Ok(None)
    }

    /// The command has stopped: so does the monitor, that the caller's shell sees it, and continues with it. But not for
    /// longer than the time limit says: others of the sandbox's processes may run meanwhile.
    fn stop(&self) -> Result<()> {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
        self.terminal.restore();
        child::stop_self(left).context("cannot stop")?;
        // SIGCONT is among the forwarded signals and waits to be passed on.
        Ok(())
    }

    /// A process of the sandbox has ended without a word.
    fn explain_end_of(&self, process: &str) -> Result<Ending> {
        let child = if process == "sentry" { &self.sandbox.sentry } else { &self.sandbox.gofer };
        let exit = child.peek().with_context(|| format!("cannot wait for the {process}"))?;
        if self.cgroup.is_some_and(|cgroup| cgroup.out_of_memory_kills() > 0) {
            return Ok(out_of_memory());
        }
        let how = match exit {
            Exit::Code(code) => format!("exited with status {code}"),
            Exit::Signal(signal) if signal == Signal::SIGSYS as i32 => {
                "made a host call that its filter does not know; this is a bug in usk: please report it"
                    .to_owned()
            }
            Exit::Signal(signal) => match Signal::try_from(signal) {
                Ok(name) => format!("was ended by {name}"),
                Err(_) => format!("was ended by signal {signal}"),
            },
        };
        Ok(failure(format!("the sandbox is gone: its {process} {how}")))
    }
}

impl Ending {
    /// Adds what the memory limit did.
    pub(crate) fn with_memory(mut self, cgroup: Option<&Cgroup>) -> Ending {
        if cgroup.is_some_and(|cgroup| cgroup.out_of_memory_kills() > 0) {
            self.limit = Some("memory");
            if self.signal == Some(Signal::SIGKILL as i32) {
                return Ending { unimplemented: self.unimplemented, signal: self.signal, ..out_of_memory() };
            }
        }
        self
    }
}

fn ended(exit: Exit) -> Ending {
    let (status, code, signal, reason) = match exit {
        Exit::Code(code) => (code, Some(code), None, Reason::Exit),
        Exit::Signal(signal) => (SIGNAL_BASE + signal, None, Some(signal), Reason::Signal),
    };
    Ending { status, code, signal, reason, limit: None, message: None, unimplemented: Vec::new() }
}

fn failure(message: String) -> Ending {
    Ending {
        status: FAILURE,
        code: None,
        signal: None,
        reason: Reason::Error,
        limit: None,
        message: Some(message),
        unimplemented: Vec::new(),
    }
}

fn timed_out() -> Ending {
    let message = "the time limit ended the sandbox: raise --timeout if the command needs longer".to_owned();
    Ending { status: TIMED_OUT, reason: Reason::Timeout, limit: Some("timeout"), ..failure(message) }
}

fn out_of_memory() -> Ending {
    let message = "the memory limit ended the command: raise --memory if it needs more".to_owned();
    Ending { status: LIMIT_HIT, reason: Reason::Memory, limit: Some("memory"), ..failure(message) }
}
