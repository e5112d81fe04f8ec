//! Whole commands: scripts of a few lines, timed inside of the sandbox by the guest program and outside with its start.

mod catalogue;
mod inputs;
mod measure;

pub(crate) use catalogue::{Scale, all};
pub(crate) use measure::{measure, write_inputs};
