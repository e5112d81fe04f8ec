//! Why a conversation with the gofer ended.

use thiserror::Error;
use usk_abi::Errno;
use usk_gofer_protocol::DecodeError;

/// Why the gofer is not spoken to any more. All but [`GoferFailure::Closed`] mean that it is broken or taken
/// over.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GoferFailure {
    /// It has closed a lane; most likely it has ended.
    #[error("the gofer has gone")]
    Closed,
    /// A lane does not work.
    #[error("cannot reach the gofer: {0}")]
    Transport(Errno),
    /// Its reply is no message.
    #[error("the gofer sent a malformed reply: {0}")]
    Malformed(#[from] DecodeError),
    /// Its reply contradicts the request, itself, or the descriptors that came with it.
    #[error("the gofer's reply to {request} is wrong: {reason}")]
    Contradiction {
        /// What was asked.
        request: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// It refused to begin.
    #[error("the gofer refused to begin: {0}")]
    Refused(Errno),
}
