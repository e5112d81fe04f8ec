//! The operator's terminal, passed through to the guest (`usk run -t`).
//!
//! Bytes, settings and the window size are the host terminal's own: what the guest sets is what the operator sees. Job
//! control is the sandbox's: which session it controls and who is in the foreground is decided here, and no command of
//! the guest's reaches the host's. Signals that the operator types are sent by the host to the monitor's process group;
//! the monitor passes them on, and [`HostTerminal::signal_foreground`] delivers them.

use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock, Weak};

use usk_abi::fs::{OpenFlags, make_device};
use usk_abi::tty::{Termios, Termios2, Winsize};
use usk_abi::{Errno, PollEvents, Signal};
use usk_platform::host::{self, Effect, StreamKind};

use crate::file::HostPoller;
use crate::file::host::HostFile;
use crate::task::Current;
use crate::tty::Terminals;
use crate::tty::control::{Controlled, End, control};
use crate::tty::job_control::{self, Jobs, Terminal};
use crate::tty::pty::PTS_MAJOR;
use crate::vfs::{FileOps, OpenFile};
use crate::wait::{Notify, WaitQueue};
use crate::{Sink, Source, SysResult};

/// See the module.
pub struct HostTerminal {
    file: Arc<HostFile>,
    jobs: Jobs,
    terminals: Arc<Terminals>,
    /// Its name in `/dev/pts`, and whose it is there.
    name: OnceLock<Name>,
}

struct Name {
    number: u32,
    owner: (u32, u32),
}

impl HostTerminal {
    /// The terminal behind a descriptor. `ENOTTY` if it is none.
    pub fn new(
        file: OwnedFd,
        poller: &Arc<HostPoller>,
        terminals: &Arc<Terminals>,
    ) -> Result<Arc<Self>, Errno> {
        let file = Arc::new(HostFile::new(file, poller)?);
        if file.status().kind != StreamKind::Terminal {
            return Err(Errno::ENOTTY);
        }
        Ok(Arc::new(HostTerminal {
            file,
            jobs: Jobs::default(),
            terminals: terminals.clone(),
            name: OnceLock::new(),
        }))
    }

    /// Gives it a name in `/dev/pts`, where it belongs to this user and group. Returns the number. `ENOSPC` if there are too
    /// many.
    pub fn name(self: &Arc<Self>, owner: (u32, u32)) -> Result<u32, Errno> {
        let own: Weak<dyn Terminal> = Arc::downgrade(self) as _;
        let number = self.terminals.number(own)?;
        let _ = self.name.set(Name { number, owner });
        Ok(number)
    }

    /// An open file of a terminal that no name leads to. `label` is what `/proc/PID/fd/N` shows.
    pub fn open_unnamed(self: &Arc<Self>, label: &str) -> Arc<OpenFile> {
        let ops = Arc::new(HostTerminalFile { terminal: self.clone() });
        OpenFile::unnamed(ops, OpenFlags::RDWR.bits(), label, self.file.inode(0))
    }

    /// Sends a signal that the operator typed, or `SIGWINCH`, to the foreground process group.
    pub fn signal_foreground(&self, signal: Signal) {
        self.terminals.signal_group(self.jobs.foreground(), signal);
    }
}

impl Drop for HostTerminal {
    fn drop(&mut self) {
        if let Some(name) = self.name.get() {
            self.terminals.forget(name.number);
        }
    }
}

impl Terminal for HostTerminal {
    fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    fn settings(&self) -> Termios {
        self.get_settings().map(|settings| settings.settings).unwrap_or_default()
    }

    fn watch_for_hang_up(self: Arc<Self>) {
        let target = Arc::new(HangUp(Arc::downgrade(&self)));
        self.file.watch_events(target, PollEvents::HUP);
    }

    fn device(&self) -> u64 {
        self.name.get().map_or(make_device(5, 1), |name| make_device(PTS_MAJOR, name.number))
    }

    fn owner(&self) -> (u32, u32) {
        self.name.get().map_or((0, 0), |name| name.owner)
    }

    fn open(self: Arc<Self>) -> Result<Arc<dyn FileOps>, Errno> {
        Ok(Arc::new(HostTerminalFile { terminal: self }))
    }
}

impl Controlled for HostTerminal {
    fn get_settings(&self) -> Result<Termios2, Errno> {
        host::terminal_settings(self.file.descriptor())
    }

    fn change_settings(&self, settings: &Termios2, effect: Effect) -> Result<(), Errno> {
        host::set_terminal_settings(self.file.descriptor(), settings, effect)
    }

    fn window(&self) -> Result<Winsize, Errno> {
        host::terminal_window(self.file.descriptor())
    }

    fn set_window(&self, window: &Winsize) -> Result<(), Errno> {
        host::set_terminal_window(self.file.descriptor(), window)
    }

    fn flush(&self, queue: u64) -> Result<(), Errno> {
        host::flush_terminal(self.file.descriptor(), queue)
    }

    fn suspend(&self, action: u64) -> Result<(), Errno> {
        host::suspend_terminal(self.file.descriptor(), action)
    }

    fn input_length(&self) -> Result<i32, Errno> {
        host::readable_bytes(self.file.descriptor().as_fd())
    }

    fn output_length(&self) -> Result<i32, Errno> {
        host::unsent_bytes(self.file.descriptor().as_fd())
    }
}

/// Tells the sandbox when the host's terminal hangs up: signals alone, as the monitor passes them on, say so to the
/// foreground only.
struct HangUp(Weak<HostTerminal>);

impl Notify for HangUp {
    fn notify(&self, _key: u64, events: PollEvents) {
        if events.contains(PollEvents::HUP)
            && let Some(terminal) = self.0.upgrade()
        {
            terminal.terminals.hang_up(&*terminal);
        }
    }
}

/// An open file of the operator's terminal.
struct HostTerminalFile {
    terminal: Arc<HostTerminal>,
}

impl FileOps for HostTerminalFile {
    fn read(&self, file: &OpenFile, destination: &mut dyn Sink, offset: u64) -> Result<usize, Errno> {
        self.terminal.file.read(file, destination, offset)
    }

    fn write(&self, file: &OpenFile, source: &mut dyn Source, offset: u64) -> Result<usize, Errno> {
        self.terminal.file.write(file, source, offset)
    }

    fn admit(&self, current: &mut Current, _file: &OpenFile, writing: bool) -> SysResult<()> {
        let terminal: Arc<dyn Terminal> = self.terminal.clone();
        if writing {
            job_control::check_write(current, &terminal)
        } else {
            job_control::check_read(current, &terminal)
        }
    }

    fn can_be_reopened(&self) -> bool {
        true
    }

    fn write_is_all_or_wait(&self) -> bool {
        true
    }

    fn poll(&self, file: &OpenFile) -> PollEvents {
        self.terminal.file.poll(file)
    }

    fn raises_signals(&self) -> bool {
        true
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        self.terminal.file.wait_queue()
    }

    fn ioctl(&self, current: &mut Current, _file: &OpenFile, command: u32, argument: u64) -> SysResult {
        control(current, &self.terminal, End::Slave, command, argument)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
