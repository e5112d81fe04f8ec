//! How guest code runs.
//!
//! A [`Platform`] makes address spaces and guest threads out of host processes, runs guest code in them until it
//! makes a system call, faults or is interrupted, and carries out memory operations there. It knows nothing of what
//! a system call means: that is the sentry's.
//!
//! Two platforms stand behind the trait: [`trap`] (seccomp traps and user notification, the default) and [`ptrace`]
//! (PTRACE_SYSEMU, the fallback and the reference). [`host`] wraps the host's system calls, typed, once, for the
//! whole project. This crate is the only one that may contain `unsafe`.
//!
//! Depends on `abi` only; never on the sentry.

pub mod arch;
mod deaths;
pub mod host;
mod inlet;
mod interface;
mod ledger;
mod lent;
mod names;
pub mod ptrace;
pub mod region;
mod status;
mod stub;
pub mod trap;

pub use inlet::{Bell, Inlet};
pub use interface::{
    ActionWords, AddressSpace, Exchanger, ExitReason, FutexCall, GuestThread, HOST_CALLS_STAND, HostCallKind,
    HostCalled, Kick, Layout, Left, MAY_ASK_HOST, MapFlags, MaskWord, Memory, MemoryOp, PatchRequest,
    Platform, Protection, SIGNAL_COUNT, Shortcut, THREAD_STANDS, ThreadState, Trap,
};
pub use ledger::{Deed, Note, NotedCall, Notes};
pub use lent::{
    ARRIVED_ROOM, Arrived, LENT_CONTENTS, LENT_DESCRIPTORS, LENT_RECORDS, LENT_SHELF, LENT_WINDOWS, LentCall,
    LentDescriptor, LentFile, LentMemory, LentWindow, MemoryWord, NotedChange, TakenBack, WINDOW_SIZE,
};
pub use names::{KnownName, LeftName, MAX_KNOWN_NAME, NAME_PLACES, NameCall, NameMeaning};
pub use status::{FileStatus, STAT_SIZE, StatxRest};
