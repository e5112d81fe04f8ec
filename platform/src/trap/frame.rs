//! The host's signal frame, `struct rt_sigframe` of `arch/x86/include/asm/sigframe.h`, in a thread's slot.
//!
//! The guest can write it at any time. So each field is read once per trap, positions are checked against the slot,
//! and what is written is never read back.

use crate::arch::Registers;
use crate::arch::extended_state::FORMAT;
use crate::stub::geometry::{KICK_SIGNAL, SIGNAL_STACK, SIGNAL_STACK_END, TRAP_SIGNALS};

use super::filters::ARCHITECTURE;
use super::windows::Slot;

/// Offsets in `struct ucontext`.
const FLAGS: u64 = 0;
const LINK: u64 = 8;
const STACK_POINTER: u64 = 16;
const STACK_FLAGS: u64 = 24;
const STACK_SIZE: u64 = 32;
const MACHINE: u64 = 40;
const SIGNAL_MASK: u64 = MACHINE + 256;
const SIGNAL_INFORMATION: u64 = SIGNAL_MASK + 8;
/// Size of `ucontext` and `siginfo` together.
const SIZE: u64 = SIGNAL_INFORMATION + 128;

/// Offsets in `struct sigcontext_64`, which starts at [`MACHINE`].
const RIP: u64 = MACHINE + 128;
const RFLAGS: u64 = MACHINE + 136;
const SELECTORS: u64 = MACHINE + 144;
const ERROR_CODE: u64 = MACHINE + 152;
const TRAP_NUMBER: u64 = MACHINE + 160;
const EXTENDED_STATE: u64 = MACHINE + 184;

/// `UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS` of `asm/ucontext.h`.
const CONTEXT_FLAGS: u64 = 1 | 2 | 4;
/// `SS_AUTODISARM` of `linux/signal.h`: the stack is off while a handler runs, so that the frame always starts at its
/// top.
const AUTODISARM: u64 = 1 << 31;
/// `cs`, `gs`, `fs` and `ss` of 64-bit user code.
const USER_SELECTORS: u64 = 0x33 | 0x2b << 48;
/// Flags that a user program may set: ID, AC, OF, DF, TF, SF, ZF, AF, PF, CF (`FIX_EFLAGS` of `asm/sighandling.h`).
const USER_FLAGS: u64 = 0x24_0dd5;
/// Flags that are always set: IF, and the one that has no name.
const FIXED_FLAGS: u64 = 0x202;

/// Bytes of extended state that the frame needs, in whole words.
fn extended_size() -> u64 {
    (FORMAT.image_size() as u64).next_multiple_of(8)
}

/// Where the kernel, and we, and the stub, put the extended state in a slot.
pub(super) fn extended_place() -> u64 {
    (SIGNAL_STACK_END - extended_size()) & !63
}

/// Where we put a newborn thread's frame.
fn first_place() -> u64 {
    (extended_place() - SIZE) & !15
}

/// Puts an image of the extended state where a thread that is in no signal handler can restore it from; returns where the
/// guest sees it. A signal that comes meanwhile overwrites it.
pub(super) fn lay_out_extended(slot: &Slot, image: &[u8]) -> u64 {
    write_padded(slot, extended_place(), image);
    slot.address() + extended_place()
}

/// The image that a thread has saved to where [`lay_out_extended`] puts one.
pub(super) fn read_laid_out_extended(slot: &Slot) -> Vec<u8> {
    read_image(slot, extended_place())
}

fn read_image(slot: &Slot, place: u64) -> Vec<u8> {
    let mut area = vec![0; extended_size() as usize];
    slot.read(place, &mut area);
    FORMAT.encode(&area)
}

fn write_padded(slot: &Slot, place: u64, image: &[u8]) {
    let mut padded = image.to_vec();
    padded.resize(extended_size() as usize, 0);
    slot.write(place, &padded);
}

/// Flags as a guest may have them.
pub(super) fn harmless_flags(flags: u64) -> u64 {
    flags & USER_FLAGS | FIXED_FLAGS
}

/// Whether a signal frame fits in a slot on this host.
pub(super) fn fits() -> bool {
    // With room for what the kernel aligns or adds.
    extended_size() + SIZE + 1024 < SIGNAL_STACK_END - SIGNAL_STACK
}

/// A frame in a slot, known by the offset of its `ucontext`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    context: u64,
}

impl Frame {
    /// The frame whose `ucontext` the guest sees at `address`. `None` if it does not lie in this slot's stack.
    pub(super) fn at(slot: &Slot, address: u64) -> Option<Frame> {
        let context = address.checked_sub(slot.address())?;
        (context.is_multiple_of(16) && (SIGNAL_STACK..=SIGNAL_STACK_END - SIZE).contains(&context))
            .then_some(Frame { context })
    }

    /// Builds a frame that starts a thread with signals as the stub needs them and initial extended state.
    pub(super) fn build(slot: &Slot) -> Frame {
        let frame = Frame { context: first_place() };
        frame.lay_out(slot);
        frame
    }

    /// Writes all that the kernel reads of a frame but for the registers.
    pub(super) fn lay_out(self, slot: &Slot) {
        let put = |offset, value| slot.write_u64(self.context + offset, value);
        put(FLAGS, CONTEXT_FLAGS);
        put(LINK, 0);
        put(STACK_POINTER, slot.address() + SIGNAL_STACK);
        put(STACK_FLAGS, AUTODISARM);
        put(STACK_SIZE, SIGNAL_STACK_END - SIGNAL_STACK);
        put(SELECTORS, USER_SELECTORS);
        put(EXTENDED_STATE, 0);
        self.let_signals_come(slot);
    }

    /// Has the thread get the stub's signals once it goes back by the frame.
    pub(super) fn let_signals_come(self, slot: &Slot) {
        // Signals for the host's process that are none of the stub's business stay pending for ever.
        let handled = TRAP_SIGNALS.iter().fold(0u64, |set, signal| set | 1 << (signal - 1));
        slot.write_u64(self.context + SIGNAL_MASK, !handled);
    }

    /// Where the guest sees its `ucontext`.
    pub(super) fn address(self, slot: &Slot) -> u64 {
        slot.address() + self.context
    }

    /// The general registers but for the segment bases.
    pub(super) fn read_registers(self, slot: &Slot, registers: &mut Registers) {
        for (offset, register) in places(registers) {
            *register = slot.read_u64(self.context + offset);
        }
    }

    /// The other direction, with flags made harmless.
    pub(super) fn write_registers(self, slot: &Slot, registers: &Registers) {
        let mut copy = *registers;
        copy.rflags = harmless_flags(copy.rflags);
        for (offset, register) in places(&mut copy) {
            slot.write_u64(self.context + offset, *register);
        }
    }

    /// What the kernel says about the signal.
    pub(super) fn read_cause(self, slot: &Slot) -> Cause {
        let read = |offset| slot.read_u64(self.context + SIGNAL_INFORMATION + offset);
        // si_code is the lower half of the second word; si_arch the upper half of the fourth.
        Cause { code: read(8) as u32 as i32, address: read(16), architecture: (read(24) >> 32) as u32 }
    }

    /// The trap number and error code of a fault.
    pub(super) fn read_fault(self, slot: &Slot) -> (u64, u64) {
        (slot.read_u64(self.context + TRAP_NUMBER), slot.read_u64(self.context + ERROR_CODE))
    }

    /// The extended state as an image of the host's format.
    pub(super) fn read_extended(self, slot: &Slot) -> Vec<u8> {
        match self.extended(slot) {
            None => FORMAT.initial_image(),
            Some(place) => read_image(slot, place),
        }
    }

    /// Replaces the extended state by an image that the format has made; `None` is the initial state.
    pub(super) fn write_extended(self, slot: &Slot, image: Option<&[u8]>) {
        let Some(image) = image else {
            return slot.write_u64(self.context + EXTENDED_STATE, 0);
        };
        let place = match self.extended(slot) {
            Some(place) => place,
            None => {
                let place = extended_place();
                slot.write_u64(self.context + EXTENDED_STATE, slot.address() + place);
                place
            }
        };
        write_padded(slot, place, image);
    }

    /// Where the extended state lies in the slot. `None` if the frame has none, or the guest has moved it away.
    fn extended(self, slot: &Slot) -> Option<u64> {
        let place = slot.read_u64(self.context + EXTENDED_STATE).checked_sub(slot.address())?;
        (place.is_multiple_of(64) && place <= SIGNAL_STACK_END - extended_size()).then_some(place)
    }
}

/// Why a signal came: fields of `siginfo`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cause {
    /// `si_code`: positive if the kernel sent it.
    pub(super) code: i32,
    /// `si_addr`, of a fault.
    pub(super) address: u64,
    architecture: u32,
}

impl Cause {
    /// Whether a system call that trapped came through the 64-bit entry point (`si_arch`).
    pub(super) fn is_native_call(&self) -> bool {
        self.architecture == ARCHITECTURE
    }
}

/// Whether a number that a guest rang with is a signal of the stub's that says what the guest did.
pub(super) fn is_fault(signal: u64) -> bool {
    TRAP_SIGNALS.iter().any(|&known| known as u64 == signal && known != KICK_SIGNAL && known != libc::SIGSYS)
}

fn places(registers: &mut Registers) -> [(u64, &mut u64); 18] {
    [
        (MACHINE, &mut registers.r8),
        (MACHINE + 8, &mut registers.r9),
        (MACHINE + 16, &mut registers.r10),
        (MACHINE + 24, &mut registers.r11),
        (MACHINE + 32, &mut registers.r12),
        (MACHINE + 40, &mut registers.r13),
        (MACHINE + 48, &mut registers.r14),
        (MACHINE + 56, &mut registers.r15),
        (MACHINE + 64, &mut registers.rdi),
        (MACHINE + 72, &mut registers.rsi),
        (MACHINE + 80, &mut registers.rbp),
        (MACHINE + 88, &mut registers.rbx),
        (MACHINE + 96, &mut registers.rdx),
        (MACHINE + 104, &mut registers.rax),
        (MACHINE + 112, &mut registers.rcx),
        (MACHINE + 120, &mut registers.rsp),
        (RIP, &mut registers.rip),
        (RFLAGS, &mut registers.rflags),
    ]
}
