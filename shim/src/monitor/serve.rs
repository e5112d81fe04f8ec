//! A container that exists: the monitor waits for verbs, signals, and the end, in one place.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use usk::control::{MOST_MESSAGES, NewLimits, ToMonitor, ToSandbox};
use usk::sandbox::Sandbox;
use usk_abi::Errno;
use usk_platform::host::child::Exit;
use usk_platform::host::signals::SignalReceiver;
use usk_platform::host::terminal;

use super::SIGNAL_BASE;
use super::backlog::Backlog;
use crate::cgroup::Thaw;
use crate::log;
use crate::protocol::{Connection, Listener, Reply, Request, Status, cut};

/// Most connections at a time; more wait.
const MAX_CLIENTS: usize = 512;
/// Exit status of a container whose sandbox ended without a word: as if by SIGKILL.
const LOST: i32 = SIGNAL_BASE + libc::SIGKILL;

/// A verb that is connected.
struct Client {
    connection: Connection,
    /// The process that it has had started, or wants to.
    process: Option<Joined>,
    is_gone: bool,
}

/// A process beside the command.
struct Joined {
    ticket: u32,
    /// Its identifier in the sandbox, once it runs.
    process: Option<u32>,
}

/// See the module.
pub(super) struct Keeper {
    sandbox: Sandbox,
    /// For its end: what is stopped cannot end.
    thaw: Option<Thaw>,
    /// What it has not been told yet.
    backlog: Backlog,
    signals: SignalReceiver,
    listener: Listener,
    has_terminal: bool,
    clients: Vec<Client>,
    is_started: bool,
    last_ticket: u32,
}

impl Keeper {
    pub(super) fn new(
        sandbox: Sandbox,
        thaw: Option<Thaw>,
        signals: SignalReceiver,
        listener: Listener,
        has_terminal: bool,
    ) -> Keeper {
        Keeper {
            sandbox,
            thaw,
            backlog: Backlog::default(),
            signals,
            listener,
            has_terminal,
            clients: Vec::new(),
            is_started: false,
            last_ticket: 0,
        }
    }

    /// Stays until the container has ended. Returns the exit status.
    pub(super) fn serve(mut self) -> i32 {
        let status = loop {
            match self.step() {
                Ok(None) => {}
                Ok(Some(status)) => break status,
                Err(error) => {
                    log::write(log::Level::Error, &format!("{error:#}"));
                    break LOST;
                }
            }
        };
        self.end();
        status
    }

    /// Ends the sandbox, also one that is paused.
    pub(super) fn end(&self) {
        if let Some(thaw) = &self.thaw {
            thaw.now();
        }
        self.sandbox.end();
    }

    /// Waits for something to happen and deals with it. Returns the exit status once the container has ended.
    fn step(&mut self) -> Result<Option<i32>> {
        let wait = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
        let mut control = wait(self.sandbox.control.0.as_fd());
        if !self.backlog.is_empty() {
            control.set_events(PollFlags::POLLIN | PollFlags::POLLOUT);
        }
        let mut polled = vec![
            wait(self.signals.as_fd()),
            control,
            wait(self.sandbox.gofer_control.0.as_fd()),
            wait(self.sandbox.sentry.as_fd()),
            wait(self.sandbox.gofer.as_fd()),
        ];
        let fixed = polled.len();
        polled.extend(self.clients.iter().map(|client| wait(client.connection.as_fd())));
        if self.clients.len() < MAX_CLIENTS {
            polled.push(wait(self.listener.as_fd()));
        }
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the sandbox"),
        }
        let happened: Vec<bool> = polled.iter().map(|one| one.any().unwrap_or(true)).collect();
        let is = |index: usize| happened.get(index).copied().unwrap_or(false);
        if is(0)
            && let Some(status) = self.pass_signals()?
        {
            return Ok(Some(status));
        }
        if is(2) {
            self.hear_gofer();
        }
        if is(1) {
            if let Some(status) = self.hear()? {
                return Ok(Some(status));
            }
            self.catch_up()?;
        }
        if is(3) || is(4) {
            return Ok(Some(self.last_words()));
        }
        for index in 0..self.clients.len() {
            if is(fixed + index)
                && let Some(status) = self.serve_client(index)?
            {
                return Ok(Some(status));
            }
        }
        if is(fixed + self.clients.len())
            && let Ok(connection) = self.listener.accept()
        {
            self.clients.push(Client { connection, process: None, is_gone: false });
        }
        self.clients.retain(|client| !client.is_gone);
        Ok(None)
    }

    /// Signals for the container's process are for its command. Those that a terminal sends are for who is in its foreground.
    fn pass_signals(&mut self) -> Result<Option<i32>> {
        while let Some(signal) = self.signals.next().context("cannot receive a signal")? {
            let from_terminal = self.has_terminal
                && matches!(
                    signal,
                    libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTSTP | libc::SIGWINCH
                );
            if from_terminal && self.is_started {
                self.signal_terminal(signal)?;
            } else if let Some(status) = self.signal(signal, false)? {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    fn signal_terminal(&mut self, signal: i32) -> Result<()> {
        if signal == libc::SIGWINCH
            && let Ok(size) = terminal::window_size(std::io::stdin().as_fd())
        {
            return self.tell(ToSandbox::Resize { rows: size.rows, columns: size.columns });
        }
        self.tell(ToSandbox::Signal(signal))
    }

    /// Sends the command a signal. One that has not started has no handlers: what ends a process by default ends the container.
    fn signal(&mut self, signal: i32, all: bool) -> Result<Option<i32>> {
        if !self.is_started {
            let is_harmless = matches!(
                signal,
                libc::SIGCHLD
                    | libc::SIGCONT
                    | libc::SIGURG
                    | libc::SIGWINCH
                    | libc::SIGSTOP
                    | libc::SIGTSTP
                    | libc::SIGTTIN
                    | libc::SIGTTOU
            );
            return Ok((!is_harmless).then_some(SIGNAL_BASE + signal));
        }
        let message =
            if all { ToSandbox::SignalAll(signal) } else { ToSandbox::SignalProcess { process: 0, signal } };
        self.tell(message).map(|()| None)
    }

    fn tell(&mut self, message: ToSandbox) -> Result<()> {
        self.backlog.push(message, Vec::new());
        self.catch_up()
    }

    /// Tells the sandbox what it has not been told yet, as far as there is room.
    fn catch_up(&mut self) -> Result<()> {
        while let Some((message, descriptors)) = self.backlog.first() {
            let message = *message;
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            match self.sandbox.control.send_with_descriptors(message, &borrowed) {
                Err(Errno::EAGAIN) => return Ok(()),
                // A sandbox that ends is noticed by its end.
                Ok(()) | Err(Errno::EPIPE) => {}
                // Its descriptors are too many for the host.
                Err(error) if let ToSandbox::Execute(ticket) = message => {
                    let reply = Reply::Failed(format!("the sandbox does not listen: {error}"));
                    self.answer(ticket, &reply, |_| ());
                }
                Err(error) => return Err(error).context("the sandbox does not listen"),
            }
            self.backlog.remove_first();
        }
        Ok(())
    }

    /// Takes in what the kernel says.
    fn hear(&mut self) -> Result<Option<i32>> {
        for _ in 0..MOST_MESSAGES {
            let message = match self.sandbox.control.try_receive() {
                Ok(Some(message)) => message,
                Ok(None) | Err(Errno::EAGAIN) => return Ok(None),
                Err(error) => {
                    return Err(error).context("cannot understand the sandbox, which may be taken over");
                }
            };
            match message {
                ToMonitor::Exited(exit) => return Ok(Some(status_of(exit))),
                ToMonitor::Failed { message, .. } => {
                    log::write(log::Level::Error, &message);
                    return Ok(Some(LOST));
                }
                ToMonitor::Joined { ticket, process } => {
                    // Who wanted it may have gone meanwhile: so shall it.
                    if !self.answer(ticket, &Reply::Joined, |joined| joined.process = Some(process)) {
                        self.tell(ToSandbox::SignalProcess { process, signal: libc::SIGKILL })?;
                    }
                }
                ToMonitor::Refused { ticket, status, message } => {
                    self.answer(ticket, &Reply::Refused { status, message: cut(message) }, |_| ());
                }
                ToMonitor::Left { ticket, exit } => {
                    self.answer(ticket, &Reply::Left { status: status_of(exit) }, |joined| {
                        joined.process = None
                    });
                }
                ToMonitor::Log(line) if !log::is_standard_error() => log::warn(&line),
                ToMonitor::Log(_)
                | ToMonitor::Ready
                | ToMonitor::Prepared
                | ToMonitor::Started
                | ToMonitor::Stopped(_)
                | ToMonitor::Unimplemented(_)
                | ToMonitor::Calls(_)
                | ToMonitor::Totals(_) => {}
            }
        }
        Ok(None)
    }

    /// Passes an answer on to who asked; false if nobody is there any more.
    fn answer(&mut self, ticket: u32, reply: &Reply, note: impl FnOnce(&mut Joined)) -> bool {
        for client in &mut self.clients {
            if let Some(joined) = &mut client.process
                && joined.ticket == ticket
            {
                note(joined);
                // A client that cannot be reached hangs up, which is noticed.
                let _ = client.connection.send(reply, &[]);
                return true;
            }
        }
        false
    }

    fn hear_gofer(&self) {
        for _ in 0..MOST_MESSAGES {
            let Ok(Some(message)) = self.sandbox.gofer_control.try_receive() else { break };
            if let ToMonitor::Failed { message, .. } = message {
                log::write(log::Level::Error, &message);
            }
        }
    }

    /// A process of the sandbox is gone; the kernel may have said why just before.
    fn last_words(&mut self) -> i32 {
        self.hear_gofer();
        match self.hear() {
            Ok(Some(status)) => status,
            _ => LOST,
        }
    }

    /// Does what a verb asks. Returns the exit status if that is the container's end.
    fn serve_client(&mut self, index: usize) -> Result<Option<i32>> {
        let Some(client) = self.clients.get_mut(index) else { return Ok(None) };
        let (request, descriptors) = match client.connection.receive::<Request>() {
            Ok(Some(received)) => received,
            Ok(None) | Err(_) => {
                client.is_gone = true;
                // The process that it had started goes with it.
                if let Some(process) = client.process.as_ref().and_then(|joined| joined.process) {
                    self.tell(ToSandbox::SignalProcess { process, signal: libc::SIGKILL })?;
                }
                return Ok(None);
            }
        };
        let joined = client.process.as_ref().and_then(|joined| joined.process);
        let mut ended = None;
        let reply = match request {
            Request::Status => {
                Some(Reply::Status(if self.is_started { Status::Running } else { Status::Created }))
            }
            Request::Start if self.is_started => {
                Some(Reply::Failed("cannot start an already running container".into()))
            }
            Request::Start => {
                self.is_started = true;
                self.tell(ToSandbox::Start)?;
                Some(Reply::Done)
            }
            Request::Signal { signal, .. } if let Some(process) = joined => {
                self.tell(ToSandbox::SignalProcess { process, signal })?;
                None
            }
            Request::SignalTerminal { signal } if let Some(process) = joined => {
                self.tell(ToSandbox::SignalTerminal { process, signal })?;
                None
            }
            Request::Signal { signal, all } => {
                ended = self.signal(signal, all)?;
                Some(Reply::Done)
            }
            Request::SignalTerminal { signal } => {
                self.signal_terminal(signal)?;
                None
            }
            Request::Limit { memory, tasks, quota_us, period_us } => {
                self.tell(ToSandbox::Limit(NewLimits { memory, tasks, quota_us, period_us }))?;
                Some(Reply::Done)
            }
            Request::Execute => self.execute(index, descriptors)?,
        };
        if let (Some(reply), Some(client)) = (reply, self.clients.get_mut(index))
            && client.connection.send(&reply, &[]).is_err()
        {
            client.is_gone = true;
        }
        Ok(ended)
    }

    /// Asks the kernel to start a process. Its answer comes later.
    fn execute(&mut self, index: usize, descriptors: Vec<OwnedFd>) -> Result<Option<Reply>> {
        let Some(client) = self.clients.get_mut(index) else { return Ok(None) };
        if client.process.is_some() {
            return Ok(Some(Reply::Failed("this connection has a process already".into())));
        }
        self.last_ticket = self.last_ticket.wrapping_add(1);
        let ticket = self.last_ticket;
        client.process = Some(Joined { ticket, process: None });
        self.backlog.push(ToSandbox::Execute(ticket), descriptors);
        self.catch_up().map(|()| None)
    }
}

fn status_of(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => SIGNAL_BASE + signal,
    }
}
