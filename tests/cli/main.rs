//! The command from outside: arguments, exit statuses, the doctor, and what the processes of a sandbox look like to the
//! host. Guest programs are run elsewhere.

#![forbid(unsafe_code)]

mod doctor;
mod errors;
mod filters;
mod isolation;
mod limits;
mod options;
mod security_document;
mod streams;
mod sudden_death;
#[path = "../support/mod.rs"]
mod support;
mod terminal;

use support::{caller, sandbox};
