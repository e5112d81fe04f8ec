//! The command from outside: arguments, exit statuses, the doctor, and what the processes of a sandbox look like to the
//! host, and to what runs in them. What programs do there is tested elsewhere.

#![forbid(unsafe_code)]

mod doctor;
mod environment;
mod errors;
mod exit_status;
mod files;
mod filters;
mod guest;
mod hidden;
mod image_maker;
mod images;
mod images_of_engines;
mod install;
mod isolation;
mod limits;
mod options;
mod ordinary_user;
mod receipt;
mod reports;
mod security_document;
mod signals;
mod streams;
mod sudden_death;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod time_line;

use support::{caller, sandbox};
