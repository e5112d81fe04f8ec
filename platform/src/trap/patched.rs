//! Calls from patched sites: beginning and answering them, and what registers mean while the platform's own code has
//! them.

use std::ops::Range;
use std::sync::Arc;

use usk_abi::Errno;

use crate::arch::Registers;
use crate::arch::extended_state::FORMAT;
use crate::interface::{AddressSpace, ExitReason, GuestThread, MemoryOp, PatchRequest, Protection, Trap};
use crate::stub::addresses::{entry, patched, site, state};
use crate::stub::geometry::*;

use super::actions::is_in_action_code;
use super::asked::is_in_asking_code;
use super::carried::{is_copying, is_handing_over};
use super::frame::{harmless_flags, lay_out_extended, read_laid_out_extended};
use super::host_calls::is_in_host_call;
use super::ledger;
use super::left::is_leaving;
use super::lent::{has_saved, is_serving};
use super::mask::is_in_mask_code;
use super::memory::{is_in_memory_code, undo_mapping};
use super::patch::{Code, CodeImage, Edit, MAX_REACH, Plan, Site};
use super::returned::{is_in_return_code, is_reading_frame};
use super::spin::is_about_to_ring;
use super::thread::{Ring, Thread};

const PAGE: u64 = 4096;
/// `TF`: the processor traps after each instruction.
const TRAP_FLAG: u64 = 0x100;
/// Bytes of the longest instruction that loads a call's number, and may be overwritten.
const LONGEST_LOAD: u64 = 7;
const READ_EXECUTE: Protection = Protection { read: true, write: false, execute: true };
const ALL: Protection = Protection { read: true, write: true, execute: true };

/// A call from a patched site that is not answered yet.
pub(super) struct PatchedCall {
    /// The registers as it began.
    registers: Registers,
    /// The table's generation as it began: the way back leads through a trampoline.
    generation: u64,
    /// The extended state, if the call has brought it along.
    state: Option<Vec<u8>>,
}

impl PatchedCall {
    /// That of a thread which waits as one from a patched site does, but goes back by none.
    pub(super) fn outside_of_sites() -> PatchedCall {
        // No table ever gets that far.
        PatchedCall { registers: Registers::default(), generation: u64::MAX, state: None }
    }
}

/// What the stub is to do with the extended state on its way back from a call from a patched site. Kept until the guest has
/// surely gone on.
#[derive(Default)]
pub(super) struct Errand {
    /// Restore it from this image.
    pub(super) restore: Option<Vec<u8>>,
    /// Then save it to this address in guest memory.
    pub(super) save_to: Option<u64>,
}

impl Errand {
    pub(super) fn is_none(&self) -> bool {
        self.restore.is_none() && self.save_to.is_none()
    }
}

/// Where a signal has met the thread.
pub(super) enum Place {
    /// In guest code, with these registers.
    Guest(Registers),
    /// In the platform's code: these are the guest's registers, and this is what has happened to it.
    Settled(Registers, Trap),
    /// In a jump's bytes: it goes on elsewhere.
    Resumes(Registers),
}

/// In the entry from a patched site, before the doorbell, or where calls are served without it.
fn is_on_way_in(registers: &Registers) -> bool {
    let rip = registers.rip;
    (entry::patched()..=site::patched() - 2).contains(&rip)
        || is_serving(rip)
        || is_in_asking_code(rip)
        || is_in_mask_code(rip)
        || is_in_action_code(rip)
        || is_in_return_code(rip)
        || is_leaving(rip)
        || (state::begin()..state::end()).contains(&rip)
        || is_in_memory_code(rip)
        || is_about_to_ring(registers)
}

/// On the way in, where memory that is not there makes an ordinary call.
fn touches_memory(rip: u64) -> bool {
    is_handing_over(rip)
        || is_serving(rip)
        || is_in_mask_code(rip)
        || is_in_action_code(rip)
        || is_in_return_code(rip)
}

/// In the platform's code, on the way back to the guest, which has not gone on yet.
pub(super) fn is_on_way_back(registers: &Registers) -> bool {
    let is_stub = (STUB_BASE..STUB_BASE + CODE_SIZE).contains(&registers.rip);
    is_stub && !is_on_way_in(registers) && !is_in_host_call(registers.rip)
}

/// A guest that steps through its own code (`TF` in the flags) steps over a call whose `syscall` instruction comes next.
fn step_over(registers: Registers) -> Place {
    let instruction = registers.rip;
    let rip = instruction.wrapping_add(2);
    let registers = Registers { rip, rcx: rip, r11: registers.rflags, ..registers };
    Place::Settled(registers, Trap::Syscall { instruction })
}

impl Thread {
    /// A thread has rung from a patched site.
    pub(super) fn begin_patched_call(&mut self, arguments: [u64; 6]) -> Trap {
        let generation = self.space.patches().generation();
        let slot = self.slot();
        let entry = |offset| slot.read_u64(offset);
        let preserved = |index: u64| entry(ENTRY_PRESERVED + 8 * index);
        let (rip, rflags) = (entry(ENTRY_RIP), entry(ENTRY_FLAGS));
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        let registers = Registers {
            rax: entry(ENTRY_RAX),
            rbx: preserved(0),
            rcx: rip,
            rdx,
            rsi,
            rdi,
            rbp: preserved(1),
            rsp: entry(ENTRY_RSP),
            r8,
            r9,
            r10,
            r11: rflags,
            r12: preserved(2),
            r13: preserved(3),
            r14: preserved(4),
            r15: preserved(5),
            rip,
            rflags,
            fs_base: entry(ENTRY_FS),
            gs_base: 0,
        };
        self.bases = (registers.fs_base, slot.address());
        self.registers = registers;
        // A kick's frame may overwrite it while the thread is not at the doorbell.
        let brings_state = !self.waits_in_slot() && self.space.sandbox().state_calls.contains(&registers.rax);
        let state = brings_state.then(|| read_laid_out_extended(self.slot()));
        self.patched = Some(PatchedCall { registers, generation, state });
        match self.has_returned_from_host() {
            true => Trap::Interrupted,
            false => Trap::Syscall { instruction: rip.wrapping_sub(2) },
        }
    }

    /// If the thread can go back to a patched site as it is, with nothing changed but the result and the FS base:
    /// leaves the result where the stub finds it. False if it must go back through a frame.
    pub(super) fn answers_patched_call(&self) -> bool {
        let Some(call) = &self.patched else { return false };
        if !self.errand.is_none() {
            return false;
        }
        let Registers { rax, fs_base, .. } = self.registers;
        let is_simple = self.registers == Registers { rax, fs_base, ..call.registers }
            && self.space.patches().generation() == call.generation;
        if is_simple {
            self.slot().write_u64(ENTRY_RAX, rax);
        }
        is_simple
    }

    /// If the thread waits in a call from a patched site and can leave it with the registers that it is to have: leaves
    /// all of them where the stub finds them, and what it is to do with the extended state. Returns what to answer.
    pub(super) fn leaves_patched_call(&self) -> Option<u32> {
        self.patched.as_ref()?;
        let registers = &self.registers;
        // The stub needs its GS base to the last, would be stepped through, and could not jump there.
        let needs_frame = self.host_gs_base() != self.slot().address()
            || registers.rflags & TRAP_FLAG != 0
            || registers.rip >= REGION_END;
        if needs_frame {
            return None;
        }
        let put = |offset, value| self.slot().write_u64(offset, value);
        let Registers { rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, .. } = *registers;
        put(ENTRY_RAX, rax);
        put(ENTRY_RSP, rsp);
        put(ENTRY_FLAGS, harmless_flags(registers.rflags));
        put(ENTRY_RETURN, self.space.patches().read().redirect(registers.rip));
        // What the stub loads into these two at the end.
        put(ENTRY_RIP, rcx);
        put(ENTRY_R11, r11);
        let preserved = [rbx, rbp, registers.r12, registers.r13, registers.r14, registers.r15];
        let arguments = [rdi, rsi, rdx, r10, r8, r9];
        for (index, (preserved, argument)) in (0..).zip(preserved.into_iter().zip(arguments)) {
            put(ENTRY_PRESERVED + 8 * index, preserved);
            put(ENTRY_ARGUMENTS + 8 * index, argument);
        }
        let mut answer = ANSWER_REGISTERS;
        self.slot().write_order(FEATURES, FORMAT.features());
        if let Some(image) = &self.errand.restore {
            self.slot().write_order(RESTORE_FROM, lay_out_extended(self.slot(), image));
            answer |= ANSWER_RESTORE;
        }
        if let Some(address) = self.errand.save_to {
            self.slot().write_order(SAVE_TO, address);
            answer |= ANSWER_SAVE;
        }
        Some(answer)
    }

    /// The extended state. If a call from a patched site has not brought it along, the stub saves it in the slot and rings
    /// again: a signal's frame would cost some eight microseconds more.
    pub(super) fn read_extended(&mut self) -> Result<Vec<u8>, ExitReason> {
        if let Some(image) = &self.errand.restore {
            return Ok(image.clone());
        }
        self.leave_slot()?;
        if self.patched.is_none() || self.errand.save_to.is_some() {
            self.take_frame()?;
            return Ok(self.frame.read_extended(self.slot()));
        }
        if let Some(PatchedCall { state: Some(state), .. }) = &self.patched {
            return Ok(state.clone());
        }
        self.carry_out_deferred()?;
        if self.patched.is_none() {
            // A kick that came late has given it a frame.
            return Ok(self.frame.read_extended(self.slot()));
        }
        let slot = self.slot();
        slot.write_order(FEATURES, FORMAT.features());
        slot.write_order(SAVE_TO, lay_out_extended(slot, &FORMAT.initial_image()));
        slot.write_order(CALL_COUNT, 0);
        self.answer(ANSWER_CALLS | ANSWER_SAVE)?;
        match self.await_ring()? {
            Ring::CallsEnded { .. } => Ok(read_laid_out_extended(self.slot())),
            Ring::Trapped { signal, frame, bases } if signal == KICK_SIGNAL as u64 => {
                // Its frame has overwritten what was saved, but has it as well.
                self.is_kicked = true;
                (self.patched, self.frame, self.bases) = (None, frame, bases);
                Ok(self.frame.read_extended(self.slot()))
            }
            _ => Err(self.execute()),
        }
    }

    /// Does in the frame that the thread has got what the stub was to do on its way back. It may have done it already,
    /// which makes no difference: the guest has not gone on.
    pub(super) fn run_errand(&mut self) {
        let Errand { restore, save_to } = std::mem::take(&mut self.errand);
        if let Some(image) = restore {
            self.frame.write_extended(self.slot(), Some(&image));
        }
        if let Some(address) = save_to {
            // It could be written when it was asked for; if the guest has unmapped it meanwhile, it gets nothing.
            self.space.write(address, &self.frame.read_extended(self.slot()));
        }
    }

    /// Tells guest registers from the platform's, in a frame that `signal` has made.
    pub(super) fn locate(&mut self, signal: u64, raw: Registers) -> Place {
        let is_kick = signal == KICK_SIGNAL as u64;
        let is_step = signal == libc::SIGTRAP as u64;
        if let Some(registers) = self.after_serving(raw) {
            return match is_kick {
                true => Place::Settled(registers, Trap::Interrupted),
                false => Place::Guest(registers),
            };
        }
        if is_on_way_in(&raw) {
            let rewound = self.rewind(raw);
            if let Some(registers) = rewound
                && raw.rip >= patched::flags_saved()
                && self.has_returned_from_host()
            {
                let (rip, r11) = (registers.rip.wrapping_add(2), registers.rflags);
                return Place::Settled(Registers { rip, rcx: rip, r11, ..registers }, Trap::Interrupted);
            }
            return match rewound {
                Some(registers) if is_kick && is_in_memory_code(raw.rip) => step_over(registers),
                Some(registers) if is_kick => self
                    .after_mask_call(raw.rip, &registers)
                    .or_else(|| self.after_action_call(raw.rip, &registers))
                    .or_else(|| self.after_return(&raw))
                    .unwrap_or(Place::Settled(registers, Trap::Interrupted)),
                Some(registers) if is_step => step_over(registers),
                // The memory is not there: the sentry finds out what that means.
                Some(registers) if touches_memory(raw.rip) => step_over(registers),
                _ => Place::Guest(raw),
            };
        }
        if is_kick && let Some(place) = self.locate_host_call(raw) {
            return place;
        }
        if is_on_way_back(&raw) {
            // The registers are those that the call was answered with.
            if is_kick {
                return Place::Settled(self.registers, Trap::Interrupted);
            }
            if is_copying(raw.rip) && !is_step {
                return Place::Settled(self.registers, self.refuse_copy());
            }
            return Place::Guest(if is_step || !self.errand.is_none() { self.registers } else { raw });
        }
        let patches = self.space.patches().read();
        if signal == libc::SIGILL as u64 && patches.copy_of_boundary(raw.rip).is_some() {
            // The way back to the guest leads to the copy.
            return Place::Resumes(raw);
        }
        if let Some(registers) = patches.answered(&raw) {
            return Place::Guest(registers);
        }
        let site = patches.by_trampoline(raw.rip);
        let original = site.as_ref().and_then(|site| site.original(raw.rip));
        match original {
            Some(rip) if is_step && site.is_some_and(|site| site.is_call() && site.instruction == rip) => {
                step_over(Registers { rip, ..raw })
            }
            Some(rip) if signal == libc::SIGSYS as u64 => Place::Guest(Registers { rip, rcx: rip, ..raw }),
            Some(rip) => Place::Guest(Registers { rip, ..raw }),
            None => Place::Guest(raw),
        }
    }

    /// The guest's registers before a call whose entry was interrupted: as if the `syscall` instruction came next.
    fn rewind(&self, raw: Registers) -> Option<Registers> {
        let mut registers = raw;
        if raw.rip < patched::saved() {
            registers.rip = self.space.patches().read().by_trampoline(raw.r11)?.instruction;
        } else {
            // r11 is not what it was if the doorbell was rung in vain.
            registers.rip = self.slot().read_u64(ENTRY_RIP).wrapping_sub(2);
            registers.rax = self.slot().read_u64(ENTRY_RAX);
            registers.rsp = self.slot().read_u64(ENTRY_RSP);
        }
        if raw.rip >= patched::flags_saved() {
            registers.rflags = self.slot().read_u64(ENTRY_FLAGS);
        }
        if is_reading_frame(raw.rip)
            || (state::saves()..state::end()).contains(&raw.rip)
            || ledger::has_saved(raw.rip)
        {
            registers.rdx = self.slot().read_u64(ENTRY_ARGUMENTS + 16);
        }
        if is_handing_over(raw.rip) || is_reading_frame(raw.rip) {
            registers.rdi = self.slot().read_u64(ENTRY_ARGUMENTS);
            registers.rsi = self.slot().read_u64(ENTRY_ARGUMENTS + 8);
        }
        if has_saved(raw.rip) {
            self.restore_saved(&mut registers);
        }
        undo_mapping(raw.rip, &mut registers);
        Some(registers)
    }

    /// See [`GuestThread::patch`].
    pub(super) fn patch_site(
        &mut self,
        syscall: u64,
        number: u64,
        request: &PatchRequest,
    ) -> Result<(), Errno> {
        let start = syscall.saturating_sub(2 * MAX_REACH).max(request.text.start);
        let end = syscall.saturating_add(MAX_REACH).min(request.text.end);
        // The number's load may have become a jump.
        let own = syscall.saturating_sub(LONGEST_LOAD)..syscall.saturating_add(1);
        let is_patched = self.space.patches().read().has_site_in(&own);
        if !self.space.sandbox().patches || is_patched || !request.text.contains(&syscall) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut bytes = vec![0; usize::try_from(end - start).map_err(|_| Errno::EOPNOTSUPP)?];
        let count = self.space.read(start, &mut bytes);
        bytes.truncate(count);
        let code = Code { start, bytes };
        let plan = Plan::new(&code, syscall, number).ok_or(Errno::EOPNOTSUPP)?;
        let overwritten = code.at(plan.start..plan.start + 5).and_then(|bytes| bytes.try_into().ok());
        let original = overwritten.ok_or(Errno::EOPNOTSUPP)?;
        let area = request.trampolines.clone();
        let site = self.space.patches().read().lay_out(&plan, original, area).ok_or(Errno::EOPNOTSUPP)?;
        self.make_writable(&site)?;
        let is_written = self.space.write(site.cell, &site.code) == site.code.len()
            && site
                .edits
                .iter()
                .all(|edit| self.space.write(edit.address, &edit.patched) == edit.patched.len());
        if !is_written {
            // What was written of the jump goes; a trampoline that nobody jumps to does no harm.
            site.edits.iter().for_each(|edit| _ = self.space.write(edit.address, &edit.original));
        }
        self.make_executable(&site)?;
        if !is_written {
            return Err(Errno::EOPNOTSUPP);
        }
        self.space.patches().change(|table| _ = table.insert(site));
        if self.trapped_site == Some(syscall) {
            self.trapped_site = None;
        }
        Ok(())
    }

    /// See [`GuestThread::patch_known`].
    pub(super) fn write_image(
        &mut self,
        request: &PatchRequest,
        offset: u64,
        image: &Arc<CodeImage>,
    ) -> Result<(), Errno> {
        let PatchRequest { text, trampolines } = request;
        let base = text.start.checked_sub(offset).ok_or(Errno::EINVAL)?;
        let needed = image.range();
        let is_inside = needed.start >= offset
            && needed.end - offset <= text.end.saturating_sub(text.start)
            && base.checked_sub(CodeImage::AREA_SIZE) == Some(trampolines.start)
            && trampolines.end == base;
        if !is_inside {
            return Err(Errno::EINVAL);
        }
        let places: Vec<_> = image.originals().map(|(offset, page)| (base + offset, page.len())).collect();
        let found = self.space.read_pieces(&places)?;
        if !image.originals().zip(&found).all(|((_, page), found)| found == page) {
            return Err(Errno::ESTALE);
        }
        let cells = [(trampolines.start, image.cells())];
        let pages = image.patched().map(|(offset, page)| (base + offset, page));
        if !self.space.write_pieces(&cells.into_iter().chain(pages).collect::<Vec<_>>()) {
            // What was written of the code goes; trampolines that nobody jumps to do no harm.
            image.originals().for_each(|(offset, page)| _ = self.space.write(base + offset, page));
            return Err(Errno::EFAULT);
        }
        self.space.patches().change(|table| table.insert_image(CodeImage::distance(base), Arc::clone(image)));
        Ok(())
    }

    /// See [`GuestThread::unpatch`].
    pub(super) fn restore_sites(&mut self, range: Range<u64>) -> Result<(), Errno> {
        let sites = self.space.patches().read().sites_in(&range);
        for site in &sites {
            self.make_writable(site)?;
            for Edit { address, original, .. } in &site.edits {
                if self.space.write(*address, original) != original.len() {
                    return Err(Errno::EFAULT);
                }
            }
            self.make_executable(site)?;
        }
        self.space.patches().change(|table| table.remove(&sites));
        Ok(())
    }

    fn make_writable(&mut self, site: &Site) -> Result<(), Errno> {
        self.protect(site, ALL)
    }

    fn make_executable(&mut self, site: &Site) -> Result<(), Errno> {
        self.protect(site, READ_EXECUTE)
    }

    /// Changes the access to a site's pages and its trampoline's.
    fn protect(&mut self, site: &Site, protection: Protection) -> Result<(), Errno> {
        let pages = |bytes: Range<u64>| {
            let first = bytes.start & !(PAGE - 1);
            let end = bytes.end.next_multiple_of(PAGE);
            MemoryOp::Protect { address: first, length: end - first, protection }
        };
        let trampoline = site.cell..site.cell + site.code.len() as u64;
        let all = site.edits.iter().map(Edit::range).chain([trampoline]);
        self.apply(&all.map(pages).collect::<Vec<_>>()).map_err(|(_, error)| error)
    }
}
