//! Lists of host calls that the stub carries out for the sentry, and memory operations as such lists.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use usk_abi::Errno;

use crate::host::Together;
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
/// Calls in a list, but for the one that keeps kicks away, or lets them come again.
pub(super) const LONGEST_LIST: usize = MAX_CALLS - 1;
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
        self.calls.len() + self.files.len() + 2 <= LONGEST_LIST && self.files.len() < MAX_FILES
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
            (self.ledger, self.inlet, self.shelf, self.bell) = (None, None, None, None);
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

    /// Carries out a list of at most [`LONGEST_LIST`] calls. `files` go to the numbers from [`FIRST_FILE`] on, and are closed if the list
    /// does not come to its end. Returns how many succeeded, and the error of the one that did not.
    pub(super) fn carry_out(
        &mut self,
        list: &[Call],
        files: &[BorrowedFd<'_>],
    ) -> Result<(usize, Errno), ExitReason> {
        self.leave_slot()?;
        match self.install(files) {
            Ok(()) => {}
            Err(Errno::ENOENT | Errno::ESRCH) => return Err(self.reap()),
            Err(error) => {
                self.close_files(files.len())?;
                return Ok((0, error));
            }
        }
        let (done, error) = self.make_calls(list)?;
        if done < list.len() {
            self.close_files(files.len())?;
        }
        Ok((done, error))
    }

    /// Installs files in the stub, which waits for an answer, from [`FIRST_FILE`] on. The host wakes the thread for each, and this one when it
    /// is done, as if the waker went on with something else; so they are kept on one CPU.
    pub(super) fn install(&self, files: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let sandbox = self.space.sandbox();
        let is_needed = !files.is_empty() && self.may_part();
        let _together = is_needed.then(|| Together::here(self.handle().pid, &sandbox.cpus));
        let install =
            |(number, file): (u32, &BorrowedFd<'_>)| self.listener.install(self.waiting, *file, number);
        (FIRST_FILE..).zip(files).try_for_each(install)
    }

    /// Closes the first of a list's files. Those that are closed already fail, and are no loss.
    fn close_files(&mut self, count: usize) -> Result<(), ExitReason> {
        (0..count as u32).try_for_each(|index| self.make_calls(&[Call::close(FIRST_FILE + index)]).map(drop))
    }

    /// Has the stub make calls. Nothing of the guest's comes between the first and the last: files may be there that it must not have, and
    /// what is said to have been done must have been. So kicks are kept away from a thread that waits without a frame, if another could
    /// write to the frame that a kick makes.
    fn make_calls(&mut self, list: &[Call]) -> Result<(usize, Errno), ExitReason> {
        let mut masks = !self.is_alone() && !self.keeps_kicks_away;
        let mut moves = list.iter().filter(|call| call.kind == CallKind::Remap);
        self.write_list(masks.then(|| Call::mask_kicks(true)).iter().chain(list));
        self.answer(ANSWER_CALLS)?;
        loop {
            match self.await_ring()? {
                Ring::Moves(call) => {
                    let is_ordered = moves.next().is_some_and(|order| order.arguments == call.arguments)
                        && call.instruction_pointer == site::remap();
                    if !is_ordered {
                        return Err(self.execute());
                    }
                    if self.listener.let_pass(call.id).is_err() {
                        return Err(self.reap());
                    }
                }
                Ring::CallsEnded { done, result } => {
                    self.keeps_kicks_away |= masks;
                    let errno = i32::try_from(result.wrapping_neg()).unwrap_or(0);
                    let done = done.saturating_sub(usize::from(masks)).min(list.len());
                    return Ok((done, Errno::from_raw(errno)));
                }
                // One that was on its way has come before they were kept away: nothing has been done. The thread waits in the signal's
                // handler now, where nothing comes between, and goes back by the frame only when the list has ended.
                Ring::Trapped { signal, frame, bases } if signal == KICK_SIGNAL as u64 && masks => {
                    (masks, self.is_kicked) = (false, true);
                    self.settle_in_frame(frame, bases);
                    self.write_list(list.iter());
                    self.answer(ANSWER_CALLS)?;
                }
                // No other thread can have written to the frame: it goes on.
                Ring::Trapped { signal, .. }
                    if signal == KICK_SIGNAL as u64 && self.patched.is_some() && self.is_alone() =>
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
    pub(super) fn write_list<'a>(&self, list: impl Iterator<Item = &'a Call>) {
        let mut count = 0;
        for call in list {
            call.write(self.slot(), count);
            count += 1;
        }
        self.slot().write_order(CALL_COUNT, count as u64);
    }
}
