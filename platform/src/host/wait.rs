//! `waitid(2)`, always for one process by its number, so that waiting never takes another one's news.

use std::io;
use std::ptr;
use std::time::Duration;

use nix::unistd::Pid;
use usk_abi::Errno;

use super::last_error;

/// What happened to a child or tracee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A ptrace stop. `signal` has bit 7 set at a system call; `event` is a `PTRACE_EVENT_*` or 0.
    Stopped {
        /// The signal that caused it.
        signal: i32,
        /// `PTRACE_EVENT_*`.
        event: i32,
    },
    /// It has ended by `exit(2)` with this status.
    Exited(i32),
    /// It has ended by this signal.
    Killed(i32),
}

/// Waits until the process stops or ends, and leaves the news in place: a zombie stays one until [`reap`], so its
/// number is not reused; a stop is reported again until the process is resumed. `ECHILD` if there is none.
pub fn change(pid: Pid) -> Result<Change, Errno> {
    let info = waitid(pid, libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT, None)?;
    Ok(decode(&info))
}

/// Whether the process has ended (`true` also if it does not exist). Does not wait, and leaves the zombie in place.
pub fn has_ended(pid: Pid) -> bool {
    match waitid(pid, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT, None) {
        // A ptrace stop is reported even to those who do not ask for stops; si_code stays 0 if there is no news.
        Ok(info) => matches!(info.si_code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED),
        Err(_) => true,
    }
}

/// Waits until the process has ended and removes the zombie. Returns how it ended and the processor time it used.
pub fn reap(pid: Pid) -> Result<(Change, Duration), Errno> {
    // SAFETY: plain data for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        let info = waitid(pid, libc::WEXITED, Some(&mut usage))?;
        // The last ptrace stop of a process that is being killed may be reported first.
        match decode(&info) {
            Change::Stopped { .. } => {}
            ended => return Ok((ended, duration(usage.ru_utime) + duration(usage.ru_stime))),
        }
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}

fn decode(info: &libc::siginfo_t) -> Change {
    // SAFETY: waitid has filled in the SIGCHLD part of the union.
    let status = unsafe { info.si_status() };
    match info.si_code {
        libc::CLD_EXITED => Change::Exited(status),
        libc::CLD_KILLED | libc::CLD_DUMPED => Change::Killed(status),
        _ => Change::Stopped { signal: status & 0xff, event: status >> 8 },
    }
}

/// With `usage`, which makes the host add up the times of all threads, only where it is wanted.
fn waitid(pid: Pid, options: i32, usage: Option<&mut libc::rusage>) -> Result<libc::siginfo_t, Errno> {
    // SAFETY: plain data for which all zeroes is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let usage = usage.map_or(ptr::null_mut(), ptr::from_mut);
    loop {
        // SAFETY: the pointers are null or to local variables of the types that the call fills in. glibc's waitid
        // has no rusage argument, hence the raw call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PID,
                pid.as_raw(),
                ptr::from_mut(&mut info),
                options | libc::__WALL,
                usage,
            )
        };
        if result == 0 {
            return Ok(info);
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Err(last_error());
        }
    }
}
