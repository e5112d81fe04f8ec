//! What the sentry asks of a thread: [`GuestThread`], and who does it.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::signal::SignalAction;

use crate::arch::Registers;
use crate::arch::extended_state::FORMAT;
use crate::inlet::Inlet;
use crate::interface::{
    ActionWords, AddressSpace, FutexCall, GuestThread, HostCalled, Kick, Left, MaskWord, MemoryOp,
    PatchRequest, SIGNAL_COUNT, Trap,
};
use crate::lent::{
    LENT_DESCRIPTORS, LentDescriptor, LentFile, LentMemory, MemoryWord, NotedChange, TakenBack,
};
use crate::names::{KnownName, LeftName};
use crate::stub::geometry::*;

use super::patch::CodeImage;
use super::thread::Thread;

impl GuestThread for Thread {
    fn run(&mut self) -> Trap {
        self.run_guest()
    }

    fn registers(&self) -> &Registers {
        &self.registers
    }

    fn registers_mut(&mut self) -> &mut Registers {
        &mut self.registers
    }

    fn extended_state(&mut self) -> Vec<u8> {
        // If it has ended, the next run says so.
        self.read_extended().unwrap_or_else(|_| FORMAT.initial_image())
    }

    fn set_extended_state(&mut self, image: Option<&[u8]>) -> Result<(), Errno> {
        let image = match image {
            Some(image) => Some(FORMAT.normalize(image)?),
            None => None,
        };
        self.replace_extended(image.as_deref());
        Ok(())
    }

    fn save_extended_state(&mut self, address: u64, is_writable: bool) -> Result<(), Errno> {
        // A second copy is another that only a frame can give.
        let is_cheap = self.patched.is_some() && self.errand.save_to.is_none() && address.is_multiple_of(64);
        // What the stub leaves as it is: the parts of the format that no instruction writes.
        let mut parts = FORMAT.unwritten().into_iter();
        if is_cheap && is_writable && parts.all(|(offset, part)| self.leave_copy(address + offset, &part)) {
            self.errand.save_to = Some(address);
            return Ok(());
        }
        let image = if is_cheap { FORMAT.initial_image() } else { self.extended_state() };
        if self.space.write(address, &image) < image.len() {
            return Err(Errno::EFAULT);
        }
        self.errand.save_to = is_cheap.then_some(address);
        Ok(())
    }

    fn apply(&mut self, operations: &[MemoryOp<'_>]) -> Result<(), (usize, Errno)> {
        self.carry_out_all(operations)
    }

    fn handed_over(&self, address: u64, buffer: &mut [u8]) -> usize {
        self.read_handed_over(address, buffer)
    }

    fn set_answers(&mut self, answers: &[Option<u32>]) {
        let mut standing = [0; MAX_STANDING];
        for (place, answer) in standing.iter_mut().zip(answers) {
            *place = answer.map_or(0, |answer| ANSWER_STANDS | u64::from(answer));
        }
        self.handle().orders.set_standing(standing);
    }

    fn can_lend(&self) -> bool {
        self.space.sandbox().lends
    }

    fn lend_descriptors(&mut self, descriptors: &[LentDescriptor; LENT_DESCRIPTORS], which: u64) {
        self.write_descriptors(descriptors, which);
    }

    fn lend_file(&mut self, number: usize, file: &LentFile) {
        self.write_record(number, file);
    }

    fn lend_position(&mut self, number: usize, position: u64) {
        self.write_position(number, position);
    }

    fn open_window(&mut self, number: usize, file: BorrowedFd<'_>, offset: u64, length: u64) -> Option<u64> {
        self.map_window(number, file, offset, length)
    }

    fn close_window(&mut self, number: usize) {
        self.unmap_window(number);
    }

    fn open_ledger(&mut self) -> bool {
        self.map_ledger()
    }

    fn open_inlet(&mut self, record: usize, room: u64) -> Option<Arc<dyn Inlet>> {
        self.begin_inlet(record, room)
    }

    fn leave_contents(&mut self, at: usize, contents: &[u8]) -> Option<u64> {
        self.write_contents(at, contents)
    }

    fn open_shelf(&mut self) -> bool {
        self.map_shelf()
    }

    fn leave_arrived(&mut self, offset: usize, bytes: &[u8]) -> Option<u64> {
        self.write_arrived(offset, bytes)
    }

    fn set_lending(&mut self, lends: bool) {
        self.handle().orders.set_leave(LENT_ANSWER, lends);
    }

    fn take_back(&mut self) -> Option<TakenBack> {
        self.read_lent()
    }

    fn lend_watched(&mut self, watched: u64) {
        self.write_watched(watched);
    }

    fn noted(&mut self) -> Vec<NotedChange> {
        self.read_noted()
    }

    fn lend_advice(&mut self, range: &Range<u64>) -> bool {
        self.write_advice(range)
    }

    fn lend_memory(&mut self, memory: &LentMemory) -> Option<Arc<dyn MemoryWord>> {
        self.write_memory(memory)
    }

    fn leave_name(&mut self, known: &KnownName<'_>) -> Option<LeftName> {
        self.write_name(known)
    }

    fn forget_names(&mut self) {
        self.handle().orders.withdraw_names();
        self.slot().erase_more();
    }

    fn set_return_stack(&mut self, stack: [u64; 3]) {
        self.leave_return_stack(stack);
    }

    fn share_mask(&mut self, mask: u64, quiet: u64) -> Option<Arc<dyn MaskWord>> {
        if !self.changes_mask() {
            return None;
        }
        self.handle().set_mask(mask);
        self.handle().set_quiet(quiet);
        Some(Arc::clone(self.handle()) as Arc<dyn MaskWord>)
    }

    fn share_actions(&mut self, actions: &[SignalAction; SIGNAL_COUNT]) -> Option<Arc<dyn ActionWords>> {
        if !self.changes_mask() {
            return None;
        }
        self.write_actions(actions);
        Some(Arc::clone(self.handle()) as Arc<dyn ActionWords>)
    }

    fn left(&self) -> Left {
        self.handle().read_left()
    }

    fn forget_left(&mut self) {
        self.handle().clear_left();
    }

    fn has_host_futexes(&self) -> bool {
        self.space.sandbox().has_host_calls
    }

    fn futex(&mut self, call: &FutexCall) -> HostCalled {
        self.order_futex(call)
    }

    fn copy_on_return(&mut self, address: u64, data: &[u8]) -> bool {
        self.leave_copy(address, data)
    }

    fn apply_on_return(&mut self, operations: &[MemoryOp<'_>]) -> Result<(), (usize, Errno)> {
        self.defer(operations)
    }

    fn settle(&mut self) -> Result<(), Errno> {
        self.settle_deferred()
    }

    fn settle_copies(&mut self) -> Result<(), Errno> {
        self.make_copies()
    }

    fn came_slowly(&self) -> bool {
        self.trapped_site.is_some()
    }

    fn patchable_site(&self) -> Option<u64> {
        self.trapped_site.filter(|_| self.space.sandbox().patches)
    }

    fn patch(&mut self, site: u64, number: u64, request: &PatchRequest) -> Result<(), Errno> {
        self.patch_site(site, number, request)
    }

    fn patches_code(&self) -> bool {
        self.space.sandbox().patches
    }

    fn patch_known(
        &mut self,
        request: &PatchRequest,
        offset: u64,
        image: &Arc<CodeImage>,
    ) -> Result<(), Errno> {
        self.write_image(request, offset, image)
    }

    fn is_patched(&self, range: &Range<u64>) -> bool {
        self.space.patches().read().has_site_in(range)
    }

    fn unpatch(&mut self, range: Range<u64>) -> Result<(), Errno> {
        self.restore_sites(range)
    }

    fn space(&self) -> &Arc<dyn AddressSpace> {
        &self.as_dyn
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        Arc::clone(self.handle()) as Arc<dyn Kick>
    }
}
