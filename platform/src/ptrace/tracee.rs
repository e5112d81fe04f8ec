//! A stub's host process, as its tracer sees it: stopped, except inside the calls below.
//!
//! The host binds a tracee to the thread that attached, so a [`Tracee`] must be used by that thread only. Its owners
//! see to it: a [parked](super::parked) stub has a tracer for the length of a visit, a guest thread has its sentry
//! thread for good.

use std::sync::Arc;

use libc::user_regs_struct;
use usk_abi::Errno;

use crate::host::ptrace::{self, RegisterSet};
use crate::host::wait::{self, Change};
use crate::host::{self, Pid};

use super::code::Entry;
use super::geography::CODE;
use super::placement::{Binding, Placement};
use super::process::{HostProcess, KICK_SIGNAL};
use super::registers;

/// The signals that all stubs block: all but those of faults and filters, which the host forces upon a process and
/// would reset the handler of, and the kick. So nothing ends a stub while it has no tracer but what is meant to.
pub(super) const STUB_SIGNAL_MASK: u64 = {
    let faults = [libc::SIGILL, libc::SIGTRAP, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV, libc::SIGSYS];
    let (mut mask, mut index) = (!(1 << (KICK_SIGNAL - 1)), 0);
    while index < faults.len() {
        mask &= !(1 << (faults[index] - 1));
        index += 1;
    }
    mask
};

/// Bit 7 of a stop's signal: it is a system call (`PTRACE_O_TRACESYSGOOD`).
const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// Why a resumed tracee stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// At a system call, which is not going to be carried out.
    Syscall,
    /// At a signal that would be delivered now.
    Signal(i32),
    /// A stop that says nothing about the guest: a group stop or the answer to an interrupt.
    Other,
    /// It has ended.
    Ended(Change),
}

/// A traced process, stopped.
pub(super) struct Tracee {
    process: Arc<HostProcess>,
    /// Where injected calls run from: the code page, or its original in the usk binary while the template is made.
    code: u64,
    /// A kick was seen while a host call ran.
    kicked: bool,
    /// Keeps a guest thread on its tracer's CPU.
    binding: Option<Binding>,
}

impl Tracee {
    /// Attaches to a process that runs free (the platform's code, parked), and stops it. The calling thread becomes
    /// its tracer. `EPERM` if the host does not let us.
    pub(super) fn attach(process: Arc<HostProcess>, code: u64) -> Result<Tracee, Errno> {
        ptrace::seize(process.pid())?;
        let tracee = Tracee { process, code, kicked: false, binding: None };
        // It stays on this CPU; nobody else needs it elsewhere, and its children are bound anew when they run.
        let _ = host::pin(tracee.pid(), host::current_cpu());
        ptrace::interrupt(tracee.pid())?;
        tracee.wait_for_first_stop()
    }

    /// Takes a process that is traced by the calling thread from its birth, and waits for its first stop.
    pub(super) fn adopt(process: Arc<HostProcess>, code: u64) -> Result<Tracee, Errno> {
        Tracee { process, code, kicked: false, binding: None }.wait_for_first_stop()
    }

    fn wait_for_first_stop(self) -> Result<Tracee, Errno> {
        match self.wait()? {
            Stop::Ended(_) => Err(Errno::ESRCH),
            _ => Ok(self),
        }
    }

    pub(super) fn process(&self) -> &Arc<HostProcess> {
        &self.process
    }

    fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// From now on the process and the calling thread, its tracer, are kept on one CPU.
    pub(super) fn keep_together(&mut self, placement: &Arc<Placement>) {
        self.binding = Some(Binding::new(placement, self.pid()));
    }

    /// From now on injected calls run from the stub's own code page.
    pub(super) fn use_code_page(&mut self) {
        self.code = CODE;
    }

    /// Whether a kick came in during an injected call; forgets it.
    pub(super) fn take_kick(&mut self) -> bool {
        std::mem::take(&mut self.kicked)
    }

    pub(super) fn set_signal_mask(&self, mask: u64) -> Result<(), Errno> {
        ptrace::set_signal_mask(self.pid(), mask)
    }

    pub(super) fn registers(&self) -> Result<user_regs_struct, Errno> {
        ptrace::registers(self.pid())
    }

    pub(super) fn set_registers(&self, registers: &user_regs_struct, set: RegisterSet) -> Result<(), Errno> {
        ptrace::set_registers(self.pid(), registers, set)
    }

    pub(super) fn extended_state(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        ptrace::extended_state(self.pid(), buffer)
    }

    pub(super) fn set_extended_state(&self, image: &[u8]) -> Result<(), Errno> {
        ptrace::set_extended_state(self.pid(), image)
    }

    pub(super) fn signal_info(&self) -> Result<ptrace::SignalInfo, Errno> {
        ptrace::signal_info(self.pid())
    }

    /// Runs guest code until it stops.
    pub(super) fn run_guest(&self) -> Result<Stop, Errno> {
        if let Some(binding) = &self.binding {
            binding.bind();
        }
        ptrace::resume_emulated(self.pid())?;
        self.wait()
    }

    /// Runs platform code with host calls let through, after delivering `signal` unless it is 0.
    pub(super) fn run_platform(&self, signal: i32) -> Result<Stop, Errno> {
        if let Some(binding) = &self.binding {
            binding.bind();
        }
        ptrace::resume(self.pid(), signal)?;
        self.wait()
    }

    /// Carries out a host call in the tracee and returns its result. The general registers are lost. `ESRCH` if the
    /// process has ended.
    pub(super) fn call(&mut self, number: libc::c_long, arguments: &[u64]) -> Result<u64, Errno> {
        self.call_at(Entry::Call, number, arguments)
    }

    /// The same from another entry point.
    pub(super) fn call_at(
        &mut self,
        entry: Entry,
        number: libc::c_long,
        arguments: &[u64],
    ) -> Result<u64, Errno> {
        let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
        let start = user_regs_struct {
            rax: number as u64,
            rdi: argument(0),
            rsi: argument(1),
            rdx: argument(2),
            r10: argument(3),
            r8: argument(4),
            r9: argument(5),
            rip: entry.address(self.code),
            ..registers::initial()
        };
        let end = match self.run_to_trap(entry, &start)? {
            Ok(end) => end,
            // The code page makes one call and stops; a fault in it means that the host is not what we think.
            Err(_signal) => return Err(Errno::EIO),
        };
        // -MAX_ERRNO..=-1 is an error (`linux/err.h`).
        match end.rax as i64 {
            error @ -4095..=-1 => Err(Errno::from_raw(-error as i32)),
            _ => Ok(end.rax),
        }
    }

    /// Compares and exchanges a word of the tracee's memory; `EFAULT` if it cannot be written.
    pub(super) fn exchange(&mut self, address: u64, current: u32, new: u32) -> Result<u32, Errno> {
        let start = user_regs_struct {
            rax: u64::from(current),
            rdi: address,
            rsi: u64::from(new),
            rip: Entry::Exchange.address(self.code),
            ..registers::initial()
        };
        match self.run_to_trap(Entry::Exchange, &start)? {
            Ok(end) => Ok(end.rax as u32),
            Err(_signal) => Err(Errno::EFAULT),
        }
    }

    /// Lets the process go, which then sleeps until the next tracer.
    pub(super) fn release(self) -> Result<Arc<HostProcess>, Errno> {
        let parked = user_regs_struct { rip: Entry::Newborn.address(self.code), ..registers::initial() };
        self.set_registers(&parked, RegisterSet::General)?;
        ptrace::detach(self.pid())?;
        Ok(self.process)
    }

    /// Runs platform code from `start` to its `int3` and returns the registers there, or the signal of a fault on
    /// the way. Other signals are swallowed; a kick is remembered.
    fn run_to_trap(
        &mut self,
        entry: Entry,
        start: &user_regs_struct,
    ) -> Result<Result<user_regs_struct, i32>, Errno> {
        self.set_registers(start, RegisterSet::General)?;
        loop {
            match self.run_platform(0)? {
                Stop::Signal(libc::SIGTRAP) => {
                    // Somebody on the host may have sent one; only the `int3` leaves the process there.
                    let registers = self.registers()?;
                    if registers.rip == entry.end(self.code) {
                        return Ok(Ok(registers));
                    }
                }
                Stop::Signal(signal @ (libc::SIGSEGV | libc::SIGBUS | libc::SIGILL)) => {
                    // Only the processor's own, not what somebody on the host sends.
                    if self.signal_info()?.code > 0 {
                        return Ok(Err(signal));
                    }
                }
                Stop::Signal(KICK_SIGNAL) => self.kicked = true,
                Stop::Signal(_) | Stop::Syscall | Stop::Other => {}
                Stop::Ended(_) => return Err(Errno::ESRCH),
            }
        }
    }

    /// Waits for the next stop, or for the end.
    pub(super) fn wait(&self) -> Result<Stop, Errno> {
        Ok(match wait::change(self.pid())? {
            Change::Stopped { event: 0, signal: SYSCALL_STOP } => Stop::Syscall,
            Change::Stopped { event: 0, signal } => Stop::Signal(signal),
            Change::Stopped { .. } => Stop::Other,
            ended => Stop::Ended(ended),
        })
    }
}
