//! Tracing: one task of the sandbox stops, looks into and steers another (`ptrace(2)`, `kernel/ptrace.c`).
//!
//! - [`tracing`]: what a task knows of being traced. [`links`]: who traces whom, in the process tree.
//! - [`stop`]: how a traced task stops, and serves its tracer until it is resumed. [`delivery`] and [`mod@calls`] are the places where it
//!   does so: at signals, and at system calls and what comes of them.
//! - [`mod@attach`]: how tracing begins and ends. [`mod@control`]: how a tracer has a task go on. [`mod@wait`]: how it hears of it.
//! - [`mod@registers`], [`mod@extended`], [`mod@memory`], [`mod@signals`]: what it reads and writes meanwhile.
//!
//! A guest thread is its own sentry thread's alone. So what a tracer asks for is done by the traced task, in its stop
//! ([`stop::on_tracee`]); what is not of the guest thread the tracer does by itself.
//!
//! A traced task answers no call without the sentry, and its code is as the program brought it along ([`crate::mm::Mm::keep_code`]).
//!
//! # Locks
//!
//! A link changes with the process tree and the traced task's group locked. A task begins to stop, and is told to die, with its group
//! locked; [`tracing::Tracing`]'s own lock is inside of that, and nothing is locked inside of it.

mod attach;
mod calls;
mod control;
mod delivery;
mod extended;
mod links;
mod memory;
mod registers;
mod signals;
mod stop;
mod tracing;
mod wait;

pub use attach::{attach, detach, seize, trace_me};
pub(crate) use attach::{auto_attach, dismiss_unfit_tracer, forsake_tracees, is_watched};
pub use calls::syscall_info;
pub(crate) use calls::{AtEntry, NewTask};
pub use control::{Resumption, interrupt, kill, listen, resume, set_options};
pub(crate) use delivery::{stop_at_signal, stop_for_tracer, stop_with_group};
pub use extended::{FP_REGISTERS_SIZE, fp_registers, set_fp_registers, set_xstate, xstate};
pub(crate) use links::Links;
pub use memory::{peek, poke, read_memory, write_memory};
pub use registers::{peek_user, poke_user, registers, set_registers};
pub use signals::{event_message, peek_signals, set_signal_info, set_signal_mask, signal_info, signal_mask};
pub use stop::tracee;
pub(crate) use tracing::Tracing;
pub(crate) use wait::{find_stop, leave_tracer, notify_tracer_of_end};
