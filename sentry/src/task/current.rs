//! The task that a sentry thread runs, seen from that thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use usk_abi::signal::SignalSet;
use usk_abi::{Errno, PollEvents};
use usk_platform::{AddressSpace, FutexCall, GuestThread, HostCalled};

use crate::file::async_io;
use crate::meter;
use crate::task::Task;
use crate::task::lending::Lending;
use crate::time::Deadline;
use crate::wait::{WaitQueue, Waiter, Wake, wait_for};
use crate::{IoVec, Restart, RestartBlock, SysError, SysResult, UserSink, UserSource};

/// What the hardware said of the task's last fault, for signal frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastFault {
    /// Trap number.
    pub trap_number: u64,
    /// Error code.
    pub error_code: u64,
    /// Faulting address (`cr2`).
    pub address: u64,
}

/// A call that a signal interrupted and that may have to be made again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingRestart {
    pub(crate) restart: Restart,
    /// Address of the `syscall` instruction.
    pub(crate) instruction: u64,
    /// Number of the call.
    pub(crate) number: u64,
}

/// A guest thread and its task, in the hands of the sentry thread that runs it. System-call handlers get it.
pub struct Current {
    /// The guest thread. Only this sentry thread touches it.
    pub thread: Box<dyn GuestThread>,
    /// Its task.
    pub task: Arc<Task>,
    /// What `restart_syscall(2)` continues; nothing after a return from a handler.
    pub restart_block: Option<RestartBlock>,
    /// Set by a call that replaces all registers (`execve`, `rt_sigreturn`): its result does not go to `rax`.
    pub keep_registers: bool,
    /// Set by `exit(2)`: the thread leaves before it returns to guest code.
    pub exit_code: Option<i32>,
    /// What the call has brought along of guest memory is not what is there any more.
    pub(crate) has_stale_copies: bool,
    pub(crate) pending_restart: Option<PendingRestart>,
    /// Number of the call that the guest thread is in or has come from, as a tracer sees it (`orig_rax`).
    pub(crate) call: Option<u64>,
    /// A tracer has the task go on for one instruction.
    pub(crate) is_stepping: bool,
    /// A handler's frame may be on its way: if it cannot be written, that is a fault of the task's.
    pub(crate) is_entering_handler: bool,
    pub(crate) last_fault: LastFault,
    /// Which of the task's standing answers the guest thread has.
    pub(crate) standing: Option<u32>,
    /// How long the call has slept up to now, in nanoseconds, if somebody counts.
    pub(crate) slept_ns: Option<u64>,
    /// What of the task's descriptors the guest thread has.
    pub(crate) lending: Lending,
}

impl Current {
    pub(crate) fn new(task: Arc<Task>, thread: Box<dyn GuestThread>) -> Self {
        Current {
            thread,
            task,
            restart_block: None,
            keep_registers: false,
            exit_code: None,
            has_stale_copies: false,
            pending_restart: None,
            call: None,
            is_stepping: false,
            is_entering_handler: false,
            last_fault: LastFault::default(),
            standing: None,
            slept_ns: None,
            lending: Lending::default(),
        }
    }

    /// Guest memory.
    pub fn space(&self) -> &dyn AddressSpace {
        &**self.thread.space()
    }

    /// Guest buffers to read into.
    pub fn sink(&mut self, ranges: &[IoVec]) -> UserSink<'_> {
        UserSink::new(self, ranges)
    }

    /// Guest buffers to write from.
    pub fn source(&self, ranges: &[IoVec]) -> UserSource<'_> {
        match ranges {
            [range] => match self.bytes_handed_over(range.address, range.length) {
                Some(bytes) => UserSource::handed_over(bytes),
                None => UserSource::new(self.space(), ranges),
            },
            _ => UserSource::new(self.space(), ranges),
        }
    }

    /// The one way to block. Calls `operation` until it returns something other than `EAGAIN`; in between sleeps until
    /// one of `queues` is notified of its events. `ETIMEDOUT` once the deadline has passed, a restart
    /// (`ERESTARTSYS`) when a signal wants attention; callers that need another code map it.
    pub fn block<T>(
        &mut self,
        queues: &[(&WaitQueue, PollEvents)],
        deadline: Option<Deadline>,
        mut operation: impl FnMut(&mut Current) -> SysResult<T>,
    ) -> SysResult<T> {
        let waiter = self.task.waiter.clone();
        let attempt = |current: &mut Current| match operation(current) {
            Err(error) if error.would_block() => None,
            done => Some(done),
        };
        wait_for(self, &waiter, queues, attempt, |current| current.sleep_until_told(&waiter, deadline))
    }

    /// What a call that waits returns because of a deadline or a signal; `None` if its task has been told of something.
    fn sleep_until_told<T>(&mut self, waiter: &Waiter, deadline: Option<Deadline>) -> Option<SysResult<T>> {
        async_io::send_due();
        match self.sleep_at(waiter, deadline, false) {
            Wake::Notified => None,
            Wake::TimedOut => Some(Err(Errno::ETIMEDOUT.into())),
            Wake::Interrupted => Some(Err(Restart::IfHandlerAllows.into())),
        }
    }

    /// Sleeps as [`Waiter::wait`] does: what waits otherwise than by [`Current::block`]. It is no work of the call's, and a voluntary switch.
    pub(crate) fn sleep_at(
        &mut self,
        waiter: &Waiter,
        deadline: Option<Deadline>,
        uninterruptible: bool,
    ) -> Wake {
        self.task.voluntary_switches.fetch_add(1, Ordering::Relaxed);
        self.asleep(|_| waiter.wait(deadline, uninterruptible))
    }

    /// Has the host carry out an operation that may sleep. One that fails at once is no switch.
    fn sleep_in_host(&mut self, call: &FutexCall) -> HostCalled {
        let called = self.asleep(|current| current.thread.futex(call));
        if !matches!(called, HostCalled::Failed(_)) {
            self.task.voluntary_switches.fetch_add(1, Ordering::Relaxed);
        }
        called
    }

    /// Counts the time that `wait` takes as sleep.
    fn asleep<T>(&mut self, wait: impl FnOnce(&mut Current) -> T) -> T {
        let begun_ns = self.slept_ns.map(|_| meter::now());
        let result = wait(self);
        if let (Some(slept_ns), Some(begun_ns)) = (&mut self.slept_ns, begun_ns) {
            *slept_ns += meter::now().saturating_sub(begun_ns);
        }
        result
    }

    /// Has the host carry out a private futex operation for the guest thread. If it `sleeps`, a restart (`ERESTARTSYS`) when a
    /// signal wants attention; the others are over before one could.
    pub(crate) fn host_futex(&mut self, call: &FutexCall, sleeps: bool) -> SysResult<u64> {
        let task = self.task.clone();
        loop {
            task.in_host_call.store(true, Ordering::SeqCst);
            let called = match sleeps {
                true if task.waiter.is_interrupted() => None,
                true => Some(self.sleep_in_host(call)),
                false => Some(self.thread.futex(call)),
            };
            task.in_host_call.store(false, Ordering::SeqCst);
            match called {
                None => return Err(Restart::IfHandlerAllows.into()),
                Some(HostCalled::Returned(value)) => return Ok(value),
                Some(HostCalled::Failed(errno)) => return Err(errno.into()),
                // Not by a signal that matters: again.
                Some(HostCalled::Interrupted) if self.thread.kicker().is_alive() => {}
                Some(HostCalled::Interrupted) => return Err(Errno::EINTR.into()),
            }
        }
    }

    /// Sleeps until the deadline (`None`: for ever). `Ok` when it has passed; a restart when a signal wants attention.
    pub fn sleep(&mut self, deadline: Option<Deadline>) -> SysResult<()> {
        match self.block(&[], deadline, |_| Err::<(), SysError>(Errno::EAGAIN.into())) {
            Err(SysError::Errno(Errno::ETIMEDOUT)) => Ok(()),
            other => other,
        }
    }

    /// Runs `operation` with another mask of blocked signals, as `ppoll(2)`, `pselect(2)` and `epoll_pwait(2)` do: if
    /// it is interrupted, the old mask comes back only after the signal has been handled.
    pub fn with_signal_mask<T>(
        &mut self,
        mask: Option<SignalSet>,
        operation: impl FnOnce(&mut Current) -> SysResult<T>,
    ) -> SysResult<T> {
        let Some(mask) = mask else { return operation(self) };
        let old = self.task.blocked_signals();
        self.task.set_blocked_signals(mask);
        let result = operation(self);
        if matches!(result, Err(SysError::Restart(_) | SysError::Errno(Errno::EINTR))) {
            self.task.signals.lock().saved_mask = Some(old);
            self.task.waiter.set_interrupted(true);
        } else {
            self.task.set_blocked_signals(old);
        }
        result
    }
}
