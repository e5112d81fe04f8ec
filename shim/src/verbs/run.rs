//! `usk-oci run`: create, start, and, unless detached, wait and delete.

use std::os::fd::AsFd;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use usk_platform::host::child::{ChildProcess, Exit};
use usk_platform::host::signals::SignalReceiver;

use super::create::{Created, Terminal, make};
use super::delete::delete_own;
use super::start::start;
use crate::command_line::RunArguments;
use crate::console;
use crate::container::Container;
use crate::entry::Settings;
use crate::protocol::{Connection, NOT_RUNNING, Request};
use crate::signals::FORWARDED;

/// Exit status after a signal is this and the signal's number, as with shells.
const SIGNAL_BASE: i32 = 128;

pub(crate) fn run(settings: &Settings, arguments: &RunArguments) -> Result<i32> {
    let from = if arguments.detach { Terminal::Engines } else { Terminal::Callers };
    let Created { directory, state, newborn, has_terminal } =
        make(settings, &arguments.create, from).context("usk-oci run failed")?;
    let container = Container { directory, state };
    // Where runc's hooks begin, too.
    let entered = std::env::set_current_dir(&container.state.bundle).context("cannot enter the bundle");
    let result = entered.and_then(|()| {
        if arguments.detach {
            start(settings, &arguments.create.id)
        } else {
            attend(settings, &container, &newborn.process, has_terminal)
        }
    });
    let failed = result.is_err();
    if failed || (!arguments.detach && !arguments.keep) {
        let _ = newborn.process.send_signal(libc::SIGKILL);
        let _ = newborn.process.wait();
        delete_own(container)?;
    }
    result.context("usk-oci run failed")
}

/// Stays with the container until it ends. Returns its exit status.
fn attend(
    settings: &Settings,
    container: &Container,
    process: &ChildProcess,
    has_terminal: bool,
) -> Result<i32> {
    let guard = if has_terminal { Some(console::Guard::new()?) } else { None };
    let signals = SignalReceiver::new(&FORWARDED).context("cannot receive signals")?;
    let connection = container.connect()?.context(NOT_RUNNING)?;
    start(settings, &container.state.id)?;
    loop {
        let wait = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
        let mut polled = [wait(signals.as_fd()), wait(process.as_fd())];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the container"),
        }
        if polled[0].any().unwrap_or(true) {
            forward(&signals, &connection, has_terminal)?;
        }
        if polled[1].any().unwrap_or(true) {
            break;
        }
    }
    drop(guard);
    match process.peek().context("cannot wait for the container")? {
        Exit::Code(code) => Ok(code),
        Exit::Signal(signal) => Ok(SIGNAL_BASE + signal),
    }
}

/// Passes signals on, to the process or to the foreground of the terminal.
pub(super) fn forward(signals: &SignalReceiver, connection: &Connection, has_terminal: bool) -> Result<()> {
    while let Some(signal) = signals.next().context("cannot receive a signal")? {
        let from_terminal =
            matches!(signal, libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTSTP | libc::SIGWINCH);
        let request = if has_terminal && from_terminal {
            Request::SignalTerminal { signal }
        } else {
            Request::Signal { signal, all: false }
        };
        // A container that ends is noticed by its end.
        let _ = connection.send(&request, &[]);
    }
    Ok(())
}
