//! The trap platform: guest code runs natively in processes whose every system call traps (`seccomp(2)`).
//!
//! An unpatched `syscall` instruction raises SIGSYS. The stub's handler, on a signal stack in memory shared with the
//! sentry, finds the complete register state in the frame that the kernel wrote there, and rings the **doorbell**: one
//! host call that the thread's filter turns into a user notification. The sentry thread that serves this guest thread
//! reads the registers out of the frame, answers the call, writes the changed registers back and answers the
//! notification; the stub returns to the guest through the frame (`rt_sigreturn(2)`). Faults and kicks arrive in the
//! same way, as other signals. A site that traps often is patched, if its code permits: it jumps to the stub, which
//! rings with the registers as they are.
//!
//! | file | holds |
//! | --- | --- |
//! | [`platform`] | [`TrapPlatform`]: what the host must offer, and the template that all address spaces descend from |
//! | [`template`] | making the template: the only code that runs between the sentry's image and the stub's |
//! | [`filters`], [`bpf`] | what stubs may ask of the host, as data, and its assembler |
//! | [`windows`] | the memory shared with stubs: slots (guest-writable) and orders (read-only there) |
//! | [`space`], [`spawner`] | an address space and the process in it that makes threads and copies on order |
//! | [`thread`], [`frame`] | a guest thread, and its signal frame |
//! | [`calls`], [`lists`] | memory operations and lists of host calls that it carries out |
//! | [`guest_thread`] | what the sentry asks of a thread, and which of these modules does it |
//! | [`carried`] | memory that travels with calls and their results |
//! | [`deferred`] | memory operations left for the way back to the guest |
//! | [`patch`], [`patched`] | call sites that jump to the stub instead of trapping, and where such a call stands |
//! | [`host_calls`] | calls that the host carries out for the guest: private futexes |
//! | [`handover`], [`kick`] | interrupting a guest thread from outside |
//! | [`mask`] | the mask of blocked signals that a guest thread changes by itself |
//! | [`left`] | what is to be done at the end of a guest thread, as it says without asking |
//! | [`lent`], [`memory`] | descriptors and memory that a guest thread is lent |
//! | [`ledger`], [`noted`] | writes, record locks and changes of epoll instances that a guest thread notes |
//! | [`inlet`] | where a guest thread leaves what it writes to a pipe |
//! | [`shelf`] | more room for what is left of files with a guest thread |
//! | [`names`] | the table of names from which the stub answers calls about them |
//! | [`status`] | attributes of files as the stub finds them |
//! | [`returned`] | returns from signal handlers that the stub makes by itself |
//! | [`asked`] | what the stub asks the host: clocks, random bytes |
//! | [`parked`] | host processes of guest threads that have ended, kept for the next |
//! | [`spare`] | address spaces that nobody needs any more, emptied and kept for the next program |
//! | [`graveyard`] | processes that were killed and are not yet reaped |
//! | [`mod@probe`] | what the host offers, for `usk doctor` |
//!
//! Who is who is never learnt from memory that a guest can write. A process is known by the descriptor that its
//! maker's `clone` returned, taken from the maker's descriptor table; a listener by having been taken from that
//! process; a trap by having come through that listener. Words in slots are hints about *when* to look.

mod actions;
mod advice;
mod arrived;
mod asked;
mod bpf;
mod calls;
mod carried;
mod deferred;
mod filters;
mod frame;
mod graveyard;
mod guest_thread;
mod handover;
mod host_calls;
mod inlet;
mod kick;
mod ledger;
mod left;
mod lent;
mod lists;
mod mask;
mod memory;
mod names;
mod noted;
mod parked;
mod patch;
mod patched;
mod platform;
mod probe;
mod returned;
mod shelf;
mod space;
mod spare;
mod spawner;
mod spin;
mod status;
mod template;
mod thread;
mod windows;

pub use filters::stub_calls;
pub use patch::{Answers, CodeImage, KnownPatch, Oracle};
pub use platform::{SetupError, TrapPlatform};
pub use probe::{Offer, probe};
