//! A guest thread: a host process of its own that shares its address space, with a listener of its own.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use usk_abi::Errno;

use crate::arch::Registers;
use crate::arch::extended_state::FORMAT;
use crate::host::pidfd::{End, ProcessDescriptor, wait_readable};
use crate::host::seccomp::{Listener, Notification};
use crate::host::{Pid, pin_together, processor_count};
use crate::inlet::Bell;
use crate::interface::{AddressSpace, ExitReason, GuestThread, Kick, MaskWord, ThreadState, Trap};
use crate::stub::addresses::site;
use crate::stub::geometry::*;

use super::carried::Copies;
use super::deferred::Deferred;
use super::frame::{Frame, is_fault};
use super::handover::Handover;
use super::kick::Handle;
use super::ledger::Ledger;
use super::lent::Lent;
use super::parked::Parked;
use super::patched::{Errand, PatchedCall, Place, is_on_way_back};
use super::space::Space;
use super::spin::Spin;
use super::windows::Slot;

/// How often to look for the end of a process that the kernel has announced.
const END_PATIENCE: Duration = Duration::from_millis(5);

/// What `int 0x80` does on a host without 32-bit entry points: usk's ABI has none.
const OLD_GATE: Trap = Trap::Fault {
    signal: libc::SIGSEGV,
    code: SI_KERNEL,
    address: 0,
    trap_number: 13,
    error_code: 0x80 << 3 | 2,
};
/// `SI_KERNEL` of `asm-generic/siginfo.h`.
const SI_KERNEL: i32 = 0x80;

/// See the module's description.
pub(super) struct Thread {
    pub(super) space: Arc<Space>,
    pub(super) as_dyn: Arc<dyn AddressSpace>,
    handle: Arc<Handle>,
    pub(super) listener: Arc<Listener>,
    /// `None` once dropped.
    slot: Option<Slot>,
    pub(super) frame: Frame,
    /// The doorbell that waits for an answer.
    pub(super) waiting: u64,
    pub(super) registers: Registers,
    /// What the host process has in its FS and GS base.
    pub(super) bases: (u64, u64),
    pub(super) ended: Option<ExitReason>,
    /// The thread has come from a patched site and waits without a frame.
    pub(super) patched: Option<PatchedCall>,
    /// What the stub does about the extended state of such a thread.
    pub(super) errand: Errand,
    /// What the stub does to memory on its way back.
    pub(super) deferred: Deferred,
    /// What the stub copies to memory on its way back.
    pub(super) copies: Copies,
    /// What of the descriptors is where the stub finds it.
    pub(super) lent: Lent,
    /// For each set of its table of names the number of the entry that was written last.
    pub(super) newer_ways: u64,
    /// Where it notes what it need not call for.
    pub(super) ledger: Option<Ledger>,
    /// Where it leaves what it writes to pipes.
    pub(super) inlet: Option<Arc<OwnedFd>>,
    /// What it rings when somebody listens for that. Others have it for as long as the thread does.
    pub(super) bell: Option<Arc<dyn Bell>>,
    /// Where more is left of files than its orders have room for.
    pub(super) shelf: Option<OwnedFd>,
    /// The `syscall` instruction of the last trap, if it was a signal.
    pub(super) trapped_site: Option<u64>,
    /// A kick has come where the sentry thread was not running the guest thread: the next run reports it.
    pub(super) is_kicked: bool,
    /// It waits without a frame, and kicks are kept away from it since it has carried out a list.
    pub(super) keeps_kicks_away: bool,
    /// The sentry thread and the guest thread have been bound to one CPU (hosts without synchronous wake-up).
    is_pinned: bool,
    /// Its hand-overs without the host.
    pub(super) spin: Spin,
    /// The generation of the patches of which the orders say where the thread may return to (see `returned`).
    pub(super) return_generation: Option<u64>,
}

/// What a thread says when it rings.
pub(super) enum Ring {
    /// It has trapped: signal, and bases of FS and GS.
    Trapped { signal: u64, frame: Frame, bases: (u64, u64) },
    /// A list of calls has ended: how many succeeded, and the result of the one that did not.
    CallsEnded { done: usize, result: u64 },
    /// It calls from a patched site, with these arguments.
    Patched([u64; 6]),
    /// A host call that the sentry has ordered has returned this.
    HostCalled(u64),
    /// It moves a mapping, and waits for leave.
    Moves(Notification),
}

impl Thread {
    /// Takes over a newborn, which rings for the first time.
    pub(super) fn adopt(
        space: Arc<Space>,
        slot: Slot,
        frame: Frame,
        process: ProcessDescriptor,
        listener: Listener,
        token: u64,
        state: &ThreadState,
    ) -> Result<Box<dyn GuestThread>, Errno> {
        let sandbox = Arc::clone(space.sandbox());
        let kill = |process: &ProcessDescriptor, error| {
            process.end();
            Err(error)
        };
        if sandbox.has_synchronous_wake_up
            && let Err(error) = listener.set_synchronous_wake_up()
        {
            return kill(&process, error);
        }
        let birth = match receive(&listener, &process, sandbox.receive_sees_death) {
            Some(birth) => birth,
            None => return kill(&process, Errno::EAGAIN),
        };
        let expected = [u64::from(RING_BORN), frame.address(&slot), token];
        if birth.instruction_pointer != site::birth() || birth.arguments[..3] != expected {
            return kill(&process, Errno::EAGAIN);
        }
        let pid = Pid::from_raw(birth.pid as i32);
        // It was born on the spawner's CPU, and bound to it.
        if let Err(error) = sandbox.cpus.allow(pid) {
            return kill(&process, error);
        }
        if let Err(error) = sandbox.deaths.begin(&process) {
            return kill(&process, error);
        }
        // One that was killed may have left it.
        slot.store(ENTRY_HOST_CALL, 0);
        slot.store(HAND, HAND_RESTS);
        let handle = Handle {
            process: Arc::new(process),
            pid,
            handover: Handover::new(),
            orders: slot.orders(),
            earlier_cpu_time: Duration::ZERO,
            final_cpu_time: OnceLock::new(),
        };
        // What the slot's last thread was told is not for this one.
        handle.withdraw();
        handle.withdraw_answers();
        handle.clear_left();
        (0..5).for_each(|word| slot.write_order(RETURN_STACK + 8 * word, 0));
        let as_dyn: Arc<dyn AddressSpace> = Arc::clone(&space) as Arc<dyn AddressSpace>;
        // The spawner's bases, which the newborn has inherited, are nobody's: set both.
        let bases = (u64::MAX, u64::MAX);
        Ok(Box::new(Thread {
            space,
            as_dyn,
            handle: Arc::new(handle),
            listener: Arc::new(listener),
            slot: Some(slot),
            frame,
            waiting: birth.id,
            registers: state.registers,
            bases,
            ended: None,
            patched: None,
            errand: Errand::default(),
            deferred: Deferred::default(),
            copies: Copies::default(),
            lent: Lent::default(),
            newer_ways: 0,
            ledger: None,
            inlet: None,
            bell: None,
            shelf: None,
            trapped_site: None,
            is_kicked: false,
            keeps_kicks_away: false,
            is_pinned: false,
            spin: Spin::default(),
            return_generation: None,
        }))
    }

    /// Makes a guest thread of one that has ended. `image` is normal.
    pub(super) fn reuse(
        space: Arc<Space>,
        parked: Parked,
        state: &ThreadState,
        image: Option<&[u8]>,
    ) -> Box<dyn GuestThread> {
        let as_dyn: Arc<dyn AddressSpace> = Arc::clone(&space) as Arc<dyn AddressSpace>;
        let handle = Arc::new(parked.next_handle());
        let Parked { listener, slot, frame, waiting, bases, patched, keeps_kicks_away, .. } = parked;
        slot.store(ENTRY_HOST_CALL, 0);
        slot.store(HAND, HAND_RESTS);
        handle.clear_left();
        let mut thread = Box::new(Thread {
            space,
            as_dyn,
            handle,
            listener,
            slot: Some(slot),
            frame,
            waiting,
            registers: state.registers,
            bases,
            ended: None,
            patched,
            errand: Errand::default(),
            deferred: Deferred::default(),
            copies: Copies::default(),
            lent: Lent::default(),
            newer_ways: 0,
            ledger: None,
            inlet: None,
            bell: None,
            shelf: None,
            trapped_site: None,
            is_kicked: false,
            keeps_kicks_away,
            is_pinned: false,
            spin: Spin::default(),
            return_generation: None,
        });
        thread.leave_return_stack([0; 3]);
        // If it has ended by now the first run says so.
        thread.replace_extended(image);
        thread.is_kicked = false;
        thread
    }

    pub(super) fn replace_extended(&mut self, image: Option<&[u8]>) {
        if self.patched.is_some() && self.errand.save_to.is_none() {
            self.errand.restore = Some(image.map_or_else(|| FORMAT.initial_image(), <[u8]>::to_vec));
        } else if self.take_frame().is_ok() {
            self.frame.write_extended(self.slot(), image);
        }
    }

    pub(super) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    pub(super) fn slot(&self) -> &Slot {
        // Taken only by drop.
        self.slot.as_ref().expect("the thread is not dropped")
    }

    /// Writes what has changed to where the stub finds it, and returns what to answer. `None` if a kick has come.
    pub(super) fn prepare_return(&mut self) -> Result<Option<u32>, ExitReason> {
        let mut answer = 0;
        self.forget_old_return_place();
        if !self.answers_patched_call() {
            if let Some(all_registers) = self.leaves_patched_call() {
                answer = all_registers;
            } else {
                self.take_frame()?;
                if self.deferred.has_failed() || std::mem::take(&mut self.is_kicked) {
                    return Ok(None);
                }
                let mut registers = self.registers;
                registers.rip = self.space.patches().read().redirect(registers.rip);
                self.frame.write_registers(self.slot(), &registers);
            }
        }
        let bases = (self.registers.fs_base, self.host_gs_base());
        let slot = self.slot.as_ref().expect("the thread is not dropped");
        // A base that is no user address would make the stub fault; the guest keeps the one it has.
        if bases.0 != self.bases.0 && bases.0 < REGION_END {
            slot.write_order(FS_BASE, bases.0);
            self.bases.0 = bases.0;
            answer |= ANSWER_FS;
        }
        if bases.1 != self.bases.1 && bases.1 < REGION_END {
            slot.write_order(GS_BASE, bases.1);
            self.bases.1 = bases.1;
            answer |= ANSWER_GS;
        }
        if self.patched.is_none() {
            self.make_copies_early();
            if self.copies.has_failed() {
                return Ok(None);
            }
        }
        let answer = answer | self.write_copies();
        Ok(Some(self.write_deferred(answer)))
    }

    /// What the host process must have in its GS base: the guest's own, or else what patched sites find the slot by.
    pub(super) fn host_gs_base(&self) -> u64 {
        match self.registers.gs_base {
            0 if self.space.sandbox().patches => self.slot().address(),
            own => own,
        }
    }

    /// What the guest believes to have in its GS base.
    fn guest_gs_base(&self, host: u64) -> u64 {
        if self.space.sandbox().patches && host == self.slot().address() { 0 } else { host }
    }

    pub(super) fn answer(&mut self, value: u32) -> Result<(), ExitReason> {
        match self.listener.answer(self.waiting, self.slot().answer(value)) {
            Ok(()) => Ok(()),
            // Nobody waits: it is dying.
            Err(_) => Err(self.reap()),
        }
    }

    /// Waits until the thread rings, or calls in its slot where the sentry looks for that.
    pub(super) fn await_ring(&mut self) -> Result<Ring, ExitReason> {
        if let Some(arguments) = self.listen() {
            return Ok(Ring::Patched(arguments));
        }
        let ring = self.await_bell();
        self.spin.note_ring();
        ring
    }

    /// Waits until the thread rings.
    pub(super) fn await_bell(&mut self) -> Result<Ring, ExitReason> {
        let sees_death = self.space.sandbox().receive_sees_death;
        let Some(call) = receive(&self.listener, &self.handle.process, sees_death) else {
            return Err(self.reap());
        };
        self.waiting = call.id;
        match self.decode(&call) {
            Some(ring) => Ok(ring),
            // No stub says this: the guest has jumped into it.
            None => Err(self.execute()),
        }
    }

    fn decode(&self, call: &Notification) -> Option<Ring> {
        if i64::from(call.number) == libc::SYS_mremap {
            return Some(Ring::Moves(*call));
        }
        if call.number as u32 != DOORBELL {
            return None;
        }
        if call.instruction_pointer == site::patched() {
            return Some(Ring::Patched(call.arguments));
        }
        if call.instruction_pointer == site::host_called() {
            return Some(Ring::HostCalled(call.arguments[0]));
        }
        if call.instruction_pointer != site::doorbell() {
            return None;
        }
        let [what, frame, done, result, fs_base, gs_base] = call.arguments;
        if what == u64::from(RING_CALLS_ENDED) {
            return Some(Ring::CallsEnded { done: usize::try_from(done).ok()?, result });
        }
        let frame = Frame::at(self.slot(), frame)?;
        (what == libc::SIGSYS as u64 || what == KICK_SIGNAL as u64 || is_fault(what))
            .then_some(Ring::Trapped { signal: what, frame, bases: (fs_base, gs_base) })
    }

    /// Its end is no surprise any more.
    fn unwatch(&self) {
        self.space.sandbox().deaths.end(&self.handle.process);
    }

    /// Ends a thread that tampers with the platform.
    pub(super) fn execute(&mut self) -> ExitReason {
        self.unwatch();
        let _ = self.handle.process.signal(libc::SIGKILL);
        self.reap();
        let reason = ExitReason::Violation(libc::SIGSYS);
        self.ended = Some(reason);
        reason
    }

    /// Waits for the end of a process that is dying.
    pub(super) fn reap(&mut self) -> ExitReason {
        if let Some(reason) = self.ended {
            return reason;
        }
        self.unwatch();
        let reason = match self.handle.process.reap(true) {
            Ok(Some((end, time))) => {
                self.handle.stop_clock(Some(time));
                match end {
                    End::Killed(libc::SIGKILL) => ExitReason::Killed,
                    End::Killed(signal) => ExitReason::Violation(signal),
                    // Only the stub can exit, and it does when it is misled.
                    End::Exited(_) => ExitReason::Violation(libc::SIGSYS),
                }
            }
            _ => ExitReason::Killed,
        };
        self.ended = Some(reason);
        reason
    }

    /// Where hand-overs do not stay on one CPU by themselves, keeps the pair there.
    fn pin_pair(&mut self) {
        if self.is_pinned || self.space.sandbox().has_synchronous_wake_up {
            return;
        }
        self.is_pinned = true;
        pin_together(self.handle.pid);
    }

    /// Whether the host may choose different CPUs for the pair.
    pub(super) fn may_part(&self) -> bool {
        !self.is_pinned && !self.spin.is_apart() && processor_count() > 1
    }

    /// The trap for what was left for the way back and has failed.
    fn refusal(&mut self) -> Option<Trap> {
        self.deferred.refusal().or_else(|| self.copies.refusal())
    }

    /// See [`GuestThread::run`].
    pub(super) fn run_guest(&mut self) -> Trap {
        if let Some(reason) = self.ended {
            return Trap::Exited(reason);
        }
        if let Some(refused) = self.refusal() {
            return refused;
        }
        if std::mem::take(&mut self.is_kicked) || !self.handle.handover.begin() {
            return Trap::Interrupted;
        }
        self.pin_pair();
        self.date_ledger();
        self.space.sandbox().company.enter();
        let result = self.run_until_trap();
        self.space.sandbox().company.leave();
        self.handle.handover.end();
        result.unwrap_or_else(Trap::Exited)
    }

    fn run_until_trap(&mut self) -> Result<Trap, ExitReason> {
        loop {
            if self.deferred.has_file() {
                self.leave_slot()?;
            }
            // While it made what was left it may have been kicked, or the host may have refused.
            if self.deferred.has_failed() || std::mem::take(&mut self.is_kicked) {
                return Ok(self.refusal().unwrap_or(Trap::Interrupted));
            }
            let Some(answer) = self.prepare_return()? else {
                return Ok(self.refusal().unwrap_or(Trap::Interrupted));
            };
            if !self.answer_with_file(answer)? {
                continue;
            }
            self.trapped_site = None;
            match self.await_ring()? {
                Ring::Patched(arguments) => {
                    self.errand = Errand::default();
                    self.deferred.clear();
                    self.copies.clear();
                    return Ok(self.begin_patched_call(arguments));
                }
                Ring::Trapped { signal, frame, bases } => {
                    (self.patched, self.frame, self.bases) = (None, frame, bases);
                    let mut registers = Registers::default();
                    frame.read_registers(self.slot(), &mut registers);
                    (registers.fs_base, registers.gs_base) = (bases.0, self.guest_gs_base(bases.1));
                    let place = self.locate(signal, registers);
                    match is_on_way_back(&registers) {
                        true => {
                            self.run_errand();
                            self.close_deferred_file()?;
                        }
                        false => {
                            self.errand = Errand::default();
                            self.deferred.clear();
                            self.copies.clear();
                        }
                    }
                    match place {
                        Place::Guest(registers) => {
                            self.registers = registers;
                            if let Some(trap) = self.describe(signal) {
                                return Ok(trap);
                            }
                        }
                        Place::Settled(registers, trap) => {
                            self.registers = registers;
                            return Ok(trap);
                        }
                        Place::Resumes(registers) => self.registers = registers,
                    }
                }
                // A refusal is told at once.
                Ring::CallsEnded { .. } if self.repeat_deferred()? => {}
                Ring::CallsEnded { .. } | Ring::Moves(_) | Ring::HostCalled(_) => return Err(self.execute()),
            }
        }
    }

    /// Has a thread that came from a patched site get a signal frame: for its extended state, and for whatever a call
    /// changes beyond its result.
    pub(super) fn take_frame(&mut self) -> Result<(), ExitReason> {
        self.leave_slot()?;
        if self.patched.is_none() {
            return Ok(());
        }
        self.carry_out_deferred()?;
        if self.patched.is_none() {
            // A kick that came late has given it one.
            return Ok(());
        }
        self.answer(ANSWER_FRAME)?;
        let Ring::Trapped { signal, frame, bases } = self.await_ring()? else {
            return Err(self.execute());
        };
        // A kick may have been on its way: then the frame is its.
        match i32::try_from(signal) {
            Ok(KICK_SIGNAL) => self.is_kicked = true,
            Ok(libc::SIGILL) => {}
            _ => return Err(self.execute()),
        }
        self.settle_in_frame(frame, bases);
        Ok(())
    }

    /// A thread that came from a patched site has got a frame, and waits with that.
    pub(super) fn settle_in_frame(&mut self, frame: Frame, bases: (u64, u64)) {
        (self.patched, self.frame, self.bases) = (None, frame, bases);
        if std::mem::take(&mut self.keeps_kicks_away) {
            self.frame.let_signals_come(self.slot());
        }
        self.run_errand();
    }

    /// `None` for a signal that somebody on the host has sent: it has nothing to do with the guest.
    fn describe(&mut self, signal: u64) -> Option<Trap> {
        if signal == KICK_SIGNAL as u64 {
            return Some(Trap::Interrupted);
        }
        let cause = self.frame.read_cause(self.slot());
        if cause.code <= 0 {
            return None;
        }
        if signal == libc::SIGSYS as u64 {
            // Both entry instructions are two bytes long.
            let instruction = self.registers.rip.wrapping_sub(2);
            if cause.is_native_call() {
                self.trapped_site = Some(instruction);
                return Some(Trap::Syscall { instruction });
            }
            self.registers.rip = instruction;
            return Some(OLD_GATE);
        }
        let (trap_number, error_code) = self.frame.read_fault(self.slot());
        let (code, address) = (cause.code, cause.address);
        Some(Trap::Fault { signal: signal as i32, code, address, trap_number, error_code })
    }
}

/// Waits for a call. `None` once the process is dying.
pub(super) fn receive(
    listener: &Listener,
    process: &ProcessDescriptor,
    sees_death: bool,
) -> Option<Notification> {
    loop {
        if !sees_death {
            // The listener of a dead process is hung up; a call that waits must not be missed for that.
            match wait_readable([listener.as_fd(), process.as_fd()], None) {
                Ok([_, true]) => return None,
                Ok(_) => {}
                Err(_) => continue,
            }
        }
        match listener.receive() {
            Ok(call) => return Some(call),
            Err(Errno::EINTR) => {}
            // The filter has no user any more, or the caller was killed between ringing and now.
            Err(_) => {
                if let Ok([true]) = wait_readable([process.as_fd()], Some(END_PATIENCE)) {
                    return None;
                }
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if self.ended.is_some() || self.stop_spinning().is_err() {
            return;
        }
        let Some(slot) = self.slot.take() else { return };
        self.handle.stop_clock(None);
        self.handle.withdraw();
        self.handle.withdraw_answers();
        self.space.park(Parked {
            handle: Arc::clone(&self.handle),
            listener: Arc::clone(&self.listener),
            slot,
            frame: self.frame,
            waiting: self.waiting,
            bases: self.bases,
            patched: self.patched.take(),
            keeps_kicks_away: self.keeps_kicks_away,
        });
    }
}
