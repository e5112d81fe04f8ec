//! What the processor said about a fault.
//!
//! A tracer sees the siginfo, but not the trap number and the error code (write or read? which exception?), which
//! guests find in their signal frames. Only the host's own signal frame has them, so the stub is made to take the
//! signal: on scratch memory, with a handler that stops at once. Then everything is put back.

use usk_abi::Errno;

use crate::host;
use crate::host::ptrace::RegisterSet;
use crate::interface::Trap;

use super::code::Entry;
use super::geography::CODE;
use super::process::KICK_SIGNAL;
use super::registers;
use super::scratch::Scratch;
use super::tracee::{Stop, Tracee};

/// The signals of faults.
pub(super) const FAULT_SIGNALS: [i32; 5] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];

/// Offset in bytes of the `err` and `trapno` fields in the `ucontext` of a signal frame (`asm/sigcontext.h`: 40 bytes
/// of `ucontext` and 19 words come before).
const ERROR_CODE: u64 = 40 + 19 * 8;

/// `struct _fpx_sw_bytes` and the frame are written by the host on the scratch slot; `state_size` is the length of
/// the host's extended state. Returns the trap, and whether a kick came in meanwhile. The tracee's general registers
/// are lost, its extended state is kept.
pub(super) fn examine(
    tracee: &Tracee,
    signal: i32,
    scratch: &Scratch,
    state_size: usize,
) -> Result<(Trap, bool), Errno> {
    let info = tracee.signal_info()?;
    let mut extended = vec![0; state_size];
    tracee.extended_state(&mut extended)?;
    let start = libc::user_regs_struct { rsp: scratch.end(), ..registers::initial() };
    tracee.set_registers(&start, RegisterSet::General)?;
    let (mut kicked, mut deliver) = (false, signal);
    let handler_end = Entry::Handler.end(CODE);
    let frame = loop {
        match tracee.run_platform(std::mem::take(&mut deliver))? {
            Stop::Signal(libc::SIGTRAP) => {
                let there = tracee.registers()?;
                if there.rip == handler_end {
                    break Some(there.rdx);
                }
            }
            // The host could not write the frame: out of memory.
            Stop::Signal(libc::SIGSEGV | libc::SIGBUS) if tracee.signal_info()?.code > 0 => break None,
            Stop::Signal(KICK_SIGNAL) => kicked = true,
            Stop::Signal(_) | Stop::Syscall | Stop::Other => {}
            Stop::Ended(_) => return Err(Errno::ESRCH),
        }
    };
    tracee.set_extended_state(&extended)?;
    let (error_code, trap_number) =
        frame.and_then(|frame| read_frame(tracee, scratch, frame)).unwrap_or_else(|| likely(signal));
    let trap = Trap::Fault { signal, code: info.code, address: info.address, trap_number, error_code };
    Ok((trap, kicked))
}

/// Error code and trap number in the `ucontext` at this address.
fn read_frame(tracee: &Tracee, scratch: &Scratch, context: u64) -> Option<(u64, u64)> {
    if context < scratch.start() || context >= scratch.end() {
        return None;
    }
    let mut words = [[0; 8]; 2];
    let count =
        host::read_process(tracee.process().pid(), context + ERROR_CODE, words.as_flattened_mut()).ok()?;
    (count == 16).then(|| (u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])))
}

/// The usual error code and trap number (Intel SDM volume 3, chapter 6) behind a signal, for want of better.
fn likely(signal: i32) -> (u64, u64) {
    let trap_number = match signal {
        libc::SIGFPE => 0,
        libc::SIGTRAP => 3,
        libc::SIGILL => 6,
        _ => 14,
    };
    // A read from user mode.
    (if trap_number == 14 { 4 } else { 0 }, trap_number)
}
