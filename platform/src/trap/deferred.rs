//! Memory operations that the stub carries out on its way back to the guest: they need no doorbell of their own, which is
//! half of what a call that maps memory costs.
//!
//! Only such are left for then as can be made twice. A kick may come between, and a thread that was interrupted on its way
//! back starts it again.
//!
//! A file is mapped so only where nobody can change the call on the way ([`Thread::is_alone`]). The list ends with closing it. A thread
//! that is interrupted before that still has it: then it is closed before any guest code runs.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use usk_abi::Errno;

use crate::interface::{ExitReason, GuestThread, MemoryOp, Trap};
use crate::stub::geometry::*;

use super::calls::{Call, translate};
use super::lists::{FIRST_FILE, LONGEST_LIST};
use super::thread::Thread;

/// What is left for the way back.
#[derive(Default)]
pub(super) struct Deferred {
    calls: Vec<Call>,
    /// How many of them, from the first on, the sentry wants to know of if they fail. Others are the platform's own.
    told: usize,
    /// The file that one of them maps.
    file: Option<Arc<OwnedFd>>,
    /// The thread has, or had, it.
    is_installed: bool,
    /// One of them has failed, which the next run tells.
    refused: Option<Errno>,
}

impl Deferred {
    /// The guest has gone on, so they have been made.
    pub(super) fn clear(&mut self) {
        self.calls.clear();
        (self.told, self.file, self.is_installed) = (0, None, false);
    }

    /// The list, with the file under this number.
    fn list(&self, number: u32) -> Vec<Call> {
        let with_file = |call: &Call| match call.kind {
            CallKind::MapFile => call.with_file(number),
            _ => *call,
        };
        let closing = self.file.as_ref().map(|_| Call::close(number));
        self.calls.iter().map(with_file).chain(closing).collect()
    }

    /// A file is to be mapped, which the host installs where the thread waits at the doorbell.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
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
    matches!(
        kind,
        CallKind::MapAnonymous | CallKind::MapFile | CallKind::Unmap | CallKind::Protect | CallKind::Advise
    )
}

impl Thread {
    /// See [`GuestThread::apply_on_return`].
    pub(super) fn defer(&mut self, operations: &[MemoryOp<'_>]) -> Result<(), (usize, Errno)> {
        let layout = &self.space.sandbox().layout;
        let translated: Result<Vec<_>, Errno> =
            operations.iter().map(|operation| translate(operation, layout)).collect();
        let (calls, files): (Vec<Call>, Vec<_>) = translated.into_iter().flatten().unzip();
        let files: Vec<_> = files.into_iter().flatten().collect();
        let is_short = self.deferred.calls.is_empty() && calls.len() + 1 < LONGEST_LIST;
        let is_simple = calls.len() == operations.len()
            && calls.iter().all(|call| can_be_made_twice(call.kind))
            && !operations.iter().any(|operation| matches!(operation, MemoryOp::UnmapAll));
        let file = match files[..] {
            [] => None,
            [file] if self.is_alone() => Some(Arc::clone(file)),
            _ => return self.apply(operations),
        };
        if !is_short || !is_simple {
            return self.apply(operations);
        }
        self.deferred.told = calls.len();
        (self.deferred.calls, self.deferred.file) = (calls, file);
        Ok(())
    }

    /// Leaves one more call for the way back, one that does no harm if it fails.
    pub(super) fn defer_call(&mut self, call: Call) {
        if self.deferred.calls.len() + 1 >= LONGEST_LIST {
            // If it has ended the next run says so.
            let _: Result<(), ExitReason> = self.carry_out_deferred();
        }
        self.deferred.calls.push(call);
    }

    /// Writes the list into the orders. Returns the answer, which was to be `answer`, with what says so.
    pub(super) fn write_deferred(&mut self, answer: u32) -> u32 {
        let lets_kicks_come = std::mem::take(&mut self.keeps_kicks_away).then(|| Call::mask_kicks(false));
        if self.deferred.calls.is_empty() && lets_kicks_come.is_none() {
            return answer;
        }
        self.write_list(lets_kicks_come.iter().chain(&self.deferred.list(FIRST_FILE)));
        answer | ANSWER_CALLS | ANSWER_RETURN
    }

    /// Answers the doorbell with what [`Thread::prepare_return`] has returned. False if the host does not install the file: then what
    /// was left has been carried out, or refused, and the answer has to be prepared anew.
    pub(super) fn answer_with_file(&mut self, answer: u32) -> Result<bool, ExitReason> {
        let Some(file) = &self.deferred.file else { return self.answer_guest(answer) };
        match self.install(&[file.as_fd()]) {
            Ok(()) => {
                self.deferred.is_installed = true;
                self.answer_guest(answer)
            }
            Err(Errno::ENOENT | Errno::ESRCH) => Err(self.reap()),
            Err(_) => {
                // What the answer was to set is not set.
                self.bases = (u64::MAX, u64::MAX);
                self.carry_out_deferred().map(|()| false)
            }
        }
    }

    /// The thread has been interrupted on its way back, and may still have a file.
    pub(super) fn close_deferred_file(&mut self) -> Result<(), ExitReason> {
        if !std::mem::take(&mut self.deferred.is_installed) {
            return Ok(());
        }
        // It fails if the list had come that far.
        self.carry_out(&[Call::close(FIRST_FILE)], &[]).map(drop)
    }

    /// Carries out what was left for the way back now, because something needs it or the stub is needed for something else.
    /// A failure is kept for the next run.
    pub(super) fn carry_out_deferred(&mut self) -> Result<(), ExitReason> {
        let list = self.deferred.list(FIRST_FILE);
        let (told, file) = (self.deferred.told, self.deferred.file.take());
        self.deferred.clear();
        if list.is_empty() {
            return Ok(());
        }
        let files: Vec<_> = file.iter().map(AsFd::as_fd).collect();
        let (done, error) = self.carry_out(&list, &files)?;
        if done < told {
            self.deferred.refused = Some(error);
        }
        Ok(())
    }

    /// The thread says that a call on the way back has failed. A guest can say so as well, when it has gone on and the sentry would undo
    /// what it believes not to have been done: so they are made once more, where nothing of the guest's comes between. False if there
    /// are none.
    pub(super) fn repeat_deferred(&mut self) -> Result<bool, ExitReason> {
        if self.deferred.calls.is_empty() {
            return Ok(false);
        }
        self.carry_out_deferred().map(|()| true)
    }

    /// See [`GuestThread::settle`].
    pub(super) fn settle_deferred(&mut self) -> Result<(), Errno> {
        // If it has ended the next run says so.
        let _: Result<(), ExitReason> = self.carry_out_deferred();
        self.deferred.refused.take().map_or(Ok(()), Err)
    }
}
