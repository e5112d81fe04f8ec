//! The code page of a stub: what injected host calls run from.
//!
//! The same instructions serve twice. At their place in the usk binary they bring the template up, before it has a
//! code page; copied to [`CODE`] they are the only place from which the stubs' filter lets
//! a host call pass. Each entry point ends in `int3`, which stops the tracee for its tracer. None needs a stack.

use std::arch::global_asm;

use super::geography::CODE;

global_asm!(
    ".pushsection .text.usk_ptrace_code, \"ax\", @progbits",
    ".balign 64",
    ".globl usk_ptrace_code_start, usk_ptrace_code_clone",
    ".globl usk_ptrace_code_newborn, usk_ptrace_code_exchange, usk_ptrace_code_handler, usk_ptrace_code_end",
    "usk_ptrace_code_start:", // a host call, everything in registers
    "syscall",
    "int3",
    "usk_ptrace_code_clone:", // clone(2) of a process that nobody traces at first
    "syscall",
    "test rax, rax",
    "jz usk_ptrace_code_newborn",
    "int3",
    "usk_ptrace_code_newborn:",
    "mov eax, {prctl}",
    "mov edi, {pdeathsig}",
    "mov esi, {sigkill}",
    "syscall",
    "usk_ptrace_code_park:", // sleep until a tracer comes
    "mov eax, {pause}",
    "syscall",
    "jmp usk_ptrace_code_park",
    "usk_ptrace_code_exchange:", // compare eax with the word at rdi, and exchange with esi
    "lock cmpxchg dword ptr [rdi], esi",
    "int3",
    "usk_ptrace_code_handler:", // a signal handler that only stops
    "int3",
    "usk_ptrace_code_end:",
    ".popsection",
    prctl = const libc::SYS_prctl,
    pdeathsig = const libc::PR_SET_PDEATHSIG,
    sigkill = const libc::SIGKILL,
    pause = const libc::SYS_pause,
);

unsafe extern "C" {
    static usk_ptrace_code_start: u8;
    static usk_ptrace_code_clone: u8;
    static usk_ptrace_code_newborn: u8;
    static usk_ptrace_code_exchange: u8;
    static usk_ptrace_code_handler: u8;
    static usk_ptrace_code_end: u8;
}

/// Bytes of a `syscall` instruction.
pub(super) const SYSCALL_LENGTH: u64 = 2;

/// An entry point of the code page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A host call; ends in `int3`.
    Call,
    /// `clone(2)`; the parent ends in `int3`, the child goes on at `Newborn`.
    Clone,
    /// Where the child of a clone starts: sets its parent-death signal, then sleeps until a tracer comes.
    Newborn,
    /// Compare and exchange; ends in `int3`.
    Exchange,
    /// Where signal handlers of the stub start.
    Handler,
}

impl Entry {
    /// Where the instruction pointer is after the `int3`, in a code page at `base`.
    pub(super) fn end(self, base: u64) -> u64 {
        let symbol = match self {
            Entry::Call => &raw const usk_ptrace_code_clone,
            Entry::Clone => &raw const usk_ptrace_code_newborn,
            Entry::Newborn | Entry::Exchange => &raw const usk_ptrace_code_handler,
            Entry::Handler => &raw const usk_ptrace_code_end,
        };
        base + symbol.addr() as u64 - address_in_binary()
    }

    /// Byte offset in the code page.
    fn offset(self) -> u64 {
        let symbol = match self {
            Entry::Call => &raw const usk_ptrace_code_start,
            Entry::Clone => &raw const usk_ptrace_code_clone,
            Entry::Newborn => &raw const usk_ptrace_code_newborn,
            Entry::Exchange => &raw const usk_ptrace_code_exchange,
            Entry::Handler => &raw const usk_ptrace_code_handler,
        };
        symbol.addr() as u64 - address_in_binary()
    }

    /// Where it is in a code page at `base`.
    pub(super) fn address(self, base: u64) -> u64 {
        base + self.offset()
    }

    /// Where it is in a stub that is set up.
    pub(super) fn in_stub(self) -> u64 {
        self.address(CODE)
    }
}

/// Where the code lies in the usk binary, and so in a fresh copy of the sentry.
pub(super) fn address_in_binary() -> u64 {
    (&raw const usk_ptrace_code_start).addr() as u64
}

/// The code itself.
pub(super) fn bytes() -> &'static [u8] {
    let start = &raw const usk_ptrace_code_start;
    let length = (&raw const usk_ptrace_code_end).addr() - start.addr();
    // SAFETY: start and end are symbols around one run of bytes in the text section, which is mapped for good and
    // readable.
    unsafe { std::slice::from_raw_parts(start, length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_point_lies_inside_the_code_and_the_first_is_a_syscall() {
        assert_eq!(&bytes()[..3], &[0x0f, 0x05, 0xcc]);
        for entry in [Entry::Call, Entry::Clone, Entry::Newborn, Entry::Exchange, Entry::Handler] {
            assert!((entry.offset() as usize) < bytes().len());
        }
        for entry in [Entry::Call, Entry::Clone, Entry::Exchange, Entry::Handler] {
            assert_eq!(bytes()[entry.end(0) as usize - 1], 0xcc, "{entry:?} ends in int3");
        }
    }
}
