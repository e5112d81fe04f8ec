//! What a guest may do with the operator's terminal: read and change its settings and its window size, and empty its
//! queues. ioctl_tty(2). Job control is not among it: that is the sentry's own.

use std::os::fd::{AsFd, AsRawFd};

use usk_abi::Errno;
use usk_abi::tty::{Termios2, Winsize};

use super::result::check;

/// When new settings take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// At once (`TCSETS2`).
    Now,
    /// After output has drained (`TCSETSW2`).
    Drained,
    /// After output has drained, with input thrown away (`TCSETSF2`).
    Flushed,
}

/// The settings (`TCGETS2`).
pub fn terminal_settings(terminal: impl AsFd) -> Result<Termios2, Errno> {
    let mut settings = Termios2::default();
    let command = libc::Ioctl::from(usk_abi::tty::TCGETS2);
    // SAFETY: TCGETS2 fills a `struct termios2`, which `Termios2` has the layout of.
    let returned = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), command, &raw mut settings) };
    check(returned.into()).map(|_| settings)
}

/// Changes the settings. The caller ignores or blocks SIGTTOU. `EIO` if it is in an orphaned background group.
pub fn set_terminal_settings(terminal: impl AsFd, settings: &Termios2, effect: Effect) -> Result<(), Errno> {
    let command = match effect {
        Effect::Now => usk_abi::tty::TCSETS2,
        Effect::Drained => usk_abi::tty::TCSETSW2,
        Effect::Flushed => usk_abi::tty::TCSETSF2,
    };
    let command = libc::Ioctl::from(command);
    // SAFETY: these commands read a `struct termios2`, which `Termios2` has the layout of.
    let returned =
        unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), command, std::ptr::from_ref(settings)) };
    check(returned.into()).map(drop)
}

/// The window size (`TIOCGWINSZ`).
pub fn terminal_window(terminal: impl AsFd) -> Result<Winsize, Errno> {
    let mut window = Winsize::default();
    // SAFETY: TIOCGWINSZ fills a `struct winsize`, which `Winsize` has the layout of.
    let returned = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut window) };
    check(returned.into()).map(|_| window)
}

/// Changes the window size (`TIOCSWINSZ`).
pub fn set_terminal_window(terminal: impl AsFd, window: &Winsize) -> Result<(), Errno> {
    // SAFETY: TIOCSWINSZ reads a `struct winsize`, which `Winsize` has the layout of.
    let returned =
        unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(window)) };
    check(returned.into()).map(drop)
}

/// Throws away what is queued (`TCFLSH`). `queue` is `TCIFLUSH`, `TCOFLUSH` or `TCIOFLUSH`; else `EINVAL`.
pub fn flush_terminal(terminal: impl AsFd, queue: u64) -> Result<(), Errno> {
    with_number(terminal, libc::TCFLSH, queue)
}

/// Stops or starts output or input (`TCXONC`). `action` is `TCOOFF`, `TCOON`, `TCIOFF` or `TCION`; else `EINVAL`.
pub fn suspend_terminal(terminal: impl AsFd, action: u64) -> Result<(), Errno> {
    with_number(terminal, libc::TCXONC, action)
}

fn with_number(terminal: impl AsFd, command: libc::Ioctl, number: u64) -> Result<(), Errno> {
    if number > 3 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: these commands take a small number by value.
    let returned = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), command, number) };
    check(returned.into()).map(drop)
}
