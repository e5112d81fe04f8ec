//! Signals: numbers, sets, actions, `siginfo_t`, alternate stacks and the frame on the guest's stack
//! (`asm-generic/signal.h`, `asm/sigcontext.h`, `asm-generic/siginfo.h`).

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A signal number, `1..=64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident = $number:literal;)*) => {
        #[allow(missing_docs)]
        impl Signal {
            $(pub const $name: Signal = Signal($number);)*

            /// The symbolic name of a standard signal; `None` for real-time signals.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($number => Some(stringify!($name)),)* _ => None }
            }
        }
    };
}

signals! {
    SIGHUP = 1; SIGINT = 2; SIGQUIT = 3; SIGILL = 4; SIGTRAP = 5; SIGABRT = 6; SIGBUS = 7; SIGFPE = 8;
    SIGKILL = 9; SIGUSR1 = 10; SIGSEGV = 11; SIGUSR2 = 12; SIGPIPE = 13; SIGALRM = 14; SIGTERM = 15;
    SIGSTKFLT = 16; SIGCHLD = 17; SIGCONT = 18; SIGSTOP = 19; SIGTSTP = 20; SIGTTIN = 21; SIGTTOU = 22;
    SIGURG = 23; SIGXCPU = 24; SIGXFSZ = 25; SIGVTALRM = 26; SIGPROF = 27; SIGWINCH = 28; SIGIO = 29;
    SIGPWR = 30; SIGSYS = 31;
}

/// What a signal does when no handler is installed (`signal(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// Ends the thread group.
    Terminate,
    /// Ends the thread group with the core-dump bit in its status.
    CoreDump,
    /// Nothing.
    Ignore,
    /// Stops the thread group.
    Stop,
    /// Continues it.
    Continue,
}

impl Signal {
    /// The highest signal number.
    pub const MAX: i32 = 64;
    /// The first real-time signal as the kernel counts them.
    pub const RT_MIN: i32 = 32;

    /// The signal with this number; `None` outside `1..=64`.
    pub const fn from_number(number: i32) -> Option<Signal> {
        if number >= 1 && number <= Self::MAX { Some(Signal(number as u8)) } else { None }
    }

    /// Its number.
    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// True for signals that queue (32 to 64).
    pub const fn is_realtime(self) -> bool {
        self.number() >= Self::RT_MIN
    }

    /// What it does by default.
    pub const fn default_action(self) -> DefaultAction {
        match self {
            Signal::SIGCHLD | Signal::SIGURG | Signal::SIGWINCH => DefaultAction::Ignore,
            Signal::SIGCONT => DefaultAction::Continue,
            Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU => DefaultAction::Stop,
            Signal::SIGQUIT
            | Signal::SIGILL
            | Signal::SIGTRAP
            | Signal::SIGABRT
            | Signal::SIGBUS
            | Signal::SIGFPE
            | Signal::SIGSEGV
            | Signal::SIGXCPU
            | Signal::SIGXFSZ
            | Signal::SIGSYS => DefaultAction::CoreDump,
            _ => DefaultAction::Terminate,
        }
    }
}

/// A set of signals; bit `n - 1` stands for signal `n`, as in the kernel's `sigset_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct SignalSet(pub u64);

impl SignalSet {
    /// No signal.
    pub const EMPTY: SignalSet = SignalSet(0);
    /// The signals that cannot be blocked, caught or ignored.
    pub const UNBLOCKABLE: SignalSet = SignalSet(1 << (Signal::SIGKILL.0 - 1) | 1 << (Signal::SIGSTOP.0 - 1));
    /// The signals that stop by default.
    pub const STOPPING: SignalSet = SignalSet(
        1 << (Signal::SIGSTOP.0 - 1)
            | 1 << (Signal::SIGTSTP.0 - 1)
            | 1 << (Signal::SIGTTIN.0 - 1)
            | 1 << (Signal::SIGTTOU.0 - 1),
    );
    /// The signals that a fault raises; delivered before others.
    pub const SYNCHRONOUS: SignalSet = SignalSet(
        1 << (Signal::SIGSEGV.0 - 1)
            | 1 << (Signal::SIGBUS.0 - 1)
            | 1 << (Signal::SIGILL.0 - 1)
            | 1 << (Signal::SIGTRAP.0 - 1)
            | 1 << (Signal::SIGFPE.0 - 1)
            | 1 << (Signal::SIGSYS.0 - 1),
    );

    /// The set of one signal.
    pub const fn of(signal: Signal) -> Self {
        SignalSet(1 << (signal.0 - 1))
    }

    /// True if `signal` is in the set.
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & Self::of(signal).0 != 0
    }

    /// The set with `signal`.
    pub const fn with(self, signal: Signal) -> Self {
        SignalSet(self.0 | Self::of(signal).0)
    }

    /// The set without `signal`.
    pub const fn without(self, signal: Signal) -> Self {
        SignalSet(self.0 & !Self::of(signal).0)
    }

    /// Signals in both.
    pub const fn and(self, other: Self) -> Self {
        SignalSet(self.0 & other.0)
    }

    /// Signals in either.
    pub const fn or(self, other: Self) -> Self {
        SignalSet(self.0 | other.0)
    }

    /// Signals in this one and not in `other`.
    pub const fn minus(self, other: Self) -> Self {
        SignalSet(self.0 & !other.0)
    }

    /// True if no signal is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The signal with the lowest number.
    pub const fn first(self) -> Option<Signal> {
        if self.0 == 0 { None } else { Some(Signal(self.0.trailing_zeros() as u8 + 1)) }
    }
}

bitflags! {
    /// `sa_flags`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ActionFlags: u64 {
        /// `SA_NOCLDSTOP`
        const NOCLDSTOP = 1;
        /// `SA_NOCLDWAIT`
        const NOCLDWAIT = 2;
        /// `SA_SIGINFO`
        const SIGINFO = 4;
        /// `SA_EXPOSE_TAGBITS`
        const EXPOSE_TAGBITS = 0x800;
        /// `SA_RESTORER`
        const RESTORER = 0x0400_0000;
        /// `SA_ONSTACK`
        const ONSTACK = 0x0800_0000;
        /// `SA_RESTART`
        const RESTART = 0x1000_0000;
        /// `SA_NODEFER`
        const NODEFER = 0x4000_0000;
        /// `SA_RESETHAND`
        const RESETHAND = 0x8000_0000;
    }
}

/// `SIG_DFL`
pub const SIG_DFL: u64 = 0;
/// `SIG_IGN`
pub const SIG_IGN: u64 = 1;

/// The kernel's `struct sigaction` of x86-64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SignalAction {
    /// Address of the handler, [`SIG_DFL`] or [`SIG_IGN`].
    pub handler: u64,
    /// [`ActionFlags`] bits.
    pub flags: u64,
    /// Address of the code that calls `rt_sigreturn`.
    pub restorer: u64,
    /// Signals blocked while the handler runs.
    pub mask: SignalSet,
}

impl SignalAction {
    /// The known bits of `flags`.
    pub fn action_flags(&self) -> ActionFlags {
        ActionFlags::from_bits_truncate(self.flags)
    }

    /// What is kept of an action that somebody asks for: flags that are known, and signals that can be blocked.
    pub fn cleaned(self) -> SignalAction {
        let flags = self.action_flags().bits();
        SignalAction { flags, mask: self.mask.minus(SignalSet::UNBLOCKABLE), ..self }
    }
}

/// `SS_ONSTACK`: the thread runs on its alternate stack.
pub const SS_ONSTACK: u32 = 1;
/// `SS_DISABLE`: there is no alternate stack.
pub const SS_DISABLE: u32 = 2;
/// `SS_AUTODISARM`: the alternate stack is cleared on entry of a handler.
pub const SS_AUTODISARM: u32 = 1 << 31;
/// `MINSIGSTKSZ` of the x86-64 ABI.
pub const MINSIGSTKSZ: u64 = 2048;

/// `stack_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlternateStack {
    /// Lowest address.
    pub address: u64,
    /// `SS_*`.
    pub flags: u32,
    /// Zero.
    pub padding: u32,
    /// Bytes.
    pub size: u64,
}

impl AlternateStack {
    /// No alternate stack: what a new thread has.
    pub const NONE: AlternateStack = AlternateStack { address: 0, flags: SS_DISABLE, padding: 0, size: 0 };

    /// The same, where nobody has ever set one.
    pub const UNSET: AlternateStack = AlternateStack { flags: 0, ..AlternateStack::NONE };

    /// True if `address` lies on it: above its start and at most at its end.
    pub fn contains(&self, address: u64) -> bool {
        self.size != 0 && address > self.address && address - self.address <= self.size
    }
}

/// `si_code` values.
#[allow(missing_docs)]
pub mod code {
    pub const SI_USER: i32 = 0;
    pub const SI_KERNEL: i32 = 0x80;
    pub const SI_QUEUE: i32 = -1;
    pub const SI_TIMER: i32 = -2;
    pub const SI_MESGQ: i32 = -3;
    pub const SI_ASYNCIO: i32 = -4;
    pub const SI_SIGIO: i32 = -5;
    pub const SI_TKILL: i32 = -6;
    pub const CLD_EXITED: i32 = 1;
    pub const CLD_KILLED: i32 = 2;
    pub const CLD_DUMPED: i32 = 3;
    pub const CLD_TRAPPED: i32 = 4;
    pub const CLD_STOPPED: i32 = 5;
    pub const CLD_CONTINUED: i32 = 6;
    pub const SEGV_MAPERR: i32 = 1;
    pub const SEGV_ACCERR: i32 = 2;
    pub const SYS_SECCOMP: i32 = 1;
    pub const TRAP_BRKPT: i32 = 1;
    pub const POLL_IN: i32 = 1;
    pub const POLL_OUT: i32 = 2;
    pub const POLL_MSG: i32 = 3;
    pub const POLL_ERR: i32 = 4;
    pub const POLL_PRI: i32 = 5;
    pub const POLL_HUP: i32 = 6;
}

/// `siginfo_t`: 128 bytes whose layout depends on the signal and its code.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct SignalInfo {
    /// `si_signo`.
    pub signo: i32,
    /// `si_errno`.
    pub errno: i32,
    /// `si_code`.
    pub code: i32,
    padding: i32,
    fields: [u8; 112],
}

impl core::fmt::Debug for SignalInfo {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SignalInfo {{ signo: {}, code: {} }}", self.signo, self.code)
    }
}

impl SignalInfo {
    /// Only number and code.
    pub fn new(signal: Signal, code: i32) -> Self {
        SignalInfo { signo: signal.number(), errno: 0, code, padding: 0, fields: [0; 112] }
    }

    fn put_u32(mut self, offset: usize, value: u32) -> Self {
        self.fields[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    fn put_u64(mut self, offset: usize, value: u64) -> Self {
        self.fields[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        self
    }

    fn get_u32(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.fields[offset..offset + 4]);
        u32::from_le_bytes(bytes)
    }

    /// Sent by `kill(2)`, `tkill(2)` and the like: `si_pid` and `si_uid` of the sender.
    pub fn user(signal: Signal, code: i32, pid: i32, uid: u32) -> Self {
        Self::new(signal, code).put_u32(0, pid as u32).put_u32(4, uid)
    }

    /// Raised by the kernel itself.
    pub fn kernel(signal: Signal) -> Self {
        Self::new(signal, code::SI_KERNEL)
    }

    /// A fault: `si_addr`.
    pub fn fault(signal: Signal, code: i32, address: u64) -> Self {
        Self::new(signal, code).put_u64(0, address)
    }

    /// SIGCHLD: which child, its user, its status, and its times in clock ticks.
    pub fn child(code: i32, pid: i32, uid: u32, status: i32, utime: u64, stime: u64) -> Self {
        Self::new(Signal::SIGCHLD, code)
            .put_u32(0, pid as u32)
            .put_u32(4, uid)
            .put_u32(8, status as u32)
            .put_u64(16, utime)
            .put_u64(24, stime)
    }

    /// A POSIX timer: its identifier, overrun count and value.
    pub fn timer(signal: Signal, id: i32, overrun: i32, value: u64) -> Self {
        Self::new(signal, code::SI_TIMER).put_u32(0, id as u32).put_u32(4, overrun as u32).put_u64(8, value)
    }

    /// A message in a POSIX queue: who sent it, and the value that was asked for.
    pub fn message(signal: Signal, pid: i32, uid: u32, value: u64) -> Self {
        Self::user(signal, code::SI_MESGQ, pid, uid).put_u64(8, value)
    }

    /// An input or output event: `si_band` and `si_fd`.
    pub fn io(signal: Signal, code: i32, band: u64, fd: i32) -> Self {
        Self::new(signal, code).put_u64(0, band).put_u32(8, fd as u32)
    }

    /// A filter of system calls raised it: the address behind the call, its number and architecture, and the filter's number in
    /// `si_errno`.
    pub fn seccomp(address: u64, number: i32, architecture: u32, detail: u32) -> Self {
        let mut info = Self::new(Signal::SIGSYS, code::SYS_SECCOMP)
            .put_u64(0, address)
            .put_u32(8, number as u32)
            .put_u32(12, architecture);
        info.errno = detail as i32;
        info
    }

    /// A message queue's notification.
    pub fn message_queue(signal: Signal, pid: i32, uid: u32, value: u64) -> Self {
        Self::user(signal, code::SI_MESGQ, pid, uid).put_u64(8, value)
    }

    /// `si_pid`, or the timer's identifier.
    pub fn pid(&self) -> i32 {
        self.get_u32(0) as i32
    }

    /// `si_uid`, or the timer's overrun count.
    pub fn uid(&self) -> u32 {
        self.get_u32(4)
    }

    /// `si_status` of a SIGCHLD.
    pub fn status(&self) -> i32 {
        self.get_u32(8) as i32
    }

    /// `si_value` as the whole word, or `si_utime` has not this place.
    pub fn value(&self) -> u64 {
        u64::from(self.get_u32(8)) | u64::from(self.get_u32(12)) << 32
    }

    /// `si_addr` of a fault, `si_band` of an event.
    pub fn address(&self) -> u64 {
        u64::from(self.get_u32(0)) | u64::from(self.get_u32(4)) << 32
    }

    /// The same with another overrun count of a timer.
    pub fn with_overrun(self, overrun: i32) -> Self {
        self.put_u32(4, overrun as u32)
    }

    /// `si_fd` of an event.
    pub fn fd(&self) -> i32 {
        self.get_u32(8) as i32
    }
}

/// `struct sigcontext_64`: the registers in a signal frame.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct SignalContext {
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rsp: u64,
    pub rip: u64,
    pub rflags: u64,
    pub cs: u16,
    pub gs: u16,
    pub fs: u16,
    pub ss: u16,
    pub error_code: u64,
    pub trap_number: u64,
    pub old_mask: u64,
    pub cr2: u64,
    pub extended_state: u64,
    pub reserved: [u64; 8],
}

/// `struct ucontext` of the kernel.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UserContext {
    /// `UC_*`.
    pub flags: u64,
    /// Zero.
    pub link: u64,
    /// The alternate stack at the time of the signal.
    pub stack: AlternateStack,
    /// Registers.
    pub registers: SignalContext,
    /// Signals blocked at the time of the signal.
    pub mask: SignalSet,
}

/// `UC_FP_XSTATE`: the extended state is an XSAVE area.
pub const UC_FP_XSTATE: u64 = 1;
/// `UC_SIGCONTEXT_SS`: `ss` is saved.
pub const UC_SIGCONTEXT_SS: u64 = 2;
/// `UC_STRICT_RESTORE_SS`: `ss` is restored as it is.
pub const UC_STRICT_RESTORE_SS: u64 = 4;

/// `struct rt_sigframe`: what lies at the stack pointer when a handler starts.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SignalFrame {
    /// Return address: the restorer.
    pub return_address: u64,
    /// What `rt_sigreturn` restores.
    pub context: UserContext,
    /// The handler's second argument points here.
    pub info: SignalInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{offset_of, size_of};

    #[test]
    fn layouts_are_the_hosts() {
        assert_eq!(size_of::<SignalInfo>(), size_of::<libc::siginfo_t>());
        assert_eq!(size_of::<AlternateStack>(), size_of::<libc::stack_t>());
        assert_eq!(offset_of!(UserContext, registers), offset_of!(libc::ucontext_t, uc_mcontext));
        assert_eq!(size_of::<SignalContext>(), size_of::<libc::mcontext_t>());
        assert_eq!(offset_of!(UserContext, mask), offset_of!(libc::ucontext_t, uc_sigmask));
        assert_eq!(size_of::<SignalFrame>(), 8 + 40 + 256 + 8 + 128);
        assert_eq!(offset_of!(SignalFrame, info), 312);
    }
}
