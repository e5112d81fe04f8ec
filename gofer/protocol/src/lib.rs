//! What the sentry and the gofer say to each other: bounded messages, their codec, and the types in them.
//!
//! The transport is one or more *lanes*: `SOCK_SEQPACKET` socket pairs, one message a packet. On a lane the
//! sentry sends a [`Request`] and waits for the [`Reply`] with the same number; lanes are independent of each
//! other, so a slow host open blocks its own lane only. Descriptors travel beside a reply (`SCM_RIGHTS`) and
//! never beside a request.
//!
//! The gofer's worker for lane `i` runs on the `i`-th of the CPUs that the process may use, counted round: a client that
//! takes the lane of its own CPU, and stays there, is answered without a wake-up on another. Nothing but speed depends
//! on it.
//!
//! Both sides assume that the other one is hostile. Decoding therefore never panics, allocates no more than
//! the message is long, checks every value against its type, and refuses bytes that are left over. Every
//! length and count has a named bound in [`limits`]. A message that does not decode ends the conversation.
//!
//! No I/O happens here. Depends on `abi` only.

#![forbid(unsafe_code)]

mod attributes;
mod codec;
mod entries;
pub mod limits;
mod message;
mod name;
mod reply;
mod request;

pub use attributes::{
    AttributeChange, Attributes, FileSystemStatistics, FileType, Mode, Owner, TimeChange, Timestamp,
};
pub use codec::{DecodeError, EncodeError};
pub use entries::{DirectoryEntries, DirectoryEntry, PackedEntry};
pub use name::{LinkTarget, Name, NameBuf, XattrName, XattrValue};
pub use reply::{
    DirectoryBelow, DirectoryPosition, Entry, ExportDescription, Opened, Reply, WalkEnd, WholeDirectory,
};
pub use request::{Access, FileIn, NodeId, RenameMode, Request, XattrMode};
