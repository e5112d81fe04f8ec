//! System V interprocess communication: shared memory, semaphores and message queues (`sysvipc(7)`).
//!
//! Each kind is a table of objects that a key or an identifier finds ([`identifiers`]). The objects belong to the sandbox and
//! stay until they are removed.

mod identifiers;
mod messages;
mod semaphores;
mod shared_memory;

pub use identifiers::{GetRequest, IpcObject, IpcPerm};
pub use messages::{Message, MessageQueue, MessageQueues, MessageSelector};
pub use semaphores::{SemaphoreSet, SemaphoreSets, SemaphoreWait};
pub use shared_memory::{Attachment, Segments};

/// Everything of a sandbox.
#[derive(Default)]
pub struct Ipc {
    /// Shared memory segments.
    pub segments: Segments,
    /// Semaphore sets.
    pub semaphores: SemaphoreSets,
    /// Message queues.
    pub messages: MessageQueues,
}

#[cfg(test)]
mod tests;
