//! The client of the file broker.
//!
//! A [`GoferClient`] asks the gofer over its lanes; a [`Node`] is a file that the gofer handed out, with one
//! method for each request, and gives its reference back when it is dropped. Calls block the sentry thread
//! that makes them, and only that one: as many run side by side as there are lanes.
//!
//! The gofer is not trusted. A reply that is malformed, answers something else, contradicts itself or carries
//! other descriptors than it says ends the conversation for good: from then on every call returns `EIO`, and
//! the hook given to [`GoferClient::on_failure`] can end the sandbox with a report. The sentry never learns a
//! host path, and a file's bytes go through donated descriptors, not through here.
//!
//! What the caller must keep: while it creates, removes or renames entries of a directory, it holds that
//! directory's lock, as Linux's own VFS does. The gofer sets the owner of a new file after it has created it,
//! and must find it by its name.

mod client;
mod failure;
mod lane;
mod node;
#[cfg(test)]
pub(crate) mod tests;

pub use client::GoferClient;
pub use failure::GoferFailure;
pub use node::{CreatedFile, DirectoryPage, Node, ReadAhead, WalkEnd, WalkOutcome, WalkStep};
pub use usk_gofer_protocol::limits::MAX_DESCRIPTORS as MAX_OPENED;
pub use usk_gofer_protocol::limits::{MAX_COMPONENTS, MAX_WALK_BYTES};
pub use usk_gofer_protocol::{
    Access, AttributeChange, Attributes, DirectoryEntries, DirectoryEntry, DirectoryPosition,
    ExportDescription, FileIn, FileSystemStatistics, FileType, LinkTarget, Mode, Name, NameBuf, NodeId,
    Owner, RenameMode, TimeChange, Timestamp, XattrMode, XattrName,
};
