//! System V interprocess communication: shared memory, semaphores and message queues (`sysvipc(7)`); the bounds on POSIX
//! message queues, which are [files](crate::fs::mqueue).
//!
//! Each kind is a table of objects that a key or an identifier finds ([`identifiers`]). The objects belong to the sandbox and
//! stay until they are removed.

mod identifiers;
mod limits;
mod messages;
mod semaphores;
mod shared_memory;

use std::sync::Arc;

use crate::fs::mqueue::PosixQueues;

pub use identifiers::{GetRequest, Identifiers, IpcObject, IpcObjects, IpcPerm};
pub use limits::{Bound, IpcLimits};
pub use messages::{Message, MessageQueue, MessageQueues, MessageSelector};
pub use semaphores::{SemaphoreSet, SemaphoreSets, SemaphoreWait};
pub use shared_memory::{Attachment, Segment, Segments};

/// Everything of a sandbox.
pub struct Ipc {
    /// Bounds.
    pub limits: Arc<IpcLimits>,
    /// Shared memory segments.
    pub segments: Segments,
    /// Semaphore sets.
    pub semaphores: SemaphoreSets,
    /// Message queues.
    pub messages: MessageQueues,
    /// POSIX message queues.
    pub queues: PosixQueues,
}

impl Default for Ipc {
    fn default() -> Self {
        let limits: Arc<IpcLimits> = Arc::default();
        Ipc {
            segments: Segments::new(limits.clone()),
            semaphores: SemaphoreSets::new(limits.clone()),
            messages: MessageQueues::new(limits.clone()),
            queues: PosixQueues::new(limits.clone()),
            limits,
        }
    }
}

#[cfg(test)]
mod tests;
