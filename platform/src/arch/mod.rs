//! What depends on the processor. x86-64 is the only one so far; another goes beside it, with the same names.

pub(crate) mod extended_state;
mod processor;
mod x86_64;

pub use processor::{Processor, processor};
pub(crate) use processor::{cpuid, has_bmi2, time_stamp};
pub use x86_64::Registers;
