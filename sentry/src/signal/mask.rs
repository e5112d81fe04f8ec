//! A task's mask of blocked signals, and where it is: in the sentry's hands, or in those of its guest thread, which then
//! changes it without asking (tier 0).
//!
//! Signals that become pending are noted before the mask is looked at; the guest thread changes the mask before it looks at
//! what is noted. So either the sender sees that a signal is not blocked, or the thread that it is pending, and calls. A note
//! that is not true any more costs a call, which makes it right.

use std::fmt;
use std::sync::Arc;

use usk_abi::signal::SignalSet;
use usk_platform::MaskWord;

/// See the module's description. Guarded as the rest of a task's signal state.
#[derive(Default)]
pub struct SignalMask {
    /// The mask, while it is not in the guest thread's hands.
    own: SignalSet,
    word: Option<Arc<dyn MaskWord>>,
    /// The guest thread has it, but is to call for each change.
    is_withdrawn: bool,
}

impl SignalMask {
    /// A mask that the sentry has.
    pub fn new(mask: SignalSet) -> SignalMask {
        SignalMask { own: mask, ..SignalMask::default() }
    }

    /// The signals that are blocked now. While the task runs that may change at any time.
    pub fn get(&self) -> SignalSet {
        let mask = self.word.as_ref().map_or(self.own, |word| SignalSet(word.mask()));
        mask.minus(SignalSet::UNBLOCKABLE)
    }

    /// Replaces the mask; what cannot be blocked is left out. For the task itself.
    pub(crate) fn set(&mut self, mask: SignalSet) {
        let mask = mask.minus(SignalSet::UNBLOCKABLE);
        match &self.word {
            Some(word) => word.set_mask(mask.0),
            None => self.own = mask,
        }
    }

    /// All signals that are pending for the task, its group's included.
    pub(crate) fn note_pending(&self, pending: SignalSet) {
        if let Some(word) = &self.word
            && !self.is_withdrawn
        {
            word.set_quiet(quiet(pending));
        }
    }

    /// Has the guest thread call for each change, until the mask is shared again.
    pub(crate) fn withdraw(&mut self) {
        self.is_withdrawn = true;
        if let Some(word) = &self.word {
            word.withdraw();
        }
    }

    /// Gives the mask into the hands of the guest thread, if `share` can do that with a mask and what is not pending.
    pub(crate) fn share(
        &mut self,
        pending: SignalSet,
        share: impl FnOnce(u64, u64) -> Option<Arc<dyn MaskWord>>,
    ) {
        self.own = self.get();
        self.word = share(self.own.0, quiet(pending));
        self.is_withdrawn = false;
    }

    /// Takes it back, for good or for a while. For the task itself, while its guest thread does not run.
    pub(crate) fn take_back(&mut self) {
        self.own = self.get();
        if let Some(word) = self.word.take() {
            word.withdraw();
        }
    }
}

/// What a thread may unblock without asking. The signals that cannot be blocked are not in a mask, and never in the way.
fn quiet(pending: SignalSet) -> u64 {
    !pending.minus(SignalSet::UNBLOCKABLE).0
}

impl fmt::Debug for SignalMask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}{}", self.get(), if self.word.is_some() { ", shared" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use usk_abi::Signal;

    use super::*;

    #[derive(Default)]
    struct Words {
        mask: AtomicU64,
        quiet: AtomicU64,
    }

    impl MaskWord for Words {
        fn mask(&self) -> u64 {
            self.mask.load(Ordering::SeqCst)
        }

        fn set_mask(&self, mask: u64) {
            self.mask.store(mask, Ordering::SeqCst);
        }

        fn set_quiet(&self, quiet: u64) {
            self.quiet.store(quiet, Ordering::SeqCst);
        }
    }

    fn shared(mask: SignalSet, pending: SignalSet) -> (SignalMask, Arc<Words>) {
        let words = Arc::new(Words::default());
        let mut own = SignalMask::new(mask);
        let theirs = Arc::clone(&words);
        own.share(pending, |mask, quiet| {
            theirs.set_mask(mask);
            theirs.set_quiet(quiet);
            Some(theirs)
        });
        (own, words)
    }

    #[test]
    fn a_mask_that_is_shared_is_where_the_guest_left_it() {
        let usr1 = SignalSet::of(Signal::SIGUSR1);
        let (mut mask, words) = shared(usr1, SignalSet::EMPTY);
        assert_eq!((mask.get(), words.mask()), (usr1, usr1.0));
        words.set_mask(0);
        assert_eq!(mask.get(), SignalSet::EMPTY);
        words.set_mask(usr1.0);
        mask.take_back();
        words.set_mask(0);
        assert_eq!((mask.get(), words.quiet.load(Ordering::SeqCst)), (usr1, 0));
    }

    #[test]
    fn what_cannot_be_blocked_is_not_blocked_whatever_the_guest_writes() {
        let (mut mask, words) = shared(SignalSet::EMPTY, SignalSet::EMPTY);
        words.set_mask(u64::MAX);
        assert_eq!(mask.get(), SignalSet(u64::MAX).minus(SignalSet::UNBLOCKABLE));
        mask.set(SignalSet(u64::MAX));
        assert_eq!(words.mask(), SignalSet(u64::MAX).minus(SignalSet::UNBLOCKABLE).0);
    }

    #[test]
    fn a_mask_that_is_withdrawn_stays_so_whatever_is_pending() {
        let (mut mask, words) = shared(SignalSet::EMPTY, SignalSet::EMPTY);
        mask.withdraw();
        mask.note_pending(SignalSet::EMPTY);
        assert_eq!(words.quiet.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_pending_signal_is_not_quiet() {
        let usr1 = SignalSet::of(Signal::SIGUSR1);
        let (mask, words) = shared(usr1, usr1);
        assert_eq!(words.quiet.load(Ordering::SeqCst), !usr1.0);
        mask.note_pending(SignalSet::UNBLOCKABLE);
        assert_eq!(words.quiet.load(Ordering::SeqCst), u64::MAX);
    }
}
