//! Changes of mappings that the host makes on the guest thread's way back ([`GuestThread::apply_on_return`]).
//!
//! The tree says that a change is made while the host has yet to make it. Nobody can see that, because it is done only if the
//! calling task is the only one that uses the memory, and before its guest thread goes on; if the host refuses, the change is
//! taken back before any guest code runs. That it has refused, a guest can make the platform believe: what is said then is that the
//! last try has failed, not that nothing has been done by another.

use usk_abi::Errno;
use usk_platform::{GuestThread, MemoryOp, Protection};

use crate::mm::map::as_mmap_says;
use crate::mm::mm::{Mm, State, apply};
use crate::mm::vma::Vma;
use crate::task::Current;

/// How to take back a change that the host has refused.
#[derive(Clone)]
pub(in crate::mm) enum Undo {
    /// A mapping where nothing was.
    Map {
        /// First address.
        start: u64,
        /// First address after it.
        end: u64,
    },
    /// More of the heap.
    Heap {
        /// First address.
        start: u64,
        /// First address after it.
        end: u64,
        /// Where the heap ended before.
        brk: u64,
    },
    /// What was there, be it replaced or removed, is gone in any case: others would keep files from being let go. None of it has a claim
    /// ([`State::has_claims`]).
    Clear {
        /// First address.
        start: u64,
        /// First address after it.
        end: u64,
    },
    /// Mappings that were removed. They are private and anonymous.
    Unmap {
        /// The mappings.
        vmas: Vec<Vma>,
        /// Where the heap ended before, if it is what has become shorter.
        brk: Option<u64>,
    },
    /// Ranges whose access was changed, and the access that they had.
    Protect(Vec<(u64, u64, Protection)>),
}

impl Mm {
    /// Has the host make a change that is the last thing that a call does, and after which the tree is changed.
    pub(in crate::mm) fn apply_last(
        &self,
        state: &mut State,
        thread: &mut dyn GuestThread,
        operation: MemoryOp<'_>,
        undo: impl FnOnce(&State) -> Undo,
    ) -> Result<(), Errno> {
        if self.users() != 1 {
            return apply(thread, &[operation]);
        }
        let undo = undo(state);
        self.apply_last_of_all(state, thread, &[operation])?;
        state.undo = Some(undo);
        Ok(())
    }

    /// As [`Mm::apply_last`], for changes that the tree does not know of.
    pub(in crate::mm) fn apply_last_of_all(
        &self,
        state: &mut State,
        thread: &mut dyn GuestThread,
        operations: &[MemoryOp<'_>],
    ) -> Result<(), Errno> {
        // Others could have the memory used for something else by then.
        if self.users() != 1 {
            return apply(thread, operations);
        }
        // An earlier one of the same call, if there is.
        if let Err(error) = thread.settle() {
            take_back(state, thread);
            return Err(error);
        }
        state.undo = None;
        thread.apply_on_return(operations).map_err(|(_, error)| error)
    }
}

/// Takes back the last change. Returns what its call returns if it does not fail by an error.
pub(in crate::mm) fn take_back(state: &mut State, thread: &mut dyn GuestThread) -> Option<u64> {
    match state.undo.take() {
        None => {}
        Some(Undo::Map { start, end } | Undo::Clear { start, end }) => clear(state, thread, start, end),
        Some(Undo::Heap { start, end, brk }) => {
            clear(state, thread, start, end);
            state.brk = brk;
            return Some(brk);
        }
        Some(Undo::Unmap { vmas, brk }) => {
            vmas.into_iter().for_each(|vma| state.tree.insert(vma));
            state.brk = brk.unwrap_or(state.brk);
            return brk;
        }
        Some(Undo::Protect(ranges)) => {
            for (address, end, protection) in ranges {
                let length = end - address;
                // The host may have changed some of its mappings before it failed.
                if apply(thread, &[MemoryOp::Protect { address, length, protection }]).is_err() {
                    tracing::warn!(address, length, "protection of guest memory could not be restored");
                }
                state.tree.change(address, end, |changed| changed.protection = protection);
            }
        }
    }
    None
}

/// A range could not be mapped, or unmapped. Hosts differ in whether what was there has been removed, and a guest that has got its mapping
/// can have the host refuse it the second time: makes it certain. What stays all the same stays in the tree, with its claim.
pub(in crate::mm) fn clear(state: &mut State, thread: &mut dyn GuestThread, start: u64, end: u64) {
    if apply(thread, &[MemoryOp::Unmap { address: start, length: end - start }]).is_ok() {
        state.tree.remove(start, end);
    }
}

/// The host has refused what the last call has left for the way back: the call fails after all.
pub(crate) fn fail_last_call(current: &mut Current, error: Errno) {
    let mm = current.task.mm();
    let mut state = mm.change();
    let maps = matches!(state.undo, Some(Undo::Map { .. } | Undo::Clear { .. }));
    let error = if maps { as_mmap_says(error) } else { error };
    let value = take_back(&mut state, &mut *current.thread);
    current.thread.registers_mut().set_return_value(value.unwrap_or(error.as_return_value()));
}
