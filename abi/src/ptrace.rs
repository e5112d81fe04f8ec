//! Tracing of processes (`ptrace(2)`, `linux/ptrace.h`, `asm/ptrace-abi.h`).

#![allow(missing_docs)]

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const PTRACE_TRACEME: i64 = 0;
pub const PTRACE_PEEKTEXT: i64 = 1;
pub const PTRACE_PEEKDATA: i64 = 2;
pub const PTRACE_PEEKUSER: i64 = 3;
pub const PTRACE_POKETEXT: i64 = 4;
pub const PTRACE_POKEDATA: i64 = 5;
pub const PTRACE_POKEUSER: i64 = 6;
pub const PTRACE_CONT: i64 = 7;
pub const PTRACE_KILL: i64 = 8;
pub const PTRACE_SINGLESTEP: i64 = 9;
pub const PTRACE_GETREGS: i64 = 12;
pub const PTRACE_SETREGS: i64 = 13;
pub const PTRACE_GETFPREGS: i64 = 14;
pub const PTRACE_SETFPREGS: i64 = 15;
pub const PTRACE_ATTACH: i64 = 16;
pub const PTRACE_DETACH: i64 = 17;
pub const PTRACE_SYSCALL: i64 = 24;
pub const PTRACE_SYSEMU: i64 = 31;
pub const PTRACE_SYSEMU_SINGLESTEP: i64 = 32;
pub const PTRACE_SETOPTIONS: i64 = 0x4200;
pub const PTRACE_GETEVENTMSG: i64 = 0x4201;
pub const PTRACE_GETSIGINFO: i64 = 0x4202;
pub const PTRACE_SETSIGINFO: i64 = 0x4203;
pub const PTRACE_GETREGSET: i64 = 0x4204;
pub const PTRACE_SETREGSET: i64 = 0x4205;
pub const PTRACE_SEIZE: i64 = 0x4206;
pub const PTRACE_INTERRUPT: i64 = 0x4207;
pub const PTRACE_LISTEN: i64 = 0x4208;
pub const PTRACE_PEEKSIGINFO: i64 = 0x4209;
pub const PTRACE_GETSIGMASK: i64 = 0x420a;
pub const PTRACE_SETSIGMASK: i64 = 0x420b;
pub const PTRACE_GET_SYSCALL_INFO: i64 = 0x420e;

/// What a stop is for: the upper half of the stop's code.
pub const PTRACE_EVENT_FORK: i32 = 1;
pub const PTRACE_EVENT_VFORK: i32 = 2;
pub const PTRACE_EVENT_CLONE: i32 = 3;
pub const PTRACE_EVENT_EXEC: i32 = 4;
pub const PTRACE_EVENT_VFORK_DONE: i32 = 5;
pub const PTRACE_EVENT_EXIT: i32 = 6;
pub const PTRACE_EVENT_SECCOMP: i32 = 7;
pub const PTRACE_EVENT_STOP: i32 = 128;

/// What `PTRACE_GETEVENTMSG` says at the stops of a system call.
pub const PTRACE_EVENTMSG_SYSCALL_ENTRY: u64 = 1;
pub const PTRACE_EVENTMSG_SYSCALL_EXIT: u64 = 2;

/// `PTRACE_PEEKSIGINFO_SHARED`: the signals of the process, not of the thread.
pub const PTRACE_PEEKSIGINFO_SHARED: u32 = 1;

/// Added to the signal of a system call's stop (`PTRACE_O_TRACESYSGOOD`).
pub const SYSCALL_STOP_MARK: i32 = 0x80;

bitflags! {
    /// `PTRACE_O_*`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct PtraceOptions: u64 {
        const TRACESYSGOOD = 1;
        const TRACEFORK = 1 << PTRACE_EVENT_FORK;
        const TRACEVFORK = 1 << PTRACE_EVENT_VFORK;
        const TRACECLONE = 1 << PTRACE_EVENT_CLONE;
        const TRACEEXEC = 1 << PTRACE_EVENT_EXEC;
        const TRACEVFORKDONE = 1 << PTRACE_EVENT_VFORK_DONE;
        const TRACEEXIT = 1 << PTRACE_EVENT_EXIT;
        const TRACESECCOMP = 1 << PTRACE_EVENT_SECCOMP;
        const EXITKILL = 1 << 20;
        const SUSPEND_SECCOMP = 1 << 21;
    }
}

/// Kinds of register sets (`linux/elf.h`).
pub const NT_PRSTATUS: u64 = 1;
pub const NT_PRFPREG: u64 = 2;
pub const NT_X86_XSTATE: u64 = 0x202;

/// `struct user_regs_struct` of x86-64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UserRegisters {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

/// Selectors of 64-bit user code and of user data (`asm/segment.h`).
pub const USER_CS: u64 = 0x33;
pub const USER_DS: u64 = 0x2b;

/// Bytes of the kernel's `struct user`, the last two words of which the C library does not know, and where its debug registers are.
pub const USER_SIZE: u64 = 928;
pub const USER_DEBUG_REGISTERS: core::ops::Range<u64> = 848..912;

/// `PTRACE_SYSCALL_INFO_*`
pub const SYSCALL_INFO_NONE: u8 = 0;
pub const SYSCALL_INFO_ENTRY: u8 = 1;
pub const SYSCALL_INFO_EXIT: u8 = 2;
pub const SYSCALL_INFO_SECCOMP: u8 = 3;

/// `struct ptrace_syscall_info`, whose words say different things for each `op`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SyscallInfo {
    pub op: u8,
    pub padding: [u8; 3],
    pub architecture: u32,
    pub instruction_pointer: u64,
    pub stack_pointer: u64,
    pub words: [u64; 8],
}

impl SyscallInfo {
    /// Bytes of the structure that mean something for each `op`: none, entry, exit, seccomp.
    pub const LENGTHS: [usize; 4] = [24, 80, 33, 84];
}

/// `struct ptrace_peeksiginfo_args`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PeekSignalInfo {
    pub offset: u64,
    pub flags: u32,
    pub count: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_size_of_the_headers() {
        assert_eq!(size_of::<UserRegisters>(), size_of::<libc::user_regs_struct>());
        assert_eq!(size_of::<SyscallInfo>(), size_of::<libc::ptrace_syscall_info>());
        assert_eq!(USER_SIZE as usize, size_of::<libc::user>() + 16);
        assert_eq!(USER_DEBUG_REGISTERS.start as usize, core::mem::offset_of!(libc::user, u_debugreg));
        assert_eq!(USER_DEBUG_REGISTERS.end as usize, size_of::<libc::user>());
    }
}
