//! A thing that happens once.

use std::sync::atomic::{AtomicBool, Ordering};

use usk_abi::PollEvents;

use crate::wait::WaitQueue;

/// Something to wait for that happens once and stays so.
#[derive(Default)]
pub struct Completion {
    done: AtomicBool,
    queue: WaitQueue,
}

impl Completion {
    /// It has happened.
    pub fn complete(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.queue.notify(PollEvents::IN);
    }

    /// True once it has happened.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }

    /// Notified when it happens.
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }
}
