//! Signal frames of x86-64 (`arch/x86/kernel/signal_64.c`): what a handler finds on its stack, and the way back.

use usk_abi::Errno;
use usk_abi::signal::{
    ActionFlags, AlternateStack, MINSIGSTKSZ, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, Signal, SignalAction,
    SignalContext, SignalFrame, SignalInfo, SignalSet, UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS,
    UserContext,
};
use usk_platform::arch::Registers;

use crate::task::{Current, TaskSignals};
use crate::{SysResult, UserPtr};

/// Bytes below the stack pointer that leaf functions may use without saying so (the ABI's red zone).
const RED_ZONE: u64 = 128;
/// Bytes of an FXSAVE image: the extended state of a frame without XSAVE.
const LEGACY_STATE_SIZE: usize = 512;
/// Flags that a handler starts without: direction, trap and resume (`regs->flags &= ~(X86_EFLAGS_DF|RF|TF)`).
const FLAGS_CLEARED: u64 = 0x400 | 0x100 | 0x1_0000;
/// Flags that `rt_sigreturn` takes from the frame (`FIX_EFLAGS`): AC, OF, DF, TF, SF, ZF, AF, PF, CF, RF.
const FLAGS_RESTORED: u64 = 0x4_0000 | 0x800 | 0x400 | 0x100 | 0x80 | 0x40 | 0x10 | 0x4 | 0x1 | 0x1_0000;
const USER_CS: u16 = 0x33;
const USER_SS: u16 = 0x2b;

/// Writes the frame and sets the registers for the handler. `EFAULT` if the stack cannot take it.
pub(super) fn push(
    current: &mut Current,
    signal: Signal,
    action: &SignalAction,
    info: &SignalInfo,
    mask: SignalSet,
) -> Result<(), Errno> {
    let registers = *current.thread.registers();
    let flags = action.action_flags();
    if !flags.contains(ActionFlags::RESTORER) {
        return Err(Errno::EFAULT);
    }
    let (stack, on_alternate) = {
        let signals = current.task.signals.lock();
        (signals.alternate_stack, is_on_stack(&signals, registers.rsp))
    };
    let use_alternate = flags.contains(ActionFlags::ONSTACK) && stack.size != 0 && !on_alternate;
    let top = if use_alternate {
        stack.address.wrapping_add(stack.size)
    } else {
        registers.rsp.wrapping_sub(RED_ZONE)
    };

    let extended_size = current.task.kernel.platform.layout().extended_state_size as u64;
    let extended_address = top.wrapping_sub(extended_size) & !63;
    // The handler is entered as if called: the stack pointer is 8 modulo 16.
    let frame_address =
        (extended_address.wrapping_sub(size_of::<SignalFrame>() as u64) & !15).wrapping_sub(8);
    if (use_alternate || on_alternate) && frame_address < stack.address {
        return Err(Errno::EFAULT);
    }

    let frame = SignalFrame {
        return_address: action.restorer,
        context: UserContext {
            flags: UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
            link: 0,
            stack,
            registers: save(&registers, current.last_fault, mask, extended_address),
            mask,
        },
        info: *info,
    };
    // Both are made on the way to the handler, where the guest can write by all that is known.
    current.copy_out(UserPtr::new(frame_address), &frame)?;
    let is_writable = current.task.borrow_mm(|mm| mm.is_writable(extended_address, extended_size));
    current.thread.save_extended_state(extended_address, is_writable)?;
    current.is_entering_handler = true;

    if stack.flags & SS_AUTODISARM != 0 {
        current.task.signals.lock().alternate_stack = AlternateStack::NONE;
    }
    tell_stack(current);
    let next = current.thread.registers_mut();
    next.rip = action.handler;
    next.rsp = frame_address;
    next.rax = 0;
    next.rdi = signal.number() as u64;
    next.rsi = frame_address + core::mem::offset_of!(SignalFrame, info) as u64;
    next.rdx = frame_address + core::mem::offset_of!(SignalFrame, context) as u64;
    next.rflags &= !FLAGS_CLEARED;
    Ok(())
}

/// True if the task runs on its alternate stack. With `SS_AUTODISARM` it never counts as doing so.
pub(crate) fn is_on_stack(signals: &TaskSignals, stack_pointer: u64) -> bool {
    signals.alternate_stack.flags & SS_AUTODISARM == 0 && signals.alternate_stack.contains(stack_pointer)
}

/// The `ss_flags` that the guest is shown.
pub(crate) fn stack_flags(stack: &AlternateStack, on_stack: bool) -> u32 {
    let mode = if stack.size == 0 {
        SS_DISABLE
    } else if on_stack {
        SS_ONSTACK
    } else {
        0
    };
    mode | stack.flags & SS_AUTODISARM
}

/// `rt_sigreturn(2)`: restores what the frame at the stack pointer says. A frame that cannot be read or restored is a SIGSEGV, as on
/// Linux. Returns the value that goes to `rax`.
pub fn signal_return(current: &mut Current) -> SysResult {
    match restore(current) {
        Ok(rax) => Ok(rax),
        Err(_) => {
            super::force_signal(&current.task, SignalInfo::kernel(Signal::SIGSEGV));
            Ok(0)
        }
    }
}

fn restore(current: &mut Current) -> Result<u64, Errno> {
    // The handler's `ret` has taken the return address off.
    let frame_address = current.thread.registers().rsp.wrapping_sub(8);
    let context_address = frame_address + core::mem::offset_of!(SignalFrame, context) as u64;
    let context: UserContext = UserPtr::new(context_address).read(current.space())?;
    set_mask(current, context.mask);
    let registers = current.thread.registers_mut();
    load(registers, &context.registers);
    let (rax, stack_pointer) = (registers.rax, registers.rsp);
    // What the handler has interrupted is not continued (`restore_sigcontext`).
    (current.restart_block, current.pending_restart, current.call) = (None, None, None);
    // Where this fails, the task is where the frame says all the same.
    let extended = read_extended(current, context.registers.extended_state)?;
    current.thread.set_extended_state(extended.as_deref())?;
    restore_alternate_stack(current, &context.stack, stack_pointer);
    Ok(rax)
}

/// Reads the extended state that the frame points at: as much as a frame of this machine has, or the legacy part alone.
fn read_extended(current: &Current, address: u64) -> Result<Option<Vec<u8>>, Errno> {
    if address == 0 {
        return Ok(None);
    }
    let mut image = vec![0; current.task.kernel.platform.layout().extended_state_size];
    let read = current.space().read(address, &mut image);
    if read < image.len() {
        if read < LEGACY_STATE_SIZE {
            return Err(Errno::EFAULT);
        }
        image.truncate(LEGACY_STATE_SIZE);
    }
    Ok(Some(image))
}

/// `sigaltstack(2)`: the alternate stack as the guest is shown it.
pub fn alternate_stack(current: &Current) -> AlternateStack {
    let stack_pointer = current.thread.registers().rsp;
    let signals = current.task.signals.lock();
    let flags = stack_flags(&signals.alternate_stack, is_on_stack(&signals, stack_pointer));
    AlternateStack { flags, ..signals.alternate_stack }
}

/// `sigaltstack(2)`: sets it. `EPERM` while the task runs on it.
pub fn set_alternate_stack(current: &mut Current, wanted: AlternateStack) -> Result<(), Errno> {
    let stack_pointer = current.thread.registers().rsp;
    let mut signals = current.task.signals.lock();
    if is_on_stack(&signals, stack_pointer) {
        return Err(Errno::EPERM);
    }
    signals.alternate_stack = checked(&wanted)?;
    drop(signals);
    tell_stack(current);
    Ok(())
}

/// A stack as it is kept, with its flags. `EINVAL` if these are wrong, `ENOMEM` if it is too small.
fn checked(wanted: &AlternateStack) -> Result<AlternateStack, Errno> {
    match wanted.flags & !SS_AUTODISARM {
        SS_DISABLE => Ok(AlternateStack { flags: wanted.flags, ..AlternateStack::NONE }),
        0 | SS_ONSTACK if wanted.size < MINSIGSTKSZ => Err(Errno::ENOMEM),
        0 | SS_ONSTACK => Ok(AlternateStack { padding: 0, ..*wanted }),
        _ => Err(Errno::EINVAL),
    }
}

/// What no frame has as its alternate stack: the guest thread asks for each return.
const ASK: [u64; 3] = [0, u64::MAX, 0];

/// Tells the guest thread which frames leave the alternate stack as it is: such it may return through by itself, if there is no call that a
/// return makes an end of.
pub(super) fn tell_stack(current: &mut Current) {
    let stack = current.task.signals.lock().alternate_stack;
    let words = match stack.flags & SS_AUTODISARM {
        0 if current.restart_block.is_none() => {
            [stack.address, u64::from(stack.flags & !SS_ONSTACK), stack.size]
        }
        _ => ASK,
    };
    current.thread.set_return_stack(words);
}

fn set_mask(current: &Current, mask: SignalSet) {
    current.task.set_blocked_signals(mask);
}

/// Puts back the alternate stack of the frame; what is wrong with it is passed over, as on Linux (`restore_altstack`).
fn restore_alternate_stack(current: &mut Current, stack: &AlternateStack, stack_pointer: u64) {
    take_stack(&mut current.task.signals.lock(), stack, stack_pointer);
    tell_stack(current);
}

fn take_stack(signals: &mut TaskSignals, stack: &AlternateStack, stack_pointer: u64) {
    if is_on_stack(signals, stack_pointer) {
        return;
    }
    if let Ok(stack) = checked(stack) {
        signals.alternate_stack = stack;
    }
}

fn save(
    registers: &Registers,
    fault: crate::task::LastFault,
    mask: SignalSet,
    extended_address: u64,
) -> SignalContext {
    SignalContext {
        r8: registers.r8,
        r9: registers.r9,
        r10: registers.r10,
        r11: registers.r11,
        r12: registers.r12,
        r13: registers.r13,
        r14: registers.r14,
        r15: registers.r15,
        rdi: registers.rdi,
        rsi: registers.rsi,
        rbp: registers.rbp,
        rbx: registers.rbx,
        rdx: registers.rdx,
        rax: registers.rax,
        rcx: registers.rcx,
        rsp: registers.rsp,
        rip: registers.rip,
        rflags: registers.rflags,
        cs: USER_CS,
        gs: 0,
        fs: 0,
        ss: USER_SS,
        error_code: fault.error_code,
        trap_number: fault.trap_number,
        old_mask: mask.0,
        cr2: fault.address,
        extended_state: extended_address,
        reserved: [0; 8],
    }
}

fn load(registers: &mut Registers, context: &SignalContext) {
    registers.r8 = context.r8;
    registers.r9 = context.r9;
    registers.r10 = context.r10;
    registers.r11 = context.r11;
    registers.r12 = context.r12;
    registers.r13 = context.r13;
    registers.r14 = context.r14;
    registers.r15 = context.r15;
    registers.rdi = context.rdi;
    registers.rsi = context.rsi;
    registers.rbp = context.rbp;
    registers.rbx = context.rbx;
    registers.rdx = context.rdx;
    registers.rax = context.rax;
    registers.rcx = context.rcx;
    registers.rsp = context.rsp;
    registers.rip = context.rip;
    registers.rflags = registers.rflags & !FLAGS_RESTORED | context.rflags & FLAGS_RESTORED;
}
