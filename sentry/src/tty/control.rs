//! `ioctl_tty(2)`: the commands that every terminal has.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::tty::*;
use usk_platform::host::Effect;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::task::Current;
use crate::tty::job_control::{self, Terminal};
use crate::{SysResult, UserPtr};

/// The only line discipline, `N_TTY`.
const N_TTY: i32 = 0;

/// What the commands act on.
pub(super) trait Controlled: Terminal {
    /// Settings and speeds.
    fn get_settings(&self) -> Result<Termios2, Errno>;

    /// Changes them.
    fn change_settings(&self, settings: &Termios2, effect: Effect) -> Result<(), Errno>;

    /// The window's size.
    fn window(&self) -> Result<Winsize, Errno>;

    /// Changes it, and tells the foreground group.
    fn set_window(&self, window: &Winsize) -> Result<(), Errno>;

    /// Throws queued bytes away. `queue` is `TCIFLUSH`, `TCOFLUSH` or `TCIOFLUSH`.
    fn flush(&self, queue: u64) -> Result<(), Errno>;

    /// Stops or starts output or input. `action` is `TCOOFF` and its kin.
    fn suspend(&self, action: u64) -> Result<(), Errno>;

    /// Bytes to be read.
    fn input_length(&self) -> Result<i32, Errno>;

    /// Bytes written and not yet taken.
    fn output_length(&self) -> Result<i32, Errno>;
}

/// From which end a command comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The program's.
    Slave,
    /// The terminal emulator's: job control does not hold it up.
    Master,
}

fn write<T: IntoBytes + Immutable>(current: &Current, address: u64, value: &T) -> SysResult {
    UserPtr::<T>::new(address).write(current.space(), value)?;
    Ok(0)
}

fn read<T: FromBytes + IntoBytes + KnownLayout>(current: &Current, address: u64) -> Result<T, Errno> {
    UserPtr::<T>::new(address).read(current.space())
}

/// Carries out a command. `ENOTTY` for one that is not known.
pub(super) fn control<T: Controlled + 'static>(
    current: &mut Current,
    terminal: &Arc<T>,
    end: End,
    command: u32,
    argument: u64,
) -> SysResult {
    let this: Arc<dyn Terminal> = terminal.clone();
    let changes = matches!(
        command,
        TCSETS
            | TCSETSW
            | TCSETSF
            | TCSETS2
            | TCSETSW2
            | TCSETSF2
            | TCSETA
            | TCSETAW
            | TCSETAF
            | TCSBRK
            | TCSBRKP
            | TCXONC
            | TCFLSH
            | TIOCSETD
    );
    if changes && end == End::Slave {
        job_control::check_change(current, &this)?;
    }
    match command {
        TCGETS => write(current, argument, &terminal.get_settings()?.settings),
        TCGETS2 => write(current, argument, &terminal.get_settings()?),
        TCSETS | TCSETSW | TCSETSF => {
            let mut settings = terminal.get_settings()?;
            settings.settings = read(current, argument)?;
            terminal.change_settings(&settings, effect(command, TCSETS))?;
            Ok(0)
        }
        TCSETS2 | TCSETSW2 | TCSETSF2 => {
            terminal.change_settings(&read(current, argument)?, effect(command, TCSETS2))?;
            Ok(0)
        }
        TCGETA => write(current, argument, &Termio::of(&terminal.get_settings()?.settings)),
        TCSETA | TCSETAW | TCSETAF => {
            let mut settings = terminal.get_settings()?;
            settings.settings = read::<Termio>(current, argument)?.applied_to(settings.settings);
            terminal.change_settings(&settings, effect(command, TCSETA))?;
            Ok(0)
        }
        TIOCGWINSZ => write(current, argument, &terminal.window()?),
        TIOCSWINSZ => {
            terminal.set_window(&read(current, argument)?)?;
            Ok(0)
        }
        TCFLSH => terminal.flush(argument).map(|()| 0).map_err(Into::into),
        TCXONC => terminal.suspend(argument).map(|()| 0).map_err(Into::into),
        // There is no line on which to send a break; what was written has arrived.
        TCSBRK | TCSBRKP => Ok(0),
        FIONREAD => write(current, argument, &terminal.input_length()?),
        TIOCOUTQ => write(current, argument, &terminal.output_length()?),
        TIOCGETD => write(current, argument, &N_TTY),
        TIOCSETD if read::<i32>(current, argument)? == N_TTY => Ok(0),
        TIOCSETD => Err(Errno::EINVAL.into()),
        // Pushing input into a terminal is how a program takes over the shell that started it: refused, as on a Linux
        // with dev.tty.legacy_tiocsti off.
        TIOCSTI => Err(Errno::EIO.into()),
        TIOCSCTTY => job_control::acquire(current, &this, argument == 1).map(|()| 0).map_err(Into::into),
        TIOCNOTTY => job_control::release(current, &this).map(|()| 0).map_err(Into::into),
        TIOCGPGRP if end == End::Master => write(current, argument, &this.jobs().foreground()),
        TIOCGPGRP => write(current, argument, &job_control::foreground(current, &this)?),
        TIOCSPGRP => {
            let process_group = read(current, argument)?;
            job_control::set_foreground(current, &this, process_group)?;
            Ok(0)
        }
        TIOCGSID if end == End::Master => match this.jobs().session() {
            0 => Err(Errno::ENOTTY.into()),
            session => write(current, argument, &session),
        },
        TIOCGSID => write(current, argument, &job_control::session(current, &this)?),
        _ => Err(Errno::ENOTTY.into()),
    }
}

/// The three forms of a set command follow one another.
fn effect(command: u32, first: u32) -> Effect {
    match command - first {
        0 => Effect::Now,
        1 => Effect::Drained,
        _ => Effect::Flushed,
    }
}
