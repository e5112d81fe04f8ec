//! Guest threads.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use usk_abi::Errno;

use crate::arch::Registers;
use crate::host::ptrace::RegisterSet;
use crate::host::wait::Change;
use crate::interface::{AddressSpace, ExitReason, GuestThread, Kick, MemoryOp, ThreadState, Trap};

use super::code::SYSCALL_LENGTH;
use super::fault::{self, FAULT_SIGNALS};
use super::filter::VSYSCALL;
use super::geography::CODE;
use super::operation;
use super::parked::remember_traced;
use super::process::{HostProcess, KICK_SIGNAL};
use super::registers::{self, USER_CS};
use super::space::PtraceSpace;
use super::tracee::{Stop, Tracee};
use crate::arch::extended_state::FORMAT;

/// A guest thread: a stub of its own that shares the anchor's memory.
pub(super) struct PtraceThread {
    space: Arc<PtraceSpace>,
    space_for_sentry: Arc<dyn AddressSpace>,
    process: Arc<HostProcess>,
    /// `None` while it is parked: the sentry thread that runs it first becomes its tracer.
    tracee: Option<Arc<Mutex<Tracee>>>,
    registers: Registers,
    /// What the tracee has in the fields that are not written each time.
    loaded: Loaded,
    /// Extended state that the tracee does not have yet, in the host's form.
    new_extended: Option<Vec<u8>>,
    /// A kick was swallowed, and the next run is to report it.
    is_kicked: bool,
}

/// Registers as the tracee had them at the last trap.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Loaded {
    fs_base: u64,
    gs_base: u64,
    rip: u64,
    code_segment: u64,
}

impl PtraceThread {
    pub(super) fn new(
        space: Arc<PtraceSpace>,
        process: Arc<HostProcess>,
        state: &ThreadState,
    ) -> Result<PtraceThread, Errno> {
        let mut thread = PtraceThread {
            space_for_sentry: Arc::clone(&space) as Arc<dyn AddressSpace>,
            space,
            process,
            tracee: None,
            registers: state.registers,
            loaded: Loaded { code_segment: USER_CS, ..Loaded::default() },
            new_extended: None,
            is_kicked: false,
        };
        thread.set_extended_state(state.extended.as_deref())?;
        Ok(thread)
    }

    /// Runs until a trap. `ESRCH` if the process has ended.
    fn run_to_trap(&mut self) -> Result<Trap, Errno> {
        if let Some(tracee) = &self.tracee {
            let tracee = Arc::clone(tracee);
            let mut tracee = tracee.lock();
            return self.run_tracee(&mut tracee, false);
        }
        let mut tracee = Tracee::attach(Arc::clone(&self.process), CODE)?;
        tracee.keep_together(&self.space.shared().placement);
        self.is_kicked |= self.process.was_kicked();
        let trap = self.run_tracee(&mut tracee, true);
        let tracee = Arc::new(Mutex::new(tracee));
        remember_traced(self.space.anchor(), &tracee);
        self.tracee = Some(tracee);
        trap
    }

    fn run_tracee(&mut self, tracee: &mut Tracee, is_new: bool) -> Result<Trap, Errno> {
        if let Some(extended) = &self.new_extended {
            tracee.set_extended_state(extended)?;
            self.new_extended = None;
        }
        if std::mem::take(&mut self.is_kicked) | tracee.take_kick() {
            // The bases must reach the tracee by the next run.
            if is_new {
                self.load(tracee, RegisterSet::All)?;
            }
            return Ok(Trap::Interrupted);
        }
        let bases = (self.registers.fs_base, self.registers.gs_base);
        let are_bases_loaded = !is_new && bases == (self.loaded.fs_base, self.loaded.gs_base);
        self.load(tracee, if are_bases_loaded { RegisterSet::General } else { RegisterSet::All })?;
        loop {
            match tracee.run_guest()? {
                Stop::Syscall => {
                    self.store(tracee)?;
                    return Ok(self.system_call());
                }
                Stop::Signal(KICK_SIGNAL) => {
                    self.store(tracee)?;
                    return Ok(Trap::Interrupted);
                }
                Stop::Signal(libc::SIGSYS) => {
                    self.store(tracee)?;
                    let info = tracee.signal_info()?;
                    if info.code > 0 {
                        return Ok(self.vsyscall(info.address, info.syscall));
                    }
                }
                Stop::Signal(signal) if FAULT_SIGNALS.contains(&signal) && tracee.signal_info()?.code > 0 => {
                    self.store(tracee)?;
                    let scratch = self.space.scratch().take();
                    let state_size = self.space.shared().state_size;
                    let (trap, is_kicked) = fault::examine(tracee, signal, &scratch, state_size)?;
                    self.is_kicked |= is_kicked;
                    return Ok(trap);
                }
                // Signals from elsewhere on the host mean nothing to a guest, and stops pass.
                Stop::Signal(_) | Stop::Other => {}
                Stop::Ended(change) => return Ok(Trap::Exited(exit_reason(change))),
            }
        }
    }

    /// Writes the registers to the tracee.
    fn load(&mut self, tracee: &Tracee, set: RegisterSet) -> Result<(), Errno> {
        // A new instruction pointer is the sentry's, which knows 64-bit code only.
        let is_moved = self.registers.rip != self.loaded.rip;
        let code_segment = if is_moved { USER_CS } else { self.loaded.code_segment };
        let host = registers::to_host(&self.registers, code_segment);
        tracee.set_registers(&host, set)?;
        let Registers { fs_base, gs_base, rip, .. } = self.registers;
        self.loaded = Loaded { fs_base, gs_base, rip, code_segment };
        Ok(())
    }

    /// Reads the registers from the tracee.
    fn store(&mut self, tracee: &Tracee) -> Result<(), Errno> {
        let host = tracee.registers()?;
        self.registers = registers::from_host(&host);
        self.loaded =
            Loaded { fs_base: host.fs_base, gs_base: host.gs_base, rip: host.rip, code_segment: host.cs };
        if host.orig_rax as i64 >= 0 {
            // At a system call the host keeps its number here, and -ENOSYS in rax.
            self.registers.rax = host.orig_rax;
        }
        Ok(())
    }

    /// The trap at a system-call stop.
    fn system_call(&mut self) -> Trap {
        let instruction = self.registers.rip.wrapping_sub(SYSCALL_LENGTH);
        // `syscall` leaves the return address in rcx; the 32-bit gates, which arrive here too, do not.
        if self.registers.rcx == self.registers.rip && self.loaded.code_segment == USER_CS {
            return Trap::Syscall { instruction };
        }
        // There are no 32-bit guests, so `int 0x80` does what it does on a host without them: a general protection
        // fault, whose error code names entry 0x80 of the interrupt descriptor table.
        self.registers.rip = instruction;
        Trap::Fault { signal: libc::SIGSEGV, code: SI_KERNEL, address: 0, trap_number: 13, error_code: 0x402 }
    }

    /// The trap at a signal of the filter: a call through the legacy vsyscall page, from which the host has returned
    /// already. For the sentry it is a system call like any other.
    fn vsyscall(&mut self, address: u64, number: i32) -> Trap {
        if address < VSYSCALL {
            self.process.signal(libc::SIGKILL);
            return Trap::Exited(ExitReason::Violation(libc::SIGSYS));
        }
        self.registers.rax = number as u64;
        Trap::Syscall { instruction: address }
    }
}

/// `si_code` of a signal that the kernel made for no reason with a code of its own.
const SI_KERNEL: i32 = 0x80;

fn exit_reason(change: Change) -> ExitReason {
    match change {
        Change::Killed(libc::SIGKILL) => ExitReason::Killed,
        Change::Killed(signal) => ExitReason::Violation(signal),
        Change::Exited(_) | Change::Stopped { .. } => ExitReason::Violation(0),
    }
}

impl GuestThread for PtraceThread {
    fn run(&mut self) -> Trap {
        match self.run_to_trap() {
            Ok(trap) => trap,
            Err(Errno::ESRCH) => {
                // It is ending or has ended; the host says how once it has.
                self.process.signal(libc::SIGKILL);
                Trap::Exited(self.process.outcome().map_or(ExitReason::Killed, exit_reason))
            }
            Err(error) => {
                tracing::error!(%error, "a ptrace request failed; the guest thread cannot go on");
                self.process.signal(libc::SIGKILL);
                Trap::Exited(ExitReason::Killed)
            }
        }
    }

    fn registers(&self) -> &Registers {
        &self.registers
    }

    fn registers_mut(&mut self) -> &mut Registers {
        &mut self.registers
    }

    fn extended_state(&mut self) -> Vec<u8> {
        let size = self.space.shared().state_size;
        let host = match (&self.new_extended, &self.tracee) {
            (Some(extended), _) => return FORMAT.encode(extended),
            (None, Some(tracee)) => {
                let mut host = vec![0; size];
                tracee.lock().extended_state(&mut host).map(|_| host).ok()
            }
            (None, None) => None,
        };
        // A process that is gone has no state; the next run says so.
        FORMAT.encode(&host.unwrap_or_else(|| FORMAT.initial(size)))
    }

    fn set_extended_state(&mut self, image: Option<&[u8]>) -> Result<(), Errno> {
        let size = self.space.shared().state_size;
        self.new_extended = Some(match image {
            Some(image) => FORMAT.decode(image, size)?,
            None => FORMAT.initial(size),
        });
        Ok(())
    }

    fn apply(&mut self, operations: &[MemoryOp<'_>]) -> Result<(), (usize, Errno)> {
        let Some(tracee) = &self.tracee else {
            return self.space.apply_in_stub(operations);
        };
        let scratch = self.space.scratch().take();
        operation::carry_out(operations, &mut tracee.lock(), &scratch, self.space.shared())
    }

    fn space(&self) -> &Arc<dyn AddressSpace> {
        &self.space_for_sentry
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        Arc::clone(&self.process) as Arc<dyn Kick>
    }
}

impl Drop for PtraceThread {
    fn drop(&mut self) {
        // Kick handles may outlive the thread.
        self.process.end();
    }
}

impl Kick for HostProcess {
    fn kick(&self) {
        HostProcess::kick(self);
    }

    fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    fn is_alive(&self) -> bool {
        HostProcess::is_alive(self)
    }

    fn cpu_time(&self) -> Duration {
        HostProcess::cpu_time(self)
    }
}
