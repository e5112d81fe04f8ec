//! The sentry's own threads.

use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;

/// A thread of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadId(Pid);

/// The calling thread.
pub fn current_thread() -> ThreadId {
    ThreadId(nix::unistd::gettid())
}

/// Processor time that a thread of this process has used; zero if it has ended.
pub fn thread_cpu_time(thread: ThreadId) -> Duration {
    // The encoding of include/linux/posix-timers_types.h: the complement of the identifier, CPUCLOCK_PERTHREAD_MASK (4)
    // and CPUCLOCK_SCHED (2).
    let clock = (!thread.0.as_raw() << 3) | 4 | 2;
    nix::time::clock_gettime(ClockId::from_raw(clock)).map(Duration::from).unwrap_or_default()
}
