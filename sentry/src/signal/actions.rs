//! The table of signal actions that the threads of a group share, and where it is: in the sentry's hands, or, where the group has one
//! thread, in that guest thread's, which then changes it without asking (tier 0).
//!
//! What others ask of a running process is whether it ignores a signal, or takes it by default and so ends at once: one word, the handler,
//! says both, and the guest thread stores it last. Who asks at the moment of a change sees the action before it or after it, and either is
//! right: a thread that begins to ignore a signal, or to take it by default, calls if it is pending, and one that arrives just then is
//! dropped, or acts, when it is delivered. The action of SIGCHLD, of which others read more, changes by calls.

use std::sync::Arc;

use parking_lot::Mutex;
use usk_abi::Signal;
use usk_abi::signal::{ActionFlags, DefaultAction, SIG_DFL, SIG_IGN, SignalAction, SignalSet};
use usk_platform::{ActionWords, SIGNAL_COUNT};

/// What to do on each signal (`sighand_struct`).
#[derive(Default)]
pub struct SignalActions(Mutex<Table>);

struct Table {
    /// The actions, while they are not in the guest thread's hands.
    own: [SignalAction; SIGNAL_COUNT],
    words: Option<Arc<dyn ActionWords>>,
    /// More tasks than one have this table, or had.
    is_common: bool,
}

impl Default for Table {
    fn default() -> Self {
        Table::new([SignalAction::default(); SIGNAL_COUNT])
    }
}

fn index(signal: Signal) -> usize {
    signal.number() as usize - 1
}

impl Table {
    fn new(own: [SignalAction; SIGNAL_COUNT]) -> Table {
        Table { own, words: None, is_common: false }
    }

    /// What the guest may have forged is cleaned, and the signals that nobody can catch have no action.
    fn get(&self, index: usize) -> SignalAction {
        let is_fixed = SignalSet::UNBLOCKABLE.0 >> index & 1 == 1;
        match &self.words {
            Some(_) if is_fixed => SignalAction::default(),
            Some(words) => words.action(index).cleaned(),
            None => self.own[index],
        }
    }

    fn set(&mut self, index: usize, action: SignalAction) {
        match &self.words {
            Some(words) => words.set_action(index, action),
            None => self.own[index] = action,
        }
    }

    fn all(&self) -> [SignalAction; SIGNAL_COUNT] {
        std::array::from_fn(|index| self.get(index))
    }

    fn take_back(&mut self) {
        self.own = self.all();
        if let Some(words) = self.words.take() {
            words.withdraw_actions();
        }
    }
}

impl SignalActions {
    /// The action for `signal`.
    pub fn get(&self, signal: Signal) -> SignalAction {
        self.0.lock().get(index(signal))
    }

    /// Sets the action for `signal`; returns the one before.
    pub fn set(&self, signal: Signal, action: SignalAction) -> SignalAction {
        let mut table = self.0.lock();
        let previous = table.get(index(signal));
        table.set(index(signal), action);
        previous
    }

    /// Gives the actions into the hands of the guest thread, if `share` can do that, and no other task has them. They stay there until they
    /// are taken back, but have to be given anew after the thread's answers were left.
    pub(crate) fn share(
        &self,
        share: impl FnOnce(&[SignalAction; SIGNAL_COUNT]) -> Option<Arc<dyn ActionWords>>,
    ) {
        let mut table = self.0.lock();
        match &table.words {
            // There they are as they were.
            Some(words) => words.share_again(),
            None if !table.is_common => table.words = share(&table.own),
            None => {}
        }
    }

    /// Takes them back: for the task itself, while its guest thread does not run.
    pub(crate) fn take_back(&self) {
        self.0.lock().take_back();
    }

    /// Another task is about to have this table, too: takes it back for good.
    pub(crate) fn make_common(&self) {
        let mut table = self.0.lock();
        table.take_back();
        table.is_common = true;
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
        SignalActions(Mutex::new(Table::new(self.0.lock().all())))
    }

    /// What `execve(2)` does: handlers become default, ignored signals stay ignored, flags and masks are cleared.
    pub fn reset_handlers(&self) {
        self.change(|_, action| {
            let handler = if action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
            SignalAction { handler, ..SignalAction::default() }
        });
    }

    /// Ignores all signals of a set.
    pub fn ignore(&self, signals: SignalSet) {
        self.change(|signal, action| match signals.contains(signal) {
            true => SignalAction { handler: SIG_IGN, ..SignalAction::default() },
            false => action,
        });
    }

    /// `CLONE_CLEAR_SIGHAND`: every handler becomes default, ignored signals too.
    pub fn clear(&self) {
        self.change(|_, _| SignalAction::default());
    }

    fn change(&self, change: impl Fn(Signal, SignalAction) -> SignalAction) {
        let mut table = self.0.lock();
        for signal in (1..).map_while(Signal::from_number) {
            let action = table.get(index(signal));
            table.set(index(signal), change(signal, action));
        }
    }

    /// The sets of ignored and of caught signals, for `/proc/PID/status`.
    pub fn summary(&self) -> (SignalSet, SignalSet) {
        let (mut ignored, mut caught) = (SignalSet::EMPTY, SignalSet::EMPTY);
        let table = self.0.lock();
        for signal in (1..).map_while(Signal::from_number) {
            match table.get(index(signal)).handler {
                SIG_DFL => {}
                SIG_IGN => ignored = ignored.with(signal),
                _ => caught = caught.with(signal),
            }
        }
        (ignored, caught)
    }
}
