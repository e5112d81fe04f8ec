//! The general registers of a stopped task (`arch/x86/kernel/ptrace.c`).

use usk_abi::Errno;
use usk_abi::mm::TASK_SIZE_MAX;
use usk_abi::ptrace::{USER_CS, USER_DEBUG_REGISTERS, USER_DS, USER_SIZE, UserRegisters};
use zerocopy::{FromBytes, IntoBytes};

use super::stop::on_tracee;
use crate::Restart;
use crate::task::{Current, PendingRestart, Task};

/// Flags that a tracer changes (`FLAG_MASK`): CF, PF, AF, ZF, SF, TF, DF, OF, NT, RF, AC.
const FLAGS: u64 = 0x5_4dd5;
/// Bytes of a `syscall` instruction.
const INSTRUCTION_LENGTH: u64 = 2;
/// Says that a task is in no system call.
const NO_CALL: u64 = u64::MAX;

/// What interrupted calls have in `rax` (`include/linux/errno.h`).
const ERESTARTSYS: u64 = 512;
const ERESTARTNOINTR: u64 = 513;
const ERESTARTNOHAND: u64 = 514;
const ERESTART_RESTARTBLOCK: u64 = 516;

/// `PTRACE_GETREGS`
pub fn registers(task: &Task) -> Result<UserRegisters, Errno> {
    on_tracee(task, |current| show(current))
}

/// `PTRACE_SETREGS`. `EIO` if a selector is not that of 64-bit user code, or a base not an address of user space; what comes before that
/// in the structure is set.
pub fn set_registers(task: &Task, wanted: UserRegisters) -> Result<(), Errno> {
    on_tracee(task, move |current| {
        let old = show(current);
        let (new, outcome) = merge(old, wanted);
        set(current, &old, &new);
        outcome
    })?
}

/// `PTRACE_PEEKUSER`: the word at an offset of `struct user`. The debug registers are zero. `EIO` outside of it.
pub fn peek_user(task: &Task, offset: u64) -> Result<u64, Errno> {
    let shown = registers(task)?;
    Ok(word_at(offset)?.map_or(0, |index| words(&shown)[index]))
}

/// `PTRACE_POKEUSER`. The same errors as [`set_registers`]; `EIO` outside of the registers, and for debug registers that
/// would watch something.
pub fn poke_user(task: &Task, offset: u64, value: u64) -> Result<(), Errno> {
    match word_at(offset)? {
        Some(index) => {
            let mut wanted = words(&registers(task)?);
            wanted[index] = value;
            let wanted = UserRegisters::read_from_bytes(wanted.as_bytes()).map_err(|_| Errno::EIO)?;
            set_registers(task, wanted)
        }
        None if USER_DEBUG_REGISTERS.contains(&offset) && value == 0 => Ok(()),
        None => Err(Errno::EIO),
    }
}

/// The number of the register at an offset of `struct user`; `None` for other words there.
fn word_at(offset: u64) -> Result<Option<usize>, Errno> {
    if !offset.is_multiple_of(8) || offset >= USER_SIZE {
        return Err(Errno::EIO);
    }
    let index = usize::try_from(offset / 8).map_err(|_| Errno::EIO)?;
    Ok(Some(index).filter(|index| *index < WORDS))
}

const WORDS: usize = size_of::<UserRegisters>() / 8;

fn words(registers: &UserRegisters) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    words.as_mut_bytes().copy_from_slice(registers.as_bytes());
    words
}

/// The registers of a task as Linux has them.
pub(super) fn show(current: &Current) -> UserRegisters {
    let own = current.thread.registers();
    let rax = current.pending_restart.map_or(own.rax, |pending| restart_code(pending.restart).wrapping_neg());
    UserRegisters {
        r15: own.r15,
        r14: own.r14,
        r13: own.r13,
        r12: own.r12,
        rbp: own.rbp,
        rbx: own.rbx,
        r11: own.r11,
        r10: own.r10,
        r9: own.r9,
        r8: own.r8,
        rax,
        rcx: own.rcx,
        rdx: own.rdx,
        rsi: own.rsi,
        rdi: own.rdi,
        orig_rax: current.call.unwrap_or(NO_CALL),
        rip: own.rip,
        cs: USER_CS,
        eflags: own.rflags,
        rsp: own.rsp,
        ss: USER_DS,
        fs_base: own.fs_base,
        gs_base: own.gs_base,
        ds: 0,
        es: 0,
        fs: 0,
        gs: 0,
    }
}

/// What `wanted` makes of `old`: up to the first register that cannot be had, in the order of the structure.
fn merge(old: UserRegisters, wanted: UserRegisters) -> (UserRegisters, Result<(), Errno>) {
    let is_base = |base: u64| base < TASK_SIZE_MAX;
    let mut new = UserRegisters { cs: old.cs, eflags: old.eflags, ss: old.ss, ..wanted };
    new.eflags = old.eflags & !FLAGS | wanted.eflags & FLAGS;
    if !is_base(wanted.fs_base) {
        new.fs_base = old.fs_base;
    }
    if !is_base(wanted.gs_base) {
        new.gs_base = old.gs_base;
    }
    (new.ds, new.es, new.fs, new.gs) = (0, 0, 0, 0);
    let selectors = wanted.cs == USER_CS && wanted.ss == USER_DS;
    let no_data_selectors = [wanted.ds, wanted.es, wanted.fs, wanted.gs] == [0; 4];
    let is_complete = selectors && no_data_selectors && is_base(wanted.fs_base) && is_base(wanted.gs_base);
    (new, if is_complete { Ok(()) } else { Err(Errno::EIO) })
}

/// Gives a task these registers.
fn set(current: &mut Current, old: &UserRegisters, new: &UserRegisters) {
    current.call = (new.orig_rax.cast_signed() >= 0).then_some(new.orig_rax);
    set_restart(current, old, new);
    let own = current.thread.registers_mut();
    (own.r15, own.r14, own.r13, own.r12) = (new.r15, new.r14, new.r13, new.r12);
    (own.r11, own.r10, own.r9, own.r8) = (new.r11, new.r10, new.r9, new.r8);
    (own.rbp, own.rbx, own.rax, own.rcx) = (new.rbp, new.rbx, new.rax, new.rcx);
    (own.rdx, own.rsi, own.rdi, own.rsp) = (new.rdx, new.rsi, new.rdi, new.rsp);
    (own.rip, own.rflags) = (new.rip, new.eflags);
    (own.fs_base, own.gs_base) = (new.fs_base, new.gs_base);
}

/// Whether the call that was interrupted is made again is told by `rax` and `orig_rax`, as on Linux.
fn set_restart(current: &mut Current, old: &UserRegisters, new: &UserRegisters) {
    let pending = current.pending_restart.take();
    let Some(number) = current.call else { return };
    let kept = pending.filter(|_| new.rax == old.rax);
    let restart = match new.rax.wrapping_neg() {
        _ if let Some(kept) = kept => kept.restart,
        ERESTARTSYS => Restart::IfHandlerAllows,
        ERESTARTNOINTR => Restart::Always,
        ERESTARTNOHAND => Restart::IfNoHandler,
        // What it would continue was lost when the task went on to do something else.
        ERESTART_RESTARTBLOCK => current.restart_block.map_or(Restart::IfNoHandler, Restart::Block),
        _ => return,
    };
    let instruction = match kept {
        Some(kept) if new.rip == old.rip => kept.instruction,
        _ => new.rip.wrapping_sub(INSTRUCTION_LENGTH),
    };
    current.pending_restart = Some(PendingRestart { restart, instruction, number });
}

fn restart_code(restart: Restart) -> u64 {
    match restart {
        Restart::IfHandlerAllows => ERESTARTSYS,
        Restart::Always => ERESTARTNOINTR,
        Restart::IfNoHandler => ERESTARTNOHAND,
        Restart::Block(_) => ERESTART_RESTARTBLOCK,
    }
}
