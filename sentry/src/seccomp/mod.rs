//! Filters that guests lay on their own system calls (`seccomp(2)`, `kernel/seccomp.c`).
//!
//! They have nothing to do with the filters that keep a guest in its sandbox, which are the host's. [`Program`] checks and runs
//! one program; [`Filters`] is what a thread has, each program laid over those before; [`Seccomp`] is a thread's mode. A program
//! can leave calls to another process: [`listener`].
//! A container's own profile is one more program, which its processes start with.

mod cache;
mod listener;
mod program;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use usk_abi::seccomp::*;
use usk_abi::signal::SignalInfo;
use usk_abi::{Errno, MAX_ERRNO, Signal};

use crate::ptrace::AtEntry;
use crate::signal::force_signal;
use crate::task::{Current, ExitStatus, SyscallArguments, Task};
use crate::{Restart, SysError};

use cache::AlwaysAllowed;
use listener::{Answer, Watched};

pub use listener::{Listener, Notifier};
pub use program::Program;

/// Instructions of all filters of a thread at most, with a penalty for each filter (`MAX_INSNS_PER_PATH`).
const MAX_INSTRUCTIONS: usize = 32768;
const FILTER_PENALTY: usize = 4;
/// Calls of strict mode: `read`, `write`, `exit`, `rt_sigreturn`.
const STRICT_CALLS: [u64; 4] = [0, 1, 60, 15];
/// Bytes of a `syscall` instruction.
const INSTRUCTION_LENGTH: u64 = 2;

/// A program on threads, and who listens to it.
struct Layer {
    program: Program,
    watched: Option<Watched>,
}

/// The filters of a thread, the oldest first.
#[derive(Clone, Default)]
pub struct Filters {
    layers: Vec<Arc<Layer>>,
    always_allowed: AlwaysAllowed,
}

impl Filters {
    /// One program.
    pub fn of(program: Program) -> Arc<Filters> {
        let always_allowed = AlwaysAllowed::default().and(&program);
        let layer = Layer { program, watched: None };
        Arc::new(Filters { layers: vec![Arc::new(layer)], always_allowed })
    }

    /// These with another on top. `ENOMEM` if they become too long.
    fn with(&self, layer: Layer) -> Result<Arc<Filters>, Errno> {
        let earlier: usize = self.layers.iter().map(|known| known.program.length() + FILTER_PENALTY).sum();
        if earlier + layer.program.length() > MAX_INSTRUCTIONS {
            return Err(Errno::ENOMEM);
        }
        let mut layers = self.layers.clone();
        let always_allowed = self.always_allowed.and(&layer.program);
        layers.push(Arc::new(layer));
        Ok(Arc::new(Filters { layers, always_allowed }))
    }

    /// Whether somebody listens to one of them.
    fn has_listener(&self) -> bool {
        self.layers.iter().filter_map(|layer| layer.watched.as_ref()).any(|watched| watched.0.is_open())
    }

    /// True if these are `other` with more on top, or the same: what is on a thread may be replaced by these.
    fn extends(&self, other: &Filters) -> bool {
        self.layers.len() >= other.layers.len()
            && self.layers.iter().zip(&other.layers).all(|(ours, theirs)| Arc::ptr_eq(ours, theirs))
    }

    /// Runs all filters. The strictest action counts, and of equal ones that of the newest filter, whose listener is returned.
    fn run(&self, data: &SeccompData) -> (u32, Option<&Arc<Notifier>>) {
        let mut strictest = (SECCOMP_RET_ALLOW, None);
        for layer in self.layers.iter().rev() {
            let returned = layer.program.run(data);
            let rank = |value: u32| (value & SECCOMP_RET_ACTION_FULL).cast_signed();
            if rank(returned) < rank(strictest.0) {
                strictest = (returned, layer.watched.as_ref().map(|watched| &watched.0));
            }
        }
        strictest
    }
}

/// A thread's mode and filters.
#[derive(Default)]
pub struct Seccomp {
    mode: AtomicU32,
    filters: ArcSwapOption<Filters>,
}

impl Seccomp {
    /// `SECCOMP_MODE_*`
    pub fn mode(&self) -> u32 {
        self.mode.load(Ordering::Relaxed)
    }

    /// Whether nothing here looks at these calls, because they are allowed whatever their arguments are.
    pub(crate) fn always_allows(&self, numbers: &[u32]) -> bool {
        match (self.mode(), &*self.filters.load()) {
            (SECCOMP_MODE_DISABLED, _) => true,
            (SECCOMP_MODE_FILTER, Some(filters)) => {
                numbers.iter().all(|&number| filters.always_allowed.contains(number))
            }
            _ => false,
        }
    }

    /// Count of filters.
    pub fn filter_count(&self) -> usize {
        self.filters.load().as_ref().map_or(0, |filters| filters.layers.len())
    }

    /// Makes this the same as `other`.
    pub(crate) fn copy_from(&self, other: &Seccomp) {
        self.filters.store(other.filters.load_full());
        self.mode.store(other.mode(), Ordering::Relaxed);
    }

    /// The thread ends: who listens to a filter that no thread has any more is told.
    pub(crate) fn release(&self) {
        self.filters.store(None);
    }

    fn current_filters(&self) -> Arc<Filters> {
        self.filters.load_full().unwrap_or_default()
    }

    /// Lays filters on a thread that has these or none.
    pub(crate) fn set_filters(&self, filters: Arc<Filters>) {
        self.filters.store(Some(filters));
        self.mode.store(SECCOMP_MODE_FILTER, Ordering::Relaxed);
    }
}

/// `SECCOMP_SET_MODE_STRICT` for the calling thread. `EINVAL` for one that has filters.
pub fn set_strict(task: &Task) -> Result<(), Errno> {
    let mode = &task.seccomp.mode;
    if mode.load(Ordering::Relaxed) == SECCOMP_MODE_FILTER {
        return Err(Errno::EINVAL);
    }
    mode.store(SECCOMP_MODE_STRICT, Ordering::Relaxed);
    task.withdraw_answers();
    Ok(())
}

/// Lays `program` on the calling thread, or, with `all_threads`, on all of its group. `Err(Ok(tid))` is a thread whose filters are not
/// among the caller's, so that the group cannot be brought together. `EBUSY` if there is a `notifier` and there was one.
pub fn add_filter(
    task: &Arc<Task>,
    program: Program,
    all_threads: bool,
    notifier: Option<Arc<Notifier>>,
) -> Result<(), Result<i32, Errno>> {
    // Under this lock, threads come and go with the filters of whoever makes them.
    let group = task.group.state.lock();
    if task.seccomp.mode() == SECCOMP_MODE_STRICT {
        return Err(Err(Errno::EINVAL));
    }
    let own = task.seccomp.current_filters();
    if all_threads {
        let strays = |thread: &&Arc<Task>| {
            thread.seccomp.mode() == SECCOMP_MODE_STRICT || !own.extends(&thread.seccomp.current_filters())
        };
        if let Some(stray) = group.threads.iter().find(strays) {
            return Err(Ok(stray.tid()));
        }
    }
    if notifier.is_some() && own.has_listener() {
        return Err(Err(Errno::EBUSY));
    }
    let filters = own.with(Layer { program, watched: notifier.map(Watched) }).map_err(Err)?;
    if all_threads {
        for thread in &group.threads {
            // Before it has the filters: it may be looking at both.
            if task.no_new_privs() {
                thread.set_no_new_privs();
            }
            thread.seccomp.set_filters(filters.clone());
            thread.withdraw_answers();
        }
    } else {
        task.seccomp.set_filters(filters);
        task.withdraw_answers();
    }
    Ok(())
}

/// What a thread's filters say about a call.
pub(crate) enum Verdict {
    /// It is carried out: this call, with these arguments.
    Allow {
        /// Its number.
        number: u64,
        /// Its arguments.
        arguments: SyscallArguments,
    },
    /// It returns this instead.
    Return(u64),
    /// It was interrupted while another process was asked about it.
    Interrupted(Restart),
    /// It returns nothing: a signal comes instead, or the end.
    Skip,
}

/// Asks the calling thread's filters about call `number`. `instruction` is the address of the `syscall` instruction.
pub(crate) fn judge(current: &mut Current, number: u64, instruction: u64) -> Verdict {
    judge_call(current, number, instruction, true)
}

/// `may_ask_tracer` is false once the tracer has let it pass.
fn judge_call(current: &mut Current, call: u64, instruction: u64, may_ask_tracer: bool) -> Verdict {
    let arguments = SyscallArguments(current.thread.registers().syscall_arguments());
    let allowed = Verdict::Allow { number: call, arguments };
    match current.task.seccomp.mode() {
        SECCOMP_MODE_DISABLED => return allowed,
        SECCOMP_MODE_STRICT if STRICT_CALLS.contains(&call) => return allowed,
        SECCOMP_MODE_STRICT => return kill(current, Signal::SIGKILL, false),
        _ => {}
    }
    let filters = current.task.seccomp.filters.load_full();
    let Some(filters) = filters.as_deref() else { return allowed };
    // The kernel's system-call numbers are the lower half of the register.
    let number = call as u32;
    if filters.always_allowed.contains(number) {
        return allowed;
    }
    let number = number.cast_signed();
    let instruction_pointer = instruction.wrapping_add(INSTRUCTION_LENGTH);
    let architecture = AUDIT_ARCH_X86_64;
    let data = SeccompData { number, architecture, instruction_pointer, arguments: arguments.0 };
    let (returned, notifier) = filters.run(&data);
    let detail = returned & SECCOMP_RET_DATA;
    match returned & SECCOMP_RET_ACTION_FULL {
        SECCOMP_RET_ALLOW | SECCOMP_RET_LOG => allowed,
        SECCOMP_RET_ERRNO => Verdict::Return(0u64.wrapping_sub(u64::from(detail.min(MAX_ERRNO)))),
        SECCOMP_RET_TRAP => {
            let info = SignalInfo::seccomp(instruction_pointer, number, architecture, detail);
            force_signal(&current.task, info);
            // The handler finds the call as it was made, not as a tracer has (`syscall_rollback`).
            current.thread.registers_mut().set_return_value(call);
            Verdict::Skip
        }
        SECCOMP_RET_USER_NOTIF if let Some(notifier) = notifier.cloned() => {
            ask(current, &notifier, data, allowed)
        }
        SECCOMP_RET_TRACE if !may_ask_tracer => allowed,
        SECCOMP_RET_TRACE => ask_tracer(current, detail, instruction),
        // Nobody listens.
        SECCOMP_RET_USER_NOTIF => Verdict::Return(Errno::ENOSYS.as_return_value()),
        SECCOMP_RET_KILL_THREAD => kill(current, Signal::SIGSYS, false),
        _ => kill(current, Signal::SIGSYS, true),
    }
}

/// Leaves the call to the tracer, which may put another in its place: the filters are asked about that, too.
fn ask_tracer(current: &mut Current, detail: u32, instruction: u64) -> Verdict {
    match current.stop_at_filter(detail) {
        None => Verdict::Return(Errno::ENOSYS.as_return_value()),
        Some(AtEntry::Skip) => Verdict::Skip,
        Some(AtEntry::Proceed) => match current.call {
            Some(number) => judge_call(current, number, instruction, false),
            None => Verdict::Skip,
        },
    }
}

/// Leaves the call to whoever listens. `allowed` is what the listener may say.
fn ask(current: &mut Current, notifier: &Arc<Notifier>, data: SeccompData, allowed: Verdict) -> Verdict {
    match notifier.ask(current, data) {
        Ok(Answer::Continue) => {
            // Whoever was asked may have changed the caller's memory meanwhile.
            current.has_stale_copies = true;
            allowed
        }
        Ok(Answer::Return(value)) => Verdict::Return(value),
        Err(SysError::Errno(errno)) => Verdict::Return(errno.as_return_value()),
        Err(SysError::Restart(restart)) => Verdict::Interrupted(restart),
    }
}

/// Ends the thread, or the process if that is wanted or it has no other thread.
fn kill(current: &mut Current, signal: Signal, whole_process: bool) -> Verdict {
    let is_alone = current.task.group.state.lock().threads.len() <= 1;
    if whole_process || is_alone {
        current.task.group.begin_exit(ExitStatus::Signaled { signal, core: false });
    }
    current.exit_code = Some(signal.number());
    Verdict::Skip
}
