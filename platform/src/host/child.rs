//! Making, watching and ending host processes.
//!
//! A sandbox's processes are forks of the monitor: nothing is executed, since starting a program costs more than all
//! namespaces together. That needs one rule, which [`spawn`] checks: the caller has one thread.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use linux_raw_sys::general::clone_args;
use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use usk_abi::Errno;

use super::last_error;
use super::namespaces::Namespaces;
use super::result::{check, from_nix};

/// Which side of a [`spawn`] this is.
pub enum Spawned {
    /// The caller, with the new process.
    Parent(ChildProcess),
    /// The new process. It must not return to its caller's caller: end it with [`exit`].
    Child,
}

/// A child of this process. Dropping it neither ends it nor waits for it.
pub struct ChildProcess {
    pid: i32,
    pidfd: OwnedFd,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By `exit(2)`, with this status, `0..=255`.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Forks this process into new namespaces, which the child is the first member of (PID 1 with
/// [`Namespaces::PID`]). `cgroup` is a cgroup v2 directory that the child starts in.
///
/// `EBUSY` if this process has more than one thread: locks that the others hold would stay locked in the child.
/// clone(2).
pub fn spawn(namespaces: Namespaces, cgroup: Option<BorrowedFd<'_>>) -> Result<Spawned, Errno> {
    clone(namespaces, cgroup, false)
}

/// As [`spawn`], but the new process is a child of this one's parent: here it can be signalled, and not waited for.
pub fn spawn_sibling(namespaces: Namespaces, cgroup: Option<BorrowedFd<'_>>) -> Result<Spawned, Errno> {
    clone(namespaces, cgroup, true)
}

fn clone(namespaces: Namespaces, cgroup: Option<BorrowedFd<'_>>, is_sibling: bool) -> Result<Spawned, Errno> {
    if !has_one_thread() {
        return Err(Errno::EBUSY);
    }
    let mut pidfd: i32 = -1;
    let mut flags = u64::from(libc::CLONE_PIDFD as u32) | namespaces.bits();
    let mut exit_signal = libc::SIGCHLD as u64;
    if is_sibling {
        flags |= u64::from(libc::CLONE_PARENT as u32);
        // This process's own.
        exit_signal = 0;
    }
    let mut cgroup_number = 0;
    if let Some(cgroup) = cgroup {
        flags |= linux_raw_sys::general::CLONE_INTO_CGROUP;
        cgroup_number = cgroup.as_raw_fd() as u64;
    }
    // The C library remembers its thread's id; the kernel updates it in the child, as the library's own fork does.
    let thread_id = thread_id_address();
    if thread_id != 0 {
        flags |= u64::from(libc::CLONE_CHILD_SETTID as u32 | libc::CLONE_CHILD_CLEARTID as u32);
    }
    let arguments = clone_args {
        flags,
        pidfd: &raw mut pidfd as u64,
        child_tid: thread_id,
        parent_tid: 0,
        exit_signal,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup_number,
    };
    // SAFETY: (1) no CLONE_VM: the child has a copy of all memory and continues on the copy of this stack; (2) the
    // process has one thread, so no lock is held by another; (3) `pidfd` and the thread id word are valid for
    // writing, the latter is what the C library registered with the kernel.
    let returned = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<clone_args>()) };
    match check(returned)? {
        0 => Ok(Spawned::Child),
        pid => {
            // SAFETY: the kernel has just made this descriptor for us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Spawned::Parent(ChildProcess { pid: pid as i32, pidfd }))
        }
    }
}

/// Whether this process has one thread. Then to have its own threads is no change, and otherwise `EINVAL`. unshare(2).
fn has_one_thread() -> bool {
    // SAFETY: takes a number only, and changes nothing.
    unsafe { libc::unshare(libc::CLONE_THREAD) == 0 }
}

/// Where the C library keeps its thread id; 0 if the host does not say (it lacks CONFIG_CHECKPOINT_RESTORE). Then
/// the child's `raise(3)` and `abort(3)` do not find their thread, and everything else works.
fn thread_id_address() -> u64 {
    let mut address: u64 = 0;
    // SAFETY: PR_GET_TID_ADDRESS writes one pointer to the given place.
    let returned = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut address, 0, 0, 0) };
    if returned == 0 { address } else { 0 }
}

impl ChildProcess {
    /// A child that another process has made by [`spawn_sibling`]; `pidfd` is what that process has got for it.
    pub fn adopt(pid: i32, pidfd: OwnedFd) -> ChildProcess {
        ChildProcess { pid, pidfd }
    }

    /// The process id in the caller's PID namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal. `ESRCH` once the process has been waited for. pidfd_send_signal(2).
    pub fn send_signal(&self, signal: i32) -> Result<(), Errno> {
        send_signal(self.pidfd.as_fd(), signal)
    }

    /// Waits for the process to end and takes its status. `ECHILD` if it was taken before. waitid(2).
    pub fn wait(&self) -> Result<Exit, Errno> {
        self.wait_with(nix::sys::wait::WaitPidFlag::WEXITED)
    }

    /// Waits for the process to end and leaves its status to be taken. waitid(2).
    pub fn peek(&self) -> Result<Exit, Errno> {
        self.wait_with(nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT)
    }

    fn wait_with(&self, flags: nix::sys::wait::WaitPidFlag) -> Result<Exit, Errno> {
        use nix::sys::wait::{Id, WaitStatus, waitid};
        loop {
            match waitid(Id::PIDFd(self.pidfd.as_fd()), flags) {
                Ok(WaitStatus::Exited(_, code)) => return Ok(Exit::Code(code)),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Exit::Signal(signal as i32)),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(from_nix(error)),
            }
        }
    }
}

impl AsFd for ChildProcess {
    /// The pidfd: readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// A pidfd of the calling process. pidfd_open(2).
pub fn own_pidfd() -> Result<OwnedFd, Errno> {
    // SAFETY: takes numbers only.
    let number = check(unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

/// Sends a signal to the process behind a pidfd. pidfd_send_signal(2).
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    // SAFETY: a null siginfo is allowed; the rest are numbers.
    let returned = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<u8>(), 0)
    };
    check(returned).map(drop)
}

/// Ends this process at once: no destructor, no exit handler, no flushing. _exit(2).
pub fn exit(status: i32) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(status) }
}

/// Asks for `signal` when the thread that made this process ends. A change of user or group id forgets it. It does
/// not tell about a parent that is already gone: look for that afterwards. prctl(2), PR_SET_PDEATHSIG.
pub fn set_parent_death_signal(signal: i32) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    check(libc::c_long::from(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) })).map(drop)
}

/// Whether processes of the same user may read this one's memory (ptrace access). prctl(2), PR_SET_DUMPABLE.
pub fn set_dumpable(dumpable: bool) -> Result<(), Errno> {
    nix::sys::prctl::set_dumpable(dumpable).map_err(from_nix)
}

/// Makes `execve` unable to gain privileges, for good. prctl(2), PR_SET_NO_NEW_PRIVS.
pub fn set_no_new_privs() -> Result<(), Errno> {
    nix::sys::prctl::set_no_new_privs().map_err(from_nix)
}

/// Names this process, as `ps` shows it: 15 bytes count. prctl(2), PR_SET_NAME.
pub fn set_name(name: &std::ffi::CStr) -> Result<(), Errno> {
    nix::sys::prctl::set_name(name).map_err(from_nix)
}

/// Leaves the caller's session and process group, so that its terminal's signals do not arrive. setsid(2).
pub fn new_session() -> Result<(), Errno> {
    nix::unistd::setsid().map(drop).map_err(from_nix)
}

/// Leaves the process group that it was made in for one of its own. setpgid(2).
pub fn new_process_group() -> Result<(), Errno> {
    let own = nix::unistd::Pid::from_raw(0);
    nix::unistd::setpgid(own, own).map_err(from_nix)
}

/// Stops this process as a terminal's stop key does; returns once it is continued, or `limit` has passed. kill(2).
pub fn stop_self(limit: Option<Duration>) -> Result<(), Errno> {
    let _alarm = limit.map(continue_after).transpose()?;
    // SAFETY: takes numbers only.
    if unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) } == 0 { Ok(()) } else { Err(last_error()) }
}

/// Has the host continue this process after a time, until the timer is dropped. timer_create(2).
fn continue_after(time: Duration) -> Result<Timer, Errno> {
    /// Again and again: a signal to stop takes back one to continue that came before it.
    const AGAIN: Duration = Duration::from_millis(100);
    let notify = SigevNotify::SigevSignal { signal: Signal::SIGCONT, si_value: 0 };
    let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify)).map_err(from_nix)?;
    // A time of nothing would disarm it.
    let first = time.max(Duration::from_nanos(1));
    let expiration = Expiration::IntervalDelayed(first.into(), AGAIN.into());
    timer.set(expiration, TimerSetTimeFlags::empty()).map_err(from_nix)?;
    Ok(timer)
}
