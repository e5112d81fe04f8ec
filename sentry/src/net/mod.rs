//! Sockets.
//!
//! - [`socket`]: what every socket can do, and the blocking forms of it.
//! - [`options`]: the options that are the same for every socket (`socket(7)`).
//! - [`unix`]: sockets between processes of the sandbox (`unix(7)`).
//! - [`inet`]: Internet sockets without a network.

pub mod inet;
pub mod options;
pub mod socket;
pub mod unix;

pub use socket::{Incoming, Outgoing, Socket, socket_of};
