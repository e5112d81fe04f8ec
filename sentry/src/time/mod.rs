//! Clocks and points in time. Guest clocks are the host's: what the vDSO tells the guest and what the sentry tells it
//! must agree.

mod deadline;
mod process_timers;
mod timers;

pub use deadline::{Deadline, monotonic_now};
pub use process_timers::{IntervalTimer, ProcessTimers, SignalTimer, TimerAction, TimerClock, TimerSetting};
pub use timers::{Expire, TimerId, Timers};
