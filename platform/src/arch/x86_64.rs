//! x86-64: the general registers of a guest thread.

/// General registers of a 64-bit guest, the flags and the two segment bases. Selectors are always those of 64-bit
/// user code (`cs` 0x33, `ss` 0x2b) and are not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Registers {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub rsp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    pub rflags: u64,
    pub fs_base: u64,
    pub gs_base: u64,
}

impl Registers {
    /// The number of the system call that the guest asked for.
    pub fn syscall_number(&self) -> u64 {
        self.rax
    }

    /// Its six arguments.
    pub fn syscall_arguments(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }

    /// Sets what the system call returns.
    pub fn set_return_value(&mut self, value: u64) {
        self.rax = value;
    }

    /// These, when the system call whose instruction they are at has returned `value`.
    pub(crate) fn after_syscall(self, value: u64) -> Registers {
        let rip = self.rip.wrapping_add(2);
        Registers { rip, rcx: rip, r11: self.rflags, rax: value, ..self }
    }

    /// Makes the guest execute the `syscall` instruction at `instruction` again, with `number` in `rax`.
    pub fn restart_syscall(&mut self, instruction: u64, number: u64) {
        self.rip = instruction;
        self.rax = number;
    }
}
