//! Whose terminal it is, and who may use it now.
//!
//! A session has at most one controlling terminal, and a terminal controls at most one session. One of the session's
//! process groups is in the foreground; members of the others are stopped when they read from the terminal (`SIGTTIN`),
//! change it, or, with `TOSTOP`, write to it (`SIGTTOU`).

use std::sync::Arc;

use parking_lot::Mutex;
use usk_abi::fcntl::{O_ACCMODE, O_NOCTTY, O_WRONLY};
use usk_abi::signal::SignalInfo;
use usk_abi::tty::{LocalFlags, Termios};
use usk_abi::{Errno, Signal};

use crate::task::Current;
use crate::vfs::FileOps;
use crate::{Restart, SysResult};

/// A terminal, as job control sees it.
pub trait Terminal: Send + Sync {
    /// Its session and foreground group.
    fn jobs(&self) -> &Jobs;

    /// Its settings.
    fn settings(&self) -> Termios;

    /// It has been given to a session: from now on, tells it of its hanging up. Nothing to do for a terminal whose other
    /// end is in the sandbox.
    fn watch_for_hang_up(self: Arc<Self>) {}

    /// Its device number, as in `tty_nr` of `/proc/PID/stat`.
    fn device(&self) -> u64;

    /// User and group to whom its node in `/dev/pts` belongs, if it has one.
    fn owner(&self) -> (u32, u32);

    /// The object of a further open file: what opening `/dev/tty` gives. `EIO` if it has been hung up.
    fn open(self: Arc<Self>) -> Result<Arc<dyn FileOps>, Errno>;
}

/// The session that a terminal controls and the process group in its foreground; 0 is none.
#[derive(Debug, Default)]
pub struct Jobs {
    seat: Mutex<Seat>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    session: i32,
    foreground: i32,
}

impl Jobs {
    /// The session.
    pub fn session(&self) -> i32 {
        self.seat.lock().session
    }

    /// The foreground process group.
    pub fn foreground(&self) -> i32 {
        self.seat.lock().foreground
    }

    /// Gives the terminal to a session.
    pub fn seat(&self, session: i32, foreground: i32) {
        *self.seat.lock() = Seat { session, foreground };
    }

    /// Takes the terminal away; returns the session and the foreground group that had it.
    pub(super) fn vacate(&self) -> (i32, i32) {
        let seat = std::mem::take(&mut *self.seat.lock());
        (seat.session, seat.foreground)
    }
}

/// The caller's place in the process tree.
struct Place {
    session: i32,
    process_group: i32,
    is_leader: bool,
}

fn place(current: &Current) -> Result<Place, Errno> {
    let pid = current.task.tgid();
    let table = current.task.kernel.tasks.lock();
    let process = table.process(pid).ok_or(Errno::ESRCH)?;
    Ok(Place {
        session: process.session,
        process_group: process.process_group,
        is_leader: process.session == pid,
    })
}

/// `TIOCSCTTY`: makes the terminal the controlling one of the caller's session. `EPERM` unless the caller leads a
/// session that has none and the terminal controls none; with `steals`, a privileged caller takes it from another.
pub fn acquire(current: &Current, terminal: &Arc<dyn Terminal>, steals: bool) -> Result<(), Errno> {
    const CAP_SYS_ADMIN: u32 = usk_abi::capability::CAP_SYS_ADMIN;
    let own = place(current)?;
    let session = terminal.jobs().session();
    if own.is_leader && session == own.session {
        return Ok(());
    }
    let terminals = &current.task.kernel.terminals;
    if !own.is_leader || terminals.of_session(own.session).is_some() {
        return Err(Errno::EPERM);
    }
    if session != 0 {
        if !(steals && current.task.credentials().has_capability(CAP_SYS_ADMIN)) {
            return Err(Errno::EPERM);
        }
        terminals.set_of_session(session, None);
    }
    terminal.jobs().seat(own.session, own.process_group);
    terminals.set_of_session(own.session, Some(terminal.clone()));
    Ok(())
}

/// What opening a terminal does: a session leader without one gets it, unless `O_NOCTTY` or write-only.
pub fn acquire_on_open(current: &Current, terminal: &Arc<dyn Terminal>, flags: u32) {
    if flags & O_NOCTTY == 0 && flags & O_ACCMODE != O_WRONLY && terminal.jobs().session() == 0 {
        // A caller that may not have it opens it all the same.
        let _ = acquire(current, terminal, false);
    }
}

/// `TIOCNOTTY`: gives up the controlling terminal. A session leader takes it from the whole session, and the
/// foreground group is hung up and continued. `ENOTTY` if `terminal` is not the caller's.
pub fn release(current: &Current, terminal: &Arc<dyn Terminal>) -> Result<(), Errno> {
    let own = check_own(current, terminal)?;
    if own.is_leader {
        let terminals = &current.task.kernel.terminals;
        let (session, foreground) = terminal.jobs().vacate();
        terminals.set_of_session(session, None);
        terminals.signal_group(foreground, Signal::SIGHUP);
        terminals.signal_group(foreground, Signal::SIGCONT);
    }
    Ok(())
}

/// The controlling terminal of the caller's session. `ENXIO` if it has none: what opening `/dev/tty` says.
pub fn own_terminal(current: &Current) -> Result<Arc<dyn Terminal>, Errno> {
    let own = place(current)?;
    current.task.kernel.terminals.of_session(own.session).ok_or(Errno::ENXIO)
}

fn check_own(current: &Current, terminal: &Arc<dyn Terminal>) -> Result<Place, Errno> {
    let own = place(current)?;
    if terminal.jobs().session() == own.session { Ok(own) } else { Err(Errno::ENOTTY) }
}

/// `TIOCGPGRP`. `ENOTTY` if the terminal is not the caller's.
pub fn foreground(current: &Current, terminal: &Arc<dyn Terminal>) -> Result<i32, Errno> {
    check_own(current, terminal)?;
    Ok(terminal.jobs().foreground())
}

/// `TIOCGSID`. `ENOTTY` if the terminal is not the caller's.
pub fn session(current: &Current, terminal: &Arc<dyn Terminal>) -> Result<i32, Errno> {
    check_own(current, terminal)?;
    Ok(terminal.jobs().session())
}

/// `TIOCSPGRP`. `ENOTTY` if the terminal is not the caller's, `EPERM` for a group of another session, `ESRCH` for one
/// that does not exist. A background caller is stopped first.
pub fn set_foreground(current: &Current, terminal: &Arc<dyn Terminal>, process_group: i32) -> SysResult<()> {
    check_change(current, terminal)?;
    let own = check_own(current, terminal)?;
    if process_group < 0 {
        return Err(Errno::EINVAL.into());
    }
    {
        let table = current.task.kernel.tasks.lock();
        // Zombies are members, and any process stands for a group of its number (`session_of_pgrp`).
        let mut members = table.processes().map(|(_, member)| member);
        let member = members.find(|member| member.process_group == process_group);
        let member = member.or_else(|| table.process(process_group)).ok_or(Errno::ESRCH)?;
        if member.session != own.session {
            return Err(Errno::EPERM.into());
        }
    }
    let mut seat = terminal.jobs().seat.lock();
    if seat.session == own.session {
        seat.foreground = process_group;
    }
    Ok(())
}

/// Whether the caller may read: a background caller gets `SIGTTIN`, or `EIO` if it would not take it.
pub fn check_read(current: &Current, terminal: &Arc<dyn Terminal>) -> SysResult<()> {
    check(current, terminal, Signal::SIGTTIN)
}

/// Whether the caller may write: stopped in the background only with `TOSTOP`.
pub fn check_write(current: &Current, terminal: &Arc<dyn Terminal>) -> SysResult<()> {
    if terminal.settings().local & LocalFlags::TOSTOP.bits() == 0 {
        return Ok(());
    }
    check_change(current, terminal)
}

/// Whether the caller may change the terminal: a background caller gets `SIGTTOU`, unless it blocks or ignores that.
pub fn check_change(current: &Current, terminal: &Arc<dyn Terminal>) -> SysResult<()> {
    check(current, terminal, Signal::SIGTTOU)
}

/// The kernel's `__tty_check_change`.
fn check(current: &Current, terminal: &Arc<dyn Terminal>, signal: Signal) -> SysResult<()> {
    // Most callers are where they may be; they need not look at the process tree.
    let seat = *terminal.jobs().seat.lock();
    if seat.session == 0 || seat.foreground == 0 {
        return Ok(());
    }
    let own = place(current)?;
    if seat.session != own.session || seat.foreground == own.process_group {
        return Ok(());
    }
    let task = &current.task;
    let is_deaf = task.blocked_signals().contains(signal) || task.group.actions.load().is_ignored(signal);
    if is_deaf {
        return if signal == Signal::SIGTTIN { Err(Errno::EIO.into()) } else { Ok(()) };
    }
    if task.kernel.is_orphaned_group_of(&task.group) {
        return Err(Errno::EIO.into());
    }
    let _ = task.kernel.signal_process_group(own.process_group, SignalInfo::kernel(signal));
    Err(Restart::IfHandlerAllows.into())
}
