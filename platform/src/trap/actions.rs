//! The actions of signals that a guest thread changes by itself: the sentry's end of `actions.S`.
//!
//! They are in the slot, where the guest can write anything: it could set any action by a call as well.

use usk_abi::signal::{SignalAction, SignalSet};

use crate::arch::Registers;
use crate::interface::{ActionWords, SIGNAL_COUNT, Trap};
use crate::stub::addresses::actions;
use crate::stub::geometry::*;

use super::kick::Handle;
use super::patched::Place;
use super::thread::Thread;

impl ActionWords for Handle {
    fn action(&self, index: usize) -> SignalAction {
        self.read_action(place(index))
    }

    fn set_action(&self, index: usize, action: SignalAction) {
        let SignalAction { handler, flags, restorer, mask } = action;
        for (offset, word) in (0..).step_by(8).zip([handler, flags, restorer, mask.0]) {
            self.orders.set_slot_u64(place(index) + offset, word);
        }
    }

    fn share_again(&self) {
        self.orders.set_leave(ACTIONS_ANSWER, true);
    }

    fn withdraw_actions(&self) {
        self.orders.set_leave(ACTIONS_ANSWER, false);
    }
}

/// Where in a slot the action of signal number `index + 1` is.
fn place(index: usize) -> u64 {
    ACTIONS + ACTION_SIZE * index.min(ACTION_COUNT - 1) as u64
}

/// In the code that changes actions.
pub(super) fn is_in_action_code(rip: u64) -> bool {
    (actions::begin()..actions::end()).contains(&rip)
}

impl Handle {
    fn read_action(&self, place: u64) -> SignalAction {
        let word = |offset| self.orders.slot_u64(place + offset);
        SignalAction { handler: word(0), flags: word(8), restorer: word(16), mask: SignalSet(word(24)) }
    }

    /// Puts the staged action in its place, which may have been done already.
    fn place_staged(&self) {
        let signal = self.orders.slot_word(ACTION_STAGED_FOR) as usize;
        if (1..=ACTION_COUNT).contains(&signal) {
            self.set_action(signal - 1, self.read_action(ACTION_STAGED));
        }
    }
}

impl Thread {
    /// See [`GuestThread::share_actions`](crate::GuestThread::share_actions).
    pub(super) fn write_actions(&self, actions: &[SignalAction; SIGNAL_COUNT]) {
        for (index, action) in actions.iter().enumerate() {
            self.handle().set_action(index, *action);
        }
        self.handle().share_again();
    }

    /// Where a kick has met a thread whose call has been made: after it. `rewound` is from before.
    pub(super) fn after_action_call(&self, rip: u64, rewound: &Registers) -> Option<Place> {
        if !(actions::set()..actions::asks()).contains(&rip) {
            return None;
        }
        if rip < actions::done() {
            self.handle().place_staged();
        }
        Some(Place::Settled(rewound.after_syscall(0), Trap::Interrupted))
    }
}
