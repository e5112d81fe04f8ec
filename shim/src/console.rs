//! Terminals: pairs made here, one end for the engine, the other for the sandbox.

use std::io::{IsTerminal, Stdin};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use usk_platform::host::terminal::{self, TerminalSettings};
use usk_platform::host::{send_packet, signals};

use crate::config::WindowSize;

/// What the packet with the terminal's end says besides: the name that runc gives it.
const NAME: &[u8] = b"/dev/ptmx";

/// Makes a terminal, sends the engine its end, and returns the sandbox's.
pub(crate) fn make(socket: &Path, window: Option<WindowSize>) -> Result<OwnedFd> {
    let window =
        window.map(|size| Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 });
    let pair = openpty(window.as_ref(), None).context("cannot make a terminal")?;
    for end in [&pair.master, &pair.slave] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
            .context("cannot keep a terminal to this process")?;
    }
    let describe = || format!("cannot send the terminal to {}", socket.display());
    let connected = || -> rustix::io::Result<OwnedFd> {
        let end = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        connect(&end, &SocketAddrUnix::new(socket)?)?;
        Ok(end)
    };
    let connection = connected().with_context(describe)?;
    send_packet(connection.as_fd(), NAME, &[pair.master.as_fd()]).with_context(describe)?;
    Ok(pair.slave)
}

/// Makes a terminal this process's three standard streams, and that of its session, which it must lead.
pub(crate) fn enter(slave: &OwnedFd) -> Result<()> {
    terminal::make_controlling(slave.as_fd()).context("cannot control the terminal")?;
    nix::unistd::dup2_stdin(slave)
        .and_then(|()| nix::unistd::dup2_stdout(slave))
        .and_then(|()| nix::unistd::dup2_stderr(slave))
        .context("cannot make the terminal the standard streams")
}

/// Remembers the settings of the caller's terminal and restores them when dropped: the sandbox changes them.
pub(crate) struct Guard {
    input: Stdin,
    saved: TerminalSettings,
}

impl Guard {
    /// Standard input must be a terminal.
    pub(crate) fn new() -> Result<Guard> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            bail!("standard input is no terminal: use --console-socket");
        }
        // Restoring must work in the background, too.
        signals::ignore(libc::SIGTTOU).context("cannot ignore SIGTTOU")?;
        let saved = terminal::settings(input.as_fd()).context("cannot read the terminal's settings")?;
        Ok(Guard { input, saved })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // A terminal that has hung up needs no settings.
        let _ = terminal::restore(self.input.as_fd(), &self.saved);
    }
}
