//! Sockets.
//!
//! - [`socket`]: what every socket can do, and the blocking forms of it.
//! - [`options`]: the options that are the same for every socket (`socket(7)`).
//! - `endpoint`, `inbox`, `message`: what the sockets of every family are made of.
//! - `budget`: what those of a sandbox hold together.
//! - [`unix`]: sockets between processes of the sandbox (`unix(7)`).
//! - [`inet`]: Internet sockets, over the loopback interface of the sandbox (`ip(7)`, `tcp(7)`, `udp(7)`).
//! - [`interface`]: the loopback interface, as any socket shows it (`netdevice(7)`).
//! - [`netlink`]: the lists of interfaces and addresses (`netlink(7)`).

mod budget;
mod endpoint;
mod inbox;
pub mod inet;
pub mod interface;
mod message;
pub mod netlink;
pub mod options;
pub mod socket;
pub mod unix;

use socket::next_number;
pub use socket::{Incoming, Outgoing, Socket, Target, socket_of};
