//! The operator's terminal. termios(3), ioctl_tty(2).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use usk_abi::Errno;

use super::result::{check, from_nix};

/// The settings of a terminal at one moment.
#[derive(Clone)]
pub struct TerminalSettings(Termios);

/// Rows and columns of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Whether this is a terminal. isatty(3).
pub fn is_terminal(descriptor: BorrowedFd<'_>) -> bool {
    nix::unistd::isatty(descriptor).unwrap_or(false)
}

/// The settings of a terminal. tcgetattr(3).
pub fn settings(terminal: BorrowedFd<'_>) -> Result<TerminalSettings, Errno> {
    tcgetattr(terminal).map(TerminalSettings).map_err(from_nix)
}

/// Restores settings, once pending output has been written. A background process is stopped by SIGTTOU unless it
/// blocks or ignores that signal. tcsetattr(3).
pub fn restore(terminal: BorrowedFd<'_>, settings: &TerminalSettings) -> Result<(), Errno> {
    tcsetattr(terminal, SetArg::TCSADRAIN, &settings.0).map_err(from_nix)
}

/// The size of a terminal's window. ioctl_tty(2), TIOCGWINSZ.
pub fn window_size(terminal: BorrowedFd<'_>) -> Result<WindowSize, Errno> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills the structure.
    let returned = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    check(libc::c_long::from(returned))?;
    Ok(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Makes a terminal the controlling one of this process's session, which must have none and be led by this process: the
/// terminal's signals arrive then. ioctl_tty(2), TIOCSCTTY.
pub fn make_controlling(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes a number by value; 0 steals the terminal from nobody.
    let returned = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) };
    check(libc::c_long::from(returned)).map(drop)
}
