//! Terminals.
//!
//! - [`pty`]: pseudo-terminals: a master and a slave with a line discipline between them. pty(7).
//! - [`line_discipline`]: what happens to bytes on their way: editing, echo, signals, output processing. termios(3).
//! - [`host`]: the operator's terminal, passed through (`usk run -t`).
//! - [`job_control`]: whose terminal it is, and who may use it now. credentials(7), setpgid(2).
//! - [`devices`]: what `/dev/ptmx`, `/dev/pts/N`, `/dev/tty` and `/dev/console` open.

mod control;
pub mod devices;
pub mod host;
pub mod job_control;
pub mod line_discipline;
pub mod pty;
mod terminals;

pub use host::HostTerminal;
pub use job_control::{Jobs, Terminal};
pub use terminals::Terminals;
