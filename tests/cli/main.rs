//! The command from outside: arguments, exit statuses, the doctor, and what the processes of a sandbox look like to the
//! host. Guest programs are run elsewhere.

#![forbid(unsafe_code)]

mod caller;
mod doctor;
mod errors;
mod filters;
mod install;
mod isolation;
mod limits;
mod options;
mod sandbox;
mod security_document;
mod streams;
mod sudden_death;
mod terminal;
