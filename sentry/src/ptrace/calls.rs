//! Stops at system calls, and at what they do: new tasks, new programs, ends (`ptrace_event`, `kernel/entry/common.c`).

use usk_abi::ptrace::*;
use usk_abi::seccomp::AUDIT_ARCH_X86_64;
use usk_abi::signal::SignalInfo;
use usk_abi::signal::code::{SI_USER, TRAP_BRKPT};
use usk_abi::{Errno, MAX_ERRNO, Signal};

use super::stop::{Resumed, on_tracee};
use super::tracing::{CallPart, Reason};
use super::{Resumption, registers};
use crate::signal::{force_signal, send_to_task};
use crate::task::{CloneFlags, Current, ExitStatus, SyscallArguments, Task};

/// What becomes of a call after the tracer has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtEntry {
    /// It is made.
    Proceed,
    /// It is not: the registers are as the tracer has left them.
    Skip,
}

/// What a tracer learns of a new task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewTask {
    /// What the maker stops for, once the task is there.
    pub(crate) event: Option<i32>,
    /// The task is traced from the beginning.
    pub(crate) is_traced: bool,
}

impl NewTask {
    /// For a task that `parent` makes.
    pub(crate) fn of(parent: &Task, flags: CloneFlags, exit_signal: Option<Signal>) -> NewTask {
        let tracing = &parent.tracing;
        if !tracing.is_traced() || flags.contains(CloneFlags::UNTRACED) {
            return NewTask { event: None, is_traced: false };
        }
        let event = if flags.contains(CloneFlags::VFORK) {
            PTRACE_EVENT_VFORK
        } else if exit_signal != Some(Signal::SIGCHLD) {
            PTRACE_EVENT_CLONE
        } else {
            PTRACE_EVENT_FORK
        };
        let event = tracing.wants(option(event)).then_some(event);
        NewTask { event, is_traced: event.is_some() || flags.contains(CloneFlags::PTRACE) }
    }
}

fn option(event: i32) -> PtraceOptions {
    PtraceOptions::from_bits_truncate(1 << event)
}

impl Current {
    /// A call begins: stops for a tracer that wants to see it.
    pub(crate) fn stop_at_entry(&mut self) -> AtEntry {
        let resumption = self.task.tracing.resumption();
        let is_emulated = matches!(resumption, Resumption::Emulated | Resumption::EmulatedStep);
        if resumption != Resumption::Syscall && !is_emulated {
            return AtEntry::Proceed;
        }
        if self.stop_at_call(CallPart::Entry, PTRACE_EVENTMSG_SYSCALL_ENTRY) == Resumed::Cut
            || is_emulated
            || self.call.is_none()
        {
            return AtEntry::Skip;
        }
        AtEntry::Proceed
    }

    /// A call has ended: stops for a tracer that wants to see it, or goes step by step.
    pub(crate) fn stop_at_exit(&mut self) {
        if self.exit_code.is_some() {
            return;
        }
        let resumption = self.task.tracing.resumption();
        // A tracer that has ended does not step.
        self.is_stepping &= self.task.tracing.is_traced();
        if self.is_stepping && resumption != Resumption::EmulatedStep {
            let info = SignalInfo::fault(Signal::SIGTRAP, TRAP_BRKPT, self.thread.registers().rip);
            force_signal(&self.task, info);
        } else if resumption == Resumption::Syscall {
            self.stop_at_call(CallPart::Exit, PTRACE_EVENTMSG_SYSCALL_EXIT);
        }
    }

    fn stop_at_call(&mut self, part: CallPart, message: u64) -> Resumed {
        let is_marked = self.task.tracing.wants(PtraceOptions::TRACESYSGOOD);
        let mark = if is_marked { SYSCALL_STOP_MARK } else { 0 };
        let resumed = self.stop_for(Reason::trap(&self.task, Signal::SIGTRAP.number() | mark, part, message));
        if let Resumed::With(number, _) = resumed
            && let Some(signal) = Signal::from_number(number)
        {
            // One that is full says nothing to the tracer.
            let _ = send_to_task(&self.task, SignalInfo::kernel(signal));
        }
        resumed
    }

    /// A filter wants the tracer to decide about a call. `None` if the tracer does not want to; then the call fails.
    pub(crate) fn stop_at_filter(&mut self, value: u32) -> Option<AtEntry> {
        if !self.task.tracing.wants(PtraceOptions::TRACESECCOMP) {
            return None;
        }
        let resumed = self.stop_at(PTRACE_EVENT_SECCOMP, CallPart::Filter(value), u64::from(value));
        let is_skipped = resumed == Resumed::Cut || self.call.is_none();
        Some(if is_skipped { AtEntry::Skip } else { AtEntry::Proceed })
    }

    /// Stops for a tracer that has asked to be told of an event.
    pub(crate) fn stop_at_event(&mut self, event: i32, message: u64) {
        if self.task.tracing.wants(option(event)) {
            self.stop_at(event, CallPart::None, message);
        }
    }

    fn stop_at(&mut self, event: i32, part: CallPart, message: u64) -> Resumed {
        let code = Signal::SIGTRAP.number() | event << 8;
        self.stop_for(Reason::trap(&self.task, code, part, message))
    }

    /// A handler has been entered step by step: its first instruction is a step of its own (`signal_setup_done`).
    pub(crate) fn stop_at_handler(&mut self) {
        if self.is_stepping {
            self.stop_for(Reason::trap(&self.task, Signal::SIGTRAP.number(), CallPart::None, 0));
        }
    }

    /// A new program is about to run; `former` is the identifier that the task had before. Without an event of its own it is
    /// a SIGTRAP for who was not seized.
    pub(crate) fn stop_at_program(&mut self, former: i32) {
        let task = &self.task;
        if task.tracing.wants(PtraceOptions::TRACEEXEC) {
            self.stop_at_event(PTRACE_EVENT_EXEC, u64::from(former.cast_unsigned()));
        } else if task.tracing.is_traced() && !task.tracing.lock().is_seized {
            let uid = task.credentials().uid;
            let _ = send_to_task(task, SignalInfo::user(Signal::SIGTRAP, SI_USER, task.tgid(), uid));
        }
    }

    /// The task is about to end. One that was killed stops all the same, until it is killed once more.
    pub(crate) fn stop_before_end(&mut self, status: ExitStatus) {
        if self.task.tracing.wants(PtraceOptions::TRACEEXIT) {
            self.task.tracing.revive();
            self.stop_at_event(PTRACE_EVENT_EXIT, u64::from(status.wait_status().cast_unsigned()));
        }
    }
}

/// `PTRACE_GET_SYSCALL_INFO` of a stopped task.
pub fn syscall_info(task: &Task) -> Result<SyscallInfo, Errno> {
    let part = task.tracing.lock().stop.as_ref().map(|stop| stop.reason.call).ok_or(Errno::ESRCH)?;
    on_tracee(task, move |current| describe(current, part))
}

fn describe(current: &Current, part: CallPart) -> SyscallInfo {
    let shown = registers::show(current);
    let mut info = SyscallInfo {
        architecture: AUDIT_ARCH_X86_64,
        instruction_pointer: shown.rip,
        stack_pointer: shown.rsp,
        ..SyscallInfo::default()
    };
    let arguments = SyscallArguments(current.thread.registers().syscall_arguments());
    let put_call = |info: &mut SyscallInfo| {
        info.words[0] = shown.orig_rax;
        info.words[1..7].copy_from_slice(&arguments.0);
    };
    match part {
        CallPart::None => info.op = SYSCALL_INFO_NONE,
        CallPart::Entry => {
            info.op = SYSCALL_INFO_ENTRY;
            put_call(&mut info);
        }
        CallPart::Exit => {
            info.op = SYSCALL_INFO_EXIT;
            info.words[0] = shown.rax;
            info.words[1] = u64::from(shown.rax.wrapping_neg().wrapping_sub(1) < MAX_ERRNO.into());
        }
        CallPart::Filter(value) => {
            info.op = SYSCALL_INFO_SECCOMP;
            put_call(&mut info);
            info.words[7] = u64::from(value);
        }
    }
    info
}
