//! Signals: what is pending, what is to be done, and how a handler gets to run.
//!
//! A signal is queued on a task or on its thread group ([`send`]), and delivered when the task next returns to guest code
//! ([`deliver()`]), which pushes a frame on the guest's stack ([`frame`]). A task that sleeps or runs guest code is poked, so that
//! it comes to that point soon.

mod actions;
mod deliver;
mod frame;
mod mask;
mod pending;
mod send;
mod timed_wait;

pub use actions::SignalActions;
pub(crate) use deliver::{Outcome, begin_leaving, deliver, join_stop};
pub use frame::{alternate_stack, set_alternate_stack, signal_return};
pub use mask::SignalMask;
pub use pending::PendingSignals;
pub use send::{Sent, send_to_group, send_to_task};
pub(crate) use send::{force_signal, send_of_timer};
pub use timed_wait::wait_for_signal;
