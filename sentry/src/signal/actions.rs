//! The table of signal actions that the threads of a group share.

use parking_lot::Mutex;
use usk_abi::Signal;
use usk_abi::signal::{ActionFlags, DefaultAction, SIG_DFL, SIG_IGN, SignalAction, SignalSet};

/// What to do on each signal (`sighand_struct`).
pub struct SignalActions {
    table: Mutex<[SignalAction; Signal::MAX as usize]>,
}

impl Default for SignalActions {
    fn default() -> Self {
        SignalActions { table: Mutex::new([SignalAction::default(); Signal::MAX as usize]) }
    }
}

fn index(signal: Signal) -> usize {
    signal.number() as usize - 1
}

impl SignalActions {
    /// The action for `signal`.
    pub fn get(&self, signal: Signal) -> SignalAction {
        self.table.lock()[index(signal)]
    }

    /// Sets the action for `signal`; returns the one before.
    pub fn set(&self, signal: Signal, action: SignalAction) -> SignalAction {
        core::mem::replace(&mut self.table.lock()[index(signal)], action)
    }

    /// True if the signal, once delivered, would do nothing.
    pub fn is_ignored(&self, signal: Signal) -> bool {
        match self.get(signal).handler {
            SIG_IGN => true,
            SIG_DFL => signal.default_action() == DefaultAction::Ignore,
            _ => false,
        }
    }

    /// True if the children of this group leave no zombies (`SIGCHLD` ignored, or `SA_NOCLDWAIT`).
    pub fn reaps_children_itself(&self) -> bool {
        let action = self.get(Signal::SIGCHLD);
        action.handler == SIG_IGN || action.action_flags().contains(ActionFlags::NOCLDWAIT)
    }

    /// A copy of the table, as `fork(2)` makes it.
    pub fn duplicate(&self) -> Self {
        SignalActions { table: Mutex::new(*self.table.lock()) }
    }

    /// What `execve(2)` does: handlers become default, ignored signals stay ignored, flags and masks are cleared.
    pub fn reset_handlers(&self) {
        for action in self.table.lock().iter_mut() {
            let handler = if action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
            *action = SignalAction { handler, ..SignalAction::default() };
        }
    }

    /// Ignores all signals of a set.
    pub fn ignore(&self, signals: SignalSet) {
        for (number, action) in (1..).zip(self.table.lock().iter_mut()) {
            if Signal::from_number(number).is_some_and(|signal| signals.contains(signal)) {
                *action = SignalAction { handler: SIG_IGN, ..SignalAction::default() };
            }
        }
    }

    /// `CLONE_CLEAR_SIGHAND`: every handler becomes default, ignored signals too.
    pub fn clear(&self) {
        *self.table.lock() = [SignalAction::default(); Signal::MAX as usize];
    }

    /// The sets of ignored and of caught signals, for `/proc/PID/status`.
    pub fn summary(&self) -> (SignalSet, SignalSet) {
        let (mut ignored, mut caught) = (SignalSet::EMPTY, SignalSet::EMPTY);
        for (number, action) in (1..).zip(self.table.lock().iter()) {
            let Some(signal) = Signal::from_number(number) else { continue };
            match action.handler {
                SIG_DFL => {}
                SIG_IGN => ignored = ignored.with(signal),
                _ => caught = caught.with(signal),
            }
        }
        (ignored, caught)
    }
}
