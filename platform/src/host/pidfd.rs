//! Processes by descriptor (`pidfd_open(2)`): a number that cannot be reused, and is not believed from anybody.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use usk_abi::Errno;

use super::result::check;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By `exit(2)` with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// `PIDFD_GET_INFO`, of Linux 6.13: `ioctl(2)` of a process's descriptor.
pub const PIDFD_GET_INFO: u32 = 0xc040_ff0b;
/// `PIDFD_INFO_PID`: wants the numbers, which are always told.
const PIDFD_INFO_PID: u64 = 1;

/// `struct pidfd_info` (`include/uapi/linux/pidfd.h`) of its first version, as far as it is read here.
#[repr(C)]
#[derive(Default)]
struct ProcessInfo {
    mask: u64,
    cgroup: u64,
    thread: i32,
    process: i32,
    others: [u32; 10],
}

/// A process.
#[derive(Debug)]
pub struct ProcessDescriptor(OwnedFd);

impl ProcessDescriptor {
    /// Takes a descriptor for that of a process. `None` if it is something else, or the process is reaped.
    pub fn from_descriptor(descriptor: OwnedFd) -> Option<ProcessDescriptor> {
        let process = ProcessDescriptor(descriptor);
        match process.signal(0) {
            Ok(()) | Err(Errno::EPERM) => Some(process),
            Err(_) => None,
        }
    }

    /// The process with this number.
    pub fn open(pid: Pid) -> Result<ProcessDescriptor, Errno> {
        // SAFETY: numbers only.
        let descriptor = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(ProcessDescriptor(unsafe { OwnedFd::from_raw_fd(descriptor as i32) }))
    }

    /// The number of a child, from the kernel: it is this process's until it is reaped. A host before Linux 6.13 says it of a child that stops,
    /// which then goes on. `ESRCH` if it has ended, `EAGAIN` if it does not stop in time.
    pub fn number(&self, patience: Duration) -> Result<Pid, Errno> {
        let mut info = ProcessInfo { mask: PIDFD_INFO_PID, ..ProcessInfo::default() };
        // SAFETY: the structure has the size that is part of the request.
        let asked = check(i64::from(unsafe {
            libc::ioctl(self.0.as_raw_fd(), PIDFD_GET_INFO.into(), &raw mut info)
        }));
        match asked {
            Ok(_) => Ok(Pid::from_raw(info.process)),
            Err(Errno::ESRCH) => Err(Errno::ESRCH),
            Err(_) => self.number_when_stopped(patience),
        }
    }

    fn number_when_stopped(&self, patience: Duration) -> Result<Pid, Errno> {
        let number = self.stopped(patience);
        self.signal(libc::SIGCONT)?;
        number.ok_or(Errno::EAGAIN)
    }

    /// `pidfd_send_signal(2)`
    pub fn signal(&self, signal: i32) -> Result<(), Errno> {
        // SAFETY: numbers and a null pointer.
        check(unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal, std::ptr::null::<u8>(), 0)
        })
        .map(drop)
    }

    /// A duplicate of that process's descriptor `number` (`pidfd_getfd(2)`). `EBADF` if it has none there, `ESRCH` if
    /// the process has ended, `EPERM` if it is not ours to look at.
    pub fn take_descriptor(&self, number: u32) -> Result<OwnedFd, Errno> {
        // SAFETY: numbers only.
        let descriptor =
            check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, self.0.as_raw_fd(), number, 0) })?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
    }

    /// Whether the process has ended. Does not wait.
    pub fn has_ended(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, as the count says.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
    }

    /// Stops a child: true if it makes no more calls until it is killed or continued. False if it has ended, or does not stop in time.
    pub fn stop(&self, patience: Duration) -> bool {
        self.stopped(patience).is_some()
    }

    /// Stops a child and returns its number. `None` as [`ProcessDescriptor::stop`] says false.
    fn stopped(&self, patience: Duration) -> Option<Pid> {
        let deadline = Instant::now() + patience;
        self.signal(libc::SIGSTOP).ok()?;
        loop {
            // SAFETY: plain data for which all zeroes is a value.
            let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
            let options = libc::WSTOPPED | libc::WNOHANG | libc::__WALL;
            // SAFETY: the pointer is to what the call fills in.
            let result = check(i64::from(unsafe {
                libc::waitid(libc::P_PIDFD, self.0.as_raw_fd() as libc::id_t, &raw mut info, options)
            }));
            if result.is_ok() && info.si_code == libc::CLD_STOPPED {
                // SAFETY: waitid has filled in the SIGCHLD part of the union.
                return Some(Pid::from_raw(unsafe { info.si_pid() }));
            }
            if result.is_err() || self.has_ended() || Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Kills a child and removes its zombie. One that has ended already is only removed.
    pub fn end(&self) {
        let _ = self.signal(libc::SIGKILL);
        let _ = self.reap(true);
    }

    /// Removes the zombie of a child that has ended, waiting for the end if `wait`, and returns how it ended and the
    /// processor time that it used. `None` if it has not ended yet. `ECHILD` if it is not a child, or reaped already.
    pub fn reap(&self, wait: bool) -> Result<Option<(End, Duration)>, Errno> {
        let options = libc::WEXITED | libc::__WALL | if wait { 0 } else { libc::WNOHANG };
        loop {
            // SAFETY: both are plain data for which all zeroes is a value.
            let (mut info, mut usage): (libc::siginfo_t, libc::rusage) = unsafe { std::mem::zeroed() };
            // SAFETY: the pointers are to what the call fills in. glibc's waitid has no rusage argument.
            let result = check(unsafe {
                let (kind, process) = (libc::P_PIDFD, self.0.as_raw_fd());
                libc::syscall(libc::SYS_waitid, kind, process, &raw mut info, options, &raw mut usage)
            });
            match result {
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error),
                Ok(_) => {}
            }
            // SAFETY: waitid has filled in the SIGCHLD part of the union, or left it zero.
            let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
            let end = match info.si_code {
                _ if pid == 0 => return Ok(None),
                libc::CLD_EXITED => End::Exited(status),
                _ => End::Killed(status),
            };
            return Ok(Some((end, duration(usage.ru_utime) + duration(usage.ru_stime))));
        }
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}

impl AsFd for ProcessDescriptor {
    /// Readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of the descriptors is readable or hung up, or the time is over. Returns which are.
pub fn wait_readable<const N: usize>(
    descriptors: [BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> Result<[bool; N], Errno> {
    let mut polls =
        descriptors.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let timeout_ms =
        timeout.map_or(-1, |timeout| i32::try_from(timeout.as_millis().max(1)).unwrap_or(i32::MAX));
    // SAFETY: N structures, as the count says.
    check(i64::from(unsafe { libc::poll(polls.as_mut_ptr(), N as libc::nfds_t, timeout_ms) }))?;
    Ok(polls.map(|poll| poll.revents != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_childs_number_is_told_by_either_way_and_it_goes_on() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let number = Pid::from_raw(child.id() as i32);
        let process = ProcessDescriptor::open(number).unwrap();
        let patience = Duration::from_secs(10);
        assert_eq!(process.number(patience), Ok(number));
        assert_eq!(process.number_when_stopped(patience), Ok(number));
        let state = || std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap();
        let deadline = Instant::now() + patience;
        while state().contains(") T") {
            assert!(Instant::now() < deadline, "{}", state());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(process.number(patience).is_err());
    }
}
