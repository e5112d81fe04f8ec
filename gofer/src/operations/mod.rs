//! What each request does. Every file adds methods to [`Server`](crate::server::Server): decoded requests go
//! in, an [`Answer`](crate::server::Answer) comes out, and there is no way from a request to the host but
//! through a node.

mod attributes;
mod create;
mod directory;
mod names;
mod walk;
mod xattr;

pub(crate) use directory::{DirectoryStreams, MAX_STREAMS};
