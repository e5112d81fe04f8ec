//! The ptrace platform: guest code runs under `PTRACE_SYSEMU`, and host calls for it are injected.
//!
//! It is the fallback for hosts without seccomp user notification, the reference that the conformance tests hold the
//! trap platform against, and the one to debug with. Nothing of it runs in the guest's address space but a
//! page with a `syscall` instruction.
//!
//! - The [template] is forked from the sentry while that is set up, emptied and confined by injected calls.
//! - An [address space](space) is a copy of the template, or of another address space, kept by an *anchor*: a stub
//!   that sleeps. Template and anchors are [parked]: whoever needs one stops it for a moment.
//! - A [guest thread](thread) is a stub that shares its anchor's memory. It is born parked as well; the sentry thread
//!   that runs it first becomes its tracer, and stays it, because the host binds tracees to threads.
//! - [`tracee`] is a stopped process, with injected calls; [`operation`] checks memory operations and injects them;
//!   [`passing`] gets files across; [`placement`] keeps the two threads of a pair on one CPU; [`fault`] finds out
//!   what `ptrace(2)` does not say outright.
//!
//! # What confines a stub
//!
//! A guest's system calls stop in `PTRACE_SYSEMU` and are never carried out. Host calls are let through only when
//! the tracer resumes the stub in the code page, and there [the filter](filter) allows about ten, with their
//! addresses kept below the platform's region. Stubs have no capabilities and one descriptor, a socket to which only
//! the sentry sends. They are killed when their tracer ends, and while they have none when their parent does.

mod code;
mod fault;
mod filter;
pub(crate) mod geography;
mod operation;
mod parked;
mod passing;
mod placement;
mod platform;
mod probe;
mod process;
mod registers;
mod scratch;
mod space;
mod template;
mod thread;
mod tracee;

pub use filter::stub_calls;
pub use platform::{PtracePlatform, SetupError};
pub use probe::probe;
