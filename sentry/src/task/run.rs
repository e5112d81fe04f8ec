//! The life of a sentry thread: run guest code, serve what it asks for, deliver signals, until the task ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use usk_abi::signal::{SignalInfo, code};
use usk_abi::{Errno, Signal};
use usk_platform::host::timeline;
use usk_platform::{ExitReason, GuestThread, Trap};

use crate::file::async_io;
use crate::meter::{self, Meter};
use crate::mm::{self, HostFault, MemoryLimits, Mm};
use crate::ptrace::AtEntry;
use crate::seccomp::{self, Verdict};
use crate::signal::{Outcome, deliver, force_signal};
use crate::task::task::{Runner, SentryThread};
use crate::task::workers::Worker;
use crate::task::{Current, ExitStatus, LastFault, PendingRestart, Resource, SyscallArguments, Task};
use crate::{Restart, SysError, SysResult};

/// `TF`: the processor traps after each instruction.
const TRAP_FLAG: u64 = 0x100;

/// What knows the system calls: the table, which lives above this crate.
pub trait Dispatcher: Send + Sync {
    /// Carries out call `number`.
    fn dispatch(&self, current: &mut Current, number: u64, arguments: SyscallArguments) -> SysResult;
}

/// Says who will run a task that is about to be in the table: others may reach it before [`start`].
pub(crate) fn announce(task: &Task, thread: &dyn GuestThread) {
    task.runner.store(Some(Arc::new(Runner { kicker: thread.kicker(), sentry_thread: None })));
}

/// Has a sentry thread run a task that is in the table, with its parked guest thread. To be called with the table free, which that looks
/// at first thing.
pub(crate) fn start(worker: Worker, task: Arc<Task>, thread: Box<dyn GuestThread>) {
    worker.start(move || {
        let runner = Runner { kicker: thread.kicker(), sentry_thread: Some(SentryThread::begin()) };
        task.runner.store(Some(Arc::new(runner)));
        let mut current = Current::new(task, thread);
        timeline::pause_at("first guest instruction");
        run(&mut current);
        super::exit::leave(current);
    })
}

fn run(current: &mut Current) {
    let kernel = Arc::clone(&current.task.kernel);
    let (dispatcher, meter) = (kernel.dispatcher(), kernel.meter());
    let task = Arc::clone(&current.task);
    let mut mm = task.watch_mm();
    loop {
        if current.exit_code.is_some() {
            return;
        }
        if current.pending_restart.is_some() || current.task.waiter.is_interrupted() {
            // A handler's frame may lie in what the call has mapped.
            if let Err(error) = current.thread.settle() {
                mm::fail_last_call(current, error);
            }
            if let Err(error) = current.settle_copies() {
                fail_last_copy(current, error);
            }
            if deliver(current) == Outcome::Exit {
                return;
            }
        }
        // Before it counts as in guest code: it takes locks whose holders may wait until nobody is.
        current.renew_answers();
        if !enter_guest(&task, mm.load()) {
            continue;
        }
        current.lend_files();
        let left_ns = meter.map(|_| meter::now());
        let trap = current.run_guest();
        leave_guest(&task, mm.load());
        current.take_back_files();
        mm.load().let_go_of_files();
        if matches!(trap, Trap::Syscall { .. } | Trap::Fault { .. }) {
            current.is_entering_handler = false;
        }
        if !matches!(trap, Trap::Refused(_) | Trap::Unwritable) {
            current.call = None;
        }
        match trap {
            Trap::Syscall { instruction } => match meter.zip(left_ns) {
                None => serve(current, &*dispatcher, instruction),
                Some((meter, left_ns)) => serve_metered(current, &*dispatcher, instruction, meter, left_ns),
            },
            Trap::Fault { signal, code, address, trap_number, error_code } => {
                let begun_ns = meter.map(|_| meter::now());
                current.last_fault = LastFault { trap_number, error_code, address };
                let mm = current.task.mm();
                let fault = HostFault { signal, code, address };
                let limits = MemoryLimits::of(&current.task);
                let stack_limit = current.task.group.limits.lock().soft(Resource::Stack);
                let code = mm.fault(&mut *current.thread, fault, stack_limit, &limits);
                if let (Some(code), Some(signal)) = (code, Signal::from_number(signal)) {
                    force_signal(&current.task, SignalInfo::fault(signal, code, address));
                }
                if let (Some(meter), Some(begun_ns)) = (meter, begun_ns) {
                    meter.faulted(meter::now().saturating_sub(begun_ns));
                }
            }
            Trap::Refused(error) => mm::fail_last_call(current, error),
            Trap::Unwritable => fail_last_copy(current, Errno::EFAULT),
            Trap::Interrupted => {}
            Trap::Exited(reason) => {
                let signal = match reason {
                    ExitReason::Killed => Signal::SIGKILL,
                    ExitReason::Violation(number) => Signal::from_number(number).unwrap_or(Signal::SIGKILL),
                };
                if reason != ExitReason::Killed {
                    tracing::warn!(
                        tid = current.task.tid(),
                        ?signal,
                        "guest thread broke the platform's rules"
                    );
                }
                current.task.group.begin_exit(ExitStatus::Signaled { signal, core: false });
                return;
            }
        }
    }
}

/// What a call, or a signal's delivery, has left for the way back could not be written.
pub(crate) fn fail_last_copy(current: &mut Current, error: Errno) {
    if std::mem::take(&mut current.is_entering_handler) {
        force_signal(&current.task, SignalInfo::kernel(Signal::SIGSEGV));
    } else {
        current.thread.registers_mut().set_return_value(error.as_return_value());
    }
}

/// The task's thread is about to be in guest code. False if it must not: it has something else to do first, or had to wait.
fn enter_guest(task: &Task, mm: &Mm) -> bool {
    task.in_guest.store(true, Ordering::SeqCst);
    let must_stop = mm.is_stopping();
    if !task.waiter.is_interrupted() && !must_stop {
        return true;
    }
    leave_guest(task, mm);
    if must_stop {
        mm.await_start();
    }
    false
}

/// The task's thread is not in guest code any more.
fn leave_guest(task: &Task, mm: &Mm) {
    task.in_guest.store(false, Ordering::SeqCst);
    if mm.is_stopping() {
        mm.note_stopped();
    }
}

/// As [`serve`], counting what it costs.
fn serve_metered(
    current: &mut Current,
    dispatcher: &dyn Dispatcher,
    instruction: u64,
    meter: &Meter,
    left_ns: u64,
) {
    let begun_ns = meter::now();
    let slowly = current.thread.came_slowly();
    let number = current.thread.registers().syscall_number();
    meter.came(slowly, begun_ns.saturating_sub(left_ns));
    current.slept_ns = Some(0);
    serve(current, dispatcher, instruction);
    let slept_ns = current.slept_ns.take().unwrap_or(0);
    meter.called(number, slowly, meter::now().saturating_sub(begun_ns), slept_ns);
}

fn serve(current: &mut Current, dispatcher: &dyn Dispatcher, instruction: u64) {
    mm::patch_if_slow(current);
    let number = current.thread.registers().syscall_number();
    current.has_stale_copies = false;
    current.call = Some(number);
    if !current.task.tracing.is_traced() {
        return carry_out(current, dispatcher, number, instruction);
    }
    // As a tracer finds it in a call.
    current.thread.registers_mut().set_return_value(Errno::ENOSYS.as_return_value());
    if current.stop_at_entry() == AtEntry::Proceed {
        let number = current.call.unwrap_or(number);
        carry_out(current, dispatcher, number, instruction);
    }
    current.stop_at_exit();
}

/// Makes call `number`, if the filters allow it.
fn carry_out(current: &mut Current, dispatcher: &dyn Dispatcher, number: u64, instruction: u64) {
    let (number, arguments) = match seccomp::judge(current, number, instruction) {
        Verdict::Allow { number, arguments } => (number, arguments),
        Verdict::Return(value) => {
            current.thread.registers_mut().set_return_value(value);
            return;
        }
        Verdict::Interrupted(restart) => {
            current.pending_restart = Some(PendingRestart { restart, instruction, number });
            current.thread.registers_mut().set_return_value(Errno::EINTR.as_return_value());
            return;
        }
        Verdict::Skip => return,
    };
    current.task.call_number.store(i32::try_from(number).unwrap_or(-1), Ordering::Relaxed);
    let result = dispatcher.dispatch(current, number, arguments);
    current.task.call_number.store(-1, Ordering::Relaxed);
    async_io::send_due();
    if std::mem::take(&mut current.keep_registers) {
        return;
    }
    let value = match result {
        Ok(value) => value,
        Err(SysError::Errno(errno)) => {
            super::lost::check_after_failure(current, errno);
            errno.as_return_value()
        }
        Err(SysError::Restart(restart)) => {
            current.pending_restart = Some(PendingRestart { restart, instruction, number });
            Errno::EINTR.as_return_value()
        }
    };
    current.thread.registers_mut().set_return_value(value);
}

impl Current {
    /// Has the guest thread run until it traps. One that goes step by step has the trap flag meanwhile, unless the guest has set it itself.
    fn run_guest(&mut self) -> Trap {
        // A tracer that has ended does not.
        self.is_stepping &= self.task.tracing.is_traced();
        let is_forced = self.is_stepping && self.thread.registers().rflags & TRAP_FLAG == 0;
        if !is_forced {
            return self.thread.run();
        }
        self.thread.registers_mut().rflags |= TRAP_FLAG;
        let trap = self.thread.run();
        let registers = self.thread.registers_mut();
        registers.rflags &= !TRAP_FLAG;
        if matches!(trap, Trap::Syscall { .. }) {
            registers.r11 &= !TRAP_FLAG;
        }
        trap
    }

    /// Raises a signal for the task itself, as a fault does.
    pub fn raise(&self, signal: Signal) {
        let info = SignalInfo::user(signal, code::SI_USER, self.task.tgid(), self.task.credentials().uid);
        // The queue of standard signals is never full.
        let _ = crate::signal::send_to_task(&self.task, info);
    }

    /// The code that a call interrupted by a signal returns, by the reason for which it slept.
    pub fn interrupted(&self) -> SysError {
        Restart::IfHandlerAllows.into()
    }
}
