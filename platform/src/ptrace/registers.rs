//! Guest registers to and from `user_regs_struct`.

use libc::user_regs_struct;

use crate::arch::Registers;

/// Selectors of 64-bit user code and of user data (`asm/segment.h`).
pub(super) const USER_CS: u64 = 0x33;
const USER_DS: u64 = 0x2b;

/// Says that the process is not in a system call, so that the host restarts nothing.
const NO_SYSCALL: u64 = u64::MAX;

/// Registers of a process that is about to run for the first time.
pub(super) fn initial() -> user_regs_struct {
    to_host(&Registers::default(), USER_CS)
}

/// The host's form. `code_segment` is what the process has now: guest code may have switched to 32-bit mode.
pub(super) fn to_host(registers: &Registers, code_segment: u64) -> user_regs_struct {
    user_regs_struct {
        r15: registers.r15,
        r14: registers.r14,
        r13: registers.r13,
        r12: registers.r12,
        rbp: registers.rbp,
        rbx: registers.rbx,
        r11: registers.r11,
        r10: registers.r10,
        r9: registers.r9,
        r8: registers.r8,
        rax: registers.rax,
        rcx: registers.rcx,
        rdx: registers.rdx,
        rsi: registers.rsi,
        rdi: registers.rdi,
        orig_rax: NO_SYSCALL,
        rip: registers.rip,
        cs: code_segment,
        eflags: registers.rflags,
        rsp: registers.rsp,
        ss: USER_DS,
        fs_base: segment_base(registers.fs_base),
        gs_base: segment_base(registers.gs_base),
        ds: 0,
        es: 0,
        fs: 0,
        gs: 0,
    }
}

/// The guest's form.
pub(super) fn from_host(host: &user_regs_struct) -> Registers {
    Registers {
        rax: host.rax,
        rbx: host.rbx,
        rcx: host.rcx,
        rdx: host.rdx,
        rsi: host.rsi,
        rdi: host.rdi,
        rbp: host.rbp,
        rsp: host.rsp,
        r8: host.r8,
        r9: host.r9,
        r10: host.r10,
        r11: host.r11,
        r12: host.r12,
        r13: host.r13,
        r14: host.r14,
        r15: host.r15,
        rip: host.rip,
        rflags: host.eflags,
        fs_base: host.fs_base,
        gs_base: host.gs_base,
    }
}

/// The host takes only bases in the lower half from a tracer, although guest code can load others by itself with
/// `wrfsbase`. Such a base survives while the thread runs; one that must be written becomes 0.
fn segment_base(base: u64) -> u64 {
    if base < super::geography::TASK_SIZE { base } else { 0 }
}
