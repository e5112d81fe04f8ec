//! The terminals of a sandbox: which session each controls, and the numbers of pseudo-terminals.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::signal::SignalInfo;
use usk_abi::{Errno, Signal};

use crate::kernel::Kernel;
use crate::task::TaskTable;
use crate::time::Timers;
use crate::tty::job_control::Terminal;
use crate::tty::pty::Pty;

/// Most pseudo-terminals at one time (`/proc/sys/kernel/pty/max`).
pub(super) const MAX_PTYS: u32 = 4096;

/// See the module.
pub struct Terminals {
    timers: Arc<Timers>,
    kernel: OnceLock<Weak<Kernel>>,
    /// The controlling terminal of each session that has one.
    controlling: Mutex<HashMap<i32, Arc<dyn Terminal>>>,
    /// What `/dev/pts` lists: pseudo-terminals, and terminals of the host that have been given a number.
    numbered: Mutex<BTreeMap<u32, Weak<dyn Terminal>>>,
    /// Most numbers at one time; [`MAX_PTYS`] before it is set.
    most: OnceLock<u32>,
    console: OnceLock<Arc<dyn Terminal>>,
}

impl Terminals {
    /// No terminals yet. `timers` is what `VTIME` is measured with.
    pub fn new(timers: &Arc<Timers>) -> Arc<Self> {
        Arc::new(Terminals {
            timers: timers.clone(),
            kernel: OnceLock::new(),
            controlling: Mutex::default(),
            numbered: Mutex::default(),
            most: OnceLock::new(),
            console: OnceLock::new(),
        })
    }

    pub(super) fn timers(&self) -> &Arc<Timers> {
        &self.timers
    }

    /// Says whose processes get the signals of these terminals. Once.
    pub(crate) fn attach(&self, kernel: Weak<Kernel>) {
        let _ = self.kernel.set(kernel);
    }

    /// Says how many may have a number at one time, if fewer than [`MAX_PTYS`]. Once.
    pub(crate) fn set_most(&self, most: u32) {
        let _ = self.most.set(most);
    }

    /// Says which terminal `/dev/console` is. Once.
    pub fn set_console(&self, terminal: Arc<dyn Terminal>) {
        let _ = self.console.set(terminal);
    }

    /// The terminal that `/dev/console` is, if there is one.
    pub fn console(&self) -> Option<Arc<dyn Terminal>> {
        self.console.get().cloned()
    }

    /// Makes a terminal the controlling one of a session that has none, with a process group in its foreground: what the kernel does
    /// for the first session.
    pub fn give(&self, terminal: Arc<dyn Terminal>, session: i32, foreground: i32) {
        terminal.jobs().seat(session, foreground);
        self.set_of_session(session, Some(terminal.clone()));
        terminal.watch_for_hang_up();
    }

    /// The controlling terminal of a session.
    pub fn of_session(&self, session: i32) -> Option<Arc<dyn Terminal>> {
        self.controlling.lock().get(&session).cloned()
    }

    pub(crate) fn set_of_session(&self, session: i32, terminal: Option<Arc<dyn Terminal>>) {
        let mut controlling = self.controlling.lock();
        let old = match terminal {
            Some(terminal) => controlling.insert(session, terminal),
            None => controlling.remove(&session),
        };
        drop(controlling);
        drop(old);
    }

    /// Sends a signal to a process group; 0 is none. Called with no terminal's lock held.
    pub(super) fn signal_group(&self, process_group: i32, signal: Signal) {
        if process_group == 0 {
            return;
        }
        if let Some(kernel) = self.kernel.get().and_then(Weak::upgrade) {
            // A group without members has nobody to tell.
            let _ = kernel.signal_process_group(process_group, SignalInfo::kernel(signal));
        }
    }

    /// A terminal has been hung up: its session's leader and its foreground group are told (`tty_signal_session_leader`).
    pub(super) fn hang_up(&self, terminal: &dyn Terminal) {
        let (session, foreground) = terminal.jobs().vacate();
        if session == 0 {
            return;
        }
        self.set_of_session(session, None);
        if let Some(kernel) = self.kernel.get().and_then(Weak::upgrade)
            && let Ok(leader) = kernel.find_group(session)
        {
            for signal in [Signal::SIGHUP, Signal::SIGCONT] {
                let _ = kernel.signal_group(&leader, SignalInfo::kernel(signal));
            }
        }
        if foreground != session {
            self.signal_group(foreground, Signal::SIGHUP);
            self.signal_group(foreground, Signal::SIGCONT);
        }
    }

    /// The leader of a session has ended: it loses its terminal, and whoever was in the foreground is hung up. The
    /// process tree is locked.
    pub(crate) fn session_ended(&self, table: &TaskTable, session: i32) {
        let Some(terminal) = self.controlling.lock().remove(&session) else { return };
        let (_, foreground) = terminal.jobs().vacate();
        for (_, process) in table.process_group(foreground) {
            for signal in [Signal::SIGHUP, Signal::SIGCONT] {
                let _ = crate::signal::send_to_group(&process.group, SignalInfo::kernel(signal));
            }
        }
    }

    /// A new pseudo-terminal with the lowest free number, which its master end keeps. `ENOSPC` if there are too many.
    pub(super) fn create_pty(self: &Arc<Self>, uid: u32, gid: u32) -> Result<Arc<Pty>, Errno> {
        let mut numbered = self.numbered.lock();
        let number = self.lowest_free(&numbered)?;
        let pty = Pty::new(number, self, uid, gid);
        let terminal: Weak<dyn Terminal> = Arc::downgrade(&pty) as _;
        numbered.insert(number, terminal);
        Ok(pty)
    }

    /// Gives a terminal the lowest free number, which is free again once the terminal says so. `ENOSPC` if there are too
    /// many.
    pub(super) fn number(&self, terminal: Weak<dyn Terminal>) -> Result<u32, Errno> {
        let mut numbered = self.numbered.lock();
        let number = self.lowest_free(&numbered)?;
        numbered.insert(number, terminal);
        Ok(number)
    }

    fn lowest_free(&self, numbered: &BTreeMap<u32, Weak<dyn Terminal>>) -> Result<u32, Errno> {
        let most = self.most.get().map_or(MAX_PTYS, |&most| most.min(MAX_PTYS));
        (0..most).find(|number| !numbered.contains_key(number)).ok_or(Errno::ENOSPC)
    }

    /// The terminal, or the master end of one, is closed: the number is free again.
    pub(super) fn forget(&self, number: u32) {
        self.numbered.lock().remove(&number);
    }

    /// The terminal of this number. `EIO` if there is none (its node may have been opened late).
    pub fn numbered(&self, number: u32) -> Result<Arc<dyn Terminal>, Errno> {
        self.numbered.lock().get(&number).and_then(Weak::upgrade).ok_or(Errno::EIO)
    }

    /// The numbers of all: what `/dev/pts` lists.
    pub fn numbers(&self) -> Vec<u32> {
        let numbered = self.numbered.lock();
        numbered
            .iter()
            .filter(|(_, terminal)| terminal.strong_count() > 0)
            .map(|(number, _)| *number)
            .collect()
    }
}
