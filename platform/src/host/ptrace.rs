//! `ptrace(2)`, request by request. A request works only from the thread that attached, and only while the tracee is
//! stopped; otherwise it fails with `ESRCH`, as it does for a process that is gone or about to be.

use std::mem::size_of;
use std::ptr;

use nix::unistd::Pid;
use usk_abi::Errno;

use super::last_error;

/// Which part of [`libc::user_regs_struct`] a request writes. The host refuses some values of the segment bases that
/// a guest can have loaded by itself, so they are left out unless they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterSet {
    /// Everything up to and including `ss`: no segment bases, no data segment selectors.
    General,
    /// All of it.
    All,
}

/// Bytes of `user_regs_struct` before `fs_base`.
const GENERAL_BYTES: usize = 21 * size_of::<u64>();

/// `PTRACE_SEIZE`: attaches without stopping. The tracee dies with the calling thread (`PTRACE_O_EXITKILL`), and its
/// system-call stops are told apart from signals (`PTRACE_O_TRACESYSGOOD`).
pub fn seize(pid: Pid) -> Result<(), Errno> {
    let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
    request(libc::PTRACE_SEIZE, pid, 0, options as usize)
}

/// `PTRACE_INTERRUPT`: stops a seized tracee.
pub fn interrupt(pid: Pid) -> Result<(), Errno> {
    request(libc::PTRACE_INTERRUPT, pid, 0, 0)
}

/// `PTRACE_DETACH`: lets the tracee run, and go.
pub fn detach(pid: Pid) -> Result<(), Errno> {
    request(libc::PTRACE_DETACH, pid, 0, 0)
}

/// `PTRACE_CONT`: resumes the tracee, and delivers `signal` unless it is 0.
pub fn resume(pid: Pid, signal: i32) -> Result<(), Errno> {
    request(libc::PTRACE_CONT, pid, 0, signal as usize)
}

/// `PTRACE_SYSEMU`: resumes the tracee until its next system call, which is not carried out.
pub fn resume_emulated(pid: Pid) -> Result<(), Errno> {
    request(libc::PTRACE_SYSEMU, pid, 0, 0)
}

/// `PTRACE_GETREGS`.
pub fn registers(pid: Pid) -> Result<libc::user_regs_struct, Errno> {
    // SAFETY: the structure holds integers only, so all zeroes is a value of it.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    request(libc::PTRACE_GETREGS, pid, 0, &raw mut registers as usize)?;
    Ok(registers)
}

/// `PTRACE_SETREGSET` of `NT_PRSTATUS`.
pub fn set_registers(pid: Pid, registers: &libc::user_regs_struct, set: RegisterSet) -> Result<(), Errno> {
    let length = match set {
        RegisterSet::General => GENERAL_BYTES,
        RegisterSet::All => size_of::<libc::user_regs_struct>(),
    };
    let mut vector = libc::iovec { iov_base: ptr::from_ref(registers).cast_mut().cast(), iov_len: length };
    request(libc::PTRACE_SETREGSET, pid, libc::NT_PRSTATUS as usize, &raw mut vector as usize)
}

/// `PTRACE_GETREGSET` of `NT_X86_XSTATE` into `buffer`; returns the count of bytes.
pub fn extended_state(pid: Pid, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    request(libc::PTRACE_GETREGSET, pid, NT_X86_XSTATE, &raw mut vector as usize)?;
    Ok(vector.iov_len)
}

/// `PTRACE_SETREGSET` of `NT_X86_XSTATE`. `EINVAL` if the host refuses the image, `EFAULT` if its length is not the
/// one that [`extended_state`] returns.
pub fn set_extended_state(pid: Pid, image: &[u8]) -> Result<(), Errno> {
    let mut vector = libc::iovec { iov_base: image.as_ptr().cast_mut().cast(), iov_len: image.len() };
    request(libc::PTRACE_SETREGSET, pid, NT_X86_XSTATE, &raw mut vector as usize)
}

/// `PTRACE_SETSIGMASK`: the tracee's set of blocked signals, bit n-1 for signal n.
pub fn set_signal_mask(pid: Pid, mask: u64) -> Result<(), Errno> {
    request(libc::PTRACE_SETSIGMASK, pid, size_of::<u64>(), &raw const mask as usize)
}

/// `PTRACE_GETSIGINFO`: of the signal that the tracee is stopped for.
pub fn signal_info(pid: Pid) -> Result<SignalInfo, Errno> {
    // SAFETY: siginfo_t is plain data for which all zeroes is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    request(libc::PTRACE_GETSIGINFO, pid, 0, &raw mut info as usize)?;
    // SAFETY: si_addr reads bytes that are initialised whichever member of the union the host filled in.
    let address = unsafe { info.si_addr() } as u64;
    // SAFETY: siginfo_t is 128 bytes of plain data; for SIGSYS the number of the call lies at byte 24
    // (asm-generic/siginfo.h: _call_addr at 16, _syscall at 24).
    let syscall = unsafe { ptr::from_ref(&info).cast::<u8>().add(24).cast::<i32>().read_unaligned() };
    Ok(SignalInfo { code: info.si_code, address, syscall })
}

/// What `siginfo_t` says about a signal of a fault or of a filter.
#[derive(Clone, Copy, Debug)]
pub struct SignalInfo {
    /// `si_code`; positive if the kernel made the signal.
    pub code: i32,
    /// `si_addr`, or `si_call_addr` for SIGSYS; meaningless for signals from processes.
    pub address: u64,
    /// `si_syscall`, for SIGSYS.
    pub syscall: i32,
}

/// From `elf.h`; the libc crate lacks it.
const NT_X86_XSTATE: usize = 0x202;

fn request(request: libc::c_uint, pid: Pid, address: usize, data: usize) -> Result<(), Errno> {
    // SAFETY: each caller passes what its request wants: a number, or a pointer to memory of the right size that
    // outlives the call. The host checks everything else.
    let result = unsafe { libc::ptrace(request, pid.as_raw(), address, data) };
    if result == -1 { Err(last_error()) } else { Ok(()) }
}
