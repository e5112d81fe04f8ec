//! Host processes by number: making one that shares nothing, signalling it, asking how much time it has used.

use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal};
use nix::time::ClockId;
use nix::unistd::Pid;
use usk_abi::Errno;

use super::last_error;

/// Forks a child that does nothing: it sleeps until somebody takes control of it by ptrace, and dies with the thread
/// that called this. It has no exit signal, so that only a wait with `__WALL` sees it.
pub fn fork_idle_child() -> Result<Pid, Errno> {
    let caller = std::process::id();
    // SAFETY: without CLONE_VM the child gets a copy of the memory, as with fork(2); the stack is the caller's copy.
    let pid = unsafe { libc::syscall(libc::SYS_clone, 0usize, 0usize, 0usize, 0usize, 0usize) };
    if pid == -1 {
        return Err(last_error());
    }
    if pid != 0 {
        return Ok(Pid::from_raw(pid as i32));
    }
    // The child. Other threads may have held locks in the copied memory, so nothing but plain system calls from here.
    // SAFETY: these calls touch no memory.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // The parent may have died before that took effect. It has number 0 if it is outside our PID namespace.
        let parent = libc::getppid() as u32;
        if parent != caller && parent != 0 {
            libc::_exit(1);
        }
        loop {
            libc::pause();
        }
    }
}

/// `kill(2)` with any signal number, real-time ones included.
pub fn signal_process(pid: Pid, signal: i32) -> Result<(), Errno> {
    // SAFETY: the call takes numbers only.
    let result = unsafe { libc::kill(pid.as_raw(), signal) };
    if result == -1 { Err(last_error()) } else { Ok(()) }
}

/// Processor time that a process, not yet reaped, has used, in user and kernel mode together.
pub fn process_cpu_time(pid: Pid) -> Result<Duration, Errno> {
    // `CPUCLOCK_SCHED` of `linux/posix-timers_types.h`. The C library's way to it is a call that looks whether there is such a process,
    // which is seen anyway.
    const SCHEDULED: i32 = 2;
    let clock = ClockId::from_raw(!pid.as_raw() << 3 | SCHEDULED);
    let time = nix::time::clock_gettime(clock).map_err(|error| Errno::from_raw(error as i32))?;
    Ok(Duration::from(time))
}

/// Makes ends of children visible to waits, whatever the process inherited, and spares it the SIGCHLD that every
/// stop of a tracee would send.
pub fn keep_children_for_wait() -> Result<(), Errno> {
    let action = nix::sys::signal::SigAction::new(
        SigHandler::SigDfl,
        nix::sys::signal::SaFlags::SA_NOCLDSTOP,
        nix::sys::signal::SigSet::empty(),
    );
    // SAFETY: no handler is installed.
    unsafe { nix::sys::signal::sigaction(Signal::SIGCHLD, &action) }
        .map(|_| ())
        .map_err(|error| Errno::from_raw(error as i32))
}
