//! Lists of host calls that the stub carries out for the sentry, and memory operations as such lists.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use usk_abi::Errno;

use crate::interface::{ExitReason, Layout, MemoryOp};
use crate::stub::addresses::site;
use crate::stub::geometry::*;

use super::calls::{Call, translate};
use super::lent::Lent;
use super::patch::PatchTable;
use super::thread::{Ring, Thread};

/// Descriptors that one list of calls may use at the same time. They get the numbers from [`FIRST_FILE`] on.
const MAX_FILES: usize = 16;
/// The number of a list's first file. No guest thread has descriptors but while it carries out a list.
pub(super) const FIRST_FILE: u32 = 1;
/// As many operations as one list has room for.
struct Batch<'a> {
    calls: Vec<Call>,
    /// Which operation each call belongs to.
    owners: Vec<usize>,
    files: Vec<BorrowedFd<'a>>,
    /// The first operation that is not in it.
    next: usize,
    /// Why that one cannot be carried out at all.
    refused: Option<Errno>,
}

impl<'a> Batch<'a> {
    /// Those from `start` on.
    fn take(operations: &[MemoryOp<'a>], start: usize, layout: &Layout) -> Batch<'a> {
        let mut batch =
            Batch { calls: Vec::new(), owners: Vec::new(), files: Vec::new(), next: start, refused: None };
        while let Some(operation) = operations.get(batch.next)
            && batch.has_room()
        {
            match translate(operation, layout) {
                Err(error) => {
                    batch.refused = Some(error);
                    break;
                }
                Ok((call, None)) => batch.calls.push(call),
                Ok((call, Some(file))) => {
                    let number = batch.number_of(file.as_fd());
                    batch.calls.push(call.with_file(number));
                }
            }
            batch.owners.push(batch.next);
            batch.next += 1;
        }
        for index in 0..batch.files.len() {
            batch.calls.push(Call::close(FIRST_FILE + index as u32));
            batch.owners.push(batch.next.saturating_sub(1));
        }
        batch
    }

    /// For one more, and for closing all files.
    fn has_room(&self) -> bool {
        self.calls.len() + self.files.len() + 2 <= MAX_CALLS && self.files.len() < MAX_FILES
    }

    /// The number that a file gets: a program's segments come from the same one.
    fn number_of(&mut self, file: BorrowedFd<'a>) -> u32 {
        let is_same = |other: &BorrowedFd<'_>| other.as_raw_fd() == file.as_raw_fd();
        let index = self.files.iter().position(is_same).unwrap_or(self.files.len());
        if index == self.files.len() {
            self.files.push(file);
        }
        FIRST_FILE + index as u32
    }
}

impl Thread {
    /// See [`GuestThread::apply`](crate::GuestThread::apply).
    pub(super) fn carry_out_all(&mut self, operations: &[MemoryOp<'_>]) -> Result<(), (usize, Errno)> {
        if self.ended.is_some() {
            return Err((0, Errno::ESRCH));
        }
        if operations.iter().any(|operation| matches!(operation, MemoryOp::UnmapAll)) {
            // A new program comes: no thread of the old one may write into it.
            self.space.sandbox().graveyard.settle(self.space.window());
            self.space.patches().change(PatchTable::clear);
            (self.ledger, self.inlet, self.shelf) = (None, None, None);
            self.leave_last_program().map_err(|_| (0, Errno::ESRCH))?;
        }
        self.carry_out_deferred().map_err(|_| (0, Errno::ESRCH))?;
        let mut start = 0;
        while start < operations.len() {
            let batch = Batch::take(operations, start, &self.space.sandbox().layout);
            if !batch.calls.is_empty() {
                let (done, error) =
                    self.carry_out(&batch.calls, &batch.files).map_err(|_| (start, Errno::ESRCH))?;
                if done < batch.calls.len() {
                    self.close_files(batch.files.len());
                    return Err((batch.owners[done], error));
                }
            }
            if let Some(error) = batch.refused {
                return Err((batch.next, error));
            }
            start = batch.next;
        }
        Ok(())
    }

    /// Leaves nothing of the last program's where the next one can look, nor a signal mask or an alternate stack of its making. What
    /// the sentry gives the thread for the next program goes into a frame.
    fn leave_last_program(&mut self) -> Result<(), ExitReason> {
        self.take_frame()?;
        self.space.end_parked();
        self.space.sandbox().graveyard.settle(self.space.window());
        self.copies.clear();
        self.lent = Lent::default();
        let slot = self.slot();
        slot.store(HAND, HAND_RESTS);
        slot.leave_program();
        self.frame.lay_out(slot);
        Ok(())
    }

    /// Carries out a list of at most [`MAX_CALLS`] calls. `files` go to the numbers from [`FIRST_FILE`] on. Returns
    /// how many succeeded, and the error of the one that did not.
    pub(super) fn carry_out(
        &mut self,
        list: &[Call],
        files: &[BorrowedFd<'_>],
    ) -> Result<(usize, Errno), ExitReason> {
        self.leave_slot()?;
        let is_alone = self.is_alone();
        self.write_list(list);
        for (number, file) in (FIRST_FILE..).zip(files) {
            match self.listener.install(self.waiting, *file, number) {
                Ok(()) => {}
                Err(Errno::ENOENT | Errno::ESRCH) => return Err(self.reap()),
                Err(error) => return Ok((0, error)),
            }
        }
        self.answer(ANSWER_CALLS)?;
        let mut expected = list.iter().filter(|call| call.kind == CallKind::MapFile && !is_alone);
        loop {
            match self.await_ring()? {
                Ring::Maps(call) => {
                    let is_ordered = expected.next().is_some_and(|order| order.arguments == call.arguments)
                        && call.instruction_pointer == site::map_file();
                    if !is_ordered {
                        return Err(self.execute());
                    }
                    if self.listener.let_pass(call.id).is_err() {
                        return Err(self.reap());
                    }
                }
                Ring::CallsEnded { done, result } => {
                    let errno = i32::try_from(result.wrapping_neg()).unwrap_or(0);
                    return Ok((done.min(list.len()), Errno::from_raw(errno)));
                }
                // A thread that came from a patched site can be kicked while it carries out the list: it goes on.
                Ring::Trapped { signal, .. }
                    if signal == KICK_SIGNAL as u64 && self.patched.is_some() && !self.is_kicked =>
                {
                    self.is_kicked = true;
                    self.answer(0)?;
                }
                _ => return Err(self.execute()),
            }
        }
    }

    /// Whether nobody can change the thread's registers while it carries out a list: one that has come by a signal has all of them
    /// blocked, and where there never was another thread nobody writes to the frame of a signal that comes between.
    pub(super) fn is_alone(&self) -> bool {
        self.patched.is_none() || self.space.window().has_one_thread()
    }

    /// Writes a list into the orders.
    pub(super) fn write_list(&self, list: &[Call]) {
        let (slot, is_alone) = (self.slot(), self.is_alone());
        for (index, call) in list.iter().enumerate() {
            let kind = match call.kind {
                CallKind::MapFile if is_alone => CallKind::MapFileUnasked,
                kind => kind,
            };
            Call { kind, ..*call }.write(slot, index);
        }
        slot.write_order(CALL_COUNT, list.len() as u64);
    }

    /// Closes the files of a list that has stopped in the middle. Those that are closed already fail, and are no loss.
    pub(super) fn close_files(&mut self, count: usize) {
        for index in 0..count {
            if self.carry_out(&[Call::close(FIRST_FILE + index as u32)], &[]).is_err() {
                return;
            }
        }
    }
}
