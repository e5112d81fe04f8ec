//! Memory operations that the stub carries out on its way back to the guest: they need no doorbell of their own, which is
//! half of what a call that maps memory costs.
//!
//! Only such are left for then as can be made twice. A kick may come between, and a thread that was interrupted on its way
//! back starts it again.

use usk_abi::Errno;

use crate::interface::{ExitReason, GuestThread, MemoryOp, Trap};
use crate::stub::geometry::*;

use super::calls::{Call, translate};
use super::thread::Thread;

/// What is left for the way back.
#[derive(Default)]
pub(super) struct Deferred {
    calls: Vec<Call>,
    /// One of them has failed, which the next run tells.
    refused: Option<Errno>,
}

impl Deferred {
    /// The guest has gone on, so they have been made.
    pub(super) fn clear(&mut self) {
        self.calls.clear();
    }

    /// The trap for what has failed, once.
    pub(super) fn refusal(&mut self) -> Option<Trap> {
        self.refused.take().map(Trap::Refused)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.refused.is_some()
    }
}

fn can_be_made_twice(kind: CallKind) -> bool {
    matches!(kind, CallKind::MapAnonymous | CallKind::Unmap | CallKind::Protect | CallKind::Advise)
}

impl Thread {
    /// See [`GuestThread::apply_on_return`].
    pub(super) fn defer(&mut self, operations: &[MemoryOp<'_>]) -> Result<(), (usize, Errno)> {
        let layout = &self.space.sandbox().layout;
        let translated: Result<Vec<_>, Errno> =
            operations.iter().map(|operation| translate(operation, layout)).collect();
        let calls: Vec<Call> = translated.into_iter().flatten().map(|(call, _)| call).collect();
        let is_short = self.deferred.calls.is_empty() && calls.len() < MAX_CALLS;
        let is_simple = calls.len() == operations.len()
            && calls.iter().all(|call| can_be_made_twice(call.kind))
            && !operations.iter().any(|operation| matches!(operation, MemoryOp::UnmapAll));
        if !is_short || !is_simple {
            return self.apply(operations);
        }
        self.deferred.calls = calls;
        Ok(())
    }

    /// Leaves one more call for the way back, one that cannot fail.
    pub(super) fn defer_call(&mut self, call: Call) {
        if self.deferred.calls.len() + 1 >= MAX_CALLS {
            // If it has ended the next run says so.
            let _: Result<(), ExitReason> = self.carry_out_deferred();
        }
        self.deferred.calls.push(call);
    }

    /// Writes the list into the orders. Returns what to add to the answer.
    pub(super) fn write_deferred(&self) -> u32 {
        if self.deferred.calls.is_empty() {
            return 0;
        }
        let slot = self.slot();
        for (index, call) in self.deferred.calls.iter().enumerate() {
            call.write(slot, index);
        }
        slot.write_order(CALL_COUNT, self.deferred.calls.len() as u64);
        ANSWER_CALLS | ANSWER_RETURN
    }

    /// Carries out what was left for the way back now, because something needs it or the stub is needed for something else.
    /// A failure is kept for the next run.
    pub(super) fn carry_out_deferred(&mut self) -> Result<(), ExitReason> {
        let calls = std::mem::take(&mut self.deferred.calls);
        if calls.is_empty() {
            return Ok(());
        }
        let (done, error) = self.carry_out(&calls, &[])?;
        if done < calls.len() {
            self.deferred.refused = Some(error);
        }
        Ok(())
    }

    /// The list has ended on the way back, which it tells only if a call has failed. `None` if that cannot be.
    pub(super) fn refuse(&mut self, done: usize, result: u64) -> Option<Trap> {
        let calls = std::mem::take(&mut self.deferred.calls);
        let errno = i32::try_from(result.wrapping_neg()).unwrap_or(0);
        (done < calls.len() && errno > 0).then(|| Trap::Refused(Errno::from_raw(errno)))
    }

    /// See [`GuestThread::settle`].
    pub(super) fn settle_deferred(&mut self) -> Result<(), Errno> {
        // If it has ended the next run says so.
        let _: Result<(), ExitReason> = self.carry_out_deferred();
        self.deferred.refused.take().map_or(Ok(()), Err)
    }
}
